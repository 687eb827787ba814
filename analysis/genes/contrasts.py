"""The design of a contrast between two groups of patients: intercept, covariates, group."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Bool, Float64

from triher.cohort import Cohort, Patient
from triher.errors import StopRun, unknown_name

FEWEST = 3
"""Samples in each group."""
_DEPENDENT = 1e-7  # of a column's length: what is left of it after the others is rounding

Column = tuple[float, ...] | tuple[str, ...]
"""A number, or the name of a level, for each patient."""


@dataclass(frozen=True)
class Design:
    """The matrix of a linear model; its last column is 1 in the second group and 0 in the first."""

    matrix: Float64[np.ndarray, "patient column"]
    names: tuple[str, ...]

    @property
    def group(self) -> Bool[np.ndarray, " patient"]:
        """Who is in the second group."""
        return self.matrix[:, -1] == 1


def covariate_columns(cohort: Cohort, patient_id: Sequence[str], names: Sequence[str]) -> dict[str, Column]:
    """The covariates of some patients: numbers of ``cohort.covariates``, levels of ``cohort.groups``.

    Raises:
        StopRun: ``unknown_name`` when a name is neither.
    """
    patients = {patient.patient_id: patient for patient in cohort.patients}
    some: Patient | None = next(iter(cohort.patients), None)
    numbers, levels = (set(some.covariates), set(some.groups)) if some else (set(), set())
    columns: dict[str, Column] = {}
    for name in names:
        if name in numbers:
            columns[name] = tuple(patients[who].covariates[name] for who in patient_id)
        elif name in levels:
            columns[name] = tuple(patients[who].groups[name] for who in patient_id)
        else:
            kind = "covariate in analysis.transcriptomics.covariates (not under cohort.covariates or cohort.groups)"
            raise unknown_name(kind, name, sorted(numbers | levels))
    return columns


def complete_rows(columns: Mapping[str, Column], n: int) -> Bool[np.ndarray, " patient"]:
    """Which of n patients have all covariates."""
    known = np.ones(n, dtype=bool)
    for column in columns.values():
        known &= np.array([value != "" if isinstance(value, str) else math.isfinite(value) for value in column])
    return known


def of_rows(columns: Mapping[str, Column], kept: Bool[np.ndarray, " patient"]) -> dict[str, Column]:
    """The covariates of some of the patients."""
    return {
        name: cast("Column", tuple(value for value, keep in zip(column, kept, strict=True) if keep))
        for name, column in columns.items()
    }


def build_design(
    group: Bool[np.ndarray, " patient"], columns: Mapping[str, Column], compare: tuple[str, str], *, by: str
) -> Design:
    """Intercept, covariates and group as columns of numbers; levels become indicators against the first one.

    Args:
        group: who is in the second of the classes that are compared.
        columns: covariates without gaps.
        compare: names of the classes, for messages.
        by: what the groups are formed by, for messages: ``true class``.

    Raises:
        StopRun: ``design_rank`` when a group has fewer than 3 samples, or a column follows from the others.
    """
    sizes = {compare[0]: int((~group).sum()), compare[1]: int(group.sum())}
    if min(sizes.values()) < FEWEST:
        told = " and ".join(f"{n} of HER2-{name}" for name, n in sizes.items())
        message = f"a contrast by {by} needs {FEWEST} samples in each group; found {told}"
        raise StopRun("design_rank", message, remedy="add samples, or compare other classes")
    named: dict[str, np.ndarray] = {"intercept": np.ones(len(group))}
    for name, column in columns.items():
        named |= _coded(name, column)
    last = f"{compare[1]} against {compare[0]}, by {by}"
    named[last] = group.astype(np.float64)
    matrix = np.column_stack(list(named.values()))
    _refuse_dependent(matrix, tuple(named))
    return Design(matrix, tuple(named))


def _coded(name: str, column: Column) -> dict[str, np.ndarray]:
    """A number as it is; levels as indicators."""
    if any(isinstance(value, str) for value in column):
        first, *others = sorted({str(value) for value in column}) or [""]
        if not others:  # as a column of numbers that are all equal, it follows from the intercept
            return {f"{name}={first}": np.ones(len(column))}
        return {f"{name}={level}": np.array([float(value == level) for value in column]) for level in others}
    return {name: np.array(column, dtype=np.float64)}


def _refuse_dependent(matrix: Float64[np.ndarray, "patient column"], names: tuple[str, ...]) -> None:
    """Name the first column that follows from those before it, and from which."""
    lengths = np.linalg.norm(matrix, axis=0)
    scaled = matrix / np.where(lengths > 0, lengths, 1.0)
    for place in range(1, len(names)):
        before = scaled[:, :place]
        weights = np.linalg.lstsq(before, scaled[:, place], rcond=None)[0]
        if np.linalg.norm(scaled[:, place] - before @ weights) < _DEPENDENT:
            used = [f"'{name}'" for name, weight in zip(names, weights, strict=False) if abs(weight) > _DEPENDENT]
            message = f"the column '{names[place]}' of the design follows from {' and '.join(used) or 'nothing'}"
            remedy = "take one of them out of analysis.transcriptomics.covariates"
            raise StopRun("design_rank", message, remedy=remedy)
    if len(matrix) <= len(names):
        listed = ", ".join(f"'{name}'" for name in names)
        message = f"the design has {len(names)} columns ({listed}) for {len(matrix)} samples"
        raise StopRun("design_rank", message, remedy="take out covariates")
