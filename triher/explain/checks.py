"""The verdict of each sanity test over patients, from what was measured of each patient."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from scipy.stats import wilcoxon

from analysis.inference.bootstrap import mean_losses
from analysis.inference.intervals import FEWEST
from triher.explain.hiding import Curves
from triher.explain.lesion_share import LesionShare
from triher.explanation_checks import DELETION, INSERTION, OVERLAP, RANDOM_HEAD, RANDOMIZED, Check

LIKE = 0.5
"""Absolute rank correlation from which maps count as alike: a quarter of the variance of the ranks in common. A
convention, as Adebayo et al. name none."""
_ALPHA = 0.05
_SAME = 1e-9  # differences below are rounding errors, and none


@dataclass(frozen=True)
class Measured:
    """What was measured of one patient's map of the predicted class; NaN where something could not be."""

    weights_rank: float
    """Likeness with the map of shuffled weights."""
    weights_structure: float
    head_rank: float
    """Likeness with the map of a shuffled head."""
    head_structure: float
    curves: Curves
    weights_share: LesionShare
    """Of the map of shuffled weights."""


def judge_maps(
    tested: Sequence[Measured], shares: Sequence[LesionShare], *, resamples: int, seed: int
) -> list[Check]:
    """Every sanity test over the patients.

    Args:
        tested: one a patient of those whom tests were run on.
        shares: of the maps of everybody who has one.
        resamples: of the patients, for the intervals.
        seed: where the drawing starts.
    """
    draws = _Draws(resamples, seed)
    weights = [(one.weights_rank, one.weights_structure) for one in tested]
    checks = [
        *_likeness(RANDOMIZED, weights, draws),
        _blind(_overlap(RANDOMIZED, [one.weights_share for one in tested], draws)[0]),
        *_likeness(RANDOM_HEAD, [(one.head_rank, one.head_structure) for one in tested], draws),
    ]
    curves = [one.curves for one in tested]
    for test, areas, sign in (
        (DELETION, [one.deletion for one in curves], -1),
        (INSERTION, [one.insertion for one in curves], 1),
    ):
        quantity = f"mean log-odds along the {test}, against random orders"
        checks.append(_paired(test, quantity, areas, [one.random for one in curves], sign, draws))
    return [*checks, *_overlap(OVERLAP, shares, draws)]


def _overlap(test: str, shares: Sequence[LesionShare], draws: "_Draws") -> list[Check]:
    """Whether maps prefer the lesion and its surroundings."""
    whose = " in maps of shuffled weights" if test == RANDOMIZED else ""
    area = [share.area for share in shares]
    mass = f"share of what speaks for the class within 5 mm of the lesion{whose}, against the share of the pixels"
    highest = "share of the slices whose highest pixel lies there, against the same"
    return [
        _paired(test, mass, [share.mass for share in shares], area, 1, draws),
        _paired(test, highest, [share.pointed for share in shares], area, 1, draws),
    ]


def _blind(check: Check) -> Check:
    """The same, passed where maps of a network that has learned nothing do not prefer the lesion."""
    return replace(check, passed=None if check.passed is None else not check.passed)


@dataclass(frozen=True)
class _Draws:
    """Of the bootstrap."""

    resamples: int
    seed: int


def _likeness(test: str, likeness: Sequence[tuple[float, float]], draws: _Draws) -> list[Check]:
    """Maps of something shuffled must be other maps: the whole interval of the rank correlation below `LIKE`."""
    found = []
    for quantity, values, is_judged in (
        ("absolute rank correlation with the maps explained", [rank for rank, _ in likeness], True),
        ("structural similarity to the maps explained", [structure for _, structure in likeness], False),
    ):
        usable = _finite(values)
        mean, low, high = _mean(usable, draws)
        highest = mean if math.isnan(high) else high  # all alike: no interval, and nothing to be unsure of
        passed = highest < LIKE if is_judged and len(usable) >= FEWEST else None
        bound = LIKE if is_judged else math.nan
        found.append(Check(test, quantity, mean, low, high, len(usable), bound, passed, math.nan))
    return found


def _paired(
    test: str, quantity: str, values: Sequence[float], expected: Sequence[float], sign: int, draws: _Draws
) -> Check:
    """Values beside what a map that says nothing would have, in the same patients; `sign` is that of a good map.

    The interval is that of the mean difference, put around what was expected, and p is Wilcoxon's signed-rank test,
    exact for up to 50 patients without ties.
    """
    pairs = np.array([values, expected], np.float64).reshape(2, -1)
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    n = pairs.shape[1]
    if n == 0:
        return Check(test, quantity, math.nan, math.nan, math.nan, 0, math.nan, None, math.nan)
    difference, base = pairs[0] - pairs[1], float(pairs[1].mean())
    mean, low, high = _mean(difference, draws)
    p = float(wilcoxon(difference).pvalue) if np.any(np.abs(difference) > _SAME) else 1.0
    can_pass = 2 / 2**n < _ALPHA  # where all differences have one sign, so that 5 patients are too few
    passed = bool(p < _ALPHA and sign * mean > 0) if can_pass else None
    return Check(test, quantity, base + mean, base + low, base + high, n, base, passed, p)


def _mean(values: Float64[np.ndarray, " value"], draws: _Draws) -> tuple[float, float, float]:
    """Mean and 95 % interval, NaN where there is none."""
    if len(values) == 0:
        return math.nan, math.nan, math.nan
    strata = np.zeros(len(values), np.int64)
    [estimate] = mean_losses(strata, values[:, None], ("mean",), resamples=draws.resamples, seed=draws.seed)
    value = float(values.mean())
    return value, estimate.low, estimate.high


def _finite(values: Sequence[float]) -> Float64[np.ndarray, " value"]:
    """Those that could be measured."""
    found = np.array(values, np.float64)
    return found[np.isfinite(found)]
