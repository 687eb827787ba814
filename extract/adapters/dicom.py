"""Folders of DICOM as hospitals and archives export them, with a table of labels or without one.

A study belongs to the patient whose id is the name of a folder on the way to it, else to the one whose id its headers
carry. Series and phases are found when the exam is read, as the options say.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from extract.adapters.contract import (
    COMMON_OPTIONS,
    Imported,
    Request,
    Row,
    choose_option,
    gap,
    image_root,
    keeps_rows,
    part_rows,
)
from extract.adapters.dicom_studies import Study, are_apart, list_studies
from extract.adapters.mapping import (
    TABLE_OPTIONS,
    check_named_options,
    named_options,
    read_mapped,
    table_scheme,
    table_settings,
)
from extract.adapters.table import RULES
from extract.dicom.values import hashed_id
from extract.volumes import source_files
from triher.errors import Note, SkipPatient, Skipped
from triher.reading import file_of

OPTIONS = {
    **TABLE_OPTIONS,
    "series": "which series are the dynamic scan: SeriesInstanceUIDs, or a pattern of descriptions: dyn|vibrant",
    "study": "of patients with several studies the 'first' or the 'last' by date; 'only' (default) leaves them out",
    "phase:NAME": "the rule for a phase: phase:pre=pre, phase:early=first post and phase:late=last (default)",
    "mask": "the lesion mask, {patient_id}/mask.nii.gz (default); {exam} for a DICOM segmentation among the images",
    "box": "instead of a mask, a box: {i0} {i1} {j0} {j1} {k0} {k1}, half-open, counted from 0",
    "dicom-id": "PatientID that the headers must carry: {patient_id} (default), {MRN}, or nothing to take any",
    "labels": "'required' (default), or 'none' for patients whose class is to be predicted",
}
_MASK = "{patient_id}/mask.nii.gz"


def read(request: Request) -> Imported:
    """Read the table, or take every folder for a patient, and find the studies.

    Raises:
        StopRun: as `extract.adapters.mapping.read_mapped`; ``file_unreadable`` when there is no folder of images.
    """
    check_named_options(request, OPTIONS, COMMON_OPTIONS)
    root = image_root(request)
    studies = list_studies(root)
    rows, notes = _rows(request, studies)
    name = str(request.options.get("name", "cohort"))
    rows = [{"patient_id": "", "cohort": name, "exam": "", **row} for row in rows]
    owned = _owned(rows, studies)
    placed, broken = _place(rows, owned, choose_option(request, "study", ("only", "first", "last"), "only"))
    missing = {row["patient_id"]: f"no DICOM study of this id below {root}" for row in placed if not row["exam"]}
    keep = keeps_rows(request)
    kept, absent, counted = part_rows(placed, missing, keep=keep)
    settings = _settings(request)
    unmasked = [] if keep or "box" in settings else _without_mask(kept, settings["mask"], root)
    lost = {one.patient_id for one in unmasked}
    taken = {study for members in owned.values() for study in members}
    strangers = [
        gap(str(study.place), name, "no_label", f"images in {root / study.place}; no row in the table")
        for study in studies
        if study not in taken
    ]
    return Imported(
        tuple(row for row in kept if row["patient_id"] not in lost),
        settings,
        table_scheme(request),
        root,
        (*broken, *absent, *unmasked, *strangers),
        (*notes, *counted),
    )


def _rows(request: Request, studies: Sequence[Study]) -> tuple[list[Row], list[Note]]:
    """The rows of the table; without one, a row for every folder."""
    labels = choose_option(request, "labels", ("required", "none"), "required")
    if request.table is not None:
        needed = ("patient_id", "ihc") if labels == "required" else ("patient_id",)
        return read_mapped(request.table, request, needed)
    folders = dict.fromkeys(study.place.parts[0] for study in studies if study.place.parts)
    text = "no table was named: every folder is a patient, and there are no labels"
    return [{"patient_id": folder} for folder in folders], [Note("", "no_table", text)]


def _owned(rows: Sequence[Row], studies: Sequence[Study]) -> dict[str, list[Study]]:
    """The studies of every row: those below the folder that it names, else those of its patient."""
    patients = {hashed_id(row["patient_id"]): row["patient_id"] for row in rows}
    owners = [study.owner(patients) for study in studies]
    return {
        row["patient_id"]: [
            study
            for study, owner in zip(studies, owners, strict=True)
            if (study.place.is_relative_to(row["exam"]) if row["exam"] else owner == row["patient_id"])
        ]
        for row in rows
    }


def _place(rows: Sequence[Row], owned: Mapping[str, Sequence[Study]], which: str) -> tuple[list[Row], list[Skipped]]:
    """The rows with the folder of their study, and who has several studies of which none is chosen."""
    placed, broken = [], []
    for row in rows:
        try:
            placed.append({**row, "exam": _choose(owned[row["patient_id"]], which)})
        except SkipPatient as reason:
            broken.append(reason.row(row["patient_id"], row["cohort"], "import"))
    return placed, broken


def _choose(studies: Sequence[Study], which: str) -> str:
    """The folder of the study that is wanted; nothing where there is none."""
    if not studies:
        return ""
    listed = ", ".join(str(study.place) for study in studies)
    if len(studies) > 1 and which == "only":
        remedy = "choose with --option study=first or study=last, or map a column of folders to exam"
        raise SkipPatient("series_ambiguous", f"there are {len(studies)} studies: {listed}", remedy=remedy)
    ordered = sorted(studies, key=lambda study: study.date)
    chosen = ordered[-1 if which == "last" else 0]
    if not are_apart(chosen, studies):
        message = f"{len(studies)} studies lie in one folder: {listed}"
        raise SkipPatient("series_ambiguous", message, remedy="put each study into a folder of its own")
    return chosen.place.as_posix()


def _settings(request: Request) -> dict[str, Any]:
    """The cohort section, from the options."""
    asked = request.options
    series = {"series": asked["series"]} if "series" in asked else {}
    lesion = {"box": asked["box"]} if "box" in asked else {"mask": asked.get("mask", _MASK)}
    header = {"dicom_id": asked["dicom-id"]} if "dicom-id" in asked else {}
    phases = named_options(request, "phase") or RULES
    return {**table_settings(request), "exam": "{exam}", **series, "phases": phases, **lesion, **header}


def _without_mask(rows: Sequence[Row], template: str, root: Path) -> list[Skipped]:
    """Whose mask is not there."""
    paths = {row["patient_id"]: (row["cohort"], file_of(template, row, root)) for row in rows}
    return [
        gap(patient_id, cohort, "mask_missing", f"looked for {path}")
        for patient_id, (cohort, path) in paths.items()
        if not source_files(path)
    ]
