"""The figure of where gene sets lie in the ranking of the genes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.canvas import CLASS_STYLE, INK, MUTED, RULE, Drawing, draw, plain
from analysis.genes.camera import SetShift
from analysis.genes.enrichment import SetEnrichment
from analysis.patients.samples import class_label
from analysis.wording import p_value

_MOST = 20  # sets in one figure
_DOTS = (14.0, 110.0)  # area in square points of sets of 10 and of 500 genes
_SIZES = (10, 500)


def enrichment_figure(
    shifts: Sequence[SetShift],
    enriched: Sequence[SetEnrichment],
    *,
    name: str,
    title: str,
    compare: tuple[str, str],
    fdr: float,
) -> Drawing:
    """Normalized enrichment scores of the sets with the smallest p, filled where they pass the false discovery rate.

    Args:
        shifts: whose p values count; at least one set.
        enriched: the same sets in the same order.
        name: file name without ending.
        title: short title.
        compare: the two classes; above 0 the genes are higher in the second.
        fdr: false discovery rate.
    """
    pairs = sorted(zip(shifts, enriched, strict=True), key=lambda pair: (pair[0].p, pair[0].gene_set.name))[:_MOST]
    shown = sorted(pairs, key=lambda pair: -pair[1].normalized)
    labels = short_names([shift.gene_set.name for shift, _ in shown])

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axvline(0, color=MUTED, linewidth=1)
        for y, (shift, one) in enumerate(shown):
            _dot(axes, y, shift, one.normalized, CLASS_STYLE.get(compare[one.normalized > 0], (INK, "", ""))[0], fdr)
        widest = 1.15 * max(abs(one.normalized) for _, one in shown) or 1.0
        axes.set(xlim=(-widest, widest), ylim=(len(shown) - 0.4, -0.6))
        axes.set_xlabel(f"Normalized enrichment score ({class_label(compare[0])} < 0 < {class_label(compare[1])})")
        axes.set_title("Adjusted p", loc="right", fontsize=8.5, fontweight="normal")
        axes.set_yticks(range(len(shown)), [plain(label) for label in labels])
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)

    said = "; ".join(
        f"{shift.gene_set.name}: {one.normalized:z.2f}, adjusted p {p_value(shift.p_adjusted)}"
        for shift, one in shown
    )
    return draw(name, title, f"{said}.", (6.4, 0.95 + 0.25 * len(shown)), paint, wide=True)


def _dot(axes: Axes, y: int, shift: SetShift, x: float, color: str, fdr: float) -> None:
    """One set: a larger dot for more genes, filled where it passes, with the p value beside it."""
    area = float(np.interp(len(shift.gene_set.genes), _SIZES, _DOTS))
    axes.plot([0, x], [y, y], color=RULE, linewidth=1.2, zorder=1)
    face = color if shift.p_adjusted < fdr else "white"
    axes.scatter(x, y, s=area, facecolor=face, edgecolor=color, linewidth=1.2, zorder=2)
    said = p_value(shift.p_adjusted)
    axes.text(1.02, y, said, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the collection that all of them begin with.

    >>> short_names(["HALLMARK_HYPOXIA", "HALLMARK_APOPTOSIS"]), short_names(["A_B"])
    (['HYPOXIA', 'APOPTOSIS'], ['A_B'])
    """
    collections = {name.partition("_")[0] for name in names if "_" in name}
    if len(names) < 2 or len(collections) != 1 or not all("_" in name for name in names):
        return list(names)
    return [name.partition("_")[2] for name in names]
