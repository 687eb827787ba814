"""The cohort table: one row a patient, checked as it is read, with the reason for every gap."""

import math
import os
import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from triher.errors import Note, Skipped, StopRun, unknown_name
from triher.files import sha256_of_json
from triher.label_names import tells_her2
from triher.label_rules import DEFAULT_RULES, RULE_SETS
from triher.labels import Entry, check_codes, class_in_scheme, describe, her2_from_pathology, scheme_classes
from triher.overlaps import find_overlaps
from triher.reading import Reading, file_of, read_reading, template_cells, templates
from triher.settings import CohortConfig
from triher.tables import is_missing, matching_key, number, read_table, require_column

_MONTHS = {"days": 12 / 365.25, "months": 1.0, "years": 12.0}
_UNIT_RATIO = 10  # days for months make a factor of 30, months for years one of 12
_LABEL_COLUMNS = ("ihc", "ish", "ish_ratio", "ish_copies", "staining_percent")
_WORD = re.compile(r"(?!inf(inity)?$)[^\W\d_]", re.IGNORECASE)  # begins with a letter and is no infinity: 'T2', 'no'
OWN_COLUMNS = ("patient_id", "cohort", "site", "vendor", "split", *_LABEL_COLUMNS, "time", "event")


@dataclass(frozen=True)
class Patient:
    """One patient: who, where from, and the files."""

    patient_id: str
    cohort: str
    site: str
    split: str
    phases: dict[str, Path]
    """Phase -> source; one and the same for all where `reading` has rules."""
    mask: Path | None
    """None where `reading` has a box."""
    reading: Reading = field(default_factory=Reading)
    ihc: str = ""
    ish: str = ""
    ish_ratio: str = ""
    """HER2/CEP17."""
    ish_copies: str = ""
    """Mean HER2 signals a cell."""
    staining_percent: str = ""
    """Share of the tumor cells with membrane staining, which tells ultralow from zero."""
    vendor: str = ""
    """Maker of the scanner, for the shortcut audit."""
    covariates: dict[str, float] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    """Cells of ``cohort.groups``, empty where missing."""
    time_months: float = math.nan
    event: int = -1
    """1 event, 0 censored, 2 another event that rules the event out, -1 not known."""

    def her2_entry(self) -> Entry:
        """The cells that HER2 is read from."""
        return Entry(self.ihc, self.ish, self.ish_ratio, self.ish_copies, self.staining_percent)

    def files(self) -> dict[str, Path]:
        """Every source by purpose: the phases in their order (or ``exam`` for all), then the mask if there is one."""
        phases = {"exam": next(iter(self.phases.values()))} if self.reading.rules else self.phases
        return {**phases, **({"mask": self.mask} if self.mask is not None else {})}

    def places(self, root: Path) -> list[list[str]]:
        """Purpose and place of every source, told from a folder, so that they are the same on another machine."""
        return [[name, os.path.relpath(path, root)] for name, path in self.files().items()]


@dataclass(frozen=True)
class Cohort:
    """The patients in the order of the table, and remarks about the rows."""

    patients: tuple[Patient, ...]
    notes: tuple[Note, ...]
    columns: frozenset[str]
    """Which of our columns the table has."""
    her2_rules: str = DEFAULT_RULES

    def ids(self) -> list[str]:
        """The patient ids, in order."""
        return [patient.patient_id for patient in self.patients]


def read_cohort(config: CohortConfig, *, survival: bool = True, images: bool = True) -> Cohort:
    """Read and check a cohort table.

    Rows that say the same twice are merged with a note; files are not opened here.

    Args:
        config: where the table is and how its columns are called.
        survival: whether follow-up is wanted; without it, columns `time` and `event` are not looked at.
        images: whether the patients have images; without them, no columns are asked for to name their files.

    Raises:
        StopRun: as `triher.tables.read_table`; ``column_missing``, ``patient_id``, ``patient_duplicate``,
            ``number_format``, ``covariate_type``, ``event_codes``, ``her2_codes``, ``label_leak``, ``unknown_name``
            (a mapped column that nothing asks for) or ``config_value`` (survival times without a unit, a malformed
            file name).
    """
    if config.her2_rules not in RULE_SETS:
        raise unknown_name("set of HER2 rules", config.her2_rules, RULE_SETS)
    asked = templates(config) if images else {}
    cells = {cell for purpose, text in asked.items() for cell in template_cells(purpose, text)}
    _check_covariates(config)
    table = read_table(config.table, config.sheet)
    frame, lines = _rename(table, config, cells), table.attrs["lines"]
    for column in (*sorted(cells), *config.covariates, *config.groups):
        own = [name for name in ("covariates", "groups") if column in getattr(config, name)]
        purpose = f"cohort.{own[0]}" if own else "file names of phases and mask"
        _refuse_former_name(column, config, purpose)
        require_column(frame, column, purpose=purpose, where=str(config.table))
    if not survival:
        frame = frame.drop(columns=[name for name in ("time", "event") if name in frame.columns])
    if {"time", "event"} <= set(frame.columns) and config.time_unit is None:
        message = f"{config.table} has survival times; cohort.time_unit must say days, months or years"
        raise StopRun("config_value", message, remedy="set cohort.time_unit")
    masks = template_cells("mask", config.mask) if images else []
    used = {*OWN_COLUMNS, *cells, *config.covariates, *config.groups, *masks}
    rows, notes = _one_row_a_patient(frame, used, config.table, lines)
    patients = tuple(_patient(row, config, line, images=images) for line, row in rows.items())
    check_codes([patient.her2_entry() for patient in patients])
    _refuse_one_person_twice(patients, config.table)
    notes += _separator_note(table.attrs["separator"]) + _unit_notes(patients)
    return Cohort(patients, tuple(notes), frozenset(OWN_COLUMNS) & set(frame.columns), config.her2_rules)


def _check_covariates(config: CohortConfig) -> None:
    """Refuse a covariate that the label is made from or that gives it away, under our name or the table's."""
    for covariate in config.covariates:
        sources = {covariate, *(ours for ours, theirs in config.columns.items() if theirs == covariate)}
        if sources & set(_LABEL_COLUMNS):
            message = f"cohort.covariates names '{covariate}', which the HER2 class is made from"
            raise StopRun("label_leak", message)
        if tells_her2(covariate) and covariate not in config.allowed_covariates:
            message = f"cohort.covariates names '{covariate}', which by its name tells HER2 or follows from it"
            remedy = "remove it, or name it under cohort.allowed_covariates, too"
            raise StopRun("label_leak", message, remedy=remedy)


def _rename(frame: pd.DataFrame, config: CohortConfig, cells: set[str]) -> pd.DataFrame:
    """Give the mapped columns our names, and demand the id."""
    known = {*OWN_COLUMNS, *cells, *config.covariates, *config.groups}
    for ours, theirs in config.columns.items():
        if ours not in known:
            raise unknown_name("key of cohort.columns", ours, known)
        require_column(frame, theirs, purpose=f"cohort.columns.{ours}", where=str(config.table))
    mapped = {ours: frame[theirs] for ours, theirs in config.columns.items()}
    replaced = {*config.columns, *config.columns.values()} & set(frame.columns)
    frame = frame.drop(columns=sorted(replaced)).assign(**mapped)
    require_column(frame, "patient_id", purpose="one row a patient", where=str(config.table))
    return frame


def _refuse_former_name(column: str, config: CohortConfig, purpose: str) -> None:
    """Stop where a column is asked for by the name that the table gives it, and that a mapping has replaced."""
    ours = [name for name, theirs in config.columns.items() if theirs == column]
    if ours and column not in config.columns:
        message = f"{purpose}: '{column}' of {config.table} is called '{ours[0]}' here, as cohort.columns says"
        raise StopRun("column_missing", message, remedy=f"write '{ours[0]}' in its place")


def _one_row_a_patient(
    frame: pd.DataFrame, used: set[str], table: Path, lines: Sequence[int]
) -> tuple[dict[int, dict[str, str]], list[Note]]:
    """Line -> used cells. Merge equal rows of one id; refuse different ones, and ids that only look different."""
    notes: list[Note] = []
    keep: dict[str, int] = {}
    cells = frame.to_numpy()
    ids: list[str] = frame["patient_id"].tolist()
    for index, patient_id in enumerate(ids):
        if not patient_id:
            raise StopRun("patient_id", f"{table}, line {lines[index]}: the patient id is empty")
        first = keep.setdefault(matching_key(patient_id), index)
        if first == index:
            continue
        if (cells[first] != cells[index]).any():
            message = (
                f"{table}: lines {lines[first]} ('{ids[first]}') and {lines[index]} ('{patient_id}') "
                "are one patient with different entries"
            )
            raise StopRun("patient_duplicate", message)
        notes.append(Note(patient_id, "patient_duplicate", f"line {lines[index]} repeats line {lines[first]}"))
    names = [name for name in frame.columns if name in used]
    columns = [frame[name].tolist() for name in names]
    rows = {lines[k]: dict(zip(names, row, strict=True)) for k, row in enumerate(zip(*columns, strict=True))}
    return {lines[index]: rows[lines[index]] for index in keep.values()}, notes


def _refuse_one_person_twice(patients: Sequence[Patient], table: Path) -> None:
    """Refuse two ids that public collections give to one person."""
    for found in find_overlaps({str(table): [patient.patient_id for patient in patients]}):
        listed = " and ".join(f"'{patient_id}'" for _, patient_id in found.members)
        message = f"{table}: {listed} are one person, {found.key} ({found.source})"
        raise StopRun("patient_leak", message, remedy="keep one of the rows")


def _separator_note(separator: str) -> list[Note]:
    """Say when a table is not separated by commas."""
    names = {";": "semicolons", "\t": "tabs"}
    return (
        [Note("", "table_separator", f"the cells are separated by {names[separator]}")] if separator in names else []
    )


def _unit_notes(patients: Sequence[Patient]) -> list[Note]:
    """Suspect that follow-up of one cohort is in another unit."""
    times: dict[str, list[float]] = {}
    for patient in patients:
        if math.isfinite(patient.time_months):
            times.setdefault(patient.cohort, []).append(patient.time_months)
    medians = {cohort: statistics.median(values) for cohort, values in times.items()}
    shortest, longest = (pick(medians, key=medians.__getitem__, default="") for pick in (min, max))
    if not medians or medians[longest] <= _UNIT_RATIO * medians[shortest]:
        return []
    text = (
        f"median follow-up is {medians[longest]:.1f} months in '{longest}' and {medians[shortest]:.1f} in "
        f"'{shortest}': one of them may be in another unit"
    )
    return [Note("", "unit_suspect", text)]


def _patient(row: dict[str, str], config: CohortConfig, line: int, *, images: bool) -> Patient:
    """Read one row."""
    where = f"{config.table}, line {line}"
    root = config.images_root
    time, event = _survival(row, config, where)
    reading = read_reading(row, config, where) if images else Reading()
    phases = config.phases if images else {}
    return Patient(
        patient_id=row["patient_id"],
        cohort=row.get("cohort") or config.name,
        site=row.get("site") or row.get("cohort") or config.name,
        split=row.get("split", ""),
        vendor=row.get("vendor", ""),
        phases={name: file_of(config.exam or template, row, root) for name, template in phases.items()},
        mask=None if reading.box or not images else file_of(config.mask, row, root),
        reading=reading,
        **{name: row.get(name, "") for name in _LABEL_COLUMNS},
        covariates={name: _covariate(row[name], name, config, where) for name in config.covariates},
        groups={name: "" if is_missing(row[name]) else row[name] for name in config.groups},
        time_months=time,
        event=event,
    )


def _covariate(cell: str, name: str, config: CohortConfig, where: str) -> float:
    """A number, NaN for a missing one."""
    if not is_missing(cell) and _WORD.match(cell):
        message = f"{where}: covariate '{name}' holds '{cell}', which is text; a number was expected"
        raise StopRun("covariate_type", message)
    return number(cell, decimal=config.decimal, where=where, column=name)


def _survival(row: dict[str, str], config: CohortConfig, where: str) -> tuple[float, int]:
    """Time in months and event, unknown where either cell is empty."""
    if config.time_unit is None or "time" not in row or "event" not in row:
        return math.nan, -1
    code = row["event"]
    if code not in config.event_codes:
        if is_missing(code):
            return math.nan, -1
        known = ", ".join(f"'{c}'" for c in config.event_codes)
        raise StopRun("event_codes", f"{where}: column 'event' holds '{code}'; known codes: {known}")
    time = number(row["time"], decimal=config.decimal, where=where, column="time")
    return time * _MONTHS[config.time_unit], config.event_codes[code]


def sources_sha256(cohort: Cohort, config: CohortConfig) -> str:
    """One hash of which files belong to which patient; changes when embeddings would belong to somebody else.

    The files count by their place below the images' folder, so a run can be continued on another machine.
    """
    files = {patient.patient_id: patient.places(config.images_root) for patient in cohort.patients}
    readings = {patient.patient_id: asdict(patient.reading) for patient in cohort.patients}
    return sha256_of_json({"files": files, "mask_label": config.mask_label, "readings": readings})


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
        entry = patient.her2_entry()
        her2 = her2_from_pathology(**entry._asdict(), rules=cohort.her2_rules)
        name = class_in_scheme(her2, scheme)
        if name:
            known[patient.patient_id] = classes.index(name)
        else:
            reason = f"{her2.reason} ({describe(entry)})"
            remedy = "complete or correct IHC and ISH in the table"
            skipped.append(Skipped(patient.patient_id, patient.cohort, "classify", "her2_unknown", reason, remedy))
    return known, skipped


def contradictions(cohort: Cohort) -> list[Note]:
    """Patients whose HER2 cells disagree, whether a class follows all the same or not."""
    notes = []
    for patient in cohort.patients:
        entry = patient.her2_entry()
        her2 = her2_from_pathology(**entry._asdict(), rules=cohort.her2_rules)
        if her2.contradiction:
            text = f"{describe(entry)}: {her2.reason or f'{her2.category}; {her2.flag}'}"
            notes.append(Note(patient.patient_id, "her2_contradiction", text))
    return notes
