"""Patients whose features are equal, or differ by no more than rounding."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from triher.types import Vectors

_RELATIVE = 1e-6  # of the size of a feature; float32 has 6e-8, and a network run twice differs by about 1e-6
_SLACK = 3.0  # projections in float32 are rounded, so more pairs are looked at than are taken
_PROJECTIONS = 8
LEAST_FEATURES = 16
"""With fewer features (age, grade), patients can be equal by chance."""


def near_copies(vectors: Vectors) -> Int[np.ndarray, "pair 2"]:
    """Pairs of patients whose features differ by less than a millionth of their size, root mean square.

    Each column counts by its own size, so that its unit does not matter. Vectors that lie close have close
    projections on any direction, so patients are sorted along one and compared with their neighbors only. Patients
    who are equal to the bit are paired with the first of them.

    Args:
        vectors: gaps are alike, and unlike no value but 0; nothing is found with fewer than `LEAST_FEATURES` columns.

    Returns:
        Positions, the smaller first, sorted.

    >>> rows = np.random.default_rng(0).normal(size=(5, 20))
    >>> rows[3] = rows[1]
    >>> near_copies(rows).tolist()
    [[1, 3]]
    """
    n_patients, n_features = vectors.shape
    if n_features < LEAST_FEATURES or n_patients < 2:
        return np.zeros((0, 2), np.int64)
    if not np.isfinite(vectors).all():
        vectors = np.where(np.isfinite(vectors), vectors, 0)
    first = _first_equal(vectors)
    copies = [(one, i) for i, one in enumerate(first.tolist()) if one != i]
    single = np.flatnonzero(first == np.arange(n_patients))
    size = np.sqrt(np.einsum("ij,ij->j", vectors, vectors, dtype=np.float64) / n_patients)
    size = np.where(size > 0, size, 1.0)
    limit = _RELATIVE * np.sqrt(n_features)
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(n_features, _PROJECTIONS)))[0]
    shadows = (vectors[single] @ (axes / size[:, None]).astype(vectors.dtype)).astype(np.float64)
    close = [(int(single[a]), int(single[b])) for a, b in _close(shadows, _SLACK * limit)]
    found = copies + [pair for pair in close if _distance(vectors, size, *pair) < limit]
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 2)


def _first_equal(vectors: Vectors) -> Int[np.ndarray, " patient"]:
    """For each patient the first one whose features are equal to the bit."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(row.tobytes(), i) for i, row in enumerate(vectors)], dtype=np.int64)


def _close(shadows: Float[np.ndarray, "patient axis"], limit: float) -> Iterator[tuple[int, int]]:
    """Pairs that are close on every axis."""
    order = np.argsort(shadows[:, 0], kind="stable")
    along = shadows[order]
    for step in range(1, len(order)):
        near = np.flatnonzero(along[step:, 0] - along[:-step, 0] < limit)
        if not len(near):
            return
        for i in near[(np.abs(along[near + step] - along[near]) < limit).all(axis=1)].tolist():
            first, second = sorted((int(order[i]), int(order[i + step])))
            yield first, second


def _distance(vectors: Vectors, size: Float[np.ndarray, " feature"], first: int, second: int) -> float:
    """Distance of two patients in units of the features' sizes."""
    difference = (vectors[first].astype(np.float64) - vectors[second]) / size
    return float(np.sqrt(difference @ difference))


def merge_groups(group: Int[np.ndarray, " patient"], vectors: Vectors) -> Int[np.ndarray, " patient"]:
    """Join the groups of patients with nearly equal features, so that no fold parts them.

    Args:
        group: equal numbers stay together.
        vectors: the patients' features.

    Returns:
        The smallest number of the groups that were joined.

    >>> rows = np.random.default_rng(0).normal(size=(5, 20))
    >>> rows[3] = rows[1]
    >>> merge_groups(np.array([0, 1, 2, 3, 3]), rows).tolist()
    [0, 1, 2, 1, 1]
    """
    numbers, node = np.unique(group, return_inverse=True)
    pairs = node[near_copies(vectors)]
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(numbers), len(numbers)))
    _, component = connected_components(links, directed=False)
    smallest = np.full(component.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(smallest, component, numbers)
    return smallest[component[node]]
