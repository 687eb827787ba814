"""The cohort table: one row a patient, checked as it is read, with the reason for every gap."""

import math
import os
import string
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from triher.config import CohortConfig
from triher.errors import Note, Skipped, StopRun, unknown_name
from triher.files import sha256_of_json
from triher.labels import check_codes, class_in_scheme, her2_from_pathology, scheme_classes
from triher.tables import matching_key, read_table, require_column

_MONTHS = {"days": 12 / 365.25, "months": 1.0, "years": 12.0}
_MISSING = {"", "NA", "N/A", "NaN", "nan", "null", "None", "[Not Available]", "[Not Evaluated]"}
OWN_COLUMNS = ("patient_id", "cohort", "site", "split", "ihc", "ish", "time", "event")
_LABEL_COLUMNS = ("ihc", "ish")


@dataclass(frozen=True)
class Patient:
    """One patient: who, where from, and the files."""

    patient_id: str
    cohort: str
    site: str
    split: str
    phases: dict[str, Path]
    mask: Path
    ihc: str = ""
    ish: str = ""
    covariates: dict[str, float] = field(default_factory=dict)
    time_months: float = math.nan
    event: int = -1
    """1 event, 0 censored, -1 not known."""

    def files(self) -> dict[str, Path]:
        """Every source file by purpose: the phases in their order, then the mask."""
        return {**self.phases, "mask": self.mask}


@dataclass(frozen=True)
class Cohort:
    """The patients in the order of the table, and remarks about the rows."""

    patients: tuple[Patient, ...]
    notes: tuple[Note, ...]
    columns: frozenset[str]
    """Which of our columns the table has."""

    def ids(self) -> list[str]:
        """The patient ids, in order."""
        return [patient.patient_id for patient in self.patients]


def read_cohort(config: CohortConfig, *, survival: bool = True) -> Cohort:
    """Read and check a cohort table.

    Rows that say the same twice are merged with a note; files are not opened here.

    Args:
        config: where the table is and how its columns are called.
        survival: whether follow-up is wanted; without it, columns `time` and `event` are not looked at.

    Raises:
        StopRun: as `triher.tables.read_table`; ``column_missing``, ``patient_id``, ``patient_duplicate``,
            ``number_format``, ``event_codes``, ``her2_codes``, ``label_leak``, ``unknown_name`` (a mapped column
            that nothing asks for) or ``config_value`` (survival times without a unit, a malformed file name).
    """
    if "mask" in config.phases:
        raise StopRun("config_value", "cohort.phases: 'mask' cannot be the name of a phase")
    templates = {**config.phases, "mask": config.mask}
    cells = {cell for purpose, template in templates.items() for cell in _template_cells(purpose, template)}
    _check_covariates(config)
    frame = _rename(read_table(config.table), config, cells)
    for column in (*sorted(cells), *config.covariates):
        purpose = "cohort.covariates" if column in config.covariates else "file names of phases and mask"
        require_column(frame, column, purpose=purpose, where=str(config.table))
    if not survival:
        frame = frame.drop(columns=[name for name in ("time", "event") if name in frame.columns])
    if {"time", "event"} <= set(frame.columns) and config.time_unit is None:
        message = f"{config.table} has survival times; cohort.time_unit must say days, months or years"
        raise StopRun("config_value", message, remedy="set cohort.time_unit")
    rows, notes = _one_row_a_patient(frame, config.table)
    patients = tuple(_patient(row, config, line) for line, row in rows.items())
    check_codes([(patient.ihc, patient.ish) for patient in patients])
    return Cohort(patients, tuple(notes), frozenset(OWN_COLUMNS) & set(frame.columns))


def _template_cells(purpose: str, template: str) -> list[str]:
    """The columns that a file name refers to."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise StopRun("config_value", f"the file name of '{purpose}', '{template}': {error}") from error
    if any(spec or conversion for _, _, spec, conversion in parts):
        message = f"the file name of '{purpose}', '{template}', may hold {{column}} and nothing more in braces"
        raise StopRun("config_value", message)
    return [name for _, name, _, _ in parts if name is not None]


def _fill(template: str, row: dict[str, str]) -> str:
    """Put the row's cells into a file name; a column name is never read as an expression."""
    parts = string.Formatter().parse(template)
    return "".join(text + ("" if name is None else row[name]) for text, name, _, _ in parts)


def _check_covariates(config: CohortConfig) -> None:
    """Refuse a covariate that the label is made from, under our name or the table's."""
    for covariate in config.covariates:
        sources = {covariate, *(ours for ours, theirs in config.columns.items() if theirs == covariate)}
        if sources & set(_LABEL_COLUMNS):
            message = f"cohort.covariates names '{covariate}', which the HER2 class is made from"
            raise StopRun("label_leak", message)


def _rename(frame: pd.DataFrame, config: CohortConfig, cells: set[str]) -> pd.DataFrame:
    """Give the mapped columns our names, and demand the id."""
    known = {*OWN_COLUMNS, *cells, *config.covariates}
    for ours, theirs in config.columns.items():
        if ours not in known:
            raise unknown_name("key of cohort.columns", ours, known)
        require_column(frame, theirs, purpose=f"cohort.columns.{ours}", where=str(config.table))
    mapped = {ours: frame[theirs] for ours, theirs in config.columns.items()}
    replaced = {*config.columns, *config.columns.values()} & set(frame.columns)
    frame = frame.drop(columns=sorted(replaced)).assign(**mapped)
    require_column(frame, "patient_id", purpose="one row a patient", where=str(config.table))
    return frame


def _one_row_a_patient(frame: pd.DataFrame, table: Path) -> tuple[dict[int, dict[str, str]], list[Note]]:
    """Line -> row. Merge equal rows of one id; refuse different ones, and ids that only look different."""
    notes: list[Note] = []
    keep: dict[str, int] = {}
    names = [str(name) for name in frame.columns]
    rows = [dict(zip(names, cells, strict=True)) for cells in frame.to_numpy().tolist()]
    for index, row in enumerate(rows):
        patient_id = row["patient_id"]
        if not patient_id:
            raise StopRun("patient_id", f"{table}, line {index + 2}: the patient id is empty")
        first = keep.setdefault(matching_key(patient_id), index)
        if first == index:
            continue
        if rows[first] != row:
            message = (
                f"{table}: lines {first + 2} ('{rows[first]['patient_id']}') and {index + 2} ('{patient_id}') "
                "are one patient with different entries"
            )
            raise StopRun("patient_duplicate", message)
        notes.append(Note(patient_id, "patient_duplicate", f"line {index + 2} repeats line {first + 2}"))
    return {index + 2: rows[index] for index in keep.values()}, notes


def _patient(row: dict[str, str], config: CohortConfig, line: int) -> Patient:
    """Read one row."""
    where = f"{config.table}, line {line}"
    root = config.root or config.table.parent
    time, event = _survival(row, config, where)
    return Patient(
        patient_id=row["patient_id"],
        cohort=row.get("cohort") or config.name,
        site=row.get("site") or row.get("cohort") or config.name,
        split=row.get("split", ""),
        phases={phase: root / _fill(template, row) for phase, template in config.phases.items()},
        mask=root / _fill(config.mask, row),
        ihc=row.get("ihc", ""),
        ish=row.get("ish", ""),
        covariates={name: _number(row[name], name, where) for name in config.covariates},
        time_months=time,
        event=event,
    )


def _number(cell: str, column: str, where: str) -> float:
    """A finite number, or NaN for a missing one."""
    if cell in _MISSING:
        return math.nan
    try:
        value = math.nan if "_" in cell else float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise StopRun("number_format", f"{where}: column '{column}' holds '{cell}', which is no number")
    return value


def _survival(row: dict[str, str], config: CohortConfig, where: str) -> tuple[float, int]:
    """Time in months and event, unknown where either cell is empty."""
    if config.time_unit is None or "time" not in row or "event" not in row:
        return math.nan, -1
    code = row["event"]
    if code not in config.event_codes:
        if code in _MISSING:
            return math.nan, -1
        known = ", ".join(f"'{c}'" for c in config.event_codes)
        raise StopRun("event_codes", f"{where}: column 'event' holds '{code}'; known codes: {known}")
    return _number(row["time"], "time", where) * _MONTHS[config.time_unit], config.event_codes[code]


def sources_sha256(cohort: Cohort, config: CohortConfig) -> str:
    """One hash of which files belong to which patient; changes when embeddings would belong to somebody else.

    The files count by their place below the images' folder, so a run can be continued on another machine.
    """
    root = config.root or config.table.parent
    files = {
        patient.patient_id: [[name, os.path.relpath(path, root)] for name, path in patient.files().items()]
        for patient in cohort.patients
    }
    return sha256_of_json({"files": files, "mask_label": config.mask_label})


def labels(cohort: Cohort, scheme: str) -> tuple[dict[str, int], list[Skipped]]:
    """The class of every patient, as a position in the scheme, and who has none and why.

    Raises:
        StopRun: ``column_missing`` when the table has no IHC column at all.
    """
    if "ihc" not in cohort.columns:
        message = "the cohort table has no column 'ihc' (and none is mapped to it), so there are no HER2 labels"
        raise StopRun("column_missing", message, remedy="map the column under cohort.columns.ihc")
    classes = scheme_classes(scheme)
    known: dict[str, int] = {}
    skipped: list[Skipped] = []
    for patient in cohort.patients:
        her2 = her2_from_pathology(patient.ihc, patient.ish)
        name = class_in_scheme(her2, scheme)
        if name:
            known[patient.patient_id] = classes.index(name)
        else:
            reason = f"{her2.reason} (IHC '{patient.ihc}', ISH '{patient.ish}')"
            remedy = "complete or correct IHC and ISH in the table"
            skipped.append(Skipped(patient.patient_id, patient.cohort, "classify", "her2_unknown", reason, remedy))
    return known, skipped
