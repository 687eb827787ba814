"""The majority head: the class shares of the training part, whatever the features say.

What every other head must beat: its log loss is the entropy of the shares, its AUC one half.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from classify.design import Design
from triher.errors import StopRun
from triher.types import Labels, Probabilities

DIAL = (0,)
"""The dial has one value and no effect."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Majority:
    """One probability a class."""

    shares: Float64[np.ndarray, " class"]

    def probabilities(self, design: Design) -> Probabilities:
        """The shares, once for each patient."""
        return np.tile(self.shares, (design.n_patients, 1))

    def to_bytes(self) -> bytes:
        """The shares as JSON."""
        return json.dumps({"shares": self.shares.tolist()}).encode()


@dataclass(frozen=True)
class MajorityPart:
    """A training part, counted."""

    shares: Float64[np.ndarray, " class"]

    def along(self, params: dict[str, int | float], seed: int, test: Design) -> Iterator[Probabilities]:
        """The one prediction there is."""
        for value in DIAL:
            yield self.fit({**params, "unused": value}, seed).probabilities(test)

    def fit(self, params: dict[str, int | float], seed: int) -> Majority:
        """The shares; neither parameters nor seed matter."""
        return Majority(self.shares)


def class_shares(
    y: Int[np.ndarray, " patient"], n_classes: int, weights: Float64[np.ndarray, " patient"] | None
) -> Float64[np.ndarray, " class"]:
    """Weighted share of each class.

    Raises:
        StopRun: ``class_too_small`` when a class is absent or weighs nothing.

    >>> class_shares(np.array([0, 0, 1, 2]), 3, None).tolist()
    [0.5, 0.25, 0.25]
    """
    totals = np.bincount(y, weights, minlength=n_classes).astype(np.float64)
    if len(totals) > n_classes or (totals <= 0).any():
        message = f"expected patients of {n_classes} classes to train a head on, found weights {totals.tolist()}"
        raise StopRun("class_too_small", message)
    return totals / totals.sum()


def prepare(
    design: Design, y: Labels, n_classes: int, *, weights: Float64[np.ndarray, " patient"] | None, exact: bool
) -> MajorityPart:
    """Count a training part that holds every class.

    Args:
        design: without effect.
        y: class of each patient.
        n_classes: classes of the scheme.
        weights: of the patients; all alike when None.
        exact: without effect.

    Raises:
        StopRun: ``class_too_small`` when a class is absent.
    """
    return MajorityPart(class_shares(y, n_classes, weights))


def load(data: bytes, *, n_features: int, n_classes: int) -> Majority:
    """Read what `Majority.to_bytes` wrote.

    Raises:
        StopRun: ``bundle_corrupt`` unless the file holds one share a class, summing to 1.
    """
    try:
        shares = np.array(json.loads(data)["shares"], np.float64)
    except (ValueError, KeyError, TypeError) as error:
        raise StopRun("bundle_corrupt", f"head.json: expected {{'shares': [...]}}: {error}") from error
    if shares.shape != (n_classes,) or not (shares > 0).all() or not abs(shares.sum() - 1) < _ROUNDING:
        message = f"head.json: expected {n_classes} shares above 0 that sum to 1, found {shares.tolist()}"
        raise StopRun("bundle_corrupt", message)
    return Majority(shares)
