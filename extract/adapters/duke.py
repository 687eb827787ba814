"""Duke-Breast-Cancer-MRI: 922 patients, DICOM, a workbook of clinical data and one of boxes around the tumors.

Saha et al. 2021, doi 10.7937/TCIA.e3sv-re93, CC BY-NC 4.0. As The Cancer Imaging Archive delivers it::

    Clinical_and_Other_Features.xlsx    three rows of headers: groups, names, meaning of the codes
    Annotation_Boxes.xlsx               Patient ID, and Start and End of Row, Column and Slice
    Duke-Breast-Cancer-MRI/Breast_MRI_001/01-01-1990-.../3.000000-ax dyn pre-93877/1-001.dcm

or with UIDs for the names of studies and series. Series are told by their descriptions, and boxes are turned into
bounds of the volumes as they are read, see `extract.adapters.duke_images`.

HER2 is 0 or 1, amplified above a ratio of 2.2, so the labels are binary. ``NA``, ``NC`` and ``NP`` are missing
values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    number,
    part_rows,
    rows_below,
    whole,
)
from extract.adapters.duke_images import Box, find_dynamic, list_patients, stored_bounds
from triher.errors import Note, SkipPatient, Skipped, StopRun
from triher.tables import matching_key, read_cells

TABLES = ("Clinical_and_Other_Features.xlsx", "Clinical_and_Other_Features.csv")
BOXES = ("Annotation_Boxes.xlsx", "Annotation_Boxes.csv")
OPTIONS = {
    "boxes": "the workbook of boxes, where it does not lie beside the clinical one",
    "endpoint": "time and event: 'rfs' (default), recurrence or death, or 'os', death",
}
COHORT = "Duke"

_ID = "Patient ID"
_SHEET = "Data"
_HEADING_ROWS = 3
_MISSING = {"", "na", "nc", "np"}
_DAYS_A_YEAR = 365.25
# 2 is borderline. It has no class, nor has what the clinic did not record.
_HER2 = {"0": "HER2-", "1": "HER2+", "2": "equivocal", "": ""}
_CODES = {
    "Manufacturer": {"0": "GE", "1": "MPTronic", "2": "Siemens"},
    "Menopause (at diagnosis)": {"0": "pre", "1": "post", "2": ""},
}
_BOX_COLUMNS = ("Start Row", "End Row", "Start Column", "End Column", "Start Slice", "End Slice")
# What the names of the follow-up columns begin with; they end in "(from the date of diagnosis)", or nearly.
_LOCAL, _DISTANT, _DEATH = "Days to local recurrence", "Days to distant recurrence", "Days to death"
_FREE = ("Days to last local recurrence free", "Days to last distant recurrence free")
_CONTACT = "Age at last contact in EMR"
_EVENT = "Recurrence event(s)"
_NEEDED = (_ID, "HER2", "ER", "PR", "Date of Birth (Days)", _EVENT, *_CODES)


@dataclass(frozen=True)
class _Clinical:
    """The cells of a patient by the name of their column, and where they stand."""

    cells: Mapping[str, str]
    where: str

    def get(self, name: str) -> str:
        """The cell of the column of this name, or of the first that begins so; whole numbers without ``.0``."""
        key = matching_key(name)
        longer = (text for column, text in self.cells.items() if matching_key(column).startswith(key))
        cell = self.cells[name] if name in self.cells else next(longer, "")
        return "" if cell.casefold() in _MISSING else whole(cell)

    def days(self, name: str) -> float | None:
        """A number of days, or None."""
        return number(self.get(name), name, self.where)


def read(request: Request) -> Imported:
    """Read both workbooks, and the headers that tell series and slices.

    Raises:
        StopRun: as `triher.tables.read_cells`; ``file_unreadable``, ``column_missing``, ``patient_duplicate``,
            ``number_format``, ``her2_codes``; ``unknown_name`` for options.
    """
    check_options(request, OPTIONS)
    endpoint = choose_option(request, "endpoint", _ENDPOINTS, "rfs")
    table = find_table(request, TABLES)
    rows = [_row(patient, endpoint) for patient in _patients(table, request.sheet)]
    boxes = _read_boxes(_find_boxes(request, table))
    root = image_root(request)
    folders = list_patients(root)
    missing = {
        row["patient_id"]: f"no folder {row['patient_id']} below {root}"
        for row in rows
        if row["patient_id"] not in folders
    }
    keep = keeps_rows(request)
    kept, absent, notes = part_rows(rows, missing, keep=keep)
    found, broken = _with_images(kept, folders, boxes, root)
    known = {row["patient_id"] for row in rows}
    strangers = [
        gap(name, COHORT, "no_label", f"images in {folder}; no row in {table.name}")
        for name, folder in folders.items()
        if name not in known
    ]
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
        (*notes, Note("", "follow_up", f"time and event are of {_ENDPOINTS[endpoint]}, in days from diagnosis")),
    )


def _patients(table: Path, sheet: str) -> list[_Clinical]:
    """The rows below the headers, each patient once."""
    lines = _rows_of(table, sheet)
    top = next((k for k, cells in enumerate(lines[: _HEADING_ROWS + 1]) if _ID in cells), 0)
    found: dict[str, _Clinical] = {}
    for number_, row in rows_below(lines, _NEEDED, purpose="Duke's clinical table", table=table, top=top):
        if not row[_ID]:
            continue  # the row of the codes' meanings
        patient_id = row[_ID]
        if patient_id in found:
            raise StopRun("patient_duplicate", f"{table}, row {number_}: '{patient_id}' has two rows")
        found[patient_id] = _Clinical(row, f"{table}, row {number_}")
    if not found:
        raise StopRun("table_empty", f"{table} holds no patient")
    return list(found.values())


def _rows_of(table: Path, sheet: str) -> list[list[str]]:
    """All rows of the sheet with the data."""
    if sheet:
        return read_cells(table, sheet, heading_rows=_HEADING_ROWS)
    try:
        return read_cells(table, _SHEET, heading_rows=_HEADING_ROWS)
    except StopRun as error:
        if error.code != "xlsx_sheet":
            raise
    return read_cells(table, heading_rows=_HEADING_ROWS)


def _row(patient: _Clinical, endpoint: str) -> Row:
    """What the table says about a patient."""
    her2 = patient.get("HER2")
    if her2 not in _HER2:
        message = f"{patient.where}: HER2 is '{her2}'; expected 0 (negative), 1 (positive), 2 (borderline) or nothing"
        raise StopRun("her2_codes", message)
    born = patient.days("Date of Birth (Days)")
    time, event = _follow_up(patient, endpoint)
    decoded = [_CODES[column].get(patient.get(column), patient.get(column)) for column in _CODES]
    return {
        "patient_id": patient.get(_ID),
        "cohort": COHORT,
        "site": COHORT,
        "split": "",
        "ihc": _HER2[her2],
        "ish": "",
        "time": time,
        "event": event,
        # Days from diagnosis to birth, so below 0.
        "age": "" if born is None else f"{abs(born) / _DAYS_A_YEAR:.1f}",
        "er": patient.get("ER"),
        "pr": patient.get("PR"),
        "manufacturer": decoded[0],
        "menopause": decoded[1],
        "field_t": patient.get("Field Strength (Tesla)"),
        "exam": "",
        "series": "",
        "n_series": "",
        "box": "",
    }


_ENDPOINTS = {"rfs": "recurrence-free survival (recurrence or death)", "os": "overall survival"}


def _follow_up(patient: _Clinical, endpoint: str) -> tuple[str, str]:
    """Time in days and event.

    Death counts as an event of recurrence-free survival (STEEP: Hudis et al., J Clin Oncol 2007,
    doi 10.1200/JCO.2006.10.3523). Who has no event is followed as long as free of both kinds of recurrence, so up to
    the earlier of the two assessments.
    """
    death = patient.days(_DEATH)
    free = _known(patient, _FREE)
    if endpoint == "os":
        alive = [*free, *_known(patient, (_CONTACT,))]
        return (_text(death), "1") if death is not None else (_text(max(alive, default=None)), "0" if alive else "")
    recurrences = _known(patient, (_LOCAL, _DISTANT))
    if patient.get(_EVENT) == "1" and not recurrences:
        return "", "1"
    events = [*recurrences, *([] if death is None else [death])]
    if events:
        return _text(min(events)), "1"
    return _text(min(free, default=None)), "0" if free else ""


def _known(patient: _Clinical, names: Sequence[str]) -> list[float]:
    """The days that are there."""
    return [days for days in map(patient.days, names) if days is not None]


def _text(days: float | None) -> str:
    """Days for the table."""
    return "" if days is None else f"{days:g}"


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
    boxes = {}
    columns = (_ID, *_BOX_COLUMNS)
    for number_, row in rows_below(read_cells(path), columns, purpose="boxes around tumors", table=path):
        if not row[_ID]:
            continue
        bounds = [number(whole(row[name]), name, f"{path}, row {number_}") for name in _BOX_COLUMNS]
        if any(value is None or value != int(value) for value in bounds):
            message = f"{path}, row {number_}: a box needs six whole numbers, found {list(row.values())}"
            raise StopRun("number_format", message)
        r0, r1, c0, c1, s0, s1 = (int(value) for value in bounds if value is not None)
        boxes[row[_ID]] = Box((r0, r1), (c0, c1), (s0, s1))
    return boxes


def _with_images(
    rows: Sequence[Row], folders: Mapping[str, Path], boxes: Mapping[str, Box], root: Path
) -> tuple[tuple[Row, ...], list[Skipped]]:
    """The rows with exam, series and box; and whose images or box cannot be used."""
    found, broken = [], []
    for row in rows:
        patient_id = row["patient_id"]
        if patient_id not in folders:  # kept on request: there are no headers to count slices by
            found.append({**row, "exam": patient_id})
        elif patient_id not in boxes:
            broken.append(gap(patient_id, COHORT, "mask_missing", "the patient has no annotation box"))
        else:
            try:
                dynamic = find_dynamic(folders[patient_id])
                bounds = stored_bounds(boxes[patient_id], dynamic)
            except SkipPatient as error:
                broken.append(error.row(patient_id, COHORT, "import"))
                continue
            images = {"exam": folders[patient_id].relative_to(root).as_posix(), "series": " ".join(dynamic.uids)}
            found.append({**row, **images, "n_series": str(len(dynamic.uids)), "box": " ".join(map(str, bounds))})
    return tuple(found), broken
