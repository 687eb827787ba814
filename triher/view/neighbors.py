"""Who is near whom among the vectors that the head was given."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from triher.types import Vectors

N_NEIGHBORS = 8

Directions = Float32[np.ndarray, "patient feature"]


def directions(vectors: Vectors) -> Directions:
    """Unit vectors of the patients, standardized over all of them, whose inner product is the cosine of two."""
    from classify.attribution.neighborhood import standardized
    from classify.rotation import unit_length

    return unit_length(standardized(vectors)).astype(np.float32)


def nearest(vectors: Directions, patient: int, among: Sequence[int], k: int = N_NEIGHBORS) -> list[tuple[int, float]]:
    """The nearest others with the cosine of each, nearest first.

    >>> nearest(directions(np.array([[0.0, 0], [1, 1], [9, 9], [8, 8]])), 2, [0, 1, 2, 3], 1)[0][0]
    3

    Args:
        vectors: of `directions`.
        patient: whose neighbors.
        among: positions to choose from.
        k: how many.
    """
    others = np.array([position for position in among if position != patient], dtype=int)
    cosines = vectors[others] @ vectors[patient]
    order = np.argsort(-cosines, kind="stable")[:k]
    return [(int(others[i]), float(cosines[i])) for i in order]
