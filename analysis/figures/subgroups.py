"""Figure of the subgroups: a block for each grouping, a line for each level, a panel for each AUC."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.discrimination.subgroups import Level, Subgrouping
from analysis.figures.canvas import INK, MUTED, RULE, Drawing, draw, plain
from analysis.figures.discrimination import brief
from analysis.wording import p_value, split_name
from triher.estimate import Estimate

MOST = 25
"""Levels of one grouping that are drawn: the largest ones."""
_TITLE = 18  # letters of a panel's title in one line
PANELS = {
    "auc_macro": "Macro AUC",
    "auc_zero_vs_rest": "Zero against low or positive",
    "auc_low_vs_positive": "Low against positive",
}


@dataclass(frozen=True)
class _Line:
    """A heading, with the p value of each interaction, or a level with its AUCs."""

    label: str
    count: str
    areas: dict[str, Estimate]
    p: dict[str, float]


def level_label(label: str) -> str:
    """A level in print.

    >>> level_label("age >= 50"), level_label("")
    ('age ≥ 50', 'not known')
    """
    return plain(label.replace(">=", "≥").replace("<=", "≤")) or "not known"


def subgroup_figure(groups: Sequence[Subgrouping], everybody: dict[str, Estimate]) -> Drawing:
    """The AUCs of all levels of one split with their intervals.

    Args:
        groups: all groupings of the split.
        everybody: the same AUCs of all its patients, the dashed lines; their n stands in the first row.
    """
    split = groups[0].split
    lines = [_Line("All patients", _counted(everybody["auc_macro"].n, _sums(groups[0])), everybody, {})]
    for group in groups:
        lines += _block(group)
    limits = _limits(lines)

    def paint(figure: Figure) -> None:
        panels = figure.subplots(1, len(everybody), sharey=True, squeeze=False)[0]
        for axes, (quantity, all_together) in zip(panels, everybody.items(), strict=True):
            _panel(axes, quantity, all_together, lines, limits)
        _names(panels[0], lines)

    drawn = [(line, quantity, area) for line in lines for quantity, area in line.areas.items()]
    said = "; ".join(f"{line.label}, {PANELS[quantity]}: {brief(area)}" for line, quantity, area in drawn)
    size = (2.2 + 1.75 * len(everybody), 1.0 + 0.24 * len(lines))
    what = "AUC by subgroup with 95 % intervals and corrected p of interaction"
    title = f"{what}: {split_name(split)}; in brackets patients, and those of each class"
    return draw(f"subgroups-{split}", title, f"{said}.", size, paint, wide=True)


def _block(group: Subgrouping) -> list[_Line]:
    """The lines of one grouping: a heading and its largest levels."""
    least = sorted((level.n for level in group.levels), reverse=True)[:MOST][-1]
    shown = [level for level in group.levels if level.n >= least][:MOST]
    left = len(group.levels) - len(shown)
    heading = f"{group.name} ({len(shown)} largest of {len(group.levels)})" if left else group.name
    p = {test.quantity: test.p_adjusted.value for test in group.interactions}
    return [_Line(plain(heading), "", {}, p), *map(_line, shown)]


def _line(level: Level) -> _Line:
    """One level."""
    return _Line(level_label(level.label), _counted(level.n, level.counts), dict(level.areas), {})


def _sums(group: Subgrouping) -> tuple[int, ...]:
    """Patients of each class in all levels together."""
    return tuple(map(sum, zip(*(level.counts for level in group.levels), strict=True)))


def _counted(n: int, counts: Sequence[int]) -> str:
    """How many patients, and of which classes.

    >>> _counted(40, (12, 16, 12))
    '40 = 12 + 16 + 12'
    """
    return f"{n} = {' + '.join(map(str, counts))}"


def _limits(lines: Sequence[_Line]) -> tuple[float, float]:
    """One axis for all panels, that holds every number and 0.5."""
    numbers = [v for line in lines for e in line.areas.values() for v in (e.value, e.low) if np.isfinite(v)]
    return max(-0.02, min([*numbers, 0.5]) - 0.03), 1.02


def _panel(
    axes: Axes, quantity: str, all_together: Estimate, lines: Sequence[_Line], limits: tuple[float, float]
) -> None:
    """One AUC in all lines."""
    axes.axvline(0.5, color=RULE, linewidth=1)
    if np.isfinite(all_together.value):
        axes.axvline(all_together.value, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for y, line in enumerate(lines):
        if np.isfinite(line.p.get(quantity, np.nan)):
            text = f"p {p_value(line.p[quantity])}"
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axes.text(limits[1], y, text, ha="right", va="center", fontsize=8, color=MUTED, bbox=box)
        if quantity in line.areas:
            _mark(axes, y, line.areas[quantity])
    axes.set(xlim=limits, ylim=(len(lines) - 0.4, -0.6), xlabel="AUC")
    axes.set_title("\n".join(textwrap.wrap(PANELS[quantity], _TITLE)), fontsize=8.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _mark(axes: Axes, y: int, estimate: Estimate) -> None:
    """Interval and value; hollow without an interval."""
    if np.isfinite(estimate.low):
        axes.plot([estimate.low, estimate.high], [y, y], color=INK, linewidth=1.5)
        axes.plot(estimate.value, y, "o", color=INK, markersize=5)
    elif np.isfinite(estimate.value):
        axes.plot(estimate.value, y, "o", markersize=5, mfc="none", mec=INK, mew=1.1)


def _names(axes: Axes, lines: Sequence[_Line]) -> None:
    """Names and numbers of patients at the left, headings in bold."""
    labels = [f"{line.label} ({line.count})" if line.count else line.label for line in lines]
    axes.set_yticks(range(len(lines)), labels)
    for line, tick in zip(lines, axes.get_yticklabels(), strict=True):
        if not line.areas:
            tick.set_fontweight("bold")
