"""Sheets of workbooks (.xlsx, .xlsm), read strictly: what a person reads in a cell is the text that comes out.

openpyxl's reader for large sheets keeps memory low, but drops what tells a sound table from a broken one: which
cells are merged, and which formulas nobody has computed. A pass over the sheet's own XML finds both. The element
names are those of ECMA-376 part 1, section 18.3.
"""

import re
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from triher.errors import StopRun
from triher.workbook import check_archive, check_content, naming_damage, workbook_parts

_LAST_ROW = 1_048_576  # "Excel specifications and limits"
_DIGITS = 15  # number precision, same page
_MAX_CELLS = 10**8  # ten times a table of 5,000 columns and 2,000 rows


@dataclass(frozen=True)
class Sheet:
    """The cells of one sheet as text."""

    name: str
    rows: list[list[str]]
    """All of one length; row n of the sheet is at n - 1; empty rows and columns at the end are left out."""


@dataclass(frozen=True)
class _Page:
    """A sheet that is not read yet."""

    name: str
    visible: bool
    part: str
    """Its place in the archive."""
    cells: Any
    """openpyxl's sheet."""


@dataclass(frozen=True)
class _Marks:
    """What the values of a sheet do not show."""

    merged: dict[str, tuple[int, int, int]]
    """Range such as ``A1:C1`` -> first column, first row, last row."""
    not_computed: str
    """The first cell with a formula and no value, or empty."""


def read_sheet(path: Path, sheet: str = "", *, heading_rows: int = 0) -> Sheet:
    """Read one sheet of a workbook.

    Numbers come as the shortest text of 15 digits (``1.0`` is ``1``), and with the leading zeros of a format such as
    ``000`` or ``"P"000``, which ids depend on; dates as ISO 8601, without the time when it is midnight; truth values
    as ``TRUE`` and ``FALSE``; formulas as the value that was computed last.

    Args:
        path: the workbook.
        sheet: name of the sheet; may stay empty when only one visible sheet holds anything.
        heading_rows: rows at the top in which cells may be merged (their text is in the first cell alone).

    Raises:
        StopRun: ``file_unreadable``; ``table_format`` (no workbook, damaged, encrypted, or unpacks to too much);
            ``table_empty`` (nothing in it); ``xlsx_sheet`` (several sheets and none is named, or no such sheet);
            ``xlsx_formula`` (never computed); ``xlsx_error`` (such as #N/A); ``xlsx_merged``.
    """
    try:
        handle = path.open("rb")
    except OSError as error:
        raise StopRun("file_unreadable", f"cannot read the table {path}: {error.strerror}") from error
    with handle, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl names the charts and rules that it leaves out
        check_content(path, handle)
        with naming_damage(path), zipfile.ZipFile(handle) as archive:
            check_archive(path, archive)
            page = _choose(path, _pages(handle), archive, sheet)
            marks = _read_marks(archive, page)
        place = f"{path}, sheet '{page.name}'"
        if marks.not_computed:
            message = f"{place}, cell {marks.not_computed}: a formula that was never computed"
            raise StopRun("xlsx_formula", message)
        rows = _rows(path, place, page)
    _check_merged(place, rows, marks.merged, heading_rows)
    return Sheet(page.name, rows)


def _pages(handle: IO[bytes]) -> dict[str, _Page]:
    """The sheets by name; formulas give their last values."""
    from openpyxl import load_workbook

    book = load_workbook(handle, read_only=True, data_only=True, keep_links=False)
    # There is no public name for the part of the archive that holds a sheet.
    pages = [_Page(page.title, page.sheet_state == "visible", page._worksheet_path, page) for page in book.worksheets]
    return {page.name: page for page in pages}


def _choose(path: Path, pages: dict[str, _Page], archive: zipfile.ZipFile, sheet: str) -> _Page:
    """The sheet of that name, or the only visible one that holds anything."""
    if not pages:
        raise StopRun("table_format", f"{path} holds no sheet that can be read")
    if sheet in pages:
        return pages[sheet]
    known = ", ".join(f"'{name}'" for name in pages)
    if sheet:
        folded = {name.casefold(): name for name in pages}
        near = get_close_matches(sheet.casefold(), folded, n=1, cutoff=0.5)
        hint = f"; did you mean '{folded[near[0]]}'?" if near else "."
        raise StopRun("xlsx_sheet", f"{path} has no sheet '{sheet}'{hint} It has: {known}")
    filled = [page for page in pages.values() if page.visible and _is_filled(archive, page)]
    if not filled:
        raise StopRun("table_empty", f"{path} holds no visible sheet with anything in it; its sheets: {known}")
    if len(filled) > 1:
        names = ", ".join(f"'{page.name}'" for page in filled)
        raise StopRun("xlsx_sheet", f"{path} holds {len(filled)} sheets: {names}")
    return filled[0]


def _elements(archive: zipfile.ZipFile, page: _Page) -> Iterator[tuple[str, Any]]:
    """Cells, rows and merges of a sheet as XML, with their name, in the order in which they end."""
    from openpyxl.xml.constants import SHEET_MAIN_NS
    from openpyxl.xml.functions import iterparse

    names = {f"{{{SHEET_MAIN_NS}}}{name}": name for name in ("c", "row", "mergeCell")}
    with archive.open(page.part) as source:
        for _, element in iterparse(source):
            if element.tag in names:
                yield names[element.tag], element
                if names[element.tag] == "row":
                    element.clear()


def _is_filled(archive: zipfile.ZipFile, page: _Page) -> bool:
    """Whether any cell holds more than a style."""
    return any(name == "c" and "".join(element.itertext()).strip() for name, element in _elements(archive, page))


def _read_marks(archive: zipfile.ZipFile, page: _Page) -> _Marks:
    """Find merged cells and formulas without a value; refuse rows that openpyxl would drop."""
    from openpyxl.utils.cell import range_boundaries

    merged: dict[str, tuple[int, int, int]] = {}
    not_computed, last_row = "", 0
    placeholders = _placeholders(archive)
    for name, element in _elements(archive, page):
        if name == "mergeCell":
            left, top, _, bottom = range_boundaries(element.get("ref", ""))
            merged[element.get("ref")] = (int(left), int(top), int(bottom))
        elif name == "row":
            last_row = _check_row(element, last_row)
        elif not not_computed and _is_not_computed(element, placeholders):
            not_computed = element.get("r", "(not named)")
    return _Marks(merged, not_computed)


def _check_row(element: Any, last_row: int) -> int:  # noqa: ANN401 - lxml or ElementTree
    """The number of a row; openpyxl leaves out, without a word, rows and cells that come too late."""
    row = int(element.get("r", last_row + 1))
    if not last_row < row <= _LAST_ROW:
        raise ValueError(f"row {row} follows row {last_row}")
    places = [cell.get("r", "") for cell in element]
    if any((len(right), right) < (len(left), left) for left, right in pairwise(places)):
        raise ValueError(f"the cells of row {row} are out of order")
    return row


def _is_not_computed(element: Any, placeholders: set[str]) -> bool:  # noqa: ANN401 - lxml or ElementTree
    """Whether a cell is a formula without a value; an empty text is one, which =IF(A1="","",A1) gives."""
    space = element.tag.removesuffix("c")
    if element.find(f"{space}f") is None or element.get("t") == "str":
        return False
    return (element.findtext(f"{space}v") or "") in placeholders


def _placeholders(archive: zipfile.ZipFile) -> set[str]:
    """What stands in place of a value that was never computed.

    XlsxWriter writes 0 for every formula, and tells Excel to compute the workbook as it opens it.
    """
    parts = [archive.read(part) for part in workbook_parts(archive)]
    stale = any(re.search(rb'fullCalcOnLoad="(1|true)"', part) for part in parts)
    return {"", "0"} if stale else {""}


def _rows(path: Path, place: str, page: _Page) -> list[list[str]]:
    """Every row as text, all of one length, without empty ones at the end."""
    page.cells.reset_dimensions()  # what the file says about its extent is often wrong
    rows: list[list[str]] = []
    n_rows = width = 0
    for row in _texts(path, place, page):
        while row and not row[-1]:
            row.pop()
        rows.append(row)
        if row:
            n_rows, width = len(rows), max(width, len(row))
        if n_rows * width > _MAX_CELLS:
            message = f"{place} spreads over {n_rows:,} rows and {width:,} columns; a table has fewer cells"
            raise StopRun("table_format", message, remedy="save the sheet alone as CSV in UTF-8")
    del rows[n_rows:]
    for row in rows:
        row.extend([""] * (width - len(row)))
    return rows


def _texts(path: Path, place: str, page: _Page) -> Iterator[list[str]]:
    """Row by row as text; some damage shows only on the way."""
    with naming_damage(path):
        for cells in page.cells.iter_rows():
            yield [_cell_text(place, cell) for cell in cells]


def _cell_text(place: str, cell: Any) -> str:  # noqa: ANN401 - openpyxl has two classes of cells, and no types
    """The text of a cell as it was read."""
    if cell.value is None:
        return ""
    if cell.data_type == "e":
        raise StopRun("xlsx_error", f"{place}, cell {cell.coordinate} holds the error {cell.value}")
    return text_of(cell.value, cell.number_format if cell.data_type == "n" else "General")


def _check_merged(
    place: str, rows: list[list[str]], merged: dict[str, tuple[int, int, int]], heading_rows: int
) -> None:
    """Refuse merged cells in the table: one value stands for several rows or columns, and nobody says which."""
    width = len(rows[0]) if rows else 0
    for reference, (left, top, bottom) in merged.items():
        if bottom > heading_rows and top <= len(rows) and left <= width:
            raise StopRun("xlsx_merged", f"{place}: the cells {reference} are merged")


def text_of(value: object, number_format: str = "General") -> str:
    """The text of a cell's value, trimmed.

    >>> text_of(1.0), text_of(7, "000"), text_of(0.1 + 0.2), text_of(datetime(2020, 1, 31))
    ('1', '007', '0.3', '2020-01-31')
    """
    if isinstance(value, str):
        return value.replace("_x000D_", "").strip()  # how a carriage return is written, ECMA-376 part 1, 22.9.2.19
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return _number_text(value, number_format)
    if isinstance(value, timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _number_text(value: int | float, number_format: str) -> str:
    """Whole numbers without a point and with the zeros of their format; 15 digits, as Excel computes with."""
    if isinstance(value, float) and not (value.is_integer() and abs(value) < 10**_DIGITS):
        return f"{value:.{_DIGITS}g}"
    whole = int(value)
    return str(whole) if whole < 0 else _padded(str(whole), number_format)


def _padded(digits: str, number_format: str) -> str:
    """Fill up with zeros as formats like ``000`` or ``"P"000-00`` say; any other format leaves the digits alone."""
    section, *others = re.sub(r"\[\$-[^\]]*\]", "", number_format).split(";")
    parts = re.findall(r'"[^"]*"|\\.|.', section)
    places = parts.count("0")
    kinds_known = all(part in "0- " or part[0] in '"\\' for part in parts)
    if places < 2 or not kinds_known or (digits == "0" and len(others) > 1):
        return digits
    filled = digits.zfill(places)
    n_first = len(filled) - places + 1  # digits beyond the places stand at the first one
    shown = [filled[:n_first], *filled[n_first:]]
    return "".join(shown.pop(0) if part == "0" else part.strip('"').removeprefix("\\") for part in parts).strip()
