"""Count, for every patient, the ordered pairs of a concordance index: compiled, in O(n log n)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from numba import njit

from triher.types import Scores

Each = Float64[np.ndarray, " patient"]
Draws = Float64[np.ndarray, " resample"]


@dataclass(frozen=True)
class Order:
    """Patients sorted by stratum, then by time, events before censorings at one time; all arrays in that order."""

    patient: Int[np.ndarray, " patient"]
    """Position of each in the caller's arrays."""
    event: Bool[np.ndarray, " patient"]
    rank: Int[np.ndarray, " patient"]
    """Of the score, from 1, equal scores sharing one."""
    follower: Int[np.ndarray, " patient"]
    """Where the patients begin who are known to have had the event later than this one, if this one had it."""
    end: Int[np.ndarray, " patient"]
    """Where the stratum ends."""


@dataclass(frozen=True)
class PairCounts:
    """What the pairs of each patient weigh, both those that the patient leads and those that another one leads."""

    won: Each
    """Pairs in which the higher score had the event first; equal scores count half."""
    pairs: Each
    """All usable pairs."""


def sort_patients(score: Scores, time: Each, event: Bool[np.ndarray, " patient"], strata: tuple[str, ...]) -> Order:
    """Sort once; counts and resamples then need sweeps alone.

    A pair is led by a patient with an event; the other one has a later time, or is censored at the same time. Two
    events at one time are no pair (Harrell et al., JAMA 1982;247:2543, as in R's ``survival::concordance``).

    Args:
        score: higher is riskier.
        time: any unit.
        event: True for an event.
        strata: group of each patient; pairs lie within a group.
    """
    _, group = np.unique(np.array(strata, dtype=str), return_inverse=True)
    patient = np.lexsort((~event, time, group))
    _, rank = np.unique(score, return_inverse=True)
    group, time, event = group[patient], time[patient], event[patient]
    n = len(patient)
    new_group = np.append(np.diff(group) != 0, np.ones(min(n, 1), dtype=bool))
    last_event = new_group | np.append(np.diff(time) != 0, new_group[-1:]) | (event & ~np.append(event[1:], False))
    return Order(patient, event, rank[patient] + 1, _next_end(last_event), _next_end(new_group))


def _next_end(last: Bool[np.ndarray, " patient"]) -> Int[np.ndarray, " patient"]:
    """For each position, the one behind the next position that is the last of its block."""
    ends = np.flatnonzero(last) + 1
    return ends[np.searchsorted(ends, np.arange(len(last)), side="right")].astype(np.int64)


def count_pairs(order: Order, lead: Each) -> PairCounts:
    """The weighted pairs of each patient, in the caller's order.

    Args:
        order: the sorted patients.
        lead: weight of the pairs that a patient leads, in the caller's order; only those of events count.
    """
    won, pairs = np.zeros(len(lead)), np.zeros(len(lead))
    weights = np.where(order.event, lead[order.patient], 0.0)
    _sweep_both(order.rank, order.follower, order.end, weights, won, pairs)
    back = np.empty(len(lead), np.int64)
    back[order.patient] = np.arange(len(lead))
    return PairCounts(won[back], pairs[back])


def resampled_index(
    order: Order, lead: Float[np.ndarray, "resample patient"], times_drawn: Int[np.ndarray, "resample patient"]
) -> Draws:
    """The share of won pairs in every resample; NaN where a resample has no pair.

    Args:
        order: the sorted patients.
        lead: as in `count_pairs`, for each resample.
        times_drawn: how often each patient occurs in each resample; two copies of one patient are no pair.
    """
    weights = np.where(order.event, lead[:, order.patient], 0.0)
    return _sweep_each(order.rank, order.follower, order.end, weights, times_drawn[:, order.patient])


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile, and keep the result beside the module where numba finds a folder that it may write to."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)


@_compiled
@no_type_check  # numba reads the function's own code, not a wrapper that checks shapes
def _add(tree, at, amount):  # noqa: ANN001, ANN202
    """Add to a Fenwick tree (Fenwick, Softw Pract Exp 1994;24:327)."""
    while at < tree.size:
        tree[at] += amount
        at += at & -at


@_compiled
@no_type_check
def _below(tree, at):  # noqa: ANN001, ANN202
    """Sum of the tree up to a rank."""
    total = 0.0
    while at > 0:
        total += tree[at]
        at -= at & -at
    return total


@_compiled
@no_type_check
def _sweep_both(rank, follower, end, lead, won, pairs):  # noqa: ANN001, ANN202
    """Add each patient's pairs as leader in a sweep from the last time, as follower in one from the first."""
    n = rank.size
    tree = np.zeros(n + 1)
    total, inserted = 0.0, n
    for i in range(n - 1, -1, -1):
        if i == end[i] - 1:
            tree[:], total, inserted = 0.0, 0.0, end[i]
        while inserted > follower[i]:
            inserted -= 1
            _add(tree, rank[inserted], 1.0)
            total += 1.0
        if lead[i] > 0:
            lower = _below(tree, rank[i] - 1)
            won[i] += lead[i] * (lower + _below(tree, rank[i])) / 2
            pairs[i] += lead[i] * total
    inserted = 0
    for i in range(n):
        if i == 0 or end[i] != end[i - 1]:
            tree[:], total, inserted = 0.0, 0.0, i
        while inserted < i and follower[inserted] <= i:
            _add(tree, rank[inserted], lead[inserted])
            total += lead[inserted]
            inserted += 1
        won[i] += total - (_below(tree, rank[i] - 1) + _below(tree, rank[i])) / 2
        pairs[i] += total


@_compiled
@no_type_check
def _sweep_each(rank, follower, end, lead, times_drawn):  # noqa: ANN001, ANN202
    """The share of won pairs in each resample, by one sweep from the last time."""
    resamples, n = lead.shape
    index = np.full(resamples, np.nan)
    tree = np.zeros(n + 1)
    for r in range(resamples):
        won, pairs, total, inserted = 0.0, 0.0, 0.0, n
        for i in range(n - 1, -1, -1):
            if i == end[i] - 1:
                tree[:], total, inserted = 0.0, 0.0, end[i]
            while inserted > follower[i]:
                inserted -= 1
                if times_drawn[r, inserted] > 0:
                    _add(tree, rank[inserted], times_drawn[r, inserted])
                    total += times_drawn[r, inserted]
            weight = lead[r, i] * times_drawn[r, i]
            if weight > 0:
                won += weight * (_below(tree, rank[i] - 1) + _below(tree, rank[i])) / 2
                pairs += weight * total
        if pairs > 0:
            index[r] = won / pairs
    return index
