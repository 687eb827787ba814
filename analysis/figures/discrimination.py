"""Figures of discrimination."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.discrimination.aucs import roc_band, roc_points
from analysis.discrimination.confusion import Confusion
from analysis.figures.canvas import CLASS_STYLE, INK, MUTED, RULE, Drawing, draw, plain, unit_axes
from analysis.patients.samples import Sample, class_label
from triher.estimate import Estimate

_SQUARE = (3.7, 3.6)
_BINS = np.linspace(0, 1, 21)
_RATIO_TICKS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
_FINE_RATIO_TICKS = (0.7, 1.0, 1.5)  # for an axis that holds no two of the others
_MOST_TICKS = 6  # longer numbers overlap
_DARK = 0.7  # share of a row above which a cell needs white text


def roc_figure(sample: Sample, classes: tuple[str, ...], areas: tuple[Estimate, ...]) -> Drawing:
    """ROC curve of each class against the rest."""
    shown = [c for c in range(len(classes)) if 0 < np.sum(sample.y == c) < len(sample.y)]
    said = "; ".join(f"{class_label(classes[c])}: AUC {areas[c]}" for c in shown)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1)
        for c in shown:
            color, line, _ = CLASS_STYLE[classes[c]]
            label = f"{class_label(classes[c])}  {areas[c].value:z.2f}"
            points = roc_points(sample.y == c, sample.probabilities[:, c])
            axes.plot(*points, color=color, linestyle=line, label=label, drawstyle="default")
            band = roc_band(sample.y == c, sample.probabilities[:, c], seed=c)
            if band is not None:
                axes.fill_between(*band, color=color, alpha=0.12, linewidth=0)
        if shown:
            axes.legend(loc="lower right", title="AUC", alignment="left", title_fontsize=8.5)
        unit_axes(axes, "1 - specificity", "Sensitivity")
        axes.set_aspect("equal")

    title = f"ROC curves, each class against the rest (n = {len(sample.y)}), with pointwise 95 % bootstrap bands"
    return draw(f"roc-{sample.split}", title, f"One class against the rest. {said}.", _SQUARE, paint)


def probability_figure(sample: Sample, classes: tuple[str, ...], c: int) -> Drawing:
    """Distribution of one class's predicted probability, a row for each true class."""
    name = class_label(classes[c])
    present = [k for k in range(len(classes)) if np.any(sample.y == k)]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, k in enumerate(reversed(present)):
            _ridge(axes, sample.probabilities[sample.y == k, c], row, CLASS_STYLE[classes[k]][0])
        labels = [f"{class_label(classes[k])}\n(n = {np.sum(sample.y == k)})" for k in reversed(present)]
        axes.set_yticks(np.arange(len(present)) + 0.3, labels)
        axes.set_ylim(-0.15, max(1, len(present)) - 0.1)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set(xlim=(-0.02, 1.02), xlabel=f"Predicted probability of {name}")

    medians = [float(np.median(sample.probabilities[sample.y == k, c])) for k in present]
    said = "; ".join(
        f"true {class_label(classes[k])}: median {m:z.2f}" for k, m in zip(present, medians, strict=True)
    )
    title = f"Predicted probability of {name} by true class"
    return draw(f"probability-{sample.split}-{classes[c]}", title, f"{said}.", (3.5, 2.9), paint)


def _ridge(axes: Axes, p: np.ndarray, row: int, color: str) -> None:
    """One histogram standing on its row, with the median marked."""
    heights, _ = np.histogram(p, _BINS)
    scaled = heights / max(1, heights.max()) * 0.75
    axes.stairs(row + scaled, _BINS, baseline=row, fill=True, color=color, alpha=0.75)
    axes.plot([np.median(p)] * 2, [row - 0.06, row + 0.82], color=INK, linewidth=1.2)
    axes.axhline(row, color=RULE, linewidth=0.8)


def confusion_figure(counts: Confusion, classes: tuple[str, ...], split: str) -> Drawing:
    """Counts by true and likeliest class, shaded by the share of the true class."""
    labels = [class_label(name) for name in classes]
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        cells = np.arange(len(labels))
        axes.pcolormesh(cells, cells, shares, cmap="Blues", vmin=0, vmax=1.15, edgecolors="white", linewidth=2)
        axes.set(aspect="equal", ylim=(len(labels) - 0.5, -0.5))
        for row, col in np.ndindex(counts.shape):
            color = text_on(shares[row, col])
            axes.text(col, row - 0.1, str(counts[row, col]), ha="center", va="center", color=color, fontsize=13)
            share = f"{shares[row, col]:.0%}"
            axes.text(col, row + 0.22, share, ha="center", va="center", color=color, fontsize=8.5)
        axes.set_xticks(range(len(labels)), labels)
        axes.set_yticks(range(len(labels)), labels, rotation=90, va="center")
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set(xlabel="Likeliest class", ylabel="True class")

    said = "; ".join(
        f"true {labels[r]}, called {labels[c]}: {counts[r, c]}" for r, c in np.ndindex(counts.shape) if counts[r, c]
    )
    title = f"Confusion matrix (n = {counts.sum()}): patients, and their share of the true class"
    return draw(f"confusion-{split}", title, f"{said}.", _SQUARE, paint)


def text_on(share: float) -> str:
    """Color of the text on a cell of a confusion matrix."""
    return "#ffffff" if share > _DARK else INK


@dataclass(frozen=True)
class ForestRow:
    """One line of a forest plot; a heading has no estimate."""

    label: str
    estimate: Estimate | None = None
    reference: Estimate | None = None
    class_name: str = ""


def forest_figure(
    name: str, title: str, rows: list[ForestRow], *, x_label: str, line_at: float, logarithmic: bool = False
) -> Drawing:
    """Estimates with their intervals, one a line; a hollow mark shows the reference on the same patients.

    The axis ends at 1, as AUCs do, unless it is one of ratios (`logarithmic`) or of differences (`line_at` 0).
    """
    limits = _forest_limits(rows, line_at, logarithmic=logarithmic)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        if logarithmic:
            axes.set_xscale("log")
        axes.axvline(line_at, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for y, row in enumerate(rows):
            if row.estimate is not None:
                _forest_line(axes, y, row.estimate, row, limits)
        axes.set(xlim=limits, ylim=(len(rows) - 0.4, -0.6), xlabel=x_label)
        _forest_labels(axes, rows)
        if logarithmic:
            shown = _ratio_ticks(limits)
            axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
            axes.minorticks_off()
        else:
            axes.locator_params(axis="x", nbins=_MOST_TICKS)

    said = "; ".join(f"{row.label}: {row.estimate}" for row in rows if row.estimate is not None)
    return draw(name, title, f"{said}.", (5.8, 0.75 + 0.27 * len(rows)), paint, wide=True)


def _ratio_ticks(limits: tuple[float, float]) -> list[float]:
    """Round ratios inside an axis, closer together where it is short."""
    inside = [[t for t in ticks if limits[0] <= t <= limits[1]] for ticks in (_RATIO_TICKS, _FINE_RATIO_TICKS)]
    return inside[0] if len(inside[0]) > 2 else sorted({*inside[0], *inside[1]})


def _forest_limits(rows: list[ForestRow], line_at: float, *, logarithmic: bool) -> tuple[float, float]:
    """An axis that holds every finite number and the line of no effect."""
    estimates = [e for row in rows for e in (row.estimate, row.reference) if e is not None]
    numbers = [v for e in estimates for v in (e.value, e.low, e.high) if np.isfinite(v)] + [line_at]
    if logarithmic:
        return max(0.02, min([*numbers, line_at / 1.5]) / 1.15), min(50.0, max([*numbers, line_at * 1.5]) * 1.15)
    if line_at == 0:
        return min(numbers) - 0.03, max(numbers) + 0.03
    return max(0.0, min(numbers) - 0.03), 1.01


def _forest_line(axes: Axes, y: int, estimate: Estimate, row: ForestRow, limits: tuple[float, float]) -> None:
    """Interval, mark, reference and the numbers in words."""
    color, _, marker = CLASS_STYLE.get(row.class_name, (INK, "", "o"))
    if np.isfinite(estimate.low):
        axes.plot([max(limits[0], estimate.low), min(limits[1], estimate.high)], [y, y], color=color, linewidth=1.6)
    if np.isfinite(estimate.value):
        axes.plot(estimate.value, y, marker=marker, color=color, markersize=5.5)
    if row.reference is not None and np.isfinite(row.reference.value):
        axes.plot(row.reference.value, y, "o", markersize=6.5, mfc="none", mec=MUTED, mew=1.3)
    axes.text(1.02, y, brief(estimate), transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)


def _forest_labels(axes: Axes, rows: list[ForestRow]) -> None:
    """Names at the left, headings in bold."""
    axes.set_yticks(range(len(rows)), [plain(row.label) for row in rows])
    for row, tick in zip(rows, axes.get_yticklabels(), strict=True):
        if row.estimate is None:
            tick.set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def brief(estimate: Estimate) -> str:
    """Two decimals for figures and tables.

    >>> brief(Estimate(0.8123, 0.741, 0.876, 40, "AUC"))
    '0.81 (0.74 to 0.88)'
    >>> brief(Estimate(-0.001, -0.02, 0.018, 40, "difference"))
    '0.00 (-0.02 to 0.02)'
    """
    if not np.isfinite(estimate.value):
        return "not estimable"
    if not np.isfinite(estimate.low):
        return f"{estimate.value:z.2f}"
    return f"{estimate.value:z.2f} ({estimate.low:z.2f} to {estimate.high:z.2f})"
