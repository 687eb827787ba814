"""TCGA-BRCA: the clinical table of The Cancer Genome Atlas, and the MRI of those patients who have any.

The table is ``clinical_patient_brca.txt``, a "biotab" file of the Genomic Data Commons: the first row has the names,
the second one the names of an older edition, the third one codes (``CDE_ID:2003301``); missing values are spelled
``[Not Available]``, ``[Not Evaluated]`` and the like. It has 1,097 patients; The Cancer Imaging Archive holds MRI of
about 100 of them (Lingle et al. 2016, doi 10.7937/K9/TCIA.2016.AB2NAZRP), as DICOM and without lesion masks.

IHC scores and ISH are there, so the labels have three classes. ISH is taken with its ratio and its copies; under the
rules ``either-test`` they give the counts 61 zero, 407 low and 145 positive.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extract.adapters.contract import (
    Imported,
    Request,
    Row,
    check_options,
    find_table,
    gap,
    image_root,
    keeps_rows,
    part_rows,
    rows_below,
)
from triher.errors import Note, StopRun, unknown_name
from triher.label_rules import DEFAULT_RULES, RULE_SETS
from triher.tables import is_missing, read_cells

TABLES = ("clinical_patient_brca.txt", "nationwidechildrens.org_clinical_patient_brca.txt")
OPTIONS = {
    "rules": f"the HER2 rule set, {', '.join(RULE_SETS)} ({DEFAULT_RULES} if none is named)",
    "series": "which series of a DICOM folder: a regular expression for their descriptions",
}
COHORT = "TCGA-BRCA"

_ID = "bcr_patient_barcode"
# Ours -> theirs, for cells that are taken as they are.
_COPIED = {
    "site": "tissue_source_site",
    "ihc": "her2_ihc_score",
    "ish": "her2_fish_status",
    "ish_ratio": "her2_cent17_ratio",
    "ish_copies": "her2_copy_number",
    "age": "age_at_diagnosis",
    "stage": "ajcc_pathologic_tumor_stage",
    "histology": "histological_type",
    "race": "race",
    "sex": "gender",
}
_DECODED = ("er_status_by_ihc", "pr_status_by_ihc", "menopause_status", "vital_status")
_FOLLOW_UP = ("death_days_to", "last_contact_days_to")
_STATUS = {"Positive": "1", "Negative": "0"}
_EVENT = {"Dead": "1", "Alive": "0"}
_BARCODE = r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}"
_FOLDER = re.compile(_BARCODE, re.IGNORECASE)
_PHASE = re.compile(rf"(?P<stem>(?P<id>{_BARCODE})_phase)\d+(?P<suffix>\.nii(\.gz)?)", re.IGNORECASE)
_MASK = re.compile(rf"(?P<id>{_BARCODE})_mask\.nii(\.gz)?", re.IGNORECASE)


@dataclass(frozen=True)
class _Images:
    """What lies below the folder of the images, by barcode in capitals; paths relative to it."""

    exams: dict[str, str]
    masks: dict[str, str]


def read(request: Request) -> Imported:
    """Read the table, and list exams and masks below the folder of the images.

    An exam is a set of NIfTI files ``<barcode>_phase<k>.nii.gz``, or a folder with the barcode's name that holds
    DICOM; its mask is ``<barcode>_mask.nii.gz``. Both may lie in folders of any depth.

    Raises:
        StopRun: ``column_missing``, ``csv_row``, ``patient_id``, ``patient_duplicate``; ``unknown_name`` for options;
            ``ambiguous_file`` when a patient has two exams; as `triher.tables.read_cells`.
    """
    settings = _settings(request)
    table = find_table(request, TABLES)
    clinical = [_row(cells, f"{table}, row {number}") for number, cells in _patients(table)]
    _refuse_repeated(clinical, table)
    root = image_root(request)
    images = _list_images(root)
    rows = [row | _files(row["patient_id"], images) for row in clinical]
    missing = {
        row["patient_id"]: f"looked for {row['exam']} and for a folder {row['patient_id']} below {root}"
        for row in rows
        if row["patient_id"].upper() not in images.exams
    }
    keep = keeps_rows(request)
    kept, absent, notes = part_rows(rows, missing, keep=keep)
    without = {row["patient_id"]: row for row in kept if not keep and row["patient_id"].upper() not in images.masks}
    unmasked = [gap(name, COHORT, "mask_missing", f"looked for {row['mask']}") for name, row in without.items()]
    known = {row["patient_id"].upper() for row in rows}
    strangers = [
        gap(barcode, COHORT, "no_label", f"images in {root / exam}; no row in {table.name}")
        for barcode, exam in images.exams.items()
        if barcode not in known
    ]
    return Imported(
        tuple(row for row in kept if row["patient_id"] not in without),
        settings,
        "triple",
        root,
        (*absent, *unmasked, *strangers),
        (*notes, Note("", "follow_up", "time and event are of overall survival, in days from diagnosis")),
    )


def _settings(request: Request) -> dict[str, Any]:
    """The cohort section, from the options."""
    check_options(request, OPTIONS)
    rules = request.options.get("rules", DEFAULT_RULES)
    if rules not in RULE_SETS:
        raise unknown_name("HER2 rule set", rules, RULE_SETS)
    return {
        "name": COHORT,
        "her2_rules": rules,
        "exam": "{exam}",
        "phases": {"pre": "pre", "early": "first post", "late": "last"},
        "mask": "{mask}",
        **({"series": request.options["series"]} if "series" in request.options else {}),
        "covariates": ["age"],
        "time_unit": "days",
    }


def _patients(table: Path) -> Iterator[tuple[int, Row]]:
    """Number and cells of every patient's row, without the rows that belong to the header."""
    columns = (_ID, *_COPIED.values(), *_DECODED, *_FOLLOW_UP)
    for number, row in rows_below(read_cells(table), columns, purpose="a clinical table of TCGA", table=table):
        if row[_ID] != _ID and not row[_ID].startswith("CDE_ID:"):
            yield number, row


def _row(cells: Row, where: str) -> Row:
    """What the table says about a patient."""
    if not cells[_ID]:
        raise StopRun("patient_id", f"{where}: the column '{_ID}' is empty")
    taken = {ours: _filled(cells[theirs]) for ours, theirs in _COPIED.items()}
    event = _EVENT.get(cells["vital_status"], "")
    return {
        "patient_id": cells[_ID],
        "cohort": COHORT,
        "split": "",
        **taken,
        "er": _STATUS.get(cells["er_status_by_ihc"], ""),
        "pr": _STATUS.get(cells["pr_status_by_ihc"], ""),
        # "Post (prior bilateral ovariectomy OR ...)": the first word says it.
        "menopause": _filled(cells["menopause_status"]).split(" ")[0].casefold(),
        "time": _filled(cells["death_days_to" if event == "1" else "last_contact_days_to"]),
        "event": event,
    }


def _filled(cell: str) -> str:
    """The cell, or nothing where it says that there is nothing."""
    return "" if is_missing(cell) else cell


def _refuse_repeated(rows: list[Row], table: Path) -> None:
    """One row a patient."""
    seen: set[str] = set()
    for row in rows:
        if row["patient_id"] in seen:
            raise StopRun("patient_duplicate", f"{table}: patient '{row['patient_id']}' has two rows")
        seen.add(row["patient_id"])


def _list_images(root: Path) -> _Images:
    """Find exams and masks below a folder; folders that hold the DICOM of a patient are not descended into."""
    exams: dict[str, str] = {}
    masks: dict[str, str] = {}
    for folder, subfolders, names in os.walk(root):
        here = Path(folder)
        place = here.relative_to(root)
        found = {match["id"].upper(): match for match in map(_PHASE.fullmatch, sorted(names)) if match}
        for barcode, match in found.items():
            _add(exams, barcode, str(place / f"{match['stem']}*{match['suffix']}"), root)
        for match in filter(None, map(_MASK.fullmatch, sorted(names))):
            _add(masks, match["id"].upper(), str(place / match[0]), root)
        if here != root and _FOLDER.fullmatch(here.name) and not found and _holds_files(here, names):
            _add(exams, here.name.upper(), str(place), root)
            subfolders.clear()
        subfolders.sort()
    return _Images(exams, masks)


def _holds_files(folder: Path, names: list[str]) -> bool:
    """Whether a folder without NIfTI phases holds anything that can be DICOM."""
    own = [name for name in names if not _MASK.fullmatch(name)]
    return bool(own) or any(path.is_file() for sub in folder.iterdir() if sub.is_dir() for path in sub.rglob("*"))


def _add(places: dict[str, str], barcode: str, place: str, root: Path) -> None:
    """Note where a patient's files are, which must be one place."""
    first = places.setdefault(barcode, place)
    if first != place:
        message = f"{barcode} has images in {root / first} and in {root / place}"
        raise StopRun("ambiguous_file", message, remedy="move one of them to another folder")


def _files(patient_id: str, images: _Images) -> Row:
    """Exam and mask of a patient: those that are there, or the names that they would have."""
    key = patient_id.upper()
    return {
        "exam": images.exams.get(key, f"{patient_id}_phase*.nii.gz"),
        "mask": images.masks.get(key, f"{patient_id}_mask.nii.gz"),
    }
