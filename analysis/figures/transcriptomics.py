"""Figures of gene expression: volcano plots, and fold changes by true against predicted class."""

import numpy as np
from jaxtyping import Bool
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.canvas import CLASS_STYLE, INK, MUTED, RULE, Drawing, draw, plain
from analysis.genes.amplicon import in_amplicon
from analysis.genes.gene_tests import LEAST_P, GeneTests
from analysis.patients.samples import class_label
from triher.estimate import Estimate

_LABELED = 8
_CELLS = 120  # along each axis: of points that fall into one cell, one is drawn
_GAP = 0.055  # between labels, as a share of the axis
_AMPLICON = "#882255"

Flags = Bool[np.ndarray, " gene"]


def volcano_figure(name: str, tests: GeneTests, compare: tuple[str, str], fdr: float, by: str) -> Drawing:
    """Log2 fold change against the p value of each gene, the strongest ones labeled.

    Points that nearly coincide are drawn once.
    """
    x, y = tests.log2_fold_change, -np.log10(np.clip(np.nan_to_num(tests.p, nan=1.0), LEAST_P, 1.0))
    passed, flagged = tests.significant(fdr), in_amplicon(tests.genes)
    top = tests.order()[:_LABELED]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axvline(0, color=RULE, linewidth=1)
        _points(axes, x, y, ~passed & ~flagged, MUTED, "o", f"not at FDR {fdr:g}", 0.35)
        _points(axes, x, y, passed & ~flagged & (x < 0), CLASS_STYLE["low"][0], "v", "lower", 0.8)
        _points(
            axes,
            x,
            y,
            passed & ~flagged & (x > 0),
            CLASS_STYLE["zero"][0],
            "^",
            "higher",
            0.8,
        )
        _points(axes, x, y, flagged, _AMPLICON, "D", "ERBB2 amplicon", 1.0)
        _name_points(axes, x, y, top, tests.genes)
        axes.set(xlabel=f"Log2 fold change, {compare[1]} against {compare[0]}", ylabel="-log10 p")
        figure.legend(loc="outside lower center", ncols=2, markerscale=1.6)

    said = ", ".join(f"{plain(tests.genes[i])} {x[i]:+z.2f}" for i in top)
    description = f"{int(passed.sum())} of {len(x)} genes pass. Strongest, with log2 fold change: {said}."
    return draw(name, f"Genes by {by}", description, (3.7, 4.1), paint)


def agreement_figure(
    true: GeneTests, predicted: GeneTests, compare: tuple[str, str], fdr: float, correlation: Estimate
) -> Drawing:
    """Fold changes by predicted class against those by true class, one point a gene."""
    x, y = true.log2_fold_change, predicted.log2_fold_change
    mine, theirs, flagged = true.significant(fdr), predicted.significant(fdr), in_amplicon(true.genes)
    top = list(dict.fromkeys([*true.order()[: _LABELED // 2], *predicted.order()[: _LABELED // 2]]))

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
        axes.plot([low, high], [low, high], color=RULE, linewidth=1)
        _points(axes, x, y, ~mine & ~theirs & ~flagged, MUTED, "o", "in neither", 0.35)
        _points(axes, x, y, mine & ~theirs & ~flagged, CLASS_STYLE["low"][0], "s", "by true only", 0.8)
        _points(axes, x, y, ~mine & theirs & ~flagged, CLASS_STYLE["ultralow"][0], "^", "by predicted only", 0.8)
        _points(axes, x, y, mine & theirs & ~flagged, CLASS_STYLE["zero"][0], "o", "by both", 0.8)
        _points(axes, x, y, flagged, _AMPLICON, "D", "ERBB2 amplicon", 1.0)
        _name_points(axes, x, y, top, true.genes)
        axes.set(xlabel="Log2 fold change by true class", ylabel="Log2 fold change by predicted class")
        figure.legend(
            loc="outside lower center",
            ncols=2,
            title=f"Significant at FDR {fdr:g}",
            alignment="left",
            markerscale=1.6,
        )

    pair = f"{class_label(compare[1])} against {class_label(compare[0])}"
    description = f"{pair}; Spearman correlation {correlation} over {len(x)} genes; the line marks equality."
    return draw("genes-agreement", "Fold changes by true and by predicted class", description, (3.7, 4.3), paint)


def _points(
    axes: Axes, x: np.ndarray, y: np.ndarray, shown: Flags, color: str, marker: str, label: str, alpha: float
) -> None:
    """One kind of genes, with their number in the legend."""
    if not shown.any():
        return
    cells = [np.floor((v - v.min()) / (np.ptp(v) or 1.0) * _CELLS)[shown] for v in (x, y)]
    _, first = np.unique(np.stack(cells), axis=1, return_index=True)
    kept = np.flatnonzero(shown)[first]
    size = 4.5 if marker == "D" else 2.8
    axes.plot(
        x[kept],
        y[kept],
        marker,
        color=color,
        markersize=size,
        alpha=alpha,
        mew=0,
        label=f"{label} ({int(shown.sum())})",
    )


def _name_points(axes: Axes, x: np.ndarray, y: np.ndarray, places: list[int], genes: tuple[str, ...]) -> None:
    """Labels beside points, pushed apart vertically on either side."""
    axes.margins(x=0.16, y=0.08)
    height = float(np.ptp(y)) or 1.0
    right = {i: _goes_right(i, x, y, places) for i in places}
    for is_right in (True, False):
        side = sorted((i for i in places if right[i] == is_right), key=lambda i: -y[i])
        last = np.inf
        for i in side:
            at = min(float(y[i]), last - _GAP * height)
            last = at
            if at < y[i]:
                axes.plot([x[i], x[i]], [y[i], at], color=RULE, linewidth=0.8, zorder=1)
            shift, side_of = (5, "left") if is_right else (-5, "right")
            axes.annotate(
                plain(genes[i]),
                (x[i], at),
                xytext=(shift, 0),
                textcoords="offset points",
                ha=side_of,
                va="center",
                fontsize=7.5,
                color=INK,
            )


def _goes_right(i: int, x: np.ndarray, y: np.ndarray, places: list[int]) -> bool:
    """Whether a label stands right of its point: in the right half, unless another labeled point is there."""
    near = [j for j in places if x[j] > x[i] and abs(y[j] - y[i]) < _GAP * float(np.ptp(y))]
    return bool(x[i] >= (x.min() + x.max()) / 2) and not near
