"""Any spreadsheet with one row a patient: its columns under our names, and file names for its images.

Nothing is guessed: a column that is missing is asked for, with the columns of the table that may be meant.
"""

import re
import string
from collections.abc import Mapping, Sequence
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
from triher.errors import Note, SkipPatient, StopRun

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

_UNNAMED = ({"pre": "{patient_id}_0000.nii.gz"}, "{patient_id}_mask.nii.gz")


def read(request: Request) -> Imported:
    """Read the table and look for the files that its rows mean.

    Raises:
        StopRun: as `extract.adapters.mapping.read_mapped`; ``column_missing`` when nothing says where images are.
    """
    check_named_options(request, OPTIONS, COMMON_OPTIONS)
    table = request.table or request.path
    if table.is_dir():
        raise StopRun("file_unreadable", f"{table} is a folder", remedy="name the table itself")
    rows, notes = read_mapped(table, request, ("patient_id", "ihc"), targets=tuple(named_options(request, "phase")))
    files = _files(request, list(rows[0]), table)
    root = request.images or (request.path if request.path.is_dir() else request.path.parent)
    name = str(request.options.get("name", "cohort"))
    settings = {**table_settings(request), **files}
    missing = {} if keeps_rows(request) else _missing(rows, files, root)
    skipped = [
        gap(row["patient_id"], row.get("cohort") or name, *missing[row["patient_id"]])
        for row in rows
        if row["patient_id"] in missing
    ]
    strangers = [
        gap(patient_id, name, "no_label", f"images such as {place}; no row in {table.name}")
        for patient_id, place in _without_row(rows, files, root).items()
    ]
    kept = tuple(row for row in rows if row["patient_id"] not in missing)
    if keeps_rows(request) and (absent := _missing(rows, files, root)):
        text = f"{len(absent)} of {len(rows)} patients have no images here; their rows are kept"
        notes.append(Note("", "no_images", text))
    return Imported(kept, settings, table_scheme(request), root, (*skipped, *strangers), tuple(notes))


def _files(request: Request, columns: Sequence[str], table: Path) -> dict[str, Any]:
    """Where the images are, as keys of the ``cohort`` section: from the options, else from columns of our names."""
    phases, exam = named_options(request, "phase"), _template(request, "exam", columns)
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
    settings = {"phases": phases, **{name: text for name, text in found.items() if text}}
    return {name: _in_our_names(value, request) for name, value in settings.items()}


def _template(request: Request, name: str, columns: Sequence[str]) -> str:
    """What an option says, else the column of that name."""
    return request.options.get(name, f"{{{name}}}" if name in columns else "")


def _in_our_names(value: Any, request: Request) -> Any:  # noqa: ANN401 - a template or a mapping of templates
    """Templates with our names in place of the table's, for columns that are mapped."""
    if isinstance(value, Mapping):
        return {name: _in_our_names(text, request) for name, text in value.items()}
    for ours, theirs in named_options(request, "map").items():
        value = value.replace(f"{{{theirs}}}", f"{{{ours}}}")
    return value


def _missing(rows: Sequence[Row], files: Mapping[str, Any], root: Path) -> dict[str, tuple[Gap, str]]:
    """Patient -> code and what was looked for, for those whose files are not all there."""
    images = [files["exam"]] if "exam" in files else list(files["phases"].values())
    masks = [files["mask"]] if "mask" in files and "box" not in files else []
    found: dict[str, tuple[Gap, str]] = {}
    for row in rows:
        absent = [text for text in images if not _is_there(root, _fill(text, row))]
        unmasked = [text for text in masks if not _is_there(root, _fill(text, row))]
        if absent:
            code: Gap = "no_images" if len(absent) == len(images) else "phase_missing"
            found[row["patient_id"]] = (code, f"looked for {root / _fill(absent[0], row)}")
        elif unmasked:
            found[row["patient_id"]] = ("mask_missing", f"looked for {root / _fill(unmasked[0], row)}")
    return found


def _fill(template: str, row: Row) -> str:
    """Put the row's cells into a file name."""
    parts = list(string.Formatter().parse(template))
    for _, name, _, _ in parts:
        if name is not None and name not in row:
            message = f"'{template}' needs a column '{name}', which the table does not have: {', '.join(row)}"
            raise StopRun("column_missing", message, remedy="correct the option")
    return "".join(text + ("" if name is None else row[name]) for text, name, _, _ in parts)


def _is_there(root: Path, name: str) -> bool:
    """Whether a name means a file, a folder or at least one file of a pattern; an empty cell means none."""
    try:
        return bool(name) and ((root / name).is_dir() or bool(source_files(root / name)))
    except (OSError, SkipPatient):
        return False


def _without_row(rows: Sequence[Row], files: Mapping[str, Any], root: Path) -> dict[str, str]:
    """Patient id -> file, for images that the file names give to somebody who has no row.

    Only file names that hold the id and no other cell say whose an image is.
    """
    known = {row["patient_id"] for row in rows}
    found: dict[str, str] = {}
    for template in [files["exam"]] if "exam" in files else files["phases"].values():
        cells = {name for _, name, _, _ in string.Formatter().parse(template) if name}
        if cells != {"patient_id"} or template.startswith("/"):
            continue
        pattern, wants_folder = _pattern(template), "." not in template
        for path in sorted(root.glob(template.replace("{patient_id}", "*"))):
            match = pattern.fullmatch(path.relative_to(root).as_posix())
            if match and match["id"] not in known and path.is_dir() == wants_folder:
                found.setdefault(match["id"], match[0])
    return found


def _pattern(template: str) -> re.Pattern[str]:
    """What paths look like that a file name with the patient's id stands for."""
    first, *others = template.split("{patient_id}")
    escaped = [re.escape(text).replace(r"\*", "[^/]*") for text in (first, *others)]
    return re.compile(f"{escaped[0]}(?P<id>[^/]+)" + "(?P=id)".join(escaped[1:]))
