"""Competing risks: how often each kind of event happens when the other one may come first."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from analysis.inference.intervals import Z95
from analysis.survival.followup import Events, Months
from triher.estimate import Estimate, not_estimable

_METHOD = "Aalen-Johansen, log-log limits"
_ROUNDING = 1e-12  # an incidence this near to 1 is 1

Steps = Float64[np.ndarray, " step"]


@dataclass(frozen=True)
class Incidence:
    """Cumulative incidence of one kind of event; one row a time at which somebody left."""

    n: int
    time: Steps
    value: Steps
    """Share of the patients who have had it, from this time on."""
    error: Steps
    low: Steps
    """95 % limits; NaN as long as nobody has had it."""
    high: Steps


def cumulative_incidence(time: Months, event: Events, competing: Events) -> Incidence:
    """The Aalen-Johansen estimator with its delta-method error (Dinse & Larson, Biometrika 1986;73:379).

    Unlike 1 - Kaplan-Meier, which takes those with the competing event for patients who may still have this one, the
    incidences of all kinds and the share of patients without any add up to 1. Limits are on the scale log(-log).

    Args:
        time: in months.
        event: True for the event of interest.
        competing: True for another event that rules it out.

    >>> time = np.array([1.0, 2, 3, 4])
    >>> found = cumulative_incidence(time, np.array([1, 0, 1, 0], bool), np.array([0, 1, 0, 0], bool))
    >>> found.value.tolist()
    [0.25, 0.25, 0.5, 0.5]
    """
    times, group = np.unique(time, return_inverse=True)
    leaving, own, other = (
        np.bincount(group[chosen], minlength=len(times)) for chosen in (np.ones(len(time), bool), event, competing)
    )
    at_risk = np.cumsum(leaving[::-1])[::-1]
    left = np.cumprod(1 - (own + other) / at_risk)
    before = np.append(1.0, left[:-1])
    value = np.minimum(np.cumsum(before * own / at_risk), 1.0)
    value[value > 1 - _ROUNDING] = 1.0
    error = np.sqrt(np.maximum(_variance(value, before, own, own + other, at_risk), 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        half = Z95 * error / (value * np.log(value))
        low, high = value ** np.exp(-half), value ** np.exp(half)
    known = (value > 0) & (value < 1)
    return Incidence(len(time), times, value, error, np.where(known, low, np.nan), np.where(known, high, np.nan))


def _variance(value: Steps, before: Steps, own: np.ndarray, events: np.ndarray, at_risk: np.ndarray) -> Steps:
    """Var F(t) = sum over times up to t, with F(t) - F(s) written out so that running sums do."""
    rest = at_risk - events
    a = np.divide(events, at_risk * rest, out=np.zeros(len(value)), where=rest > 0)
    b = before**2 * own * (at_risk - own) / at_risk**3
    c = before * own / at_risk**2
    squares = value**2 * np.cumsum(a) - 2 * value * np.cumsum(a * value) + np.cumsum(a * value**2)
    return squares + np.cumsum(b) - 2 * (value * np.cumsum(c) - np.cumsum(c * value))


def incidence_at(found: Incidence, month: float) -> Estimate:
    """The incidence up to a time; not estimable when nobody is followed that long and not all have had an event."""
    if not found.n or found.time[-1] < month:
        return not_estimable(f"nobody is followed to {month:g} months", n=found.n, method=_METHOD)
    step = int(np.searchsorted(found.time, month, side="right")) - 1
    value = float(found.value[step]) if step >= 0 else 0.0
    if not 0 < value < 1:
        reason = "no such event yet" if value == 0 else "everybody had the event"
        return Estimate(value, math.nan, math.nan, found.n, _METHOD, reason)
    return Estimate(value, float(found.low[step]), float(found.high[step]), found.n, _METHOD)
