"""I-SPY2 with HER2 in three classes: the trial's supplement, joined to the images of MAMA-MIA or BreastDCEDL.

The table ``her2_triple_class.csv`` has one row a patient: zero, low or positive from the supplement of GSE194040
(Wolf et al., Cancer Cell 2022, doi 10.1016/j.ccell.2022.05.005), the trial's site, and the ids of both collections.
Whom the supplement calls HER2-negative without saying zero or low keeps ``negative``: it has no class of three.

MAMA-MIA's NIfTI headers tell the spacing. BreastDCEDL's do not, so its own table is needed beside the images, and the
rows carry its ids; the MAMA-MIA rows carry ``ISPY2_<id>``. Columns that tell HER2 (treatment arm, PAM50, ERBB2) stay
out of the rows.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from extract.adapters import breastdcedl, mama_mia
from extract.adapters.breastdcedl_files import list_files
from extract.adapters.contract import (
    Imported,
    Request,
    Row,
    check_options,
    choose_option,
    find_table,
    gap,
    image_root,
    keeps_rows,
    part_rows,
)
from extract.adapters.rows import binary_her2, filled, number, read_rows
from triher.errors import Note, SkipPatient, Skipped

TABLE = "her2_triple_class.csv"
OPTIONS = {
    "source": "whose images they are: 'mama-mia' or 'breastdcedl'; found by their names if not given",
    "metadata": "MAMA-MIA's or BreastDCEDL's own table, where it does not lie beside the images",
    "segmentation": "'expert' (default) or 'automatic', of MAMA-MIA",
}

_COLUMNS = ("id", "her2_3class", "her2", "mama_mia_id", "breastdcedl_pid")
_COVARIATES = ("age", "hr", "mammaprint", "tum_vol_ml")


def read(request: Request) -> Imported:
    """Read the supplement and the images' own table, and list the images.

    Raises:
        StopRun: as `extract.adapters.mama_mia.read` and `extract.adapters.breastdcedl.read`.
    """
    check_options(request, OPTIONS)
    table = find_table(request, (TABLE,))
    patients, notes = read_rows(table, _COLUMNS, purpose="the I-SPY2 supplement", sheet=request.sheet)
    root = image_root(request)
    found = "breastdcedl" if list_files(root).volumes else "mama-mia"
    if choose_option(request, "source", ("mama-mia", "breastdcedl"), found) == "breastdcedl":
        return _with_breastdcedl(request, table, root, patients)
    imported = _with_mama_mia(request, root, patients, str(table))
    return replace(imported, notes=(*notes, *imported.notes))


def _with_breastdcedl(request: Request, table: Path, root: Path, patients: Sequence[Row]) -> Imported:
    """As BreastDCEDL with three classes, and whom it does not have."""
    shared = {name: value for name, value in request.options.items() if name not in OPTIONS}
    metadata = Path(request.options["metadata"]) if "metadata" in request.options else None
    options = {**shared, "three-class": str(table), "cohort": "ispy2"}
    imported = breastdcedl.read(Request(root, metadata, root, options=options))
    reason = "BreastDCEDL does not have the patient"
    absent = [gap(cells["id"], "I-SPY2", "no_images", reason) for cells in patients if not cells["breastdcedl_pid"]]
    return replace(imported, skipped=(*imported.skipped, *absent))


def _with_mama_mia(request: Request, root: Path, patients: Sequence[Row], where: str) -> Imported:
    """One row a patient of the supplement, with MAMA-MIA's images and times."""
    exams = mama_mia.list_exams(root, choose_option(request, "segmentation", ("expert", "automatic"), "expert"))
    times = _times(request, exams)
    rows: list[Row] = []
    missing: dict[str, str] = {}
    skipped: list[Skipped] = []
    notes: list[Note] = []
    for cells in patients:
        row = _clinical(cells, where)
        patient_id = row["patient_id"]
        try:
            images = exams.cells(patient_id)
        except SkipPatient as error:
            skipped.append(error.row(patient_id, row["cohort"], "import"))
            continue
        if patient_id.casefold() not in exams.numbers:
            there = "" if cells["mama_mia_id"] else "MAMA-MIA does not have the patient; "
            missing[patient_id] = f"{there}looked for {exams.root / images['exam']}"
        text, remarks = times.get(patient_id, ("", []))
        rows.append(row | images | {"times": text})
        notes += remarks
    kept, absent, counted = part_rows(rows, missing, keep=keeps_rows(request))
    ids = [row["patient_id"] for row in rows] + [one.patient_id for one in skipped]
    strangers = [one for one in mama_mia.without_row(exams, ids) if one.cohort == "I-SPY2"]
    settings = mama_mia.SETTINGS | {"name": "I-SPY2", "covariates": list(_COVARIATES)}
    return Imported(kept, settings, "triple", exams.root, (*skipped, *absent, *strangers), (*counted, *notes))


def _times(request: Request, exams: mama_mia.Exams) -> dict[str, tuple[str, list[Note]]]:
    """Start of each volume by patient, where MAMA-MIA's table is there."""
    beside = [exams.root / name for name in mama_mia.TABLES]
    path = (
        Path(request.options["metadata"])
        if "metadata" in request.options
        else next(filter(Path.is_file, beside), None)
    )
    if path is None:
        return {}
    sheet = mama_mia.SHEET if path.suffix == ".xlsx" else ""
    rows, _ = read_rows(path, ("patient_id", "acquisition_times"), purpose="MAMA-MIA", sheet=sheet)
    return {cells["patient_id"]: mama_mia.exam_times(cells, exams) for cells in rows}


def _clinical(cells: Row, where: str) -> Row:
    """What the supplement says about the patient, without the columns that repeat the label."""
    official = breastdcedl.OFFICIAL_SPLITS.get(filled(cells.get("breastdcedl_split", "")), "")
    # The table has BreastDCEDL's older volumes, in mm3: equal for all patients in both.
    volume_mm3 = number(cells.get("tum_vol", ""), "tum_vol", f"{where}, id {cells['id']}")
    return {
        "patient_id": cells["mama_mia_id"] or f"ISPY2_{cells['id']}",
        "cohort": "I-SPY2",
        "site": filled(cells.get("site", "")),
        "split": "train" if official == "validation" else official,
        "official_split": official,
        "ihc": filled(cells["her2_3class"]) or binary_her2(cells["her2"], f"{where}, id {cells['id']}"),
        "ish": "",
        "age": filled(cells.get("age", "")),
        "hr": filled(cells.get("hr", "")),
        "mammaprint": filled(cells.get("mammaprint_high", "")),
        "pcr": filled(cells.get("pcr", "")),
        "tum_vol_ml": "" if volume_mm3 is None else f"{volume_mm3 / 1000:.6g}",
        "vendor": filled(cells.get("manufacturer", "")),
        "field_strength": filled(cells.get("field_strength", "")),
    }
