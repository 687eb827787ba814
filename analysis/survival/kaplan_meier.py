"""Kaplan-Meier curves as R's ``survfit`` makes them: limits of three kinds, medians, values at given times."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from analysis.inference.intervals import Z95
from analysis.survival.followup import Events, Months
from triher.errors import unknown_name
from triher.estimate import Estimate, not_estimable

NOT_REACHED = "not reached"
_ROUNDING = 1e-12  # a curve this near to one half is at one half

Steps = Float64[np.ndarray, " step"]
Counts = Int[np.ndarray, " step"]


@dataclass(frozen=True)
class Curve:
    """A Kaplan-Meier curve: one row a time at which somebody had the event or was censored."""

    conf_type: str
    n: int
    time: Steps
    at_risk: Counts
    events: Counts
    survival: Steps
    """From this time on."""
    error: Steps
    """Greenwood's standard error of the survival."""
    low: Steps
    """95 % limits; NaN where survival is 0, and for ``log-log`` also where it is 1."""
    high: Steps


def kaplan_meier(time: Months, event: Events, conf_type: str = "log-log") -> Curve:
    """The curve of one group (Kaplan & Meier, J Am Stat Assoc 1958;53:457).

    Args:
        time: above 0, any unit.
        event: True for an event; who is censored at the time of an event was at risk for it.
        conf_type: scale of the limits: ``log-log`` (as lifelines), ``log`` (R's default) or ``plain``.

    Raises:
        StopRun: ``unknown_name``.

    >>> curve = kaplan_meier(np.array([1.0, 2, 2, 3]), np.array([True, True, False, False]))
    >>> curve.survival.tolist(), curve.at_risk.tolist()
    ([0.75, 0.5, 0.5], [4, 3, 1])
    """
    times, group = np.unique(time, return_inverse=True)
    leaving = np.bincount(group, minlength=len(times))
    events = np.bincount(group[event], minlength=len(times))
    at_risk = np.cumsum(leaving[::-1])[::-1]
    survival = np.cumprod(1 - events / at_risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.sqrt(np.cumsum(events / (at_risk * (at_risk - events))))
        error = np.where(survival > 0, survival * relative, 0.0)
        low, high = _limits(survival, relative, conf_type)
    return Curve(conf_type, len(time), times, at_risk, events, survival, error, low, high)


def _limits(survival: Steps, relative: Steps, conf_type: str) -> tuple[Steps, Steps]:
    """95 % limits on the scale asked for; `relative` is the standard error of log S."""
    if conf_type == "plain":
        half = Z95 * relative * survival
        low, high = np.maximum(survival - half, 0), np.minimum(survival + half, 1)
    elif conf_type == "log":
        low, high = survival * np.exp(-Z95 * relative), np.minimum(survival * np.exp(Z95 * relative), 1)
    elif conf_type == "log-log":
        half = Z95 * relative / np.log(survival)
        low, high = (np.where(survival < 1, survival ** np.exp(side * half), np.nan) for side in (-1, 1))
    else:
        raise unknown_name("kind of limits", conf_type, ["log", "log-log", "plain"])
    known = survival > 0
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def median_time(curve: Curve) -> Estimate:
    """Median survival with the times at which the limits cross one half (Brookmeyer & Crowley 1982).

    Where the curve runs at exactly one half the middle of that stretch is taken, as in R. A median or a limit that is
    not reached is NaN (``not reached``), never infinity.
    """
    method = f"Kaplan-Meier median, {curve.conf_type} limits"
    value, low, high = (_crossing(curve.time, line) for line in (curve.survival, curve.low, curve.high))
    if math.isnan(value):
        return Estimate(math.nan, low, math.nan, curve.n, method, NOT_REACHED)
    reason = "upper limit not reached" if math.isnan(high) else ""
    return Estimate(value, low, high, curve.n, method, reason)


def _crossing(time: Steps, line: Steps) -> float:
    """Where a curve falls below one half; NaN when it does not."""
    below = np.flatnonzero(line < 0.5 + _ROUNDING)
    if not len(below):
        return math.nan
    first = below[0]
    if line[first] < 0.5 - _ROUNDING:
        return float(time[first])
    under = np.flatnonzero(line < 0.5 - _ROUNDING)
    end = time[under[0]] if len(under) else time[-1]
    return float((time[first] + end) / 2)


@dataclass(frozen=True)
class At:
    """A curve at one time."""

    survival: Estimate
    error: float
    at_risk: int
    """Patients followed up to that time or longer."""


def survival_at(curve: Curve, month: float) -> At:
    """Survival at a time; not estimable once nobody is followed any longer."""
    method = f"Kaplan-Meier, {curve.conf_type} limits"
    after = int(np.searchsorted(curve.time, month, side="left"))
    at_risk = int(curve.at_risk[after]) if after < len(curve.time) else 0
    step = int(np.searchsorted(curve.time, month, side="right")) - 1
    if not at_risk and (step < 0 or curve.survival[-1] > 0):
        nobody = f"nobody is followed to {month:g} months"
        return At(not_estimable(nobody, n=curve.n, method=method), math.nan, 0)
    if step < 0:
        return At(Estimate(1.0, math.nan, math.nan, curve.n, method, "no event yet"), 0.0, at_risk)
    value, low, high = (float(line[step]) for line in (curve.survival, curve.low, curve.high))
    reason = "" if math.isfinite(low) else ("no event yet" if value == 1 else "everybody had the event")
    return At(Estimate(value, low, high, curve.n, method, reason), float(curve.error[step]), at_risk)


def survival_steps(curve: Curve, times: Float64[np.ndarray, " time"]) -> Float64[np.ndarray, " time"]:
    """Survival at each of some times, the last value going on beyond the follow-up."""
    return np.append(1.0, curve.survival)[np.searchsorted(curve.time, times, side="right")]


def median_follow_up(time: Months, lost: Events) -> Estimate:
    """Median follow-up by reverse Kaplan-Meier: censoring is the event (Schemper & Smith 1996;17:343).

    Args:
        time: in months.
        lost: True where follow-up ended without event; where any event ended it, follow-up would have gone on.
    """
    if not len(time):
        return not_estimable("0 patients", n=0, method="median follow-up, reverse Kaplan-Meier")
    found = median_time(kaplan_meier(time, lost))
    method = "median follow-up, reverse Kaplan-Meier, log-log limits"
    return Estimate(found.value, found.low, found.high, found.n, method, found.reason)
