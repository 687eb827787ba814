"""The names and numbers of a table of gene expression, read line by line."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import numpy as np
from jaxtyping import Float64

from triher.errors import StopRun
from triher.tables import is_missing

_SEPARATORS = "\t,;"


@dataclass(frozen=True)
class Axes:
    """The names along both axes, and how the lines are to be read."""

    header: tuple[str, ...]
    """Without the corner."""
    first: tuple[str, ...]
    """The first cell of each row."""
    separator: str
    lines: tuple[int, ...]
    """Number of the line of each row."""


@contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    """Text, unpacked on the way where it is gzip."""
    packed = path.suffix.lower() == ".gz"
    try:
        with gzip.open(path) if packed else path.open("rb") as raw:
            yield io.TextIOWrapper(cast("BinaryIO", raw), encoding="utf-8-sig", newline="")
    except UnicodeDecodeError as error:
        raise StopRun("encoding", f"{path} is not UTF-8 ({error.reason})") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StopRun("file_unreadable", f"cannot read the expression table {path}: {reason}") from error


def read_axes(path: Path) -> Axes:
    """Read the names alone.

    Raises:
        StopRun: ``file_unreadable``, ``encoding``; ``table_empty`` without a row.
    """
    with _open(path) as handle:
        heading = handle.readline()
        separator = max(_SEPARATORS, key=heading.count)
        header = next(csv.reader([heading], delimiter=separator), [])
        cell = re.compile(rf'"([^"]*)"|([^{separator}\r\n]*)')
        first, lines = [], []
        width = 0
        for number, line in enumerate(handle, 2):
            if line.strip():
                match = cell.match(line)
                first.append((match[1] or match[2] or "").strip() if match else "")
                lines.append(number)
                width = width or line.count(separator) + 1
    if not first or not header:
        raise StopRun("table_empty", f"{path} holds a header of {len(header)} columns and {len(first)} rows")
    # R's write.table writes no corner: the header is one cell shorter than the rows.
    names = header if len(header) == width - 1 else header[1:]
    return Axes(tuple(name.strip() for name in names), tuple(first), separator, tuple(lines))


def _cells(path: Path, axes: Axes, places: Collection[int]) -> Iterator[tuple[str, list[str]]]:
    """Where each of some rows is, and its cells without its name."""
    with _open(path) as handle:
        handle.readline()
        filled = enumerate(line for line in handle if line.strip())
        chosen = (line for place, line in filled if place in places)
        numbers = (number for place, number in enumerate(axes.lines) if place in places)
        for number, row in zip(numbers, csv.reader(chosen, delimiter=axes.separator), strict=False):
            if len(row) != len(axes.header) + 1:
                message = f"{path}, line {number}: {len(row)} cells where the header asks for {len(axes.header) + 1}"
                raise StopRun("csv_row", message)
            yield f"{path}, line {number}", row[1:]


def read_columns(path: Path, axes: Axes, places: Sequence[int]) -> Float64[np.ndarray, "row column"]:
    """The numbers of some columns, NaN where one is missing.

    Args:
        path: the table.
        axes: as `read_axes` gives them.
        places: positions in ``axes.header``.

    Raises:
        StopRun: ``csv_row``, ``number_format``.
    """
    values = np.empty((len(axes.lines), len(places)))
    for i, (where, row) in enumerate(_cells(path, axes, range(len(axes.lines)))):
        values[i] = _numbers([row[place] for place in places], where)
    return values


def read_rows(path: Path, axes: Axes, places: Sequence[int]) -> Float64[np.ndarray, "row column"]:
    """The numbers of some rows, NaN where one is missing; ``places`` are positions in ``axes.first``.

    Raises:
        StopRun: ``csv_row``, ``number_format``.
    """
    values = np.empty((len(places), len(axes.header)))
    order = {place: i for i, place in enumerate(places)}
    for target, (where, row) in zip(sorted(order), _cells(path, axes, order), strict=False):
        values[order[target]] = _numbers(row, where)
    return values


def _numbers(cells: Sequence[str], where: str) -> Float64[np.ndarray, " cell"]:
    """Numbers of a row, NaN where one is missing."""
    try:
        values = np.fromiter(map(float, cells), float, len(cells))
    except ValueError:
        values = np.array([_number(cell, where) for cell in cells])
    if np.isinf(values).any():
        raise StopRun("number_format", f"{where}: infinity; log values of 0 need an offset, log2(x + 1) for instance")
    return values


def _number(cell: str, where: str) -> float:
    """One number, or NaN for a missing one."""
    if is_missing(cell.strip()):
        return np.nan
    try:
        return float(cell)
    except ValueError as error:
        raise StopRun("number_format", f"{where}: '{cell}' is no number with a decimal point") from error
