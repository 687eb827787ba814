"""Figures of what the model goes by: mean shares of phases and covariates, and the spread of single features."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from scipy.stats import rankdata

from analysis.canvas import CLASS_STYLE, MUTED, RULE, Drawing, draw, plain
from analysis.samples import class_label
from triher.explanation_tables import FeatureShare, GroupShare, mean_sizes

_MOST_GROUPS = 15
_MOST_FEATURES = 8
_MOST_POINTS = 120  # of a feature; more make the page heavy and the figure no clearer
_BINS = 40
_COLORS = "cividis"


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
        axes.legend(loc="lower right")

    said = "; ".join(
        f"{name}: {', '.join(f'{label} {sizes.get((name, label), 0.0):.2f}' for label in classes)}" for name in shown
    )
    size = (5.8, 0.9 + 0.2 * len(classes) * max(2, len(shown)))
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

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axvline(0, color=MUTED, linewidth=1)
        for y, name in enumerate(shown):
            values = np.array([(row.phi, row.value) for row in own if row.feature == name], dtype=np.float64)
            _swarm(axes, y, values)
        axes.set_yticks(range(len(shown)), [plain(name) for name in shown])
        axes.set(ylim=(len(shown) - 0.4, -0.6), xlabel=f"Share in the score of {class_label(label)}")
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        scale = ScalarMappable(cmap=_COLORS)
        bar = figure.colorbar(scale, ax=axes, ticks=[0, 1], aspect=30, pad=0.02)
        bar.ax.set_yticklabels(["lowest", "highest"])
        bar.set_label("Value of the feature", labelpad=-22)
        bar.outline.set_edgecolor(RULE)

    said = f"{n} patients; features by mean absolute share: {', '.join(plain(name) for name in shown)}"
    title = f"Features that move {class_label(label)} most"
    size = (5.8, 1.0 + 0.36 * max(3, len(shown)))
    return draw(f"shap-features-{label}", title, f"{said}.", size, paint, wide=True)


def _swarm(axes: Axes, y: int, values: Float64[np.ndarray, "patient 2"]) -> None:
    """The patients of a feature: share along the axis, as high as the crowd, colored by the rank of the value."""
    values = values[np.argsort(values[:, 0], kind="stable")]
    if len(values) > _MOST_POINTS:  # evenly by rank, the extremes among them
        values = values[np.linspace(0, len(values) - 1, _MOST_POINTS).round().astype(int)]
    phi, value = values.T
    ranks = (rankdata(value) - 1) / max(1, len(value) - 1)
    width = max(float(np.ptp(phi)), 1e-12) / _BINS
    bins = np.floor((phi - phi.min()) / width).astype(int)
    lifts = np.zeros(len(phi))
    fullest = max(1, int(np.bincount(bins).max()))
    for place in np.unique(bins):
        members = np.flatnonzero(bins == place)
        steps = np.arange(len(members)) - (len(members) - 1) / 2
        lifts[members] = steps * min(0.09, 0.76 / fullest)
    axes.scatter(phi, y + lifts, s=9, c=ranks, cmap=_COLORS, vmin=0, vmax=1, linewidths=0)
