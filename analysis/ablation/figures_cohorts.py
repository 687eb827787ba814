"""Figure of the cohort matrix: trained on the rows, tested on the columns."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.ablation.boards import PAD, make_board, open_board, plain_all
from analysis.ablation.cohort_matrix import Matrix
from analysis.ablation.figures_lattice import ink_on
from analysis.ablation.layout import Grid
from analysis.figures.canvas import CLASS_STYLE, INK, MUTED, Drawing, draw
from analysis.figures.discrimination import brief
from triher.estimate import Estimate

_COLORS = LinearSegmentedColormap.from_list("value", ["#f4f6f8", CLASS_STYLE["zero"][0]])
_CELL = (1.15, 0.46)


def cohorts_figure(title: str, matrix: Matrix, *, higher_is_better: bool = True) -> Drawing:
    """Value and interval of every pair; what was predicted out of fold is outlined."""
    names = {
        (r, c): f"{row}|{column}" for r, row in enumerate(matrix.rows) for c, column in enumerate(matrix.columns)
    }
    rows, columns = ([(label,) for label in labels] for labels in (matrix.rows, matrix.columns))
    grid = Grid(("Trained on",), (f"Tested on ({matrix.by})",), tuple(rows), tuple(columns), names)
    board = make_board(grid, _CELL)
    size = (max(board.right + PAD, 4.6), board.bottom + 0.5)
    known = [e.value for e in matrix.entries.values() if math.isfinite(e.value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)

    def shade(estimate: Estimate | None) -> str:
        if estimate is None or not math.isfinite(estimate.value):
            return "#f4f6f8"
        share = (estimate.value - low) / max(high - low, 0.1)
        return to_hex(_COLORS(share if higher_is_better else 1 - share))

    def paint(figure: Figure) -> None:
        axes = open_board(figure, board, size)
        for r, c in names:
            x, y = board.lefts[c], board.tops[r]
            estimate = matrix.entries.get((matrix.rows[r], matrix.columns[c]))
            _paint_cell(axes, (x, y), estimate, shade(estimate))
            if (matrix.rows[r], matrix.columns[c]) in matrix.within:
                outline = Rectangle(
                    (x + 0.02, y + 0.02), _CELL[0] - 0.04, _CELL[1] - 0.04, fill=False, ec=INK, lw=1.8
                )
                axes.add_patch(outline)
        key = (max(PAD, min(board.lefts[0], size[0] - 3.2)), board.bottom + 0.2)
        axes.add_patch(Rectangle(key, 0.17, 0.14, fill=False, ec=INK, lw=1.8))
        text = "also trained on, so predicted out of fold"
        axes.text(key[0] + 0.24, key[1] + 0.07, text, va="center", fontsize=8.5, color=MUTED)

    said = "; ".join(f"trained on {row}, tested on {column}: {e}" for (row, column), e in matrix.entries.items())
    return draw("ablation-cohorts", title, plain_all(f"{said}."), size, paint, wide=True)


def _paint_cell(axes: Axes, place: tuple[float, float], estimate: Estimate | None, color: str) -> None:
    """Value and interval of one pair on its color."""
    axes.add_patch(Rectangle(place, *_CELL, fc=color, ec="white", lw=1.5))
    value, rest = _texts(estimate)
    x, y = place
    look: dict[str, Any] = {"ha": "center", "va": "center", "color": ink_on(color), "zorder": 3}
    axes.text(x + _CELL[0] / 2, y + 0.17, value, fontsize=10, **look)
    axes.text(x + _CELL[0] / 2, y + 0.34, rest, fontsize=7.5, **look)


def _texts(estimate: Estimate | None) -> tuple[str, str]:
    """Value and interval of a pair."""
    if estimate is None or not math.isfinite(estimate.value):
        return "none", ""
    if not math.isfinite(estimate.low):
        return f"{estimate.value:z.2f}", "no interval"
    return f"{estimate.value:z.2f}", brief(estimate).split(" ", 1)[1].strip("()")
