"""Text tables, read strictly (every cell is text, no row is shifted) and written safely."""

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from triher.errors import StopRun
from triher.files import replacing

_SEPARATORS = ",;\t"
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV or TSV file with every cell as text, spaces trimmed.

    ``001`` stays ``001`` and ``NA`` stays ``NA``; the separator is the one of ``, ; tab`` that
    splits the header most often.

    Args:
        path: UTF-8 text, with or without byte-order mark.

    Returns:
        One row a line; the index counts from 0, so line number = index + 2 for plain rows.

    Raises:
        StopRun: ``file_unreadable``, ``encoding``, ``table_empty``, ``table_header`` (a name twice) or
            ``csv_row`` (a row longer or shorter than the header).
    """
    text = _read_text(path)
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise StopRun("encoding", f"{path} is not UTF-8 text: zero byte in line {line} (UTF-16?)")
    return _parse(path, text, str.strip)  # the no-break space, too


def read_own_table(path: Path) -> pd.DataFrame:
    """Read a table that `write_table` wrote, every cell as it was before it was made safe.

    Raises:
        StopRun: as `read_table`.
    """
    return _parse(path, _read_text(path), _restore)


def _parse(path: Path, text: str, cell_of: Callable[[str], str]) -> pd.DataFrame:
    """Split the text into cells, one row of equal length a line."""
    first_line = text.split("\n", 1)[0]
    separator = max(_SEPARATORS, key=re.sub(r'"[^"]*"', "", first_line).count)
    # newline="" keeps line breaks within quotes, and breaks lines nowhere else than at \r and \n.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[list[str]] = []
    try:
        header = [cell_of(cell) for cell in next(reader, [])]
        for row in reader:
            if len(row) > 1 or any(row):
                _check_width(path, reader.line_num, row, header)
                rows.append([cell_of(cell) for cell in row])
    except csv.Error as error:
        raise StopRun("csv_row", f"{path}, line {reader.line_num}: {error}") from error
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise StopRun("table_header", f"{path}: the column {', '.join(map(repr, repeated))} is there twice")
    if not rows:
        raise StopRun("table_empty", f"{path} holds a header of {len(header)} columns and no row")
    return pd.DataFrame(rows, columns=header, dtype=object)


def _read_text(path: Path) -> str:
    """Decode the file, naming the first byte that is not UTF-8."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StopRun("file_unreadable", f"cannot read the table {path}: {error.strerror}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        found = f"byte 0x{data[error.start]:02x} in line {line}"
        raise StopRun("encoding", f"{path} is not UTF-8: {found}") from error


def _check_width(path: Path, line: int, row: list[str], header: list[str]) -> None:
    """Refuse a row that pandas would shift or fill up without a word."""
    if len(row) != len(header):
        message = f"{path}, line {line}: {len(row)} cells where the header has {len(header)}"
        raise StopRun("csv_row", message)


def _restore(cell: str) -> str:
    """Take off the quote that `_cell` put on."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def matching_key(text: str) -> str:
    """Fold case, width and spaces, for finding ids that only look different.

    >>> matching_key("P\uff11 ") == matching_key("p1")
    True
    """
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def require_column(frame: pd.DataFrame, column: str, *, purpose: str, where: str) -> None:
    """Stop when a column is not there, and suggest the nearest name.

    Raises:
        StopRun: ``column_missing``.
    """
    if column in frame.columns:
        return
    known = {matching_key(str(name)): str(name) for name in frame.columns}
    near = get_close_matches(matching_key(column), known, n=1, cutoff=0.5)
    hint = f"; did you mean '{known[near[0]]}'?" if near else "."
    message = f"{where} has no column '{column}' ({purpose}){hint} It has: {', '.join(map(str, frame.columns))}"
    raise StopRun("column_missing", message)


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
