"""Any spreadsheet with one row a patient: its columns under our names, and file names for its images.

Nothing is guessed: a column that is missing is asked for, with the columns of the table that may be meant.
"""

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extract.adapters.contract import (
    COMMON_OPTIONS,
    Gap,
    Imported,
    Request,
    Row,
    gap,
    keeps_rows,
    note_kept,
)
from extract.adapters.mapping import (
    TABLE_OPTIONS,
    check_named_options,
    named_options,
    read_mapped,
    table_scheme,
    table_settings,
)
from extract.volumes import source_files
from triher.errors import SkipPatient, Skipped, StopRun
from triher.reading import file_of, template_cells

OPTIONS = {
    **TABLE_OPTIONS,
    "phase:NAME": "a phase's file with cells of the row in braces, phase:pre={PID}/pre.nii.gz; with exam, its rule",
    "exam": "one source for all phases: a 4-D file, a folder of DICOM or a pattern with *, like {PID}_*.nii.gz",
    "series": "which series of a DICOM folder: SeriesInstanceUIDs or a regular expression for descriptions",
    "mask": "the lesion mask's file, like {PID}_mask.nii.gz",
    "box": "instead of a mask, a box: {i0} {i1} {j0} {j1} {k0} {k1}, half-open, counted from 0",
}
RULES = {"pre": "pre", "early": "first post", "late": "last"}
"""Rules for the phases of one source, where none are given."""

# Names that images would have, for rows that are kept without any.
_UNNAMED = ({"pre": "{patient_id}_0000.nii.gz"}, "{patient_id}_mask.nii.gz")
_NO_MASK = "{mask}"  # what `triher.config` takes for a row without a box where nothing is said


@dataclass(frozen=True)
class _Found:
    """What is there of a row's files."""

    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    reason: Skipped | None
    """Why the patient cannot come in."""


def read(request: Request) -> Imported:
    """Read the table and look for the files that its rows mean.

    Raises:
        StopRun: as `extract.adapters.mapping.read_mapped`; ``column_missing`` when nothing says where images are, or
            a file name has a cell that the table does not; ``ambiguous_file`` when one file is of two patients.
    """
    check_named_options(request, OPTIONS, COMMON_OPTIONS)
    table = request.table or request.path
    if table.is_dir():
        raise StopRun("file_unreadable", f"{table} is a folder", remedy="name the table itself")
    rows, notes = read_mapped(table, request, ("patient_id", "ihc"), targets=tuple(named_options(request, "phase")))
    files = _files(request, list(rows[0]), table)
    root = request.images or (request.path if request.path.is_dir() else request.path.parent)
    name = str(request.options.get("name", "cohort"))
    found = {row["patient_id"]: _look(row, files, root, row.get("cohort") or name) for row in rows}
    _refuse_shared(found)
    keep = keeps_rows(request)
    lost = {} if keep else {patient_id: one.reason for patient_id, one in found.items() if one.reason}
    strangers = [
        gap(patient_id, name, "no_label", f"images such as {place}; no row in {table.name}")
        for patient_id, place in _without_row(found, files, root).items()
    ]
    n_without = sum(not one.images for one in found.values())
    return Imported(
        tuple(row for row in rows if row["patient_id"] not in lost),
        {**table_settings(request), **files},
        table_scheme(request),
        root,
        (*filter(None, lost.values()), *strangers),
        (*notes, *(note_kept(n_without, len(rows)) if keep else ())),
    )


def _files(request: Request, columns: Sequence[str], table: Path) -> dict[str, Any]:
    """Where the images are, as keys of the ``cohort`` section: from the options, else from columns of our names."""
    exam = _template(request, "exam", columns)
    phases = {name: _in_our_names(text, request) for name, text in named_options(request, "phase").items()}
    phases = phases or (dict(RULES) if exam else {name: f"{{{name}}}" for name in RULES if name in columns})
    mask, box = _template(request, "mask", columns), _template(request, "box", columns)
    if not phases or not (mask or box):
        if not keeps_rows(request):
            what = "lesion masks" if phases else "images"
            remedy = (
                "say it with the options phase:NAME or exam, and mask or box (or map columns to exam, pre, early, "
                "late, mask, box), or keep the rows with the option without-images=keep"
            )
            raise StopRun("column_missing", f"nothing says where the {what} of {table} are", remedy=remedy)
        phases, mask = phases or _UNNAMED[0], mask or _UNNAMED[1]
    found = {"exam": exam, "series": _template(request, "series", columns), "mask": mask, "box": box}
    others = {name: text for name, text in found.items() if text}
    _demand_cells({**phases, **others}, columns)
    return {"phases": phases, **others}


def _demand_cells(templates: Mapping[str, str], columns: Sequence[str]) -> None:
    """Refuse a file name with the cell of a column that is not there."""
    for purpose, template in templates.items():
        for name in template_cells(purpose, template):
            if name not in columns:
                message = f"'{template}' needs a column '{name}', which the table does not have: {', '.join(columns)}"
                raise StopRun("column_missing", message, remedy="correct the option")


def _template(request: Request, name: str, columns: Sequence[str]) -> str:
    """What an option says, else the column of that name."""
    if name in request.options:
        return _in_our_names(request.options[name], request)
    return f"{{{name}}}" if name in columns else ""


def _in_our_names(template: str, request: Request) -> str:
    """A file name with our names in place of the table's, for columns that are mapped."""
    ours = {theirs: name for name, theirs in named_options(request, "map").items()}
    return re.sub(r"\{([^{}]*)\}", lambda cell: f"{{{ours.get(cell[1], cell[1])}}}", template)


def _look(row: Row, files: Mapping[str, Any], root: Path, cohort: str) -> _Found:
    """Look for a row's files."""
    images = _image_templates(files)
    box = template_cells("box", files.get("box", ""))
    boxed = "box" in files and all(row[name] for name in box)
    masks = [] if boxed else [files.get("mask", _NO_MASK)]
    try:
        there = {text: _at(file_of(text, row, root)) for text in (*images, *masks)}
    except SkipPatient as error:
        return _Found((), (), error.row(row["patient_id"], cohort, "import"))
    found, segmented = (tuple(path for text in texts for path in there[text]) for texts in (images, masks))
    absent = next((text for text in (*images, *masks) if not there[text]), None)
    if absent is None:
        return _Found(found, segmented, None)
    code: Gap = "mask_missing" if absent not in images else "phase_missing" if found else "no_images"
    empty = [
        name for name in (*template_cells(code, absent), *(() if absent in images else box)) if not row.get(name)
    ]
    why = f"; empty in the table: {', '.join(empty)}" if empty else ""
    return _Found(
        found, segmented, gap(row["patient_id"], cohort, code, f"looked for {file_of(absent, row, root)}{why}")
    )


def _image_templates(files: Mapping[str, Any]) -> list[str]:
    """The file names of the images: one for all phases, or one a phase."""
    return [files["exam"]] if "exam" in files else list(files["phases"].values())


def _at(path: Path) -> list[Path]:
    """The folder, or the files, that a path or a pattern means.

    Raises:
        SkipPatient: ``file_unreadable``.
    """
    try:
        return [path] if path.is_dir() else source_files(path)
    except OSError as error:
        raise SkipPatient("file_unreadable", f"{path}: {error.strerror}") from error


def _refuse_shared(found: Mapping[str, _Found]) -> None:
    """Refuse a pattern that takes one file for two patients: ``{PID}*`` of 1 fits the files of 10, too.

    One folder may hold the series of many.
    """
    owners: dict[Path, str] = {}
    for patient_id, one in found.items():
        for path in filter(Path.is_file, one.images):
            other = owners.setdefault(path, patient_id)
            if other != patient_id:
                message = f"{path} is an image of '{other}' and of '{patient_id}'"
                raise StopRun(
                    "ambiguous_file", message, remedy="tell them apart, like {PID}_*.nii.gz, or keep one row"
                )


def _without_row(found: Mapping[str, _Found], files: Mapping[str, Any], root: Path) -> dict[str, str]:
    """Patient id -> file, for images that the file names give to somebody who has no row.

    Only file names that hold the id and no other cell say whose an image is. A mask is no image.
    """
    own = {path for one in found.values() for path in (*one.images, *one.masks)}
    mask = _pattern(files["mask"]) if _tells_the_id(files.get("mask", "")) else None
    strangers: dict[str, str] = {}
    for template in filter(_tells_the_id, _image_templates(files)):
        pattern, wants_folder = _pattern(template), not {".", "*"} & set(template.rpartition("/")[2])
        for path in sorted(root.glob(_glob(template))):
            name = path.relative_to(root).as_posix()
            match = pattern.fullmatch(name)
            if path in own or match is None or match["id"] in found or (mask and mask.fullmatch(name)):
                continue
            if path.is_dir() == wants_folder:
                strangers.setdefault(match["id"], name)
    return strangers


def _tells_the_id(template: str) -> bool:
    """Whether a file name below the root says whose it is."""
    return set(template_cells("exam", template)) == {"patient_id"} and not template.startswith("/")


def _glob(template: str) -> str:
    """The pattern of everybody's files, with any text for the id."""
    escaped = glob.escape(template.replace("{patient_id}", "*")).replace("[*]", "*")
    return re.sub(r"\*+", "*", escaped)


def _pattern(template: str) -> re.Pattern[str]:
    """What paths look like that a file name with the patient's id stands for."""
    first, *others = template.split("{patient_id}")
    escaped = [re.escape(text).replace(r"\*", "[^/]*") for text in (first, *others)]
    return re.compile(f"{escaped[0]}(?P<id>[^/]+)" + "(?P=id)".join(escaped[1:]))
