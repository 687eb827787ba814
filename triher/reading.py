"""Which files belong to a row of the cohort table, and how they are read."""

import math
import re
import string
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from triher.errors import StopRun
from triher.phases import MissingPhase, parse_rule
from triher.settings import CohortConfig
from triher.tables import number


@dataclass(frozen=True)
class Reading:
    """How a patient's files are read, beyond what their headers say."""

    rules: dict[str, str] = field(default_factory=dict)
    """Phase -> rule, where one source holds all phases; empty where each phase has its own file."""
    series: str = ""
    """SeriesInstanceUIDs, or a regular expression for descriptions, of a DICOM folder."""
    header_id: str = ""
    """PatientID that DICOM headers must carry, if they carry any; any one if empty."""
    starts_s: tuple[float, ...] = ()
    """Start of each volume in seconds, in the order of time; empty where the headers say it."""
    injection_s: float | None = None
    """Start of the injection on the same clock."""
    missing_phase: MissingPhase = "skip"
    nonfinite: Literal["skip", "zero"] = "skip"
    """What becomes of an image with voxels that are NaN or infinite: the patient is left out, or they count as 0."""
    orientation: str = ""
    """Where each axis points as stored (``RAS``); empty where the headers say it."""
    spacing_mm: tuple[float, ...] = ()
    """Along each axis as stored; empty where the headers say it."""
    box: tuple[int, ...] = ()
    """Half-open bounds of the lesion along each axis as stored, instead of a mask: i0, i1, j0, j1, k0, k1."""


def templates(config: CohortConfig) -> dict[str, str]:
    """Every setting that may hold cells of the row, by what it is for."""
    taken = sorted({"mask", "exam"} & set(config.phases))
    if taken:
        raise StopRun("config_value", f"cohort.phases: '{taken[0]}' cannot be the name of a phase")
    spacing_mm = config.geometry.spacing_mm if config.geometry else ""
    options = {
        "exam": config.exam,
        "series": config.series,
        "dicom_id": config.dicom_id,
        "times": config.times,
        "injection": config.injection,
        "box": config.box,
        "geometry.spacing_mm": spacing_mm,
    }
    mask = {} if config.box and config.mask == "{mask}" else {"mask": config.mask}
    return {**config.phases, **mask, **{name: text for name, text in options.items() if text}}


def template_cells(purpose: str, template: str) -> list[str]:
    """The columns that a file name refers to."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise StopRun("config_value", f"the file name of '{purpose}', '{template}': {error}") from error
    if any(spec or conversion for _, _, spec, conversion in parts):
        message = f"the file name of '{purpose}', '{template}', may hold {{column}} and nothing more in braces"
        raise StopRun("config_value", message)
    return [name for _, name, _, _ in parts if name is not None]


def fill(template: str, row: dict[str, str]) -> str:
    """Put the row's cells into a file name; a column name is never read as an expression."""
    return "".join(text + ("" if name is None else row[name]) for text, name, _, _ in _parts(template))


@lru_cache  # a table has a handful of templates and any number of rows
def _parts(template: str) -> tuple[tuple[str, str | None, str | None, str | None], ...]:
    """Text and cell by turns."""
    return tuple(string.Formatter().parse(template))


def file_of(template: str, row: dict[str, str], root: Path) -> Path:
    """The path that a row gives; where its cells are empty, a name that cannot be there and says so."""
    name = "".join(text + ("" if cell is None else row.get(cell, "")) for text, cell, _, _ in _parts(template))
    return root / (name or "(no file named in the table)")


def read_reading(row: dict[str, str], config: CohortConfig, where: str) -> Reading:
    """How this row's files are read."""
    rules = {phase: fill(text, row) for phase, text in config.phases.items()} if config.exam else {}
    for rule in rules.values():
        parse_rule(rule)
    geometry = config.geometry
    injection = _numbers(fill(config.injection, row), where, "cohort.injection", 1)
    return Reading(
        rules,
        _pattern(fill(config.series, row), where),
        fill(config.dicom_id, row),
        _numbers(fill(config.times, row), where, "cohort.times"),
        injection[0] if injection else None,
        config.missing_phase,
        config.nonfinite,
        geometry.orientation if geometry else "",
        _numbers(fill(geometry.spacing_mm, row), where, "cohort.geometry.spacing_mm", 3) if geometry else (),
        tuple(round(bound) for bound in _numbers(fill(config.box, row), where, "cohort.box", 6)),
    )


def _pattern(text: str, where: str) -> str:
    """A regular expression, or UIDs, which are one as well."""
    try:
        re.compile(text)
    except re.error as error:
        raise StopRun(
            "config_value", f"{where}: cohort.series, '{text}', is no regular expression: {error}"
        ) from error
    return text


def _numbers(text: str, where: str, purpose: str, n: int = 0) -> tuple[float, ...]:
    """The numbers of a list such as ``[0, 120.5]`` or ``0 120.5``, none when it is empty; demand `n` of them."""
    if not text:
        return ()
    cells = [cell for cell in re.split(r"[\s,;\[\]()]+", text) if cell]
    values = tuple(number(cell, decimal=".", where=where, column=purpose) for cell in cells)
    if cells and (any(map(math.isnan, values)) or (n and len(values) != n)):
        wanted = f"{n} numbers" if n else "numbers"
        raise StopRun("number_format", f"{where}: {purpose} needs {wanted}, found '{text}'")
    return values
