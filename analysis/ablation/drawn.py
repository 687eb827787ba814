"""Statistics of one model as functions of how often each patient was drawn."""

import numpy as np
from jaxtyping import Float64

from analysis.auc_kernel import Multiplicities, among, areas, rank
from analysis.bootstrap import macro_rankings, mean_area
from analysis.brier import patient_losses
from analysis.discrimination import low_vs_positive_scores, zero_vs_rest_scores
from analysis.ece import N_BINS
from analysis.logistic_model import binary_design, fit_logistic, logit, two_classes
from analysis.samples import class_label
from triher.types import Labels, Probabilities

_RUNAWAY = 10.0  # as in `analysis.calibration`

Values = Float64[np.ndarray, " resample"]
Columns = Float64[np.ndarray, "patient column"]


# Areas under the ROC curve


def macro_area(weights: Multiplicities, y: Labels, p: Probabilities, _: tuple[str, ...]) -> Values:
    """The mean of the classes' AUCs."""
    return mean_area(macro_rankings(y, p), weights)


def class_area(name: str, weights: Multiplicities, y: Labels, p: Probabilities, classes: tuple[str, ...]) -> Values:
    """A class against all others."""
    c = classes.index(name)
    return areas(rank(y == c, p[:, c]), weights)


def zero_vs_rest_area(weights: Multiplicities, y: Labels, p: Probabilities, _: tuple[str, ...]) -> Values:
    """Low or positive against zero."""
    return areas(rank(*zero_vs_rest_scores(y, p)), weights)


def low_vs_positive_area(weights: Multiplicities, y: Labels, p: Probabilities, _: tuple[str, ...]) -> Values:
    """Positive against low by the conditional probability."""
    return areas(among(rank(*low_vs_positive_scores(y, p)), np.flatnonzero(y >= 1)), weights)


# Means over the patients


def _mean(weights: Multiplicities, columns: Columns) -> Float64[np.ndarray, "resample column"]:
    """Of each column in every resample."""
    drawn = weights.astype(np.float64)
    return (drawn @ columns) / drawn.sum(axis=1, keepdims=True)


def mean_loss(position: int, weights: Multiplicities, y: Labels, p: Probabilities, _: tuple[str, ...]) -> Values:
    """Brier score or log loss."""
    return _mean(weights, patient_losses(y, p)[:, position, None])[:, 0]


def classwise_ece(weights: Multiplicities, y: Labels, p: Probabilities, classes: tuple[str, ...]) -> Values:
    """The mean over the classes of the gaps in bins of equal width, closed on the left, as `analysis.ece` has it."""
    bins = np.clip(np.floor(p * N_BINS), 0, N_BINS - 1).astype(np.int64)
    excess = np.eye(len(classes))[y] - p
    columns = (np.eye(N_BINS)[bins] * excess[:, :, None]).reshape(len(y), -1)
    return np.abs(_mean(weights, columns)).sum(axis=1) / len(classes)


def calibration_slope(
    name: str, weights: Multiplicities, y: Labels, p: Probabilities, classes: tuple[str, ...]
) -> Values:
    """The calibration slope of a class, in resamples by one step of Newton from the fit on everybody.

    The step is taken with the resample's own score and information (Moulton & Zeger, Comput Stat Data Anal 1991;
    11:53), so that on everybody it is 0. NaN where the fit has no maximum.
    """
    c = classes.index(name)
    condition, x = y == c, logit(p[:, c].copy())
    zeros = np.zeros((len(y), 2))
    fit = fit_logistic(binary_design(np.column_stack([x, np.ones(len(y))])), two_classes(condition), zeros)
    if fit is None or fit.standard_errors[0] > _RUNAWAY:
        return np.full(len(weights), np.nan)
    expected = 1 / (1 + np.exp(-(fit.coefficients[0] * x + fit.coefficients[1])))
    residual, spread = condition - expected, expected * (1 - expected)
    terms = np.column_stack([residual * x, residual, spread * x * x, spread * x, spread])
    of_slope, of_intercept, xx, x1, one = _mean(weights, terms).T
    determinant = xx * one - x1 * x1
    step = np.full(len(weights), np.nan)
    np.divide(one * of_slope - x1 * of_intercept, determinant, out=step, where=determinant > 0)
    return fit.coefficients[0] + step


# Who must be there


def all_classes(y: Labels, classes: tuple[str, ...]) -> dict[str, int]:
    """Everybody's class."""
    return {class_label(name): int(np.sum(y == c)) for c, name in enumerate(classes)}


def class_and_rest(name: str, y: Labels, classes: tuple[str, ...]) -> dict[str, int]:
    """A class and its rest."""
    label, n = class_label(name), int(np.sum(y == classes.index(name)))
    return {label: n, f"other than {label}": len(y) - n}


def zero_and_rest(y: Labels, _: tuple[str, ...]) -> dict[str, int]:
    """Both sides of the first nested question."""
    return {"HER2-low or -positive": int(np.sum(y >= 1)), "HER2-zero": int(np.sum(y == 0))}


def low_and_positive(y: Labels, _: tuple[str, ...]) -> dict[str, int]:
    """Both sides of the second one."""
    return {"HER2-positive": int(np.sum(y == 2)), "HER2-low": int(np.sum(y == 1))}


def anybody(y: Labels, _: tuple[str, ...]) -> dict[str, int]:
    """All alike."""
    return {"labeled patients": len(y)}
