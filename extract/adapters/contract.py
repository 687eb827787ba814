"""What an adapter takes and gives: from a collection as it was downloaded to the rows of a cohort table.

An adapter is ``def read(request: Request) -> Imported``. It reads tables and lists files; it opens no image, except
for headers where its own text says so. Every patient of the table and of the images ends up in `Imported.rows` or in
`Imported.skipped`: nobody is lost on the way in.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from triher.errors import Note, Skipped, StopRun, unknown_name
from triher.tables import read_table, require_column

Row = dict[str, str]
Gap = Literal["no_images", "no_label", "phase_missing", "mask_missing", "spacing_implausible", "image_unreadable"]

WITHOUT_IMAGES = "without-images"
COMMON_OPTIONS = {
    WITHOUT_IMAGES: "'skip' (default) leaves patients out whose images are not there; 'keep' keeps their rows, with "
    "the names that the images would have, for work on tables alone",
}
"""Options that every adapter has, with what they do."""

_REMEDIES: dict[Gap, str] = {
    "no_images": "download the images, or keep the rows with the option without-images=keep",
    "no_label": "add the patient to the table, or leave the images",
    "phase_missing": "download the patient's images again",
    "mask_missing": "segment the lesion, and import the patient by a table of your own",
    "spacing_implausible": "complete the table",
    "image_unreadable": "download the patient's images again",
}
_WHOLE = re.compile(r"(-?\d+)\.0*")
_MISSING = {"", "na", "nan", "none", "null"}


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    path: Path
    """Folder of the collection, with its images and tables, or the table itself."""
    table: Path | None = None
    """The clinical table where it lies elsewhere."""
    images: Path | None = None
    """The folder of the images where it lies elsewhere."""
    sheet: str = ""
    """Which sheet of a workbook."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The adapter's own options by name, ``{"series": "dyn"}``."""


@dataclass(frozen=True)
class Imported:
    """What an adapter found."""

    rows: tuple[Row, ...]
    """One row a patient, all text, with the same columns in every row: ``patient_id``, ``cohort``, ``site``,
    ``split``, ``ihc``, ``ish``, ``time``, ``event``, the image and mask paths, covariates and whatever else the
    settings refer to."""
    settings: dict[str, Any]
    """The ``cohort`` section of the configuration, except ``table`` and ``root``."""
    scheme: str
    """``triple`` or ``binary``: which classes the labels can carry."""
    root: Path
    """What the image paths in the rows are relative to."""
    skipped: tuple[Skipped, ...] = ()
    """Who cannot come in: rows without images (``no_images``), images without a row (``no_label``) and whoever the
    collection's own files are broken for."""
    notes: tuple[Note, ...] = ()


def gap(patient_id: str, cohort: str, code: Gap, reason: str) -> Skipped:
    """The row of ``skipped.csv`` for a patient who cannot come in."""
    return Skipped(patient_id, cohort, "import", code, reason, _REMEDIES[code])


def choose_option(request: Request, name: str, known: Iterable[str], default: str) -> str:
    """One of an option's values.

    Raises:
        StopRun: ``unknown_name`` when the value is not known.
    """
    value = request.options.get(name, default)
    choices = list(known)
    if value not in choices:
        raise unknown_name(f"value of the option {name}", value, choices)
    return value


def check_options(request: Request, known: Iterable[str]) -> None:
    """Refuse an option that the adapter does not have.

    Raises:
        StopRun: ``unknown_name``.
    """
    names = [*known, *COMMON_OPTIONS]
    for name in request.options:
        if name not in names:
            raise unknown_name("option of this adapter", name, names)


def keeps_rows(request: Request) -> bool:
    """Whether rows stay in without their images.

    Raises:
        StopRun: ``unknown_name``.
    """
    return choose_option(request, WITHOUT_IMAGES, ("skip", "keep"), "skip") == "keep"


def find_table(request: Request, names: Sequence[str]) -> Path:
    """The clinical table: the one that was named, the path itself where it is a file, or the first known name below.

    Raises:
        StopRun: ``file_unreadable`` when none of them is there.
    """
    if request.table is not None:
        return request.table
    if request.path.is_file():
        return request.path
    for name in names:
        if (request.path / name).is_file():
            return request.path / name
    message = f"{request.path} holds none of {', '.join(names)}"
    raise StopRun("file_unreadable", message, remedy="say where the table is")


def image_root(request: Request) -> Path:
    """The folder of the images: the one that was named, the collection's, or that of the table.

    Raises:
        StopRun: ``file_unreadable`` when it is no folder.
    """
    root = request.images or (request.path.parent if request.path.is_file() else request.path)
    if not root.is_dir():
        raise StopRun("file_unreadable", f"the folder of the images, {root}, is not there")
    return root


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


def part_rows(
    rows: Sequence[Row], missing: Mapping[str, str], *, keep: bool
) -> tuple[tuple[Row, ...], tuple[Skipped, ...], tuple[Note, ...]]:
    """Part the rows whose images are not there from the others.

    Args:
        rows: all rows of the table.
        missing: patient id -> what was looked for, for those without images.
        keep: leave such rows in all the same.

    Returns:
        The rows that stay, who is left out, and one note that counts those who stay without images.
    """
    if keep:
        text = f"{len(missing)} of {len(rows)} patients have no images here; their rows are kept"
        return tuple(rows), (), (Note("", "no_images", text),) if missing else ()
    skipped = tuple(
        gap(row["patient_id"], row["cohort"], "no_images", missing[row["patient_id"]])
        for row in rows
        if row["patient_id"] in missing
    )
    return tuple(row for row in rows if row["patient_id"] not in missing), skipped, ()
