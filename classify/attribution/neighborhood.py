"""Nearest neighbors in the embedding space, and how far they are of one kind."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int

from classify.gaps import filled, medians
from classify.inputs import Inputs
from classify.rotation import center_and_scale, standardize, unit_length
from triher.explanation_tables import Purity
from triher.types import Vectors

NEIGHBORS = 10
PERMUTATIONS = 999
_ROUNDING = 1e-12


def standard_vectors(inputs: Inputs) -> Float64[np.ndarray, "patient feature"]:
    """The patients' pooled vectors, each feature standardized over all of them.

    This describes and predicts nothing: no label is used, and everybody has a share in mean and deviation. Gaps
    count as the median. Sites are left in, so that what they do to the features shows; a head that takes bags is
    described by the mean of each bag.
    """
    return standardized(inputs.means())


def standardized(vectors: Vectors) -> Float64[np.ndarray, "patient feature"]:
    """Each feature less its mean, in its deviations; one that never varies counts nothing, a gap as the median."""
    whole = filled(vectors, medians(vectors))
    return standardize(whole, *center_and_scale(whole))


def nearest(vectors: Vectors, k: int) -> Int[np.ndarray, "patient neighbor"]:
    """Positions of each patient's k nearest others by the cosine, the nearest first; fewer where there are fewer.

    Args:
        vectors: standardized, as of `standard_vectors`; a vector of zeros is equally far from all.
        k: how many.

    >>> nearest(np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), 1).tolist()
    [[1], [0], [1]]
    """
    unit = unit_length(vectors)
    alike = unit @ unit.T
    np.fill_diagonal(alike, -np.inf)
    return np.argsort(-alike, axis=1, kind="stable")[:, : min(k, len(vectors) - 1)]


def purities(
    vectors: Vectors, classes: Sequence[str], sites: Sequence[str], *, seed: int, k: int = NEIGHBORS
) -> tuple[Purity, ...]:
    """How far class and site show in all dimensions: the share of nearest neighbors of one's own kind.

    It is compared with permutations: of the classes within each site, so that a class that shows only because sites
    differ in their classes does not count, and of the sites within each class. The p value is that of a Monte Carlo
    test, (1 + permutations that reach the purity) / (1 + permutations): Phipson & Smyth, Stat Appl Genet Mol Biol
    2010;9:39. A target is left out where fewer than two kinds of it are known.

    Args:
        vectors: standardized, as of `standard_vectors`.
        classes: of each patient, empty where not known; such patients are left out for the class.
        sites: of each patient.
        seed: of the permutations.
        k: neighbors of each patient.
    """
    found = []
    label, place = np.array(classes, dtype=object), np.array(sites, dtype=object)
    for target, kind, within in (("class", label, place), ("site", place, label)):
        known = np.flatnonzero(kind != "")
        groups = len(set(kind[known].tolist()))
        if groups > 1:
            found.append(_purity(target, groups, vectors[known], kind[known], within[known], k, seed))
    return tuple(found)


def _purity(
    target: str, groups: int, vectors: Vectors, kind: np.ndarray, within: np.ndarray, k: int, seed: int
) -> Purity:
    """The purity of one target and its distribution under permutation."""
    neighbors, number = nearest(vectors, k), np.unique(kind.astype(str), return_inverse=True)[1]
    own = float(_shares(number[None], neighbors)[0])
    permuted = _shares(_permute(number, within.astype(str), seed), neighbors)
    p = (1 + int((permuted >= own - _ROUNDING).sum())) / (1 + PERMUTATIONS)
    return Purity(target, len(kind), groups, neighbors.shape[1], own, float(permuted.mean()), p)


def _permute(kind: np.ndarray, within: np.ndarray, seed: int) -> Int[np.ndarray, "permutation patient"]:
    """Kinds exchanged among the patients of the same other kind."""
    rng, permuted = np.random.default_rng(seed), np.tile(kind, (PERMUTATIONS, 1))
    for name in np.unique(within):
        here = np.flatnonzero(within == name)
        permuted[:, here] = rng.permuted(permuted[:, here], axis=1)
    return permuted


def _shares(
    kinds: Int[np.ndarray, "permutation patient"], neighbors: Int[np.ndarray, "patient neighbor"]
) -> Float64[np.ndarray, " permutation"]:
    """Mean share of neighbors of one's own kind, for each way in which kinds are given."""
    same = [(kinds[:, column] == kinds).mean(axis=1) for column in neighbors.T]
    return np.asarray(np.mean(same, axis=0))
