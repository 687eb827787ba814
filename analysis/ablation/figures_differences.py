"""Figures of cells below each other: differences to the base, and ranks."""

import math
from collections.abc import Sequence

from analysis.ablation.comparison import Compared
from analysis.ablation.figures_lines import Column, Line, lines_figure
from analysis.ablation.ranks import Rank
from analysis.figures.canvas import Drawing
from analysis.figures.discrimination import brief
from analysis.inference.corrected_p import SMALL_P
from analysis.wording import p_value

MOST = 24
"""Cells of a figure: the best and the worst half where there are more, and all that were planned."""


def differences_figure(
    split: str,
    title: str,
    found: Sequence[Compared],
    *,
    label: str,
    sign: int,
    planned_as: str = "Planned beforehand",
    n_shown: int = MOST,
) -> Drawing | None:
    """Differences to the base with their intervals and corrected p values, the best on top.

    Args:
        split: of the arena, for the file name.
        title: short.
        found: all comparisons of one measure.
        label: of the measure.
        sign: 1 where higher is better, -1 where lower is.
        planned_as: heading of the planned ones.
        n_shown: cells beside the planned ones, at most.

    Returns:
        None where there is no difference to draw.
    """
    known = [one for one in found if one.difference is not None and math.isfinite(one.difference.value)]
    planned, others = ([one for one in known if one.is_primary is wanted] for wanted in (True, False))
    lines: list[Line] = []
    if planned:
        lines += [_heading(planned_as), *map(_line, _sorted(planned, sign))]
    shown = _sorted(others, sign)
    if len(shown) > n_shown:
        half = n_shown // 2
        lines += [
            _heading(f"The best {half} of {len(shown)} others" if planned else f"The best {half} of {len(shown)}")
        ]
        lines += map(_line, shown[:half])
        lines += [_heading(f"The worst {half}"), *map(_line, shown[-half:])]
    elif shown:
        lines += [*([_heading("All others")] if planned else []), *map(_line, shown)]
    if not lines:
        return None
    said = "; ".join(f"{line.label}: {', p '.join(line.texts)}" for line in lines if not line.is_heading)
    return lines_figure(
        f"ablation-differences-{split}",
        title,
        f"{said}.",
        lines,
        x_label=f"{label}, cell minus base" + ("" if sign > 0 else " (below 0 is better)"),
        columns=[Column("Difference (95 %)", 1.45), Column("p, Holm", 0.55)],
        lines_at=(0.0,),
    )


def _sorted(found: Sequence[Compared], sign: int) -> list[Compared]:
    """The best first."""
    return sorted(found, key=lambda one: (-sign * (one.difference.value if one.difference else 0.0), one.cell))


def _heading(text: str) -> Line:
    """A line between cells."""
    return Line(text, is_heading=True)


def _line(one: Compared) -> Line:
    """One cell."""
    if one.difference is None:
        raise ValueError(f"the cell '{one.cell}' has no difference to the base")
    e = one.difference
    differs = one.p_corrected < SMALL_P
    return Line(one.cell, e.value, e.low, e.high, (brief(e), p_value(one.p_corrected)), is_marked=differs)


def ranks_figure(split: str, title: str, ranks: Sequence[Rank], *, base: str, n_shown: int = MOST) -> Drawing:
    """Mean rank with the interval over resamples, the best on top; the base is always there."""
    ordered = sorted(ranks, key=lambda rank: (rank.mean, rank.cell))
    shown = ordered[:n_shown]
    lines = [_rank_line(rank, base) for rank in shown]
    lines += [_rank_line(rank, base) for rank in ordered[n_shown:] if rank.cell == base]
    said = "; ".join(
        f"{rank.cell}: mean rank {rank.mean:.1f} ({rank.interval}), best in {rank.share_best:.0%}" for rank in shown
    )
    return lines_figure(
        f"ablation-ranks-{split}",
        title,
        f"{said}.",
        lines,
        x_label=f"Rank among {len(ranks)} cells (1 is the best)",
        columns=[Column("Mean (95 %)", 1.4), Column("Best in", 0.5)],
        limits=(1 - 0.03 * len(ranks), len(ranks) * 1.03),
    )


def _rank_line(rank: Rank, base: str) -> Line:
    """One cell."""
    texts = (f"{rank.mean:.1f} ({rank.interval})", f"{rank.share_best:.0%}")
    return Line(rank.cell, rank.mean, rank.low, rank.high, texts, is_marked=rank.cell == base)
