"""What the values of features give away: the label, the patients' order, or a fit on all patients."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int
from scipy.special import gammaln

from classify.objectives import auc
from triher.types import Labels, Vectors

_FIT = 1e-6  # float32 columns that were standardized have a mean and a deviation this near to 0 and 1
_APART = 1e-3  # and a part of their rows is farther from that, by chance of 1 / sqrt(n)
_TELLS = 0.999  # AUC
_CHANCE = 1e-6  # probability that some column parts a class by chance, above which nothing is concluded
_SURE = 30  # patients on either side; with fewer, a feature of AUC 0.97 may part a class without an error
_LEAST_RUN = 3
_MOST_RUN = 64
_LEAST_ROWS = 8


@dataclass(frozen=True)
class Told:
    """A column that alone parts one class from the rest."""

    column: int
    label: int
    auc: float
    """At least 0.999, in the direction that the column has."""
    is_sure: bool
    """False for a feature with more values than classes among few patients, whom a good one may part by luck."""


def tell_class(vectors: Vectors, y: Labels, n_classes: int) -> list[Told]:
    """Columns that alone part one class from the rest.

    A column that is a one-to-one code of the label parts the class of its highest code, so it is among them. Classes
    so small that one of as many columns could part them by chance are not judged.

    Args:
        vectors: features; a column that has gaps is judged by the patients who have it.
        y: class of each patient.
        n_classes: classes of the scheme.
    """
    n_tried = vectors.shape[1] * n_classes
    found = _tell_class(vectors, y, n_classes, n_tried)
    for column in np.flatnonzero(~np.isfinite(vectors).all(axis=0)).tolist():
        known = np.isfinite(vectors[:, column])
        told = _tell_class(vectors[known][:, [column]], y[known], n_classes, n_tried)
        found += [replace(one, column=column) for one in told]
    return sorted(found, key=lambda one: one.column)


def _tell_class(vectors: Vectors, y: Labels, n_classes: int, n_tried: int) -> list[Told]:
    """Those among the columns without gaps."""
    found: dict[int, Told] = {}
    for label in range(n_classes):
        inside = y == label
        if _by_chance(inside, n_tried):
            continue
        many = min(inside.sum(), (~inside).sum()) >= _SURE
        for column in _candidates(vectors, inside):
            area = auc(vectors[:, column], inside)
            area = max(area, 1 - area)
            if area >= _TELLS and (column not in found or area > found[column].auc):
                is_code = len(np.unique(vectors[:, column])) <= n_classes
                found[column] = Told(column, label, area, bool(many or is_code))
    return list(found.values())


def _by_chance(inside: np.ndarray, n_tried: int) -> bool:
    """Whether one of so many columns of noise could have all members of a class above, or all below the rest."""
    n, k = len(inside), int(inside.sum())
    ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return bool(np.log(2 * n_tried) - ways > np.log(_CHANCE))


def _candidates(vectors: Vectors, inside: np.ndarray) -> list[int]:
    """Columns where hardly anybody else lies beyond the median of the class, without which no AUC is near 1.

    If a share f of the others lies beyond the median, at least f / 2 of all pairs are in the wrong order.
    """
    middle, others = np.median(vectors[inside], axis=0), vectors[~inside]
    most = 2 * (1 - _TELLS) * len(others)
    beyond = np.minimum((others > middle).sum(axis=0), (others < middle).sum(axis=0))
    return np.flatnonzero((beyond <= most) & (np.ptp(vectors, axis=0) > 0)).tolist()


def follow_order(vectors: Vectors) -> list[int]:
    """Columns that rise or fall from row to row, with ties in fewer than half of the steps."""
    if len(vectors) < _LEAST_ROWS:
        return []
    head = np.diff(vectors[:_LEAST_ROWS], axis=0)
    columns = np.flatnonzero((head >= 0).all(axis=0) | (head <= 0).all(axis=0))
    steps = np.diff(vectors[:, columns], axis=0)
    steady = (steps >= 0).all(axis=0) | (steps <= 0).all(axis=0)
    return columns[steady & ((steps != 0).mean(axis=0) > 0.5)].tolist()


def equal_ids(vectors: Vectors, patient_id: Sequence[str]) -> list[int]:
    """Columns that equal the last number in the patient ids, or all their digits."""
    runs = [re.findall(r"\d+", name) for name in patient_id]
    if len(runs) < 2 or not all(runs):
        return []
    found: set[int] = set()
    for digits in ([run[-1] for run in runs], ["".join(run) for run in runs]):
        number = np.array(digits, dtype=np.float64)
        columns = np.flatnonzero(np.isclose(vectors[0], number[0], rtol=_FIT, atol=0))
        equal = np.isclose(vectors[:, columns], number[:, None], rtol=_FIT, atol=0).all(axis=0)
        found |= set(columns[equal & (np.ptp(number) > 0)].tolist())
    return sorted(found)


def standardized(vectors: Vectors, part: Int[np.ndarray, " train"]) -> list[int]:
    """Columns with mean 0 and deviation 1 over all rows, and not over a part of them."""
    mean, deviation = _moments(vectors)
    n = len(vectors)
    unit = np.minimum(np.abs(deviation - 1), np.abs(deviation * np.sqrt(n / max(n - 1, 1)) - 1))
    columns = np.flatnonzero((np.abs(mean) < _FIT) & (unit < _FIT))
    mean, deviation = _moments(vectors[np.ix_(part, columns)])
    return columns[(np.abs(mean) > _FIT) | (np.abs(deviation - 1) > _APART)].tolist()


def _moments(vectors: Vectors) -> tuple[Float64[np.ndarray, " feature"], Float64[np.ndarray, " feature"]]:
    """Means, and deviations that are exact where the mean is about 0."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    squares = np.einsum("ij,ij->j", vectors, vectors, dtype=np.float64) / max(len(vectors), 1)
    return mean, np.sqrt(np.maximum(squares - mean**2, 0))


def scaled_to_range(vectors: Vectors, part: Int[np.ndarray, " train"]) -> list[int]:
    """Columns with more than two values, if every one of them spans 0 to 1 over all rows, and not all over a part."""
    low, high = vectors.min(axis=0), vectors.max(axis=0)
    if (low < -_FIT).any() or (high > 1 + _FIT).any():
        return []
    inner = (vectors > low) & (vectors < high)
    columns = np.flatnonzero(inner.any(axis=0))
    spans = np.isclose(low[columns], 0, atol=_FIT) & np.isclose(high[columns], 1, atol=_FIT)
    some = vectors[np.ix_(part, columns)]
    apart = (some.min(axis=0, initial=1) > _FIT) | (some.max(axis=0, initial=0) < 1 - _FIT)
    return columns.tolist() if len(columns) > 1 and spans.all() and apart.any() else []


def rotated(vectors: Vectors, part: Int[np.ndarray, " train"]) -> list[int]:
    """A run of columns that are centered, uncorrelated and ever less spread over all rows, and not over a part."""
    mean, deviation = _moments(vectors)
    spread = np.where(deviation > 0, deviation, np.inf)
    products = np.einsum("ij,ij->j", vectors[:, :-1], vectors[:, 1:], dtype=np.float64) / max(len(vectors), 1)
    linked = (np.abs(products / spread[:-1] / spread[1:]) < _FIT) & (deviation[:-1] >= deviation[1:])
    linked &= (np.abs(mean[:-1]) < _FIT * spread[:-1]) & (np.abs(mean[1:]) < _FIT * spread[1:])
    linked &= (deviation[:-1] > 0) & (deviation[1:] > 0)
    start, length = _longest_run(linked)
    columns = np.arange(start, start + min(length + 1, _MOST_RUN))
    if length + 1 < _LEAST_RUN or _strongest(vectors[:, columns]) > _FIT:
        return []
    return columns.tolist() if _strongest(vectors[np.ix_(part, columns)]) > _APART else []


def _longest_run(flags: np.ndarray) -> tuple[int, int]:
    """Where the longest run of True begins, and its length."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    if not len(edges):
        return 0, 0
    lengths = edges[1::2] - edges[::2]
    best = int(np.argmax(lengths))
    return int(edges[2 * best]), int(lengths[best])


def _strongest(columns: Vectors) -> float:
    """Largest correlation of two columns."""
    r = np.atleast_2d(np.corrcoef(columns.astype(np.float64), rowvar=False))
    return float(np.abs(r - np.eye(len(r))).max())
