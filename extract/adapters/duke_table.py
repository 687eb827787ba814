"""Duke's clinical workbook: who the patients are, their HER2 and follow-up.

Three rows of headers: groups, names, meaning of the codes. ``NA``, ``NC`` and ``NP`` are missing values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from extract.adapters.contract import Row
from extract.adapters.rows import number, one_row_a_patient, rows_below, whole
from triher.errors import StopRun
from triher.tables import matching_key, read_cells

COHORT = "Duke"
ID = "Patient ID"
ENDPOINTS = {"rfs": "recurrence-free survival (recurrence or death)", "os": "overall survival"}
"""Name -> what time and event are of."""

_SHEET = "Data"
_HEADING_ROWS = 3
_MISSING = {"", "na", "nc", "np"}
_DAYS_A_YEAR = 365.25
# 2 is borderline. It has no class, nor has what the clinic did not record.
_RECORDED = {"0": "HER2-", "1": "HER2+", "2": "equivocal"}
_HER2 = {**_RECORDED, "": ""}
_CODES = {
    "Manufacturer": {"0": "GE", "1": "MPTronic", "2": "Siemens"},
    "Menopause (at diagnosis)": {"0": "pre", "1": "post", "2": ""},
}
# What the names of the follow-up columns begin with; they end in "(from the date of diagnosis)", or nearly.
_LOCAL, _DISTANT, _DEATH = "Days to local recurrence", "Days to distant recurrence", "Days to death"
_FREE = ("Days to last local recurrence free", "Days to last distant recurrence free")
_CONTACT = "Age at last contact in EMR"
_EVENT = "Recurrence event(s)"
_NEEDED = (ID, "HER2", "ER", "PR", "Date of Birth (Days)", _EVENT, *_CODES)


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


def read_patients(table: Path, sheet: str, endpoint: str) -> list[Row]:
    """One row a patient, in the order of the workbook, without images.

    Args:
        table: the workbook, or its sheet as CSV.
        sheet: the sheet's name; ``Data``, or the only one, if empty.
        endpoint: a key of `ENDPOINTS`.

    Raises:
        StopRun: as `triher.tables.read_cells`; ``column_missing``, ``csv_row``, ``table_empty``, ``patient_id``,
            ``patient_duplicate``, ``number_format``, ``her2_codes``.
    """
    found = one_row_a_patient(_rows(table, sheet), ID, table)
    if not found:
        raise StopRun("table_empty", f"{table} holds no patient")
    return [_row(_Clinical(cells, f"{table}, row {number_}"), endpoint) for number_, cells in found.values()]


def _rows(table: Path, sheet: str) -> Iterator[tuple[int, Row]]:
    """Number and cells of the rows below the headers."""
    lines = _rows_of(table, sheet)
    top = next((k for k, cells in enumerate(lines[: _HEADING_ROWS + 1]) if ID in cells), 0)
    below = top + 2  # its number, where rows count from 1
    rows = list(rows_below(lines, _NEEDED, purpose="Duke's clinical table", table=table, top=top))
    _demand_follow_up(lines[top], table)
    for number_, row in rows:
        # The row of the codes' meanings has no id, nor has it a code.
        if row[ID] or number_ != below or whole(row["HER2"]) in _RECORDED:
            yield number_, row


def _demand_follow_up(names: Sequence[str], table: Path) -> None:
    """Without one of these columns its events would pass for none."""
    keys = tuple(map(matching_key, names))
    for start in (_LOCAL, _DISTANT, _DEATH, *_FREE, _CONTACT):
        if not any(key.startswith(matching_key(start)) for key in keys):
            raise StopRun("column_missing", f"{table} has no column that begins with '{start}' (follow-up)")


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
        "patient_id": patient.get(ID),
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
