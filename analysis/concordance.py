"""Harrell's C: how often the patient with the higher score has the event first."""

import math

import numpy as np
from jaxtyping import Bool, Float64

from analysis.followup import Events, Months
from analysis.intervals import wald, without_interval
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
    """
    n = len(score)
    pairs = _usable_pairs(time, event, strata)
    total = int(pairs.sum())
    if total == 0:
        return not_estimable(f"{int(event.sum())} events, no pair to compare", n=n, method=_METHOD)
    won = pairs * ((score[:, None] > score[None, :]) + 0.5 * (score[:, None] == score[None, :]))
    value = float(won.sum() / total)
    excess = won - value * pairs
    influence = (excess.sum(axis=0) + excess.sum(axis=1)) / total
    error = math.sqrt(float(influence @ influence))
    if error == 0:
        return without_interval(value, "no variation between patients", n=n, method=_METHOD)
    return wald(value, error, n=n, method=_METHOD, bounds=(0.0, 1.0))


def _usable_pairs(time: Months, event: Events, strata: tuple[str, ...]) -> Bool[np.ndarray, "first second"]:
    """Whether the row's patient is known to have had the event before the column's patient."""
    _, group = np.unique(np.array(strata, dtype=str), return_inverse=True)
    before = (time[:, None] < time[None, :]) | ((time[:, None] == time[None, :]) & ~event[None, :])
    return event[:, None] & before & (group[:, None] == group[None, :])


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
    pairs = _usable_pairs(time, event, strata)
    total = int(pairs.sum())
    if total == 0:
        return not_estimable(f"{int(event.sum())} events, no pair to compare", n=n, method=method)
    gain = pairs * (np.sign(first[:, None] - first[None, :]) - np.sign(second[:, None] - second[None, :])) / 2
    value = float(gain.sum() / total)
    excess = gain - value * pairs
    influence = (excess.sum(axis=0) + excess.sum(axis=1)) / total
    return wald(value, math.sqrt(float(influence @ influence)), n=n, method=method, bounds=(-1.0, 1.0))
