"""What an adapter takes and gives: from a collection as it was downloaded to the rows of a cohort table.

An adapter is ``def read(request: Request) -> Imported``. It reads tables and lists files; it opens no image, except
for headers where its own text says so. Every patient of the table and of the images ends up in `Imported.rows` or in
`Imported.skipped`: nobody is lost on the way in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from triher.errors import Note, Skipped, StopRun, unknown_name

Row = dict[str, str]
_Key = TypeVar("_Key", str, int)
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


def claim(places: dict[_Key, Path], key: _Key, path: Path, remedy: str = "") -> None:
    """Give a file its place, once.

    Raises:
        StopRun: ``ambiguous_file`` where another file has it.
    """
    other = places.setdefault(key, path)
    if other != path:
        raise StopRun("ambiguous_file", f"{other} and {path} are the same image of one patient", remedy=remedy)


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
        return tuple(rows), (), note_kept(len(missing), len(rows))
    skipped = tuple(
        gap(row["patient_id"], row["cohort"], "no_images", missing[row["patient_id"]])
        for row in rows
        if row["patient_id"] in missing
    )
    return tuple(row for row in rows if row["patient_id"] not in missing), skipped, ()


def note_kept(n_without: int, n_rows: int) -> tuple[Note, ...]:
    """How many rows stay without their images, if any do."""
    text = f"{n_without} of {n_rows} patients have no images here; their rows are kept"
    return (Note("", "no_images", text),) if n_without else ()
