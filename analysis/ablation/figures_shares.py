"""Figure of what explains the variance between cells and sites."""

import math
from collections.abc import Sequence

from analysis.ablation.figures_lines import Column, Line, lines_figure
from analysis.ablation.variance import NOISE, Share
from analysis.figures.canvas import Drawing
from triher.estimate import Estimate


def shares_figure(split: str, title: str, shares: Sequence[Share]) -> Drawing:
    """A bar for each source with its interval, the largest on top, noise apart."""
    sources = sorted((one for one in shares if one.source != NOISE), key=_order)
    noise = [one for one in shares if one.source == NOISE]
    lines = [_line(one, is_noise=False) for one in sources]
    lines += [Line("Of all, with noise:", is_heading=True)] * bool(noise) + [
        _line(one, is_noise=True) for one in noise
    ]
    said = "; ".join(f"{one.source}: {percent(one.share)}" for one in [*sources, *noise])
    tops = [v for line in lines for v in (line.value, line.high) if math.isfinite(v)]
    return lines_figure(
        f"ablation-variance-{split}",
        title,
        f"{said}.",
        lines,
        x_label="Share of the variance",
        columns=[Column("Share (95 %)", 1.3)],
        limits=(0.0, min(1.02, max([0.1, *tops]) * 1.05)),
        bars=True,
        percent=True,
        width=5.8,
    )


def _order(one: Share) -> tuple[float, str]:
    """Largest first; those that cannot be estimated last."""
    return (-one.share.value if math.isfinite(one.share.value) else math.inf, one.source)


def _line(one: Share, *, is_noise: bool) -> Line:
    """One source."""
    return Line(one.source, one.share.value, one.share.low, one.share.high, (percent(one.share),), is_marked=is_noise)


def percent(estimate: Estimate) -> str:
    r"""A share with its interval; value and sign stay on one line.

    >>> percent(Estimate(0.412, 0.2, 0.553, 90, "variance"))
    '41\xa0% (20 to 55)'
    """
    if not math.isfinite(estimate.value):
        return "not estimable"
    value = f"{100 * estimate.value:.0f}\u00a0%"
    if not math.isfinite(estimate.low):
        return value
    return f"{value} ({100 * estimate.low:.0f} to {100 * estimate.high:.0f})"
