"""A table of any make under our column names, as the options ``map:OURS=THEIRS`` say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from extract.adapters.contract import Request, Row, choose_option
from extract.adapters.guesses import SPELLINGS, suggest
from triher.cohort import OWN_COLUMNS
from triher.errors import Note, StopRun, unknown_name
from triher.label_rules import DEFAULT_RULES, RULE_SETS
from triher.labels import SCHEMES
from triher.tables import matching_key, read_table, require_column

TABLE_OPTIONS = {
    "map:COLUMN": "the table's name for one of our columns: map:patient_id=PID, map:ihc=HER2, map:site=Hospital",
    "covariates": "numeric columns that the analysis may adjust for, separated by commas",
    "time-unit": "days, months or years: the unit of the column that is mapped to time",
    "event:CODE": "what a code of the column event means: event:Dead=1, event:Alive=0",
    "rules": f"the HER2 rule set, {', '.join(RULE_SETS)} ({DEFAULT_RULES} if none is named)",
    "scheme": f"the label scheme, {', '.join(SCHEMES)} (triple if none is named)",
    "decimal": "'.' (default) or ',': the decimal mark of the table's numbers",
    "name": "the cohort's name, for rows that name none",
}
"""Options of every adapter that reads a table of any make."""

_IMAGE_COLUMNS = ("exam", "series", "mask", "box", "pre", "early", "late")
_TARGETS = (*OWN_COLUMNS, *_IMAGE_COLUMNS, "age")
_UNITS = ("days", "months", "years")


def named_options(request: Request, prefix: str) -> dict[str, str]:
    """The options ``prefix:NAME=VALUE``, by name.

    >>> named_options(Request(Path("."), options={"map:ihc": "HER2", "scheme": "triple"}), "map")
    {'ihc': 'HER2'}
    """
    start = f"{prefix}:"
    return {name[len(start) :]: value for name, value in request.options.items() if name.startswith(start)}


def read_mapped(
    path: Path, request: Request, needed: Sequence[str], *, targets: Sequence[str] = ()
) -> tuple[list[Row], list[Note]]:
    """Read a table, with the mapped columns under our names and all others as they are.

    A column that has one of our names but is not meant (``site`` where the option maps ``site`` to another one)
    stays as ``site_original``.

    Args:
        path: CSV, TSV or workbook.
        request: its options ``map:OURS`` and its sheet.
        needed: our columns that must be there.
        targets: further names that columns may be mapped to.

    Returns:
        One row a patient, cells as in the table, and a note for every row that says the same twice.

    Raises:
        StopRun: as `triher.tables.read_table`; ``unknown_name`` for a column that nothing asks for;
            ``column_missing``, with suggestions; ``patient_id`` when an id is empty; ``patient_duplicate`` when two
            different rows carry one id.
    """
    frame = read_table(path, request.sheet)
    mapped = named_options(request, "map")
    known = (*_TARGETS, *targets)
    for ours, theirs in mapped.items():
        if ours not in known:
            raise unknown_name("column of ours", ours, known)
        require_column(frame, theirs, purpose=f"option map:{ours}", where=str(path))
    renamed = _rename(frame, mapped)
    for column in needed:
        if column not in renamed.columns:
            raise _missing(column, [str(name) for name in frame.columns], mapped, path)
    return _one_row_a_patient(renamed, frame.attrs.get("lines", range(2, len(frame) + 2)), path)


def _rename(frame: pd.DataFrame, mapped: Mapping[str, str]) -> pd.DataFrame:
    """Our columns first, then the others in their order."""
    ours = {name: frame[theirs] for name, theirs in mapped.items()}
    others = {
        f"{name}_original" if name in mapped else str(name): frame[name]
        for name in frame.columns
        if name not in mapped.values()
    }
    return pd.DataFrame({**ours, **others}, index=frame.index)


def _missing(column: str, columns: list[str], mapped: Mapping[str, str], path: Path) -> StopRun:
    """Say which columns the missing one, and others of ours, may be."""
    hints = {
        ours: found
        for ours in dict.fromkeys((column, *SPELLINGS))
        if ours not in mapped and ours not in columns and (found := suggest(ours, columns))
    }
    likely = "; ".join(f"{ours} may be {', '.join(map(repr, found[:3]))}" for ours, found in hints.items())
    example = f"--option 'map:{column}={hints.get(column, ['THEIRS'])[0]}'"
    message = f"{path} has no column '{column}', and none is mapped to it. {likely or 'Nothing looks like it'}. "
    return StopRun("column_missing", f"{message}It has: {', '.join(columns)}", remedy=f"say which it is: {example}")


def _one_row_a_patient(frame: pd.DataFrame, lines: Sequence[int], path: Path) -> tuple[list[Row], list[Note]]:
    """Merge equal rows of one id with a note; refuse different ones."""
    names = [str(name) for name in frame.columns]
    kept: dict[str, tuple[int, Row]] = {}
    notes = []
    for line, cells in zip(lines, frame.to_numpy().tolist(), strict=True):
        row = dict(zip(names, map(str, cells), strict=True))
        patient_id = row["patient_id"]
        if not patient_id:
            raise StopRun("patient_id", f"{path}, line {line}: the patient id is empty")
        first, other = kept.setdefault(matching_key(patient_id), (line, row))
        if other != row:
            message = f"{path}: lines {first} ('{other['patient_id']}') and {line} ('{patient_id}') are one patient"
            raise StopRun("patient_duplicate", f"{message} with different entries")
        if first != line:
            notes.append(Note(patient_id, "patient_duplicate", f"line {line} repeats line {first}"))
    return [row for _, row in kept.values()], notes


def table_settings(request: Request) -> dict[str, Any]:
    """What the options say about the table, as keys of the ``cohort`` section.

    Raises:
        StopRun: ``unknown_name`` or ``event_codes``.
    """
    asked = request.options
    chosen = {
        "name": asked.get("name"),
        "her2_rules": choose_option(request, "rules", (*RULE_SETS, ""), "") or None,
        "decimal": choose_option(request, "decimal", (".", ",", ""), "") or None,
        "time_unit": choose_option(request, "time-unit", (*_UNITS, ""), "") or None,
        "covariates": [name.strip() for name in asked.get("covariates", "").split(",") if name.strip()] or None,
        "event_codes": _event_codes(request) or None,
    }
    return {name: value for name, value in chosen.items() if value is not None}


def _event_codes(request: Request) -> dict[str, int]:
    """Code -> 0, 1 or 2, from the options ``event:CODE``."""
    codes = named_options(request, "event")
    for code, meaning in codes.items():
        if meaning not in ("0", "1", "2"):
            expected = "0 (censored), 1 (event) or 2 (another event)"
            raise StopRun("event_codes", f"option event:{code} is '{meaning}'; expected {expected}")
    return {code: int(meaning) for code, meaning in codes.items()}


def table_scheme(request: Request) -> str:
    """The label scheme that the options name.

    Raises:
        StopRun: ``unknown_name``.
    """
    return choose_option(request, "scheme", SCHEMES, "triple")


def check_named_options(request: Request, known: Mapping[str, str], common: Mapping[str, str]) -> None:
    """Refuse an option that the adapter does not have; ``map:COLUMN`` stands for every ``map:...``.

    Raises:
        StopRun: ``unknown_name``.
    """
    prefixes = {name.partition(":")[0] for name in known if ":" in name}
    for name in request.options:
        start, colon, rest = name.partition(":")
        if not (name in {**known, **common} or (colon and rest and start in prefixes)):
            raise unknown_name("option of this adapter", name, {**known, **common})
