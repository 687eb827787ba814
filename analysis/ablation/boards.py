"""Where the cells of a grid and the labels around them lie, in inches from the top left corner."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.ablation.layout import Grid, Labels
from analysis.figures.canvas import MUTED, plain

PAD = 0.1
CHARACTER = 0.074  # width at the size of labels; the widest font that a reader may have
LINE = 0.165
_GAP = 0.09
_LONGEST = (26, 24)  # label of a row in one line, label of an upright column
_MOST_LINES = (2, 3)  # of a row, of a column
_BREAKS = 12  # characters a line from which on words may be broken


@dataclass(frozen=True)
class Text:
    """A label and where it stands."""

    x: float
    y: float
    text: str
    ha: str = "left"
    va: str = "center"
    rotation: int = 0
    size: float = 8.5
    is_name: bool = False
    """Whether it is the name of an axis rather than a level."""


@dataclass(frozen=True)
class Board:
    """The left and top ends of columns and rows, and the labels."""

    lefts: tuple[float, ...]
    tops: tuple[float, ...]
    cell: tuple[float, float]
    """Width and height of a cell."""
    texts: tuple[Text, ...]

    @property
    def right(self) -> float:
        """End of the last column."""
        return self.lefts[-1] + self.cell[0]

    @property
    def bottom(self) -> float:
        """End of the last row."""
        return self.tops[-1] + self.cell[1]


def make_board(grid: Grid, cell: tuple[float, float]) -> Board:
    """Find the places of a grid whose cells have this size in inches."""
    heights = [_column_height(grid, k, cell[0]) for k in range(len(grid.column_axes))]
    widths = [_row_width(grid, k) for k in range(len(grid.row_axes))]
    header = PAD + max(sum(heights), LINE) + 0.02
    lefts = _starts(grid.columns, PAD + sum(widths), cell[0])
    tops = _starts(grid.rows, header, cell[1])
    texts = []
    x = PAD
    for k, width in enumerate(widths):
        texts.append(Text(x, header - 0.06, plain(grid.row_axes[k]), va="bottom", is_name=True))
        texts += [_row_label(grid, k, x, run, tops, cell[1]) for run in _groups(grid.rows, k)]
        x += width
    y = PAD
    for k, height in enumerate(heights):
        texts.append(Text(lefts[0], y + LINE / 2, plain(grid.column_axes[k]), is_name=True))
        y += height
        texts += [_column_label(grid, k, y - 0.04, run, lefts, cell[0]) for run in _groups(grid.columns, k)]
    return Board(tuple(lefts), tuple(tops), cell, tuple(texts))


def open_board(figure: Figure, board: Board, size: tuple[float, float]) -> Axes:
    """Axes in inches from the top left corner, with all labels written."""
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
    axes.set_axis_off()
    for t in board.texts:
        look: dict[str, Any] = {"color": MUTED, "fontweight": "bold"} if t.is_name else {}
        axes.text(t.x, t.y, t.text, ha=t.ha, va=t.va, rotation=t.rotation, fontsize=t.size, **look)
    return axes


def in_lines(text: str, width: int, most: int, *, at_hyphens: bool = True) -> str:
    r"""A label in at most so many lines; what is beyond is cut.

    >>> in_lines("clip99-joint", 7, 2), in_lines("a longer label", 6, 1)
    ('clip99-\njoint', 'a lon…')
    """
    lines = wrap(text, width, break_on_hyphens=at_hyphens) or [""]
    if len(lines) <= most:
        return "\n".join(lines)
    rest = text[sum(map(len, lines[: most - 1])) :].strip()
    return "\n".join([*lines[: most - 1], rest if len(rest) <= width else f"{rest[: width - 1]}…"])


def _row_width(grid: Grid, k: int) -> float:
    """Of the labels of one row axis."""
    labels = [in_lines(row[k], _LONGEST[0], _MOST_LINES[0]) for row in grid.rows]
    longest = max(len(line) for label in [plain(grid.row_axes[k]), *labels] for line in label.split("\n"))
    return longest * CHARACTER + 0.14


def _row_label(grid: Grid, k: int, x: float, run: tuple[int, int], tops: Sequence[float], height: float) -> Text:
    """The level that some neighboring rows have in common."""
    text = in_lines(plain_all(grid.rows[run[0]][k]), _LONGEST[0], _MOST_LINES[0])
    return Text(x, (tops[run[0]] + tops[run[1]] + height) / 2, text, size=7.5 if "\n" in text else 8.5)


def _column_label(
    grid: Grid, k: int, bottom: float, run: tuple[int, int], lefts: Sequence[float], width: float
) -> Text:
    """The level that some neighboring columns have in common."""
    label = plain_all(grid.columns[run[0]][k])
    x = (lefts[run[0]] + lefts[run[1]] + width) / 2
    if _is_upright(grid, k, width):
        return Text(x, bottom, in_lines(label, _LONGEST[1], 1), ha="center", va="bottom", rotation=90)
    return Text(x, bottom, in_lines(label, _fits(grid, k, width), _MOST_LINES[1]), ha="center", va="bottom")


def _column_height(grid: Grid, k: int, width: float) -> float:
    """Of the name and the labels of one column axis."""
    labels = {column[k] for column in grid.columns}
    if _is_upright(grid, k, width):
        return LINE + min(_LONGEST[1], max(map(len, labels))) * CHARACTER + 0.05
    lines = max(in_lines(label, _fits(grid, k, width), _MOST_LINES[1]).count("\n") + 1 for label in labels)
    return (1 + lines) * LINE + 0.05


def _is_upright(grid: Grid, k: int, width: float) -> bool:
    """Whether the labels of a column axis do not fit above their columns."""
    fits = _fits(grid, k, width)
    labels = {column[k] for column in grid.columns}
    whole = all(len(word) <= fits for label in labels for word in label.replace("-", "- ").split())
    return fits < _BREAKS and not (whole and max(len(wrap(label, fits)) for label in labels) <= _MOST_LINES[1])


def _fits(grid: Grid, k: int, width: float) -> int:
    """Characters that fit above the columns that share a level."""
    shared = min(last - first + 1 for first, last in _groups(grid.columns, k))
    return max(4, int(shared * width / CHARACTER))


def plain_all(text: str) -> str:
    """A label without control characters, at its full length."""
    return "".join(plain(c) for c in text)


def _starts(labels: Sequence[Labels], start: float, size: float) -> list[float]:
    """Where each row or column begins, with a gap between groups."""
    found = [start]
    for before, after in pairwise(labels):
        found.append(found[-1] + size + (_GAP if before[:-1] != after[:-1] else 0))
    return found


def _groups(labels: Sequence[Labels], k: int) -> list[tuple[int, int]]:
    """First and last position of each run of labels that are equal up to the axis `k`."""
    runs = [list(run) for _, run in groupby(range(len(labels)), key=lambda i: labels[i][: k + 1])]
    return [(run[0], run[-1]) for run in runs]
