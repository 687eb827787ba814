"""Covariates as columns of a model: numbers as they are, text as a column of 0 and 1 for each level."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from triher.cohort import Patient
from triher.errors import Note

_MOST_MISSING = 0.5  # of the patients; with more, complete cases are another cohort
_LARGEST = 1e100  # whose square a computer still holds, sums and products of it as well
_NOT_KNOWN = {"unknown", "not known", "not reported", "not evaluated", "indeterminate"}
"""Words of clinical tables that are no level, beside the cells that `triher.tables.is_missing` knows."""


@dataclass(frozen=True)
class Coded:
    """The columns, and the covariates that could not become any."""

    columns: Float64[np.ndarray, "patient covariate"]
    """NaN where missing."""
    names: tuple[str, ...]
    """Of the columns; of a text covariate with the level and the one it is compared with."""
    terms: tuple[str, ...]
    """The covariate that each column codes."""
    notes: tuple[Note, ...]


def code_covariates(names: Sequence[str], patients: Sequence[Patient]) -> Coded:
    """Make columns of the covariates, in their order.

    Text, from ``cohort.groups``, becomes a column for each level but the most frequent one, which the others are
    compared with (of equally frequent ones the first by alphabet).

    Args:
        names: of ``cohort.covariates`` or ``cohort.groups``.
        patients: who are modeled.

    Returns:
        The columns. A covariate with one value, missing for more than half of the patients, or of a size that no
        model can be computed with, is left out with a note.
    """
    columns: dict[str, list[float]] = {}
    terms: list[str] = []
    notes = []
    for name in names:
        found = _columns(name, patients)
        reason = _useless(found)
        if reason:
            notes.append(Note("", "covariate_left_out", f"covariate '{name}' {reason}; the model does without it"))
        else:
            columns.update(found)
            terms += [name] * len(found)
    matrix = np.array(list(columns.values()), dtype=np.float64).reshape(len(columns), len(patients)).T
    return Coded(matrix, tuple(columns), tuple(terms), tuple(notes))


def _columns(name: str, patients: Sequence[Patient]) -> dict[str, list[float]]:
    """The columns of one covariate by their names."""
    if all(name in patient.covariates for patient in patients):
        return {name: [patient.covariates[name] for patient in patients]}
    cells = [known_level(patient.groups[name]) for patient in patients]
    counts = Counter(cell for cell in cells if cell)
    levels = sorted(counts, key=lambda level: (-counts[level], level))
    if len(levels) < 2:
        return {name: [0.0 if cell else math.nan for cell in cells]}
    reference, *others = levels
    return {
        f"{name}: {level} against {reference}": [float(cell == level) if cell else math.nan for cell in cells]
        for level in sorted(others)
    }


def known_level(cell: str) -> str:
    """The level, empty where it is not known."""
    return "" if cell.casefold() in _NOT_KNOWN else cell


def _useless(columns: dict[str, list[float]]) -> str:
    """Why a covariate cannot adjust anything, or an empty text."""
    values = next(iter(columns.values()))
    known = [value for value in values if not math.isnan(value)]
    n_missing = len(values) - len(known)
    if n_missing > _MOST_MISSING * len(values):
        return f"is missing for {n_missing} of {len(values)} patients"
    if len(set(known)) == 1:
        return f"has one value in all {len(known)} patients who have it"
    if known and not (max(map(abs, known)) < _LARGEST and max(known) - min(known) > 1 / _LARGEST):
        return f"has values from {min(known):g} to {max(known):g}, of which no square can be computed"
    return ""
