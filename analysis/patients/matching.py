"""Who of two groups of patients goes with whom: the same clinicopathology, found without a look at predictions.

Optimal one-to-one matching within calipers (Rosenbaum, J Am Stat Assoc 1989;84:1024): text columns agree exactly,
numbers lie within their calipers, as many pairs as possible are made, and of all ways to make so many the one with
the least total distance is taken. The distance is the Euclidean one in standard deviations, each the root of the mean
of the two groups' variances (Austin, Pharm Stat 2011;10:150). The order of the patients changes nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.optimize import linear_sum_assignment

from analysis.patients.covariates import known_level
from triher.cohort import Patient
from triher.errors import StopRun, unknown_name
from triher.settings import ExplainConfig

_CALIPER_SD = 0.5
_SLACK = 1 + 1e-9  # a difference that equals the caliper but for rounding lies within it

Costs = Float64[np.ndarray, "left right"]


@dataclass(frozen=True)
class Criterion:
    """A column that matched patients agree in."""

    name: str
    caliper: float | None = None
    """How far two numbers may lie apart; None for text, which must be the same."""
    sd: float = 0.0
    """Of a number, pooled over the two groups; distances are counted in it."""

    def value(self, patient: Patient) -> float | str:
        """The patient's cell."""
        if self.caliper is None:
            return known_level(patient.groups[self.name])
        return patient.covariates[self.name]

    def is_known(self, patient: Patient) -> bool:
        """Whether the patient has a value."""
        value = self.value(patient)
        return bool(value) if isinstance(value, str) else math.isfinite(value)


@dataclass(frozen=True)
class Match:
    """Positions of two patients in their groups."""

    left: int
    right: int
    distance: float
    """In standard deviations."""


@dataclass(frozen=True)
class Matching:
    """Who goes with whom, and why others go with nobody."""

    matches: tuple[Match, ...]
    left_alone: Mapping[int, str]
    """Position in the left group -> why there is no partner."""
    right_alone: Mapping[int, str]


def criteria(config: ExplainConfig, left: Sequence[Patient], right: Sequence[Patient]) -> tuple[Criterion, ...]:
    """What patients of two groups are matched on.

    Args:
        config: ``match_on`` and ``calipers``.
        left: one group.
        right: the other.

    Returns:
        The columns of ``match_on``. Where it is empty, all covariates, and of the text columns those in which at
        least one patient of the left group agrees with one of the right: a number of the sample is nothing to agree
        in.

    Raises:
        StopRun: ``unknown_name`` for a column that is no covariate and no group; ``config_value`` for a caliper of
            a column that is not matched on or holds text.
    """
    both = [*left, *right]
    numbers, words = (list(both[0].covariates), list(both[0].groups)) if both else ([], [])
    for name in (*config.match_on, *config.calipers) if both else ():
        if name not in (*numbers, *words):
            raise unknown_name("column in section explain", name, (*numbers, *words))
    agreeing = [name for name in words if _levels(name, left) & _levels(name, right)]
    names = config.match_on or (*agreeing, *numbers)
    for name in config.calipers if both else ():
        if name not in numbers or name not in names:
            message = f"explain.calipers names '{name}', which is no number that patients are matched on"
            raise StopRun("config_value", message, remedy="name it under explain.match_on and cohort.covariates")
    return tuple(
        _number(name, config.calipers.get(name), left, right) if name in numbers else Criterion(name)
        for name in dict.fromkeys(names)
        if both
    )


def _levels(name: str, patients: Sequence[Patient]) -> set[str]:
    """The known cells of a text column."""
    return {known_level(patient.groups[name]) for patient in patients} - {""}


def _number(name: str, caliper: int | float | None, left: Sequence[Patient], right: Sequence[Patient]) -> Criterion:
    """A covariate with its caliper."""
    sides = [np.array([p.covariates[name] for p in side], dtype=np.float64) for side in (left, right)]
    variances = [np.var(side[np.isfinite(side)], ddof=1) for side in sides if np.isfinite(side).sum() > 1]
    sd = math.sqrt(float(np.mean(variances))) if variances else 0.0
    return Criterion(name, float(_CALIPER_SD * sd if caliper is None else caliper), sd)


def match(left: Sequence[Patient], right: Sequence[Patient], chosen: Sequence[Criterion]) -> Matching:
    """Pair the patients of two groups.

    Args:
        left: one group.
        right: the other; nobody is in both.
        chosen: what they must agree in; without any, nobody is matched.
    """
    sides = (left, right)
    alone: tuple[dict[int, str], dict[int, str]] = ({}, {})
    strata: dict[tuple[str, ...], tuple[list[int], list[int]]] = {}
    for side, patients in enumerate(sides):
        for i in sorted(range(len(patients)), key=lambda k: patients[k].patient_id):
            missing = [c.name for c in chosen if not c.is_known(patients[i])]
            if missing or not chosen:
                alone[side][i] = f"{', '.join(missing)} not known" if missing else "there is nothing to match on"
                continue
            key = tuple(str(c.value(patients[i])) for c in chosen if c.caliper is None)
            strata.setdefault(key, ([], []))[side].append(i)
    words = [c.name for c in chosen if c.caliper is None]
    matches = []
    for key, (ours, theirs) in sorted(strata.items()):
        costs = _costs([left[i] for i in ours], [right[i] for i in theirs], chosen)
        pairs = _assign(costs)
        matches += [Match(ours[a], theirs[b], float(costs[a, b])) for a, b in pairs]
        group = ", ".join(f"{name} {level}" for name, level in zip(words, key, strict=True))
        for side, members in enumerate((ours, theirs)):
            near = np.isfinite(costs).any(axis=1 - side)
            taken = {pair[side] for pair in pairs}
            reasons = {members[k]: _why(group, near[k], costs.shape[1 - side]) for k in range(len(members))}
            alone[side].update({members[k]: reasons[members[k]] for k in range(len(members)) if k not in taken})
    return Matching(tuple(matches), *alone)


def _why(group: str, is_near: np.bool_, n_others: int) -> str:
    """Why somebody has no partner."""
    if not n_others:
        return f"nobody of the other class has {group}" if group else "there is nobody of the other class"
    if not is_near:
        return "nobody of the other class lies within the calipers"
    return "all of the other class who lie within the calipers are in other pairs"


def _costs(left: Sequence[Patient], right: Sequence[Patient], chosen: Sequence[Criterion]) -> Costs:
    """Distances, infinite where a caliper is exceeded."""
    squares = np.zeros((len(left), len(right)))
    for criterion in (c for c in chosen if c.caliper is not None):
        ours, theirs = (np.array([p.covariates[criterion.name] for p in side]) for side in (left, right))
        apart = np.abs(ours.reshape(-1, 1) - theirs.reshape(1, -1))
        squares += (apart / (criterion.sd or 1.0)) ** 2
        squares[apart > (criterion.caliper or 0.0) * _SLACK] = math.inf
    return np.sqrt(squares)


def _assign(costs: Costs) -> list[tuple[int, int]]:
    """As many pairs of finite distance as can be, and of these the least total distance."""
    possible = np.isfinite(costs)
    if not possible.any():
        return []
    n_most = min(costs.shape)
    dearer = 1.0 + 2 * n_most * float(costs[possible].max())  # than any number of possible pairs could save
    rows, columns = linear_sum_assignment(np.where(possible, costs, dearer))
    return [(int(a), int(b)) for a, b in zip(rows, columns, strict=True) if possible[a, b]]
