"""Duke-Breast-Cancer-MRI: 922 patients, DICOM, a workbook of clinical data and one of boxes around the tumors.

Saha et al. 2021, doi 10.7937/TCIA.e3sv-re93, CC BY-NC 4.0. As The Cancer Imaging Archive delivers it::

    Clinical_and_Other_Features.xlsx    see `extract.adapters.duke_table`
    Annotation_Boxes.xlsx               Patient ID, and Start and End of Row, Column and Slice
    Duke-Breast-Cancer-MRI/Breast_MRI_001/01-01-1990-.../3.000000-ax dyn pre-93877/1-001.dcm

or with UIDs for the names of studies and series. Series are told by their descriptions, and boxes are turned into
bounds of the volumes as they are read, see `extract.adapters.duke_images`.

HER2 is 0 or 1, amplified above a ratio of 2.2, so the labels are binary.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

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
from extract.adapters.duke_images import Box, find_dynamic, list_patients, stored_bounds
from extract.adapters.duke_table import COHORT, ENDPOINTS, ID, read_patients
from extract.adapters.rows import number, one_row_a_patient, rows_below
from triher.errors import Note, SkipPatient, Skipped, StopRun
from triher.tables import read_cells

TABLES = ("Clinical_and_Other_Features.xlsx", "Clinical_and_Other_Features.csv")
BOXES = ("Annotation_Boxes.xlsx", "Annotation_Boxes.csv")
OPTIONS = {
    "boxes": "the workbook of boxes, where it does not lie beside the clinical one",
    "endpoint": "time and event: 'rfs' (default), recurrence or death, or 'os', death",
}

_BOX_COLUMNS = ("Start Row", "End Row", "Start Column", "End Column", "Start Slice", "End Slice")


def read(request: Request) -> Imported:
    """Read both workbooks, and the headers that tell series and slices.

    Raises:
        StopRun: as `extract.adapters.duke_table.read_patients`; ``file_unreadable``; ``unknown_name`` for options.
    """
    check_options(request, OPTIONS)
    endpoint = choose_option(request, "endpoint", ENDPOINTS, "rfs")
    keep = keeps_rows(request)
    table = find_table(request, TABLES)
    rows = read_patients(table, request.sheet, endpoint)
    boxes = _read_boxes(_find_boxes(request, table))
    root = image_root(request)
    folders = list_patients(root)
    missing = {
        row["patient_id"]: f"no folder {row['patient_id']} below {root}"
        for row in rows
        if row["patient_id"] not in folders
    }
    kept, absent, counted = part_rows(rows, missing, keep=keep)
    found, broken, notes = _with_images(kept, folders, boxes, root, keep=keep)
    known = {row["patient_id"] for row in rows}
    strangers = [
        gap(name, COHORT, "no_label", f"images in {places[0]}; no row in {table.name}")
        for name, places in folders.items()
        if name not in known
    ]
    follow_up = Note("", "follow_up", f"time and event are of {ENDPOINTS[endpoint]}, in days from diagnosis")
    return Imported(
        found,
        {
            "name": COHORT,
            "exam": "{exam}",
            "series": "{series}",
            "phases": {"pre": "pre", "early": "first post", "late": "last"},
            "box": "{box}",
            "covariates": ["age"],
            "time_unit": "days",
        },
        "binary",
        root,
        (*absent, *broken, *strangers),
        (*counted, *notes, follow_up),
    )


def _find_boxes(request: Request, table: Path) -> Path:
    """The workbook of boxes: as the option says, or beside the clinical table, or in the collection's folder."""
    if "boxes" in request.options:
        return Path(request.options["boxes"])
    places = [folder / name for folder in (table.parent, request.path) for name in BOXES]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        message = f"neither {table.parent} nor {request.path} holds {BOXES[0]}"
        raise StopRun("file_unreadable", message, remedy="download it, or name it with the option boxes")
    return found


def _read_boxes(path: Path) -> dict[str, Box]:
    """Patient -> box."""
    rows = rows_below(read_cells(path), (ID, *_BOX_COLUMNS), purpose="boxes around tumors", table=path)
    boxes = {}
    for patient_id, (number_, row) in one_row_a_patient(rows, ID, path).items():
        bounds = [number(row[name], name, f"{path}, row {number_}") for name in _BOX_COLUMNS]
        if any(value is None or value != int(value) for value in bounds):
            message = f"{path}, row {number_}: a box needs six whole numbers, found {[row[n] for n in _BOX_COLUMNS]}"
            raise StopRun("number_format", message)
        r0, r1, c0, c1, s0, s1 = (int(value) for value in bounds if value is not None)
        boxes[patient_id] = Box((r0, r1), (c0, c1), (s0, s1))
    return boxes


def _with_images(
    rows: Sequence[Row], folders: Mapping[str, Sequence[Path]], boxes: Mapping[str, Box], root: Path, *, keep: bool
) -> tuple[tuple[Row, ...], list[Skipped], list[Note]]:
    """The rows with exam, series and box; whose images or box cannot be used; and what was noticed.

    Rows that are kept without images have no box, for there are no headers to count slices by.
    """
    found, broken, notes = [], [], []
    for row in rows:
        patient_id = row["patient_id"]
        if patient_id not in folders:
            found.append({**row, "exam": patient_id})
            continue
        try:
            images, remarks = _images(folders[patient_id], boxes.get(patient_id), root)
        except SkipPatient as error:
            if not keep:
                broken.append(error.row(patient_id, COHORT, "import"))
                continue
            images = {"exam": folders[patient_id][0].relative_to(root).as_posix()}
            remarks = [(error.code, f"{error.message}; the row is kept without series and box")]
        found.append({**row, **images})
        notes += [Note(patient_id, code, text) for code, text in remarks]
    return tuple(found), broken, notes


def _images(places: Sequence[Path], box: Box | None, root: Path) -> tuple[Row, list[tuple[str, str]]]:
    """Exam, series and box of a patient, and code and text of what was noticed."""
    if box is None:
        raise SkipPatient(
            "mask_missing", "the patient has no annotation box", remedy="complete the workbook of boxes"
        )
    dynamic = find_dynamic(places)
    images = {
        "exam": dynamic.patient.relative_to(root).as_posix(),
        "series": " ".join(dynamic.uids),
        "n_series": str(len(dynamic.uids)),
        "box": " ".join(map(str, stored_bounds(box, dynamic))),
    }
    text = f"a phase between others is not there; phases found: {list(dynamic.phases)}"
    gapless = dynamic.phases == tuple(range(len(dynamic.phases)))
    return images, [] if gapless else [("phase_missing", text)]
