"""Restricted mean survival time: the months lived without event up to a horizon, on average."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from analysis.inference.intervals import Z95, wald
from analysis.survival.followup import Events, Months
from analysis.survival.kaplan_meier import Curve, kaplan_meier
from triher.estimate import Estimate, not_estimable

_METHOD = "restricted mean survival time, Greenwood type standard error, Wald"


@dataclass(frozen=True)
class RestrictedMean:
    """Months without event up to the horizon, and the standard error."""

    months: Estimate
    error: float


def restricted_mean(time: Months, event: Events, horizon: float) -> RestrictedMean:
    """The area under the Kaplan-Meier curve up to a horizon (Royston & Parmar, BMC Med Res Methodol 2013;13:152).

    Its variance is the sum of A(t)^2 d / (n (n - d)) over the event times, with A(t) the area between t and the
    horizon, d events and n at risk, as R's ``survfit`` gives it.

    Args:
        time: in months.
        event: True for an event.
        horizon: in months; the area is not estimable when nobody is followed that long and some are without event.
    """
    n, method = len(time), f"{_METHOD}, to {horizon:g} months"
    curve = kaplan_meier(time, event)
    if not n or (curve.time[-1] < horizon and curve.survival[-1] > 0):
        reason = f"nobody is followed to {horizon:g} months"
        return RestrictedMean(not_estimable(reason, n=n, method=method), math.nan)
    value, error = _area(curve, horizon)
    if error == 0:
        reason = f"no variation: {int((event & (time <= horizon)).sum())} events up to {horizon:g} months"
        return RestrictedMean(Estimate(value, math.nan, math.nan, n, method, reason), 0.0)
    return RestrictedMean(wald(value, error, n=n, method=method, bounds=(0.0, horizon)), error)


def _area(curve: Curve, horizon: float) -> tuple[float, float]:
    """Area up to the horizon with its standard error."""
    inside = curve.time < horizon
    edges = np.concatenate([[0.0], curve.time[inside], [horizon]])
    pieces = np.diff(edges) * np.append(1.0, curve.survival[inside])
    beyond = np.cumsum(pieces[::-1])[::-1][1:]  # from each time to the horizon
    events, at_risk = curve.events[inside], curve.at_risk[inside]
    some = (events > 0) & (events < at_risk)  # where all have the event, nothing lies beyond
    terms = beyond[some] ** 2 * events[some] / (at_risk[some] * (at_risk[some] - events[some]))
    return float(pieces.sum()), math.sqrt(float(terms.sum()))


@dataclass(frozen=True)
class MeanDifference:
    """Months without event that one group lives longer than another."""

    months: Estimate
    p: Estimate


def mean_difference(first: RestrictedMean, second: RestrictedMean, horizon: float) -> MeanDifference:
    """First minus second, two groups of different patients, with Wald interval and two-sided p value."""
    n, method = (
        first.months.n + second.months.n,
        f"difference of {_METHOD.replace('time,', 'times,')}, to {horizon:g} months",
    )
    for one in (first, second):
        if math.isnan(one.months.value):
            nothing = not_estimable(one.months.reason, n=n, method=method)
            return MeanDifference(nothing, nothing)
    value, error = first.months.value - second.months.value, math.hypot(first.error, second.error)
    if error == 0:
        nothing = not_estimable("no variation in either group", n=n, method=method)
        return MeanDifference(Estimate(value, math.nan, math.nan, n, method, nothing.reason), nothing)
    p = float(2 * norm.sf(abs(value / error)))
    return MeanDifference(
        Estimate(value, value - Z95 * error, value + Z95 * error, n, method),
        Estimate(p, math.nan, math.nan, n, f"{method}, p value"),
    )
