"""Clinical tables of collections as rows of text, one a patient, and what their cells say."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from extract.adapters.contract import Row
from triher.errors import Note, StopRun
from triher.tables import read_table, require_column

_WHOLE = re.compile(r"(-?\d+)\.0*")
_MISSING = {"", "na", "nan", "none", "null"}


def read_rows(
    path: Path, columns: Sequence[str], *, purpose: str, sheet: str = ""
) -> tuple[list[Row], tuple[Note, ...]]:
    """Read a table as text, whole numbers without ``.0``, and demand the columns that it is nothing without.

    Args:
        path: CSV, TSV or workbook.
        columns: the required ones, the id first.
        purpose: what the columns are for, for the message.
        sheet: which sheet of a workbook.

    Returns:
        One row a patient, and a note for every row that says the same twice or, such as the mean below MAMA-MIA's
        workbook, says nothing in any of the columns.

    Raises:
        StopRun: as `triher.tables.read_table`; ``column_missing``; ``patient_id`` when an id is empty;
            ``patient_duplicate`` when two different rows carry one id.
    """
    frame = read_table(path, sheet)
    for column in columns:
        require_column(frame, column, purpose=purpose, where=str(path))
    names = [str(name) for name in frame.columns]
    lines = frame.attrs.get("lines", range(2, len(frame) + 2))
    rows: dict[str, Row] = {}
    first: dict[str, int] = {}
    notes = []
    for line, cells in zip(lines, frame.to_numpy().tolist(), strict=True):
        row = dict(zip(names, map(whole, map(str, cells)), strict=True))
        if not any(row[column] for column in columns):
            stray = ", ".join(f"{name} '{cell}'" for name, cell in row.items() if cell)
            notes.append(Note("", "stray_row", f"{path}, line {line} is no patient; it holds {stray}"))
            continue
        patient_id = row[columns[0]]
        if not patient_id:
            raise StopRun("patient_id", f"{path}, line {line}: the column '{columns[0]}' is empty")
        if rows.setdefault(patient_id, row) != row:
            message = f"{path}: lines {first[patient_id]} and {line} are both '{patient_id}' with different entries"
            raise StopRun("patient_duplicate", message)
        if first.setdefault(patient_id, line) != line:
            notes.append(Note(patient_id, "patient_duplicate", f"line {line} repeats line {first[patient_id]}"))
    return list(rows.values()), tuple(notes)


def rows_below(
    lines: Sequence[Sequence[str]], columns: Iterable[str], *, purpose: str, table: Path, top: int = 0
) -> Iterator[tuple[int, Row]]:
    """Number and cells of the rows below the one with the names, for tables whose header takes several rows.

    Args:
        lines: as `triher.tables.read_cells` gives them.
        columns: the required ones.
        purpose: what they are for, for the message.
        table: the file, for messages.
        top: which line has the names; where a name is there twice, the first column of that name counts.

    Raises:
        StopRun: ``column_missing``, ``csv_row``.
    """
    header = lines[top]
    for column in columns:
        require_column(pd.DataFrame(columns=list(header)), column, purpose=purpose, where=str(table))
    for number_, cells in enumerate(lines[top + 1 :], top + 2):
        if len(cells) != len(header):
            message = f"{table}, row {number_}: {len(cells)} cells where the header has {len(header)}"
            raise StopRun("csv_row", message)
        yield number_, dict(zip(reversed(header), reversed(cells), strict=True))


def one_row_a_patient(rows: Iterable[tuple[int, Row]], column: str, table: Path) -> dict[str, tuple[int, Row]]:
    """Patient id -> number and cells of the row; rows that hold nothing are left out.

    Args:
        rows: as `rows_below` gives them.
        column: the one with the ids.
        table: the file, for messages.

    Raises:
        StopRun: ``patient_id`` when a row that holds anything has no id; ``patient_duplicate``.
    """
    found: dict[str, tuple[int, Row]] = {}
    for number_, row in rows:
        if not any(row.values()):
            continue
        patient_id = row[column]
        if not patient_id:
            raise StopRun("patient_id", f"{table}, row {number_}: the column '{column}' is empty")
        first, _ = found.setdefault(patient_id, (number_, row))
        if first != number_:
            message = f"{table}: rows {first} and {number_} are both '{patient_id}'"
            raise StopRun("patient_duplicate", message)
    return found


def whole(cell: str) -> str:
    """A whole number without the ``.0`` that a table of floats puts behind it; other text as it is.

    >>> whole("1.0"), whole("0.5859"), whole("")
    ('1', '0.5859', '')
    """
    found = _WHOLE.fullmatch(cell)
    return found[1] if found else cell


def filled(cell: str) -> str:
    """The cell, or nothing where it says that there is nothing.

    >>> filled("NaN"), filled("3")
    ('', '3')
    """
    return "" if cell.casefold() in _MISSING else cell


def number(cell: str, column: str, where: str) -> float | None:
    """A finite number, or None where there is none.

    Raises:
        StopRun: ``number_format``.
    """
    text = filled(cell)
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not math.isfinite(value):
        raise StopRun("number_format", f"{where}: column '{column}' holds '{cell}', which is no number")
    return value


def binary_her2(cell: str, where: str) -> str:
    """The IHC entry for a yes-or-no HER2 column: ``positive``, ``negative`` or nothing.

    Raises:
        StopRun: ``her2_codes`` for anything but 0, 1 and a missing value; a 2 would pass for an IHC score.

    >>> binary_her2("1", "the table")
    'positive'
    """
    try:
        return {"1": "positive", "0": "negative", "": ""}[filled(whole(cell))]
    except KeyError:
        message = f"{where}: HER2 is '{cell}'; expected 0 (negative), 1 (positive) or nothing"
        raise StopRun("her2_codes", message) from None
