"""Recalibrations by step functions: isotonic regression and Venn-Abers."""

import warnings
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float64

from analysis.calibration.brier import LOG_CLIP
from triher.types import Labels, Probabilities

Steps = Float64[np.ndarray, " step"]


@dataclass(frozen=True)
class Corners:
    """A function that is straight between corners and level beyond them."""

    predicted: Steps
    observed: Steps

    def at(self, p: Float64[np.ndarray, " patient"]) -> Float64[np.ndarray, " patient"]:
        """Its values."""
        return np.interp(p, self.predicted, self.observed)


def isotonic(condition: Bool[np.ndarray, " patient"], p: Float64[np.ndarray, " patient"]) -> Corners:
    """The non-decreasing function of p that is nearest to the observed.

    Zadrozny & Elkan, KDD 2002; by scikit-learn.
    """
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p, condition.astype(float))
    return Corners(np.asarray(model.X_thresholds_, float), np.asarray(model.y_thresholds_, float))


@dataclass(frozen=True)
class Isotonic:
    """A function for each class against the others."""

    curves: tuple[Corners, ...]

    def apply(self, p: Probabilities) -> Probabilities:
        """Each class's function, divided by the sum."""
        return normalized(np.column_stack([curve.at(p[:, c].copy()) for c, curve in enumerate(self.curves)]))


def fit_isotonic(p: Probabilities, y: Labels) -> Isotonic:
    """A function for each class; gives exact 0 and 1, which some hundred patients do not warrant."""
    return Isotonic(tuple(isotonic(y == c, p[:, c].copy()) for c in range(p.shape[1])))


@dataclass(frozen=True)
class Inductive:
    """The two step functions of an inductive Venn-Abers predictor."""

    scores: Steps
    """Distinct scores of the calibration patients, ascending."""
    if_without: Float64[np.ndarray, "place 2"]
    """Value of the isotonic fit at a new patient who counts as one without the condition."""
    if_with: Float64[np.ndarray, "place 2"]
    """The same, counting as one with it."""

    def interval(self, score: Float64[np.ndarray, " patient"]) -> Float64[np.ndarray, "patient 2"]:
        """The two probabilities of each new patient."""
        with np.errstate():  # see `inductive_venn_abers`
            from venn_abers.venn_abers import calc_probs

        scores = np.column_stack([1 - score, score])
        _, both = calc_probs(self.if_without, self.if_with, self.scores, scores)
        return np.asarray(both, float)

    def probability(self, score: Float64[np.ndarray, " patient"]) -> Float64[np.ndarray, " patient"]:
        """One probability, p1 / (1 - p0 + p1), which minimizes the largest possible regret of the log loss."""
        low, high = self.interval(score).T
        return high / (1 - low + high)


def inductive_venn_abers(
    condition: Bool[np.ndarray, " patient"], score: Float64[np.ndarray, " patient"]
) -> Inductive:
    """Vovk, Petej & Fedorova, Large-scale probabilistic predictors, NeurIPS 2015; by the library venn-abers.

    The library turns numpy's warnings off for the whole process when it is imported, which is undone here.

    Args:
        condition: who has the condition; some do and some do not.
        score: higher means likelier, 0 to 1.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN")  # slopes from the last corner to itself
        from venn_abers.venn_abers import calc_p0p1

        below, above, scores = calc_p0p1(np.column_stack([1 - score, score]), condition.astype(float))
    return Inductive(np.asarray(scores, float), np.asarray(below, float), np.asarray(above, float))


@dataclass(frozen=True)
class VennAbers:
    """A predictor for each pair of classes, coupled."""

    n_classes: int
    pairs: tuple[Inductive, ...]
    """In the order (0, 1), (0, 2), ..., (1, 2), ...; the condition is the second class."""

    def apply(self, p: Probabilities) -> Probabilities:
        """Couple the pairs: p_c = 1 / (sum over the others of 1 / r_c - (classes - 2)), divided by the sum.

        r_c is the probability of c rather than the other. Price, Knerr, Personnaz & Dreyfus, NIPS 1994; so does the
        library.
        """
        inverse = np.full(p.shape, -(self.n_classes - 2.0))
        for (a, b), pair in zip(combinations(range(self.n_classes), 2), self.pairs, strict=True):
            second = pair.probability(_share_of_second(p, a, b))
            inverse[:, a] += 1 / (1 - second)
            inverse[:, b] += 1 / second
        return normalized(1 / inverse)


def fit_venn_abers(p: Probabilities, y: Labels) -> VennAbers:
    """Calibrate each pair of classes on its own patients (Manokhin, COPA 2017)."""
    pairs = []
    for a, b in combinations(range(p.shape[1]), 2):
        rows = (y == a) | (y == b)
        pairs.append(inductive_venn_abers(y[rows] == b, _share_of_second(p[rows], a, b)))
    return VennAbers(p.shape[1], tuple(pairs))


def _share_of_second(p: Probabilities, a: int, b: int) -> Float64[np.ndarray, " patient"]:
    """The probability of the second class given that it is one of the two."""
    first, second = (np.maximum(p[:, c], LOG_CLIP) for c in (a, b))
    return second / (first + second)


def normalized(p: Probabilities) -> Probabilities:
    """Rows divided by their sum; a row of zeros becomes equal shares, as in scikit-learn.

    >>> normalized(np.array([[0.2, 0.2], [0.0, 0.0]])).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    total = p.sum(axis=1, keepdims=True)
    return np.where(total > 0, p / np.where(total > 0, total, 1), 1 / p.shape[1])
