"""Figure of the lattice: the value of every cell at its levels, colored by how far it is from the base."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.ablation.boards import CHARACTER, PAD, Board, make_board, open_board, plain_all
from analysis.ablation.layout import Grid
from analysis.figures.canvas import CLASS_STYLE, INK, MUTED, RULE, Drawing, draw
from triher.estimate import Estimate

BETTER, WORSE = CLASS_STYLE["zero"][0], CLASS_STYLE["low"][0]
_EQUAL = "#f4f6f8"
_COLORS = LinearSegmentedColormap.from_list("difference", [WORSE, _EQUAL, BETTER])
_LEAST_SPAN = 0.05  # a lattice whose cells are all alike must not look colorful
_CELL_HEIGHT = 0.27
_CELL_WIDTHS = (0.44, 1.15)
_ROOM = 3.8  # inches for all columns
_LEAST_WIDTH = 5.2
_FAILED: dict[str, Any] = {"fc": "white", "ec": RULE, "lw": 0.6, "hatch": "/////"}
_BASE: dict[str, Any] = {"fc": "none", "ec": INK, "lw": 1.8}


def lattice_figure(
    name: str,
    title: str,
    grid: Grid,
    values: Mapping[str, Estimate],
    *,
    base: str,
    best: str,
    failed: Collection[str],
    good: Callable[[float], float] = float,
) -> Drawing:
    """Draw the cells of a lattice.

    Args:
        name: file name without ending.
        title: short; says what the values are.
        grid: where cells lie.
        values: cell -> its value, of those that have predictions.
        base: name of the cell that colors are relative to; there are no colors where it has no value.
        best: name of the cell with the best value; empty for none.
        failed: names of cells without predictions.
        good: turns a value so that higher is better, for the colors.
    """
    width = min(max(_ROOM / len(grid.columns), _CELL_WIDTHS[0]), _CELL_WIDTHS[1])
    board = make_board(grid, (width, _CELL_HEIGHT))
    size = (max(board.right + PAD, _LEAST_WIDTH), board.bottom + 0.5)
    anchor = good(values[base].value) if base in values else math.nan
    ahead = {cell: good(estimate.value) - anchor for cell, estimate in values.items()}
    span = max([_LEAST_SPAN, *(abs(value) for value in ahead.values() if math.isfinite(value))])

    def paint(figure: Figure) -> None:
        axes = open_board(figure, board, size)
        for (r, c), cell in grid.names.items():
            place = (board.lefts[c], board.tops[r])
            if cell in failed:
                axes.add_patch(Rectangle(place, *board.cell, **_FAILED))
            else:
                value = values[cell].value if cell in values else math.nan
                _paint_cell(axes, place, board.cell, value, ahead.get(cell, math.nan) / span)
            if cell == base:
                axes.add_patch(Rectangle(place, *board.cell, **_BASE, zorder=4))
            if cell == best:
                star = (place[0] + width - 0.06, place[1] + 0.06)
                axes.plot(*star, marker="*", color=INK, mec="white", mew=0.4, markersize=7, zorder=5)
        _write_key(
            axes,
            board,
            size[0],
            base=base in grid.names.values(),
            failed=bool(failed),
            best=bool(best),
            colored=math.isfinite(anchor),
        )

    said = "; ".join(f"{cell}: {values[cell]}" for cell in grid.names.values() if cell in values)
    gone = ", ".join(cell for cell in grid.names.values() if cell in failed)
    description = f"{said}.{f' Failed: {gone}.' if gone else ''}"
    return draw(name, title, plain_all(description), size, paint, wide=True)


def _paint_cell(
    axes: Axes, place: tuple[float, float], cell: tuple[float, float], value: float, share: float
) -> None:
    """One cell: its color, by its distance from the base as a share of the largest one, and its value."""
    color = to_hex(_COLORS((share + 1) / 2)) if math.isfinite(share) else _EQUAL
    axes.add_patch(Rectangle(place, *cell, fc=color, ec="white", lw=1.2))
    text = f"{value:z.2f}" if math.isfinite(value) else "none"
    x, y = place[0] + cell[0] / 2, place[1] + cell[1] / 2
    axes.text(x, y, text, ha="center", va="center", fontsize=9, color=ink_on(color), zorder=3)


def ink_on(color: str) -> str:
    """Color of text on another color: the one of two with more contrast (WCAG 2.2, contrast ratio).

    >>> ink_on("#ffffff"), ink_on("#000000")
    ('#1f2a37', 'white')
    """
    behind, dark = _luminance(color), _luminance(INK)
    return "white" if 1.05 / (behind + 0.05) > (behind + 0.05) / (dark + 0.05) else INK


def _luminance(color: str) -> float:
    """Relative luminance of WCAG 2.2, 0 to 1."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _write_key(
    axes: Axes, board: Board, width: float, *, base: bool, failed: bool, best: bool, colored: bool
) -> None:
    """What outlines, star, hatching and colors mean."""
    shown: list[tuple[str, dict[str, Any]]] = []
    if base:
        shown.append(("base", _BASE))
    if colored:
        shown += [("better than it", {"fc": BETTER}), ("worse", {"fc": WORSE})]
    if failed:
        shown.append(("failed", _FAILED))
    lengths = [0.32 + len(text) * CHARACTER for text, _ in shown]
    y, x = board.bottom + 0.26, max(PAD, min(board.lefts[0], width - PAD - sum(lengths) - 1.0 * best))
    for (text, look), length in zip(shown, lengths, strict=True):
        axes.add_patch(Rectangle((x, y - 0.07), 0.17, 0.14, **look))
        axes.text(x + 0.23, y, text, va="center", fontsize=8.5, color=MUTED)
        x += length
    if best:
        axes.plot(x + 0.08, y, marker="*", color=INK, markersize=7)
        axes.text(x + 0.21, y, "best value", va="center", fontsize=8.5, color=MUTED)
