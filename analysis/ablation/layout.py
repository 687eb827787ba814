"""How the cells of a study are laid out as rows and columns of a picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from triher.study import Cell

_MOST_COLUMNS = 9
"""More have no room for a number each."""

Labels = tuple[str, ...]
"""Of a row or column: one for each of its axes, the slowest first."""


@dataclass(frozen=True)
class Grid:
    """Rows and columns, and which cell lies where."""

    row_axes: tuple[str, ...]
    column_axes: tuple[str, ...]
    """None where all cells are in one column."""
    rows: tuple[Labels, ...]
    columns: tuple[Labels, ...]
    names: Mapping[tuple[int, int], str]
    """(row, column) -> name of the cell."""


def lay_out(axes: Mapping[str, Sequence[str]], cells: Sequence[Cell], design: str) -> Grid | None:
    """Lay out a lattice by its axes, and cells that each change one axis in a column.

    Args:
        axes: axis -> labels of its levels.
        cells: those that were listed by name have no place.
        design: as in the configuration.

    Returns:
        None where there is no axis.

    >>> cells = [Cell(name=f"a={a}, b={b}", levels={"a": a, "b": b}, changes={}) for a in "xy" for b in "123"]
    >>> grid = lay_out({"a": ["x", "y"], "b": ["1", "2", "3"]}, cells, "lattice")
    >>> grid.row_axes, grid.column_axes, grid.names[2, 1]
    (('b',), ('a',), 'a=y, b=3')
    """
    placed = [cell for cell in cells if cell.levels]
    if not placed:
        return None
    if design != "lattice":
        return _one_column(axes, placed)
    across = _across({name: len(levels) for name, levels in axes.items()}, _longest(axes))
    down = tuple(name for name in axes if name not in across)
    rows, columns = (tuple(product(*(axes[name] for name in names))) for names in (down, across))
    at = {tuple(cell.levels[name] for name in (*down, *across)): cell.name for cell in placed}
    names = {
        (r, c): at[(*row, *column)]
        for r, row in enumerate(rows)
        for c, column in enumerate(columns)
        if (*row, *column) in at
    }
    return Grid(down, across, rows, columns, names)


def _longest(axes: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Axis -> length of its longest label."""
    return {name: max(map(len, levels)) for name, levels in axes.items()}


def _across(sizes: Mapping[str, int], longest: Mapping[str, int]) -> tuple[str, ...]:
    """The axes of the columns: as many columns as there is room for, yet no more than rows, with short labels."""
    found: list[tuple[int, int, tuple[str, ...]]] = [(1, 0, ())]
    for names in (*combinations(sizes, 1), *combinations(sizes, 2)):
        n_columns = math.prod(sizes[name] for name in names)
        n_rows = math.prod(sizes.values()) // n_columns
        if n_columns <= min(_MOST_COLUMNS, n_rows) and len(names) < len(sizes):
            found.append((n_columns, -max(longest[name] for name in names), names))
    return max(found, key=lambda one: one[:2])[2]


def _one_column(axes: Mapping[str, Sequence[str]], cells: Sequence[Cell]) -> Grid:
    """The base, and below it each axis with its other levels."""
    rows: list[Labels] = [("", cells[0].name)]
    names = {(0, 0): cells[0].name}
    for axis in axes:
        for cell in cells[1:]:
            if cell.levels[axis] != cells[0].levels[axis]:
                names[len(rows), 0] = cell.name
                rows.append((axis, cell.levels[axis]))
    return Grid(("axis", "level"), (), tuple(rows), ((),), names)
