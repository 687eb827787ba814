"""Prediction sets with a coverage that holds within each class.

Split-conformal prediction with class-conditional (Mondrian) quantiles of the score 1 - p_y (Vovk, Gammerman & Shafer,
Algorithmic Learning in a Random World, 2005, section 4.5; Sadinle, Lei & Wasserman, JASA 2019;114:223). The sets hold
the true class of a new patient with probability 1 - alpha in every class, if exchangeable with the
calibration patients; a shift between cohorts voids the promise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from triher.prediction_cells import set_text
from triher.types import Labels, Probabilities

_ROUNDING = 1e-9  # (n + 1)(1 - alpha) is often a whole number that floating point misses


@dataclass(frozen=True)
class Conformal:
    """The largest score 1 - p at which each class is still in the set."""

    alpha: float
    quantiles: tuple[float, ...]
    """One a class; 1.0 where too few patients calibrate it, so that it is in every set."""
    counts: tuple[int, ...]
    """Calibration patients of each class."""


def order_statistic(n: int, alpha: float) -> int:
    """The rank ceil((n + 1)(1 - alpha)) of the score that covers a new one with probability 1 - alpha.

    >>> order_statistic(9, 0.1), order_statistic(8, 0.1)
    (9, 9)
    """
    return math.ceil((n + 1) * (1 - alpha) - _ROUNDING)


def fit_conformal(p: Probabilities, y: Labels, alpha: float) -> Conformal:
    """Calibrate on probabilities of patients that the model did not see.

    A class with fewer than 1/alpha - 1 patients has no finite quantile and is always included.
    """
    quantiles, counts = [], []
    for label in range(p.shape[1]):
        scores = np.sort(1 - p[y == label, label])
        rank = order_statistic(len(scores), alpha)
        quantiles.append(float(scores[rank - 1]) if rank <= len(scores) else 1.0)
        counts.append(len(scores))
    return Conformal(alpha, tuple(quantiles), tuple(counts))


def prediction_sets(p: Probabilities, conformal: Conformal) -> Bool[np.ndarray, "patient class"]:
    """Which classes cannot be ruled out for each patient; a row may be empty."""
    return 1 - p <= np.array(conformal.quantiles) + _ROUNDING


def name_sets(members: Bool[np.ndarray, "patient class"], classes: Sequence[str]) -> list[str]:
    """Each set as text.

    >>> name_sets(np.array([[False, True, True]]), ["zero", "low", "positive"])
    ['low|positive']
    """
    return [set_text(name for name, inside in zip(classes, row, strict=True) if inside) for row in members]
