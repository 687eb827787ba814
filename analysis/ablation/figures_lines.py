"""Figures of one line an item: a mark with its interval, columns of text beside it, headings between."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.ablation.boards import in_lines, plain_all
from analysis.figures.canvas import CLASS_STYLE, INK, MUTED, RULE, Drawing, draw

BLUE = CLASS_STYLE["zero"][0]
_ROW, _LINE = 0.27, 0.15  # inches: a row, and each further line of its label
_LABEL = 36  # characters a line
_MOST_LINES = 4
_MOST_TICKS = 4


@dataclass(frozen=True)
class Line:
    """One item; a heading has no value."""

    label: str
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    texts: tuple[str, ...] = ()
    """Beside it, one for each column."""
    is_marked: bool = False
    """Whether it is set apart by its color."""
    is_heading: bool = False


@dataclass(frozen=True)
class Column:
    """Text to the right of the marks."""

    title: str
    width: float
    """Inches."""


def lines_figure(
    name: str,
    title: str,
    description: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    columns: Sequence[Column] = (),
    limits: tuple[float, float] | None = None,
    lines_at: Sequence[float] = (),
    bars: bool = False,
    percent: bool = False,
    width: float = 6.3,
) -> Drawing:
    """Draw items below each other.

    Args:
        name: file name without ending.
        title: short.
        description: what can be seen.
        lines: from top to bottom.
        x_label: what the marks show.
        columns: of text at the right.
        limits: of the axis; all numbers when None.
        lines_at: values to draw a dashed line at.
        bars: draw bars from 0 in place of marks.
        percent: print the ticks as percent.
        width: inches.
    """
    labels = [in_lines(plain_all(line.label), _LABEL, _MOST_LINES, at_hyphens=False) for line in lines]
    sizes = [_ROW + _LINE * label.count("\n") for label in labels]
    middles = [sum(sizes[:i]) + size / 2 for i, size in enumerate(sizes)]
    bounds = limits or _bounds(lines, lines_at)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for at in lines_at:
            axes.axvline(at, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for line, y in zip(lines, middles, strict=True):
            _paint_line(axes, line, y, bounds, bars=bars)
            _write_columns(axes, y, line.texts, columns, MUTED if line.is_heading else INK)
        if any(column.title for column in columns):
            _write_columns(axes, -0.12, [column.title for column in columns], columns, MUTED)
        axes.set(xlim=bounds, ylim=(sum(sizes) + 0.05, -0.05), xlabel=x_label)
        _write_labels(axes, lines, labels, middles)
        axes.locator_params(axis="x", nbins=_MOST_TICKS)
        if percent:
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")

    height = 0.75 + sum(sizes) + (0.2 if any(column.title for column in columns) else 0)
    return draw(name, title, plain_all(description), (width, height), paint, wide=True)


def _bounds(lines: Sequence[Line], lines_at: Sequence[float]) -> tuple[float, float]:
    """An axis that holds every number."""
    numbers = [v for line in lines for v in (line.value, line.low, line.high) if math.isfinite(v)] + list(lines_at)
    low, high = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
    room = 0.04 * ((high - low) or 1.0)
    return low - room, high + room


def _paint_line(axes: Axes, line: Line, y: float, bounds: tuple[float, float], *, bars: bool) -> None:
    """The mark and the interval of one item."""
    color = BLUE if line.is_marked else INK
    if bars and math.isfinite(line.value):
        axes.barh(y, line.value, height=0.6 * _ROW, color=BLUE if not line.is_marked else RULE, alpha=0.75)
        color = INK
    if math.isfinite(line.low):
        ends = [max(bounds[0], line.low), min(bounds[1], line.high)]
        axes.plot(ends, [y, y], color=color, linewidth=1.5, solid_capstyle="butt")
    if not bars and math.isfinite(line.value):
        axes.plot(line.value, y, "D" if line.is_marked else "o", color=color, markersize=4.8)


def _write_columns(axes: Axes, y: float, texts: Sequence[str], columns: Sequence[Column], color: str) -> None:
    """Texts to the right of the axes."""
    x = 0.12
    for text, column in zip(texts, columns, strict=False):
        axes.annotate(
            text,
            (1, y),
            (72 * x, 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=color,
            annotation_clip=False,
        )
        x += column.width


def _write_labels(axes: Axes, lines: Sequence[Line], labels: Sequence[str], middles: Sequence[float]) -> None:
    """Names at the left, headings in bold."""
    axes.set_yticks(list(middles), list(labels))
    for line, tick in zip(lines, axes.get_yticklabels(), strict=True):
        if line.is_heading:
            tick.set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
