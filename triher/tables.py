"""Text tables, read strictly (every cell is text, no row is shifted) and written safely."""

import csv
import math
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from triher.delimited import Row, sniff_separator, text_rows
from triher.errors import StopRun
from triher.files import replacing
from triher.spreadsheet import read_sheet
from triher.workbook import WORKBOOK_SUFFIXES

if TYPE_CHECKING:
    # Half a second of every command that reads no table.
    import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_PLAIN_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_GROUPED_NUMBER = re.compile(r"[+-]?[0-9]{1,3}([., \u00a0\u202f'][0-9]{3})+([.,][0-9]*)?")
_BLANK = ("", "na", "n/a", "#n/a", "nan", "null", "none", "<na>")
# What the clinical tables of TCGA (Genomic Data Commons) write for a value that is not there.
_NOT_THERE = ("completed", "discrepancy", "not applicable", "not available", "not evaluated", "unknown")
MISSING = frozenset((*_BLANK, *(f"[{reason}]" for reason in _NOT_THERE)))
"""Spellings of a missing value, in lower case: see `is_missing`."""


def read_table(path: Path, sheet: str = "") -> "pd.DataFrame":
    """Read a CSV or TSV file, or a sheet of a workbook, with every cell as text, spaces trimmed.

    ``001`` stays ``001`` and ``NA`` stays ``NA``. The header is the first row that holds anything; empty rows are
    left out. `triher.delimited.sniff_separator` finds the separator of a text file,
    `triher.spreadsheet.read_sheet` says how the cells of a workbook become text.

    Args:
        path: UTF-8 text, with or without byte-order mark, or .xlsx or .xlsm.
        sheet: the sheet of a workbook; may stay empty when only one visible sheet holds anything.

    Returns:
        The rows, index from 0. Its ``attrs`` hold ``lines`` (the number of each row's line in the text, or row in
        the sheet), ``separator`` (empty for a workbook) and ``sheet`` (empty for a text file).

    Raises:
        StopRun: ``file_unreadable``, ``encoding``, ``table_empty``, ``table_header`` (a name twice),
            ``csv_row`` (a row longer or shorter than the header), ``table_format``, ``xlsx_sheet`` (for a text file,
            too, which has no sheets) or as `triher.spreadsheet.read_sheet`.
    """
    if _is_workbook(path, sheet):
        return _sheet_table(path, sheet)
    return _text_table(path, str.strip, zero_bytes=False)  # strips the no-break space, too


def read_own_table(path: Path) -> "pd.DataFrame":
    """Read a table that `write_table` wrote, every cell as it was before it was made safe.

    Raises:
        StopRun: as `read_table`.
    """
    return _text_table(path, _restore, zero_bytes=True)


def read_own_cells(path: Path, columns: Sequence[str], *, purpose: str) -> list[list[str]]:
    """Read some columns of a table that `write_table` wrote, row by row; none where there is no file, or no row.

    Args:
        path: of the table.
        columns: which, in which order.
        purpose: of the table, for the message.

    Raises:
        StopRun: ``column_missing``; as `read_own_table`.
    """
    if not path.is_file() or path.read_text(encoding="utf-8").count("\n") < 2:
        return []
    frame = read_own_table(path)
    for column in columns:
        require_column(frame, column, purpose=purpose, where=str(path))
    found: list[list[str]] = frame[list(columns)].to_numpy(object).tolist()
    return found


def read_own_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the same without pandas, which takes longer to import than a small table to read.

    Returns:
        Number of the line and cells by column, of every row; rows may be none.

    Raises:
        StopRun: ``csv_row`` for a row longer or shorter than the header; ``file_unreadable``, ``encoding``.
    """
    rows = text_rows(path, ",", _restore, zero_bytes=True)
    _, header = next(rows, (0, []))
    found = []
    for number, row in rows:
        if len(row) != len(header):
            raise StopRun("csv_row", f"{path}, line {number}: {len(row)} cells where the header has {len(header)}")
        found.append((number, dict(zip(header, row, strict=True))))
    return found


def read_cells(path: Path, sheet: str = "", *, heading_rows: int = 0) -> list[list[str]]:
    """Read every row as it stands, for tables whose header takes several rows.

    Args:
        path: as for `read_table`.
        sheet: as for `read_table`.
        heading_rows: rows at the top of a sheet in which cells may be merged (text in the first cell alone).

    Returns:
        Rows of trimmed cells. Those of a sheet are of one length, and row n is at n - 1; those of a text file are
        as long as they are, and empty lines are left out.

    Raises:
        StopRun: as `read_table`, but for what it says about headers and lengths.
    """
    if _is_workbook(path, sheet):
        return read_sheet(path, sheet, heading_rows=heading_rows).rows
    return [row for _, row in text_rows(path, sniff_separator(path), str.strip, zero_bytes=False)]


def _is_workbook(path: Path, sheet: str) -> bool:
    """Whether the name means a workbook; a text file has no sheets."""
    workbook = path.suffix.lower() in WORKBOOK_SUFFIXES
    if sheet and not workbook:
        raise StopRun("xlsx_sheet", f"{path} is no workbook, so it has no sheet '{sheet}'", remedy="name no sheet")
    return workbook


def _sheet_table(path: Path, sheet: str) -> "pd.DataFrame":
    """The table of a sheet; columns that are empty from the header down are left out."""
    found = read_sheet(path, sheet)
    where = f"{path}, sheet '{found.name}'"
    filled = [(number, row) for number, row in enumerate(found.rows, 1) if any(row)]
    header = filled[0][1] if filled else []
    width = max((i for i, cell in enumerate(header, 1) if cell), default=0)
    for number, row in filled:
        if any(row[width:]):
            text = next(cell for cell in row[width:] if cell)
            message = f"{where}, row {number}: '{text}' stands beyond column {width}, the last one of the header"
            raise StopRun("csv_row", message, remedy="give the column a name, or delete what stands beside the table")
    used = [column for column in range(width) if any(row[column] for _, row in filled)]
    rows = ((number, [row[column] for column in used]) for number, row in filled)
    return _frame(where, "row", rows, {"separator": "", "sheet": found.name})


def _text_table(path: Path, cell_of: Callable[[str], str], *, zero_bytes: bool) -> "pd.DataFrame":
    """The table of a text file."""
    separator = sniff_separator(path)
    rows = text_rows(path, separator, cell_of, zero_bytes=zero_bytes)
    if not zero_bytes:
        rows = (row for row in rows if any(row[1]))
    return _frame(str(path), "line", rows, {"separator": separator, "sheet": ""})


def _frame(where: str, unit: str, rows: Iterable[Row], attributes: dict[str, object]) -> "pd.DataFrame":
    """Header and rows of its length; refuse rows that pandas would shift or fill up without a word."""
    numbered = iter(rows)
    _, header = next(numbered, (0, []))
    repeated = sorted(name for name, count in Counter(header).items() if count > 1)
    if repeated:
        raise StopRun("table_header", f"{where}: the column {', '.join(map(repr, repeated))} is there twice")
    cells: list[list[str]] = []
    lines = array("q")
    for number, row in numbered:
        if len(row) != len(header):
            message = f"{where}, {unit} {number}: {len(row)} cells where the header has {len(header)}"
            remedy = "" if len(row) > len(header) else "write a separator for each empty cell, too"
            raise StopRun("csv_row", message, remedy=remedy)
        cells.append(row)
        lines.append(number)
    if not cells:
        raise StopRun("table_empty", f"{where} holds a header of {len(header)} columns and no row")
    import pandas as pd

    frame = pd.DataFrame(np.array(cells, dtype=object), columns=header)
    plain = range(lines[0], lines[0] + len(lines))
    # pandas compares and copies `attrs` now and then: a range costs nothing.
    frame.attrs.update(attributes, lines=plain if lines[-1] == plain[-1] else tuple(lines))
    return frame


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no value: empty, ``NA``, ``nan``, ``[Not Available]`` and the like."""
    return cell.casefold() in MISSING


def number(cell: str, *, decimal: Literal[".", ","], where: str, column: str) -> float:
    """Read a finite number, NaN for a missing one.

    >>> number("3,5", decimal=",", where="a.csv, line 2", column="age")
    3.5

    Args:
        cell: trimmed text.
        decimal: the decimal mark of the table.
        where: file and line, for the message.
        column: for the message.

    Raises:
        StopRun: ``number_format``; a number with the other decimal mark or with separated thousands is refused,
            for ``1,234`` may mean both.
    """
    if is_missing(cell):
        return math.nan
    text = cell.replace(",", ".") if decimal == "," and "." not in cell else cell
    if _PLAIN_NUMBER.fullmatch(text) and (decimal == "." or "." not in cell) and math.isfinite(float(text)):
        return float(text)
    message = f"{where}: column '{column}' holds '{cell}', which is no number with the decimal mark '{decimal}'"
    raise StopRun("number_format", message, remedy=_number_remedy(cell, decimal))


def _number_remedy(cell: str, decimal: str) -> str:
    """What to do about a number that is written in another way."""
    other = "." if decimal == "," else ","
    point = _PLAIN_NUMBER.fullmatch(cell.replace(other, "."))
    if point and _GROUPED_NUMBER.fullmatch(cell):
        return f'take out separators of thousands; if it is a decimal mark, set cohort.decimal: "{other}"'
    if point:
        return f'set cohort.decimal: "{other}" if all numbers of the table are written so, else write all alike'
    if _GROUPED_NUMBER.fullmatch(cell):
        return "take out separators of thousands"
    return ""


def _restore(cell: str) -> str:
    """Take off the quote that `_cell` put on."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def matching_key(text: str) -> str:
    """Fold case, width and spaces, for finding ids that only look different.

    >>> matching_key("P\uff11 ") == matching_key("p1")
    True
    """
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def require_column(frame: "pd.DataFrame", column: str, *, purpose: str, where: str) -> None:
    """Stop when a column is not there, and suggest the nearest name.

    Raises:
        StopRun: ``column_missing``.
    """
    if column in frame.columns:
        return
    known = {matching_key(str(name)): str(name) for name in frame.columns}
    near = get_close_matches(matching_key(column), known, n=1, cutoff=0.6)
    hint = f"; did you mean '{known[near[0]]}'?" if near else "."
    message = f"{where} has no column '{column}' ({purpose}){hint} It has: {', '.join(map(str, frame.columns))}"
    remedy = "set cohort.mask or cohort.box, or map the column under cohort.columns" if column == "mask" else ""
    raise StopRun("column_missing", message, remedy=remedy)


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file atomically; text that a spreadsheet would run as a formula gets a leading quote.

    Floats are written so that they read back equal; None and NaN become an empty cell. `read_own_table` takes
    the quotes off again, so that ids that start with ``=`` or ``-`` still join.
    """
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow([_cell(name) for name in header])
        writer.writerows([[_cell(value) for value in row] for row in rows])


def _cell(value: object) -> object:
    """One cell, safe in a spreadsheet."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return ""
    if isinstance(value, str) and _FORMULA.match(value):
        return "'" + value
    return value
