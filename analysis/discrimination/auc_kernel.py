"""AUCs of many resamples at once, in compiled code, from how often each patient was drawn.

The scores are sorted once; a resample then needs no sorting, only a walk along the order that adds up how many of
each side came before. All sums are of whole numbers below 2**53, so the results are exact.
"""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float64, Int, Int32, Int64, Real

from analysis.inference.compiled import compiled

Multiplicities = Int[np.ndarray, "resample patient"]
"""How often each patient occurs in each resample; fastest where a patient's numbers lie side by side in memory."""


@dataclass(frozen=True)
class Ranking:
    """Patients in the order of a score, for the AUC of one side against the other."""

    order: Int64[np.ndarray, " ranked"]
    """Positions of the patients, lowest score first."""
    condition: Bool[np.ndarray, " ranked"]
    """Who has the condition, in that order."""
    closes: Bool[np.ndarray, " ranked"]
    """Whether the next score is another one: equal scores form a group."""


def rank(condition: Bool[np.ndarray, " ranked"], score: Real[np.ndarray, " ranked"]) -> Ranking:
    """Sort a score once for all resamples.

    >>> rank(np.array([True, False, True]), np.array([0.5, 0.2, 0.5])).closes
    array([ True, False,  True])
    """
    order = np.argsort(score, kind="stable")
    ordered, closes = score[order], np.ones(len(order), dtype=bool)
    closes[:-1] = ordered[1:] != ordered[:-1]
    return Ranking(order, condition[order], closes)


def among(ranking: Ranking, members: Int[np.ndarray, " member"]) -> Ranking:
    """The same ranking of some patients, at the given positions among all."""
    return Ranking(np.asarray(members, np.int64)[ranking.order], ranking.condition, ranking.closes)


def concordance(
    ranking: Ranking, weights: Multiplicities
) -> tuple[Float64[np.ndarray, " resample"], Float64[np.ndarray, " resample"]]:
    """In every resample the pairs whose one with the condition scores higher (ties count half), and all pairs."""
    by_patient = np.ascontiguousarray(weights.T, np.int32)  # one type, compiled once
    counts = np.zeros((5, len(weights)))
    _walk(ranking.order, ranking.condition, ranking.closes, by_patient, counts)
    return counts[4] / 2, counts[2] * counts[3]


def areas(ranking: Ranking, weights: Multiplicities) -> Float64[np.ndarray, " resample"]:
    """The AUC in every resample; each side must keep a patient in each."""
    concordant, pairs = concordance(ranking, weights)
    return concordant / pairs


def add_draws(
    drawn: Int[np.ndarray, "resample draw"],
    members: Int64[np.ndarray, " member"],
    counts: Int32[np.ndarray, "patient resample"],
) -> None:
    """Count draws of some patients into a table of everybody, which has a patient's numbers side by side.

    Args:
        drawn: positions among the members, one resample a row.
        members: positions of those who could be drawn among all.
        counts: patient in rows, resample in columns; what was drawn is added.
    """
    _count(drawn, members, counts)


@compiled
@no_type_check  # numba reads the function's own code, not a wrapper that checks shapes
def _walk(order, condition, closes, by_patient, counts):  # noqa: ANN001, ANN202
    """Fill five rows, a column for each resample.

    Rows: of the group of equal scores those with and without the condition; of all so far those with and without it;
    twice the concordant pairs.
    """
    opens = True
    for i in range(len(order)):
        drawn = by_patient[order[i]]
        if opens and closes[i]:  # a score of its own needs no group
            _add_alone(drawn, condition[i], counts)
            continue
        side = 0 if condition[i] else 1
        for r in range(len(drawn)):
            counts[side, r] += drawn[r]
        opens = closes[i]
        if opens:
            _close_group(counts)


@compiled
@no_type_check
def _add_alone(drawn, has_it, counts):  # noqa: ANN001, ANN202
    """Add a patient whose score nobody shares."""
    if has_it:
        for r in range(len(drawn)):
            counts[4, r] += 2.0 * drawn[r] * counts[3, r]
            counts[2, r] += drawn[r]
    else:
        for r in range(len(drawn)):
            counts[3, r] += drawn[r]


@compiled
@no_type_check
def _close_group(counts):  # noqa: ANN001, ANN202
    """Add a group of equal scores, and begin the next."""
    for r in range(counts.shape[1]):
        counts[4, r] += counts[0, r] * (2.0 * counts[3, r] + counts[1, r])
        counts[2, r] += counts[0, r]
        counts[3, r] += counts[1, r]
        counts[0, r] = 0.0
        counts[1, r] = 0.0


@compiled
@no_type_check
def _count(drawn, members, counts):  # noqa: ANN001, ANN202
    """Add 1 to ``counts[members[drawn[r, k]], r]`` for every draw."""
    for r in range(drawn.shape[0]):
        for k in range(drawn.shape[1]):
            counts[members[drawn[r, k]], r] += 1
