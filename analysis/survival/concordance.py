"""Harrell's C: how often the patient with the higher score has the event first."""

import math

import numpy as np
from jaxtyping import Float64

from analysis.inference.intervals import wald, without_interval
from analysis.survival.followup import Events, Months
from analysis.survival.pairs import count_pairs, sort_patients
from triher.estimate import Estimate, not_estimable
from triher.types import Scores

_METHOD = "Harrell's C, infinitesimal jackknife, Wald"


def harrell_c(score: Scores, time: Months, event: Events, strata: tuple[str, ...]) -> Estimate:
    """Harrell's C with its infinitesimal-jackknife interval (Therneau & Atkinson, R survival vignette 2024).

    A pair counts when the earlier time is an event; of an event and a censoring at one time the event came
    first; two events at one time are no pair; equal scores count half. Pairs lie within a stratum.

    Args:
        score: higher is riskier.
        time: in months.
        event: True for an event, False for a censoring.
        strata: group of each patient.

    >>> str(harrell_c(np.array([3.0, 1, 2, 0]), np.arange(1.0, 5), np.array([True, True, True, False]), ("",) * 4))
    '0.833 (0.507 to 1.000)'
    """
    n = len(score)
    value, influence = _index(score, time, event, strata)
    if math.isnan(value):
        return not_estimable(_no_pair(event), n=n, method=_METHOD)
    error = math.sqrt(float(influence @ influence))
    if error == 0:
        return without_interval(value, "no variation between patients", n=n, method=_METHOD)
    return wald(value, error, n=n, method=_METHOD, bounds=(0.0, 1.0))


def _no_pair(event: Events) -> str:
    """Why there is no C."""
    return f"{int(event.sum())} events, no pair to compare"


def _index(
    score: Scores, time: Months, event: Events, strata: tuple[str, ...]
) -> tuple[float, Float64[np.ndarray, " patient"]]:
    """C and how much each patient moves it; NaN without a pair."""
    counts = count_pairs(sort_patients(score, time, event, strata), np.ones(len(time)))
    total = float(counts.pairs.sum()) / 2  # each pair counts for both of its patients
    if total == 0:
        return math.nan, np.zeros(len(time))
    value = float(counts.won.sum()) / 2 / total
    return value, (counts.won - value * counts.pairs) / total


def paired_difference(
    first: Float64[np.ndarray, " patient"],
    second: Float64[np.ndarray, " patient"],
    time: Months,
    event: Events,
    strata: tuple[str, ...],
) -> Estimate:
    """How much higher the C of the first score is, on the same patients, with its jackknife interval."""
    n = len(first)
    method = "difference of two Harrell C, infinitesimal jackknife, Wald"
    value, influence = _index(first, time, event, strata)
    other, other_influence = _index(second, time, event, strata)
    if math.isnan(value):
        return not_estimable(_no_pair(event), n=n, method=method)
    change = influence - other_influence
    return wald(value - other, math.sqrt(float(change @ change)), n=n, method=method, bounds=(-1.0, 1.0))
