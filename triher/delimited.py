"""Delimited text files, line by line: encoding, separator, rows of cells."""

import csv
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from triher.errors import StopRun

_SEPARATORS = ",;\t"
_OTHER_SEPARATORS = "|^~"
_SEEMINGLY = {
    b"PK\x03\x04": "a workbook? then name it .xlsx",
    b"\xff\xfe": "UTF-16, Excel's 'Unicode text'?",
    b"\xfe\xff": "UTF-16?",
}

Row = tuple[int, list[str]]
"""Number of the line on which a row starts, and its cells."""


def sniff_separator(path: Path) -> str:
    """Find the one of ``, ; tab`` that splits the header of a text table most often; the comma if none does.

    Raises:
        StopRun: ``table_format`` when none does, but another character splits header and first row alike;
            ``file_unreadable`` or ``encoding``.
    """
    with closing(_lines(path, zero_bytes=True)) as lines:
        filled = (line for line in lines if line.strip())
        header, row = ([re.sub(r'"[^"]*"', "", line) for line in islice(filled, 2)] + ["", ""])[:2]
    separator = max(_SEPARATORS, key=header.count)
    if separator not in header:
        for other in _OTHER_SEPARATORS:
            if 0 < header.count(other) == row.count(other):
                message = f"{path}: no comma, semicolon or tab splits the header, but '{other}' would"
                raise StopRun("table_format", message, remedy="save it with commas, semicolons or tabs")
    return separator


def text_rows(path: Path, separator: str, cell_of: Callable[[str], str], *, zero_bytes: bool) -> Iterator[Row]:
    """Split a text file into rows of cells; empty lines are left out.

    Args:
        path: UTF-8 text, with or without byte-order mark.
        separator: one character.
        cell_of: what becomes of the text of a cell.
        zero_bytes: whether cells may hold them; in tables of others they mean UTF-16.

    Raises:
        StopRun: ``file_unreadable``, ``encoding`` or ``csv_row`` (quotes that do not pair, or an endless cell).
    """
    start = 1
    with closing(_lines(path, zero_bytes=zero_bytes)) as lines:
        reader = csv.reader(lines, delimiter=separator, strict=True)
        try:
            for row in reader:
                if len(row) > 1 or any(row):
                    yield start, [cell_of(cell) for cell in row]
                start = reader.line_num + 1
        except csv.Error as error:
            raise StopRun("csv_row", f"{path}, line {start}: {error}") from error


def _lines(path: Path, *, zero_bytes: bool) -> Generator[str, None, None]:
    """Decode line by line; lines break at carriage return and line feed, and nowhere else."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            for number, line in enumerate(handle, 1):
                if not zero_bytes and "\0" in line:
                    raise StopRun("encoding", f"{path} is not UTF-8 text: zero byte in line {number} (UTF-16?)")
                yield line
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    except OSError as error:
        raise StopRun("file_unreadable", f"cannot read the table {path}: {error.strerror}") from error


def _not_utf8(path: Path) -> StopRun:
    """Name the first byte that is not UTF-8."""
    data = path.read_bytes()
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n?|\n", data[: error.start])) + 1
        guess = next((text for head, text in _SEEMINGLY.items() if data.startswith(head)), "Latin-1?")
        return StopRun("encoding", f"{path} is not UTF-8: byte 0x{data[error.start]:02x} in line {line} ({guess})")
    return StopRun("file_unreadable", f"{path} changed while it was read")
