"""Cox's partial likelihood with Efron's ties by cumulative sums: value, residuals, information, maximum."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from analysis.survival.followup import Events, Months

Design = Float64[np.ndarray, "patient covariate"]
Beta = Float64[np.ndarray, " covariate"]
Information = Float64[np.ndarray, "covariate covariate"]
EventTimes = Float64[np.ndarray, " event_time"]

_MOST_STEPS = 30
_SMALLEST_STEP = 2.0**-10
_CONVERGED = 1e-20
"""Newton decrement: twice what the log likelihood could still gain, far below its rounding."""
_far_out = np.errstate(over="ignore", divide="ignore", invalid="ignore")
"""Where a coefficient runs to infinity, weights fall below all numbers; a likelihood of NaN is no step uphill."""


@dataclass(frozen=True)
class Stratum:
    """Patients with one baseline hazard, latest first, and where their events lie."""

    patients: Int[np.ndarray, " at_risk"]
    """Rows of the design."""
    dead: Int[np.ndarray, " death"]
    """Positions of the events among `patients`."""
    first: Int[np.ndarray, " event_time"]
    """Positions among `dead` where each event time begins."""
    last: Int[np.ndarray, " event_time"]
    """Position among `patients` of the last one at risk at each event time."""
    at: Int[np.ndarray, " death"]
    """Number of the event time of each event."""
    share: Float64[np.ndarray, " death"]
    """Efron: what part of the weight of the events at its time has left before this one; 0, 1/d, ... (d - 1)/d."""
    times: EventTimes
    """The event times, latest first."""


@dataclass(frozen=True)
class State:
    """What one stratum shows at some coefficients."""

    stratum: Stratum
    x: Float64[np.ndarray, "at_risk covariate"]
    weight: Float64[np.ndarray, " at_risk"]
    """exp(x beta), scaled to a largest of 1."""
    total: Float64[np.ndarray, " death"]
    """Weight at risk at each event."""
    mean: Float64[np.ndarray, "death covariate"]
    """Weighted mean of x among those at risk at each event."""
    log_likelihood: float


def risk_sets(time: Months, event: Events, strata: Sequence[str]) -> tuple[Stratum, ...]:
    """Sort the patients once for any number of evaluations.

    Args:
        time: any unit.
        event: True for an event.
        strata: group of each patient; risk sets lie within a group. Groups without event are left out: they say
            nothing.
    """
    _, group = np.unique(np.array(strata, dtype=str), return_inverse=True)
    found = []
    for g in range(int(group.max(initial=-1)) + 1):
        inside = np.flatnonzero(group == g)
        if event[inside].any():
            found.append(_stratum(inside[np.argsort(-time[inside], kind="stable")], time, event))
    return tuple(found)


def _stratum(patients: Int[np.ndarray, " at_risk"], time: Months, event: Events) -> Stratum:
    """The event times of one group, whose patients come latest first."""
    dead = np.flatnonzero(event[patients])
    times = time[patients][dead]
    first = np.flatnonzero(np.concatenate([[True], times[1:] != times[:-1]]))
    tied = np.diff(np.append(first, len(dead)))
    at = np.repeat(np.arange(len(first)), tied)
    share = (np.arange(len(dead)) - first[at]) / tied[at]
    last = np.searchsorted(-time[patients], -times[first], side="right") - 1
    return Stratum(patients, dead, first, last, at, share, times[first])


def evaluate(strata: tuple[Stratum, ...], x: Design, beta: Beta) -> tuple[State, ...]:
    """Risk-set totals and means at some coefficients; the log likelihoods of the strata add up."""
    return tuple(_state(stratum, x[stratum.patients], beta) for stratum in strata)


@_far_out
def _state(stratum: Stratum, x: Float64[np.ndarray, "at_risk covariate"], beta: Beta) -> State:
    """Cumulative sums from the latest time down; with Efron's ties events leave one after the other."""
    linear = x @ beta
    highest = linear.max()
    weight = np.exp(linear - highest)
    weighted = weight[:, None] * x
    at, share = stratum.at, stratum.share
    total = np.cumsum(weight)[stratum.last][at] - share * _at_each_time(stratum, weight)[at]
    sums = np.cumsum(weighted, axis=0)[stratum.last][at] - share[:, None] * _at_each_time(stratum, weighted)[at]
    value = float((linear[stratum.dead] - highest).sum() - np.log(total).sum())
    return State(stratum, x, weight, total, sums / total[:, None], value)


def _at_each_time(stratum: Stratum, values: np.ndarray) -> np.ndarray:
    """Sum over the events of each event time."""
    return np.add.reduceat(values[stratum.dead], stratum.first, axis=0)


def log_likelihood(states: Sequence[State]) -> float:
    """The log partial likelihood of all strata."""
    return sum(state.log_likelihood for state in states)


def residuals(state: State) -> Float64[np.ndarray, "event_time covariate"]:
    """Schoenfeld residuals, summed over the events of each time; their sum is the score vector."""
    events = state.x[state.stratum.dead] - state.mean
    return np.add.reduceat(events, state.stratum.first, axis=0)


@_far_out
def information(state: State, weight: EventTimes) -> Information:
    """Sum over the events of the variance of x among those at risk, each event time with its own weight.

    The sum over risk sets of w x x' is reordered to one over patients, each with the sum of weight / total over the
    events that found her at risk, so that no matrix is made for every event time.
    """
    stratum = state.stratum
    each = weight[stratum.at] / state.total
    presence = np.zeros(len(state.weight))
    presence[stratum.last] = np.add.reduceat(each, stratum.first)
    presence = np.cumsum(presence[::-1])[::-1].copy()
    presence[stratum.dead] -= np.add.reduceat(each * stratum.share, stratum.first)[stratum.at]
    whole = state.x.T @ (state.x * (state.weight * presence)[:, None])
    return whole - state.mean.T @ (state.mean * weight[stratum.at][:, None])


def score_and_information(states: Sequence[State]) -> tuple[Beta, Information]:
    """First derivative of the log likelihood, and minus the second."""
    score = sum(residuals(state).sum(axis=0) for state in states)
    whole = sum(information(state, np.ones(len(state.stratum.times))) for state in states)
    return np.asarray(score), np.asarray(whole)


def maximize(strata: tuple[Stratum, ...], x: Design) -> tuple[Beta, float] | None:
    """Newton's steps, halved until the log likelihood grows.

    Args:
        strata: from `risk_sets`.
        x: columns of full rank.

    Returns:
        Coefficients and log likelihood, or None where the steps do not settle (no maximum, or a flat one).
    """
    center, scale = x.mean(axis=0), np.maximum(x.std(axis=0), np.finfo(float).tiny)
    scaled = (x - center) / scale
    beta = np.zeros(x.shape[1])
    states = evaluate(strata, scaled, beta)
    for _ in range(_MOST_STEPS):
        score, whole = score_and_information(states)
        try:
            step = np.linalg.solve(whole, score)
        except np.linalg.LinAlgError:
            return None
        if float(score @ step) < _CONVERGED:
            return beta / scale, log_likelihood(states)
        beta, states, moved = _uphill(strata, scaled, beta, step, states)
        if not moved:
            return beta / scale, log_likelihood(states)
    return None


def _uphill(
    strata: tuple[Stratum, ...], x: Design, beta: Beta, step: Beta, states: tuple[State, ...]
) -> tuple[Beta, tuple[State, ...], bool]:
    """The longest of the step's halves that does not lower the log likelihood, and whether there is one."""
    share, before = 1.0, log_likelihood(states)
    while share > _SMALLEST_STEP:
        there = evaluate(strata, x, beta + share * step)
        if log_likelihood(there) > before:
            return beta + share * step, there, True
        share /= 2
    return beta, states, False
