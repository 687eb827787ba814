"""Figures of what the model goes by: mean shares of phases and covariates, and the spread of single features."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib.figure import Figure
from scipy.stats import rankdata

from analysis.figures.canvas import CLASS_STYLE, MUTED, Drawing, draw, plain
from analysis.patients.samples import class_label
from triher.explanation_tables import FeatureShare, GroupShare, mean_sizes

_MOST_GROUPS = 15
_MOST_FEATURES = 8
_MOST_POINTS = 120  # of a feature; more make the page heavy and the figure no clearer
_BINS = 40
# Fifths of the values from blue to rust; of middling lightness, so that they are seen on white and on black.
_FIFTHS = ("#0b5c8f", "#5b93b8", "#8a8f98", "#c98a5a", "#b3420e")


def groups_figure(rows: Sequence[GroupShare], classes: Sequence[str]) -> Drawing:
    """Mean absolute share of every view and covariate in the log-odds of each class."""
    sizes = {(one.name, one.label): one.mean for one in mean_sizes(rows)}
    order = sorted({name for name, _ in sizes}, key=lambda name: (-sum(_of(sizes, name, classes)), name))
    shown = order[:_MOST_GROUPS]
    height = 0.8 / len(classes)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for k, label in enumerate(classes):
            color, _, _ = CLASS_STYLE[label]
            places = np.arange(len(shown)) + (k - (len(classes) - 1) / 2) * height
            axes.barh(places, _of_class(sizes, shown, label), height * 0.9, color=color, label=class_label(label))
        axes.set_yticks(range(len(shown)), [plain(name) for name in shown])
        axes.set(ylim=(len(shown) - 0.5, -0.5), xlabel="Mean absolute share in the log-odds")
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside lower center", ncols=len(classes))

    said = "; ".join(
        f"{name}: {', '.join(f'{label} {sizes.get((name, label), 0.0):.2f}' for label in classes)}" for name in shown
    )
    size = (5.8, 1.1 + 0.2 * len(classes) * max(2, len(shown)))
    return draw("shap-groups", "Shares of views and covariates", f"{said}.", size, paint, wide=True)


def _of(sizes: dict[tuple[str, str], float], name: str, classes: Sequence[str]) -> list[float]:
    """One group in every class."""
    return [sizes.get((name, label), 0.0) for label in classes]


def _of_class(sizes: dict[tuple[str, str], float], names: Sequence[str], label: str) -> list[float]:
    """Every group in one class."""
    return [sizes.get((name, label), 0.0) for name in names]


def features_figure(rows: Sequence[FeatureShare], label: str) -> Drawing:
    """Each patient's share of the features that move one class most, colored by the feature's own value."""
    own = [row for row in rows if row.label == label]
    shown = [one.name for one in mean_sizes(own)[:_MOST_FEATURES]]
    n = len({row.patient_id for row in own})
    swarms = []
    for y, name in enumerate(shown):
        values = np.array([(row.phi, row.value) for row in own if row.feature == name], dtype=np.float64)
        swarms.append(_swarm(values) + np.array([0.0, y, 0.0]))
    marks = np.concatenate(swarms)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axvline(0, color=MUTED, linewidth=1)
        for fifth, color in enumerate(_FIFTHS):
            x, y, _ = marks[marks[:, 2] == fifth].T
            said = {0: "lowest fifth", len(_FIFTHS) - 1: "highest fifth"}.get(fifth, " ")
            axes.scatter(x, y, s=9, color=color, linewidths=0, label=said)
        axes.set_yticks(range(len(shown)), [plain(name) for name in shown])
        axes.set(ylim=(len(shown) - 0.4, -0.6), xlabel=f"Share in the score of {class_label(label)}")
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        figure.legend(
            loc="outside lower center", ncols=len(_FIFTHS), title="Value of the feature", markerscale=1.8,
            handletextpad=0.2, columnspacing=0.6,
        )  # fmt: skip

    said = f"{n} patients; features by mean absolute share: {', '.join(plain(name) for name in shown)}"
    title = f"Features that move {class_label(label)} most"
    size = (5.8, 1.5 + 0.36 * max(3, len(shown)))
    return draw(f"shap-features-{label}", title, f"{said}.", size, paint, wide=True)


def _swarm(values: Float64[np.ndarray, "patient 2"]) -> Float64[np.ndarray, "mark 3"]:
    """Marks of a feature: share, height (as high as the crowd), and fifth of the feature's values.

    Args:
        values: share and value of each patient; of very many some are taken, evenly by share, the extremes too.
    """
    fifth = np.minimum((rankdata(values[:, 1]) - 1) / len(values) * len(_FIFTHS), len(_FIFTHS) - 1) // 1
    order = np.argsort(values[:, 0], kind="stable")
    if len(order) > _MOST_POINTS:
        order = order[np.linspace(0, len(order) - 1, _MOST_POINTS).round().astype(int)]
    phi = values[order, 0]
    width = max(float(np.ptp(phi)), 1e-12) / _BINS
    bins = np.floor((phi - phi.min()) / width).astype(int)
    fullest = max(1, int(np.bincount(bins).max()))
    lifts = np.zeros(len(phi))
    for place in np.unique(bins):
        members = np.flatnonzero(bins == place)
        lifts[members] = (np.arange(len(members)) - (len(members) - 1) / 2) * min(0.09, 0.76 / fullest)
    return np.column_stack([phi, lifts, fifth[order]])
