"""Count, for every patient, the ordered pairs of a concordance index: compiled, in O(n log n)."""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from analysis.inference.compiled import compiled
from triher.types import Scores

_BLOCK = 32  # resamples side by side, so that the tree of 10,000 patients stays in the cache

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
    found = []
    for start in range(0, len(lead), _BLOCK):
        block = slice(start, start + _BLOCK)
        drawn = np.ascontiguousarray(times_drawn[block, order.patient].T, dtype=np.int32)
        weights = np.where(order.event[:, None], lead[block, order.patient].T, 0.0)
        won, pairs = _sweep_block(order.rank, order.follower, order.end, np.ascontiguousarray(weights), drawn)
        found.append(np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0))
    return np.concatenate(found)


@compiled
@no_type_check  # numba reads the function's own code, not a wrapper that checks shapes
def _add(tree, at, amount):  # noqa: ANN001, ANN202
    """Add to a Fenwick tree (Fenwick, Softw Pract Exp 1994;24:327)."""
    while at < tree.size:
        tree[at] += amount
        at += at & -at


@compiled
@no_type_check
def _below(tree, at):  # noqa: ANN001, ANN202
    """Sum of the tree up to a rank."""
    total = 0.0
    while at > 0:
        total += tree[at]
        at -= at & -at
    return total


@compiled
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


@compiled
@no_type_check
def _sweep_block(rank, follower, end, lead, drawn):  # noqa: ANN001, ANN202
    """Won pairs and all pairs of some resamples, side by side in one sweep from the last time."""
    n, resamples = drawn.shape
    tree = np.zeros((n + 1, resamples), np.int32)
    level = np.zeros((n + 1, resamples), np.int32)
    total, below = np.zeros(resamples, np.int32), np.zeros(resamples, np.int32)
    won, pairs = np.zeros(resamples), np.zeros(resamples)
    inserted = n
    for i in range(n - 1, -1, -1):
        if i == end[i] - 1:
            tree[:], level[:], total[:] = 0, 0, 0
            inserted = end[i]
        while inserted > follower[i]:
            inserted -= 1
            _add_row(tree, level, total, rank[inserted], drawn[inserted])
        if lead[i].any():
            _below_row(tree, rank[i] - 1, below)
            for r in range(resamples):
                weight = lead[i, r] * drawn[i, r]
                won[r] += weight * (below[r] + 0.5 * level[rank[i], r])
                pairs[r] += weight * total[r]
    return won, pairs


@compiled
@no_type_check
def _add_row(tree, level, total, at, amount):  # noqa: ANN001, ANN202
    """Add a patient to the trees of all resamples, to the counts of the score, and to the totals."""
    for r in range(amount.size):
        total[r] += amount[r]
        level[at, r] += amount[r]
    while at < len(tree):
        for r in range(amount.size):
            tree[at, r] += amount[r]
        at += at & -at


@compiled
@no_type_check
def _below_row(tree, at, below):  # noqa: ANN001, ANN202
    """Sums of the trees of all resamples up to a rank."""
    below[:] = 0
    while at > 0:
        for r in range(below.size):
            below[r] += tree[at, r]
        at -= at & -at
