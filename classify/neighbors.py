"""The neighbors head: class shares among the training patients whose vectors point the same way.

Features are standardized, blocks weigh alike, and likeness is the cosine, which does not ask how far from the mean a
patient lies: in some hundred dimensions Euclidean neighborhoods are ruled by the few patients near the mean
(Radovanovic et al., J Mach Learn Res 2010;11:2487).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from classify.design import Design
from classify.majority import class_shares
from classify.rotation import unit_length, unit_rows
from triher.errors import StopRun
from triher.types import Labels, Probabilities

COUNTS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50)
"""Numbers of neighbors k along the path."""
_UNLOCKABLE = "the neighbors head is its training patients' vectors, which no bundle may carry"


@dataclass(frozen=True)
class Neighborhood:
    """The training patients; `k` of them vote."""

    part: "NeighborsPart"
    k: int

    def probabilities(self, design: Design) -> Probabilities:
        """Smoothed class shares among the nearest k."""
        return self.part.shares(self.part.nearest(design), self.k)

    def to_bytes(self) -> bytes:
        """No file.

        Raises:
            StopRun: ``head_unlockable``, always.
        """
        raise StopRun("head_unlockable", _UNLOCKABLE)


@dataclass(frozen=True)
class NeighborsPart:
    """A training part as directions."""

    mean: Float64[np.ndarray, " feature"]
    scale: Float64[np.ndarray, " feature"]
    directions: Float64[np.ndarray, "patient feature"]
    votes: Float64[np.ndarray, "patient class"]
    """Weight of each patient in the column of the class."""

    def along(self, params: dict[str, int | float], seed: int, test: Design) -> Iterator[Probabilities]:
        """Rank the training patients once, and ask more and more of them."""
        order = self.nearest(test)
        for k in COUNTS:
            yield self.shares(order, k)

    def fit(self, params: dict[str, int | float], seed: int) -> Neighborhood:
        """Keep the patients; the seed is not needed."""
        return Neighborhood(self, int(params["k"]))

    def nearest(self, test: Design) -> Int[np.ndarray, "tested neighbor"]:
        """The training patients by falling cosine; of equal ones the earlier first."""
        rows = (test.vectors.astype(np.float64) - self.mean) / self.scale
        return np.argsort(-(unit_length(rows) @ self.directions.T), axis=1, kind="stable")[:, : COUNTS[-1]]

    def shares(self, order: Int[np.ndarray, "tested neighbor"], k: int) -> Float64[np.ndarray, "tested class"]:
        """(votes + 1) / (all votes + classes) among the first k, or among all where there are fewer."""
        votes = self.votes[order[:, :k]].sum(axis=1) + 1
        return votes / votes.sum(axis=1, keepdims=True)


def prepare(
    design: Design, y: Labels, n_classes: int, *, weights: Float64[np.ndarray, " patient"] | None, exact: bool
) -> NeighborsPart:
    """Standardize a training part that holds every class.

    Args:
        design: the training part only.
        y: class of each patient.
        n_classes: classes of the scheme.
        weights: of the patients' votes; all 1 when None.
        exact: without effect.

    Raises:
        StopRun: ``class_too_small`` when a class is absent.
    """
    class_shares(y, n_classes, weights)
    mean, scale, rows = unit_rows(design)
    votes = (y[:, None] == np.arange(n_classes)) * (np.ones(len(y)) if weights is None else weights)[:, None]
    return NeighborsPart(mean, scale, unit_length(rows), votes)


def load(data: bytes, *, n_features: int, n_classes: int) -> Neighborhood:
    """No file of this head exists.

    Raises:
        StopRun: ``bundle_corrupt``, always.
    """
    raise StopRun("bundle_corrupt", _UNLOCKABLE)
