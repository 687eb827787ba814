"""TCGA-BRCA: the clinical table of The Cancer Genome Atlas, and the MRI of those patients who have any.

The table is ``clinical_patient_brca.txt``, a "biotab" file of the Genomic Data Commons: the first row has the names,
the second one the names of an older edition, the third one codes (``CDE_ID:2003301``); missing values are spelled
``[Not Available]``, ``[Not Evaluated]`` and the like. It has 1,097 patients; The Cancer Imaging Archive holds MRI of
about 100 of them (Lingle et al. 2016, doi 10.7937/K9/TCIA.2016.AB2NAZRP), as DICOM and without lesion masks.

IHC scores and ISH are there, so the labels have three classes. ISH is taken with its ratio and its copies; under the
rules ``either-test`` they give the counts 61 zero, 407 low and 145 positive.
"""

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
)
from extract.adapters.rows import one_row_a_patient, rows_below
from extract.adapters.tcga_images import Images, list_images
from triher.errors import Note, Skipped, StopRun, unknown_name
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


def read(request: Request) -> Imported:
    """Read the table, and list exams and masks below the folder of the images, see `extract.adapters.tcga_images`.

    Raises:
        StopRun: ``column_missing``, ``csv_row``, ``table_empty``, ``patient_id``, ``patient_duplicate``;
            ``unknown_name`` for options; ``ambiguous_file`` when a patient has two exams; as
            `triher.tables.read_cells`.
    """
    settings = _settings(request)
    keep = keeps_rows(request)
    table = find_table(request, TABLES)
    clinical = [_row(cells) for cells in _patients(table)]
    root = image_root(request)
    images = list_images(root)
    rows = [row | _files(row["patient_id"], images) for row in clinical]
    missing = {
        row["patient_id"]: f"looked for {row['exam']} and for a folder {row['patient_id']} below {root}"
        for row in rows
        if row["patient_id"].upper() not in images.exams
    }
    kept, absent, counted = part_rows(rows, missing, keep=keep)
    broken = [] if keep else [reason for row in kept if (reason := _broken(row, images))]
    lost = {reason.patient_id for reason in broken}
    known = {row["patient_id"].upper() for row in rows}
    strangers = [
        gap(barcode, COHORT, "no_label", f"images in {root / exam}; no row in {table.name}")
        for barcode, exam in images.exams.items()
        if barcode not in known
    ]
    return Imported(
        tuple(row for row in kept if row["patient_id"] not in lost),
        settings,
        "triple",
        root,
        (*absent, *broken, *strangers),
        (*counted, Note("", "follow_up", "time and event are of overall survival, in days from diagnosis")),
    )


def _broken(row: Row, images: Images) -> Skipped | None:
    """Why an exam that is there cannot come in."""
    barcode = row["patient_id"].upper()
    if reason := images.incomplete(barcode):
        return gap(row["patient_id"], COHORT, "phase_missing", reason)
    if barcode not in images.masks:
        return gap(row["patient_id"], COHORT, "mask_missing", f"looked for {row['mask']}")
    return None


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


def _patients(table: Path) -> list[Row]:
    """The cells of every patient, without the rows that belong to the header."""
    columns = (_ID, *_COPIED.values(), *_DECODED, *_FOLLOW_UP)
    rows = rows_below(read_cells(table), columns, purpose="a clinical table of TCGA", table=table)
    below = ((number, row) for number, row in rows if row[_ID] != _ID and not row[_ID].startswith("CDE_ID:"))
    found = one_row_a_patient(below, _ID, table)
    if not found:
        raise StopRun("table_empty", f"{table} holds no patient")
    return [row for _, row in found.values()]


def _row(cells: Row) -> Row:
    """What the table says about a patient."""
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


def _files(patient_id: str, images: Images) -> Row:
    """Exam and mask of a patient: those that are there, or the names that they would have."""
    key = patient_id.upper()
    return {
        "exam": images.exams.get(key, f"{patient_id}_phase*.nii.gz"),
        "mask": images.masks.get(key, f"{patient_id}_mask.nii.gz"),
    }
