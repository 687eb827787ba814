"""Figure of how stable each encoder's features are under each disturbance."""

import math
from collections.abc import Sequence

from analysis.ablation.figures_lines import Column, Line, lines_figure
from analysis.ablation.stability import EXCELLENT, GOOD, Stability
from analysis.figures.canvas import Drawing

"""Koo & Li (J Chiropr Med 2016;15:155)."""


def stability_figure(title: str, found: Sequence[Stability]) -> Drawing:
    """Median ICC with quartiles; a block for each disturbance, the steadiest encoder on top."""
    lines: list[Line] = []
    for disturbance in dict.fromkeys(one.disturbance for one in found):
        inside = [one for one in found if one.disturbance == disturbance]
        lines.append(Line(disturbance, is_heading=True))
        lines += map(
            _line, sorted(inside, key=lambda one: (-one.median if math.isfinite(one.median) else 9, one.encoder))
        )
    numbers = [v for line in lines for v in (line.value, line.low) if math.isfinite(v)]
    said = "; ".join(
        f"{one.encoder} under {one.disturbance}: median ICC {one.median:.2f}, {one.share_good:.0%} of them good"
        if math.isfinite(one.median)
        else f"{one.encoder} under {one.disturbance}: {one.reason}"
        for one in found
    )
    return lines_figure(
        "ablation-stability",
        title,
        f"{said}.",
        lines,
        x_label="ICC of the features: median and quartiles (lines at 0.75, good, and 0.90, excellent)",
        columns=[Column("ICC ≥ 0.75", 0.9), Column("≥ 0.90", 0.6)],
        limits=(min([0.45, *numbers]) - 0.03, 1.02),
        lines_at=(GOOD, EXCELLENT),
        width=5.8,
    )


def _line(one: Stability) -> Line:
    """One encoder."""
    if not math.isfinite(one.median):
        return Line(one.encoder, texts=("none", ""))
    texts = (f"{one.share_good:.0%}", f"{one.share_excellent:.0%}")
    return Line(one.encoder, one.median, one.quartiles[0], one.quartiles[1], texts)
