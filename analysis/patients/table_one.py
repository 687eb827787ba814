"""The numbers of table 1: every variable in every group of patients, with how far the groups lie apart."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import skew

from analysis.patients.standardized import of_levels, of_numbers

_SKEWED = 1.0  # of the third standardized moment; beyond it a mean is far from the middle (Bulmer 1979, p. 63)
_FEW_LEVELS = 4


@dataclass(frozen=True)
class Variable:
    """What is known of the patients in one respect: numbers, or words where `levels` are given."""

    name: str
    values: Mapping[str, float | str]
    """Patient id -> value; NaN or an empty text, or none at all, where it is missing."""
    levels: tuple[str, ...] = ()
    """The words in their order; empty for numbers."""


@dataclass(frozen=True)
class Group:
    """Some patients with the heading of their column."""

    name: str
    patient_id: tuple[str, ...]


@dataclass(frozen=True)
class Numbers:
    """One variable in one group."""

    n: int
    """Patients of whom it is known."""
    missing: int
    counts: tuple[int, ...] = ()
    """Patients at each level."""
    mean: float = math.nan
    sd: float = math.nan
    quartiles: tuple[float, float, float] = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Line:
    """One variable in all groups."""

    variable: Variable
    skewed: bool
    """Whether median and quartiles are printed, and not mean and standard deviation."""
    groups: tuple[Numbers, ...]
    distance: float
    """The largest standardized difference of two of the compared groups, without sign."""
    between: tuple[str, str]
    """Which two."""


def words(name: str, values: Mapping[str, str]) -> Variable:
    """A variable of words, its levels by the alphabet."""
    return Variable(name, values, tuple(sorted({value for value in values.values() if value})))


def numbers(name: str, values: Mapping[str, float], *, few_as_words: bool = False) -> Variable:
    """A variable of numbers; one of 0 and 1 becomes ``no`` and ``yes``.

    Args:
        name: for the heading.
        values: NaN where missing.
        few_as_words: whether up to 4 distinct values become levels, as spacings of a few protocols.
    """
    there = sorted({value for value in values.values() if math.isfinite(value)})
    if there and set(there) <= {0.0, 1.0}:
        said = {0.0: "no", 1.0: "yes"}
        return Variable(name, {who: said.get(value, "") for who, value in values.items()}, ("no", "yes"))
    if few_as_words and len(there) <= _FEW_LEVELS:
        labels = {value: f"{value:.4g}" for value in there}
        return Variable(name, {who: labels.get(v, "") for who, v in values.items()}, tuple(labels.values()))
    return Variable(name, values)


def describe(variable: Variable, groups: Sequence[Group], compared: Sequence[int]) -> Line:
    """One variable in all groups.

    Args:
        variable: the variable.
        groups: the columns.
        compared: positions of the groups whose distance is told.
    """
    known = [_known(variable, group) for group in groups]
    everybody = {who: value for group in groups for who, value in _pairs(variable, group)}
    skewed = not variable.levels and _is_skewed(np.array(list(everybody.values()), dtype=np.float64))
    found = tuple(_numbers(variable, v, group) for v, group in zip(known, groups, strict=True))
    distances = {
        (groups[a].name, groups[b].name): (
            of_levels(np.array(found[a].counts), np.array(found[b].counts))
            if variable.levels
            else of_numbers(known[a], known[b])
        )
        for a, b in itertools.combinations(compared, 2)
    }
    estimable = {pair: value for pair, value in distances.items() if not math.isnan(value)}
    if not estimable:
        return Line(variable, skewed, found, math.nan, ("", ""))
    between = max(estimable, key=lambda pair: estimable[pair])
    return Line(variable, skewed, found, estimable[between], between)


def _pairs(variable: Variable, group: Group) -> list[tuple[str, float | str]]:
    """Who of a group is known, and as what."""
    found = [(who, variable.values.get(who, "")) for who in group.patient_id]
    return [(who, v) for who, v in found if v != "" and not (isinstance(v, float) and not math.isfinite(v))]


def _known(variable: Variable, group: Group) -> np.ndarray:
    """The known values of a group: numbers, or positions of the levels."""
    values = [value for _, value in _pairs(variable, group)]
    if variable.levels:
        return np.array([variable.levels.index(str(value)) for value in values], dtype=np.int64)
    return np.array(values, dtype=np.float64)


def _numbers(variable: Variable, values: np.ndarray, group: Group) -> Numbers:
    """One variable in one group."""
    n, missing = len(values), len(group.patient_id) - len(values)
    if variable.levels:
        counts = np.bincount(values, minlength=len(variable.levels))
        return Numbers(n, missing, tuple(int(k) for k in counts))
    if not n:
        return Numbers(0, missing)
    low, middle, high = (float(v) for v in np.quantile(values, [0.25, 0.5, 0.75]))
    sd = float(values.std(ddof=1)) if n > 1 else math.nan
    return Numbers(n, missing, mean=float(values.mean()), sd=sd, quartiles=(low, middle, high))


def _is_skewed(values: np.ndarray) -> bool:
    """Whether the mean is far from the middle."""
    return len(values) > 2 and float(np.ptp(values)) > 0 and abs(float(skew(values))) > _SKEWED
