"""Statistics of one model as functions of how often each patient was drawn."""

import numpy as np
from jaxtyping import Bool, Float64
from scipy.special import expit

from analysis.calibration.brier import patient_losses
from analysis.calibration.ece import N_BINS
from analysis.calibration.logistic_model import RUNAWAY, binary_design, fit_logistic, logit, two_classes
from analysis.discrimination.auc_kernel import Multiplicities, among, areas, rank
from analysis.discrimination.aucs import low_vs_positive_scores, zero_vs_rest_scores
from analysis.inference.bootstrap import macro_rankings, mean_area
from analysis.patients.samples import class_label
from triher.types import Labels, Probabilities

_STEPS = 30  # most need four
_SETTLED = 1e-3  # a last step that leaves an error of its square
_CELLS = 1 << 16  # resamples x patients held at once: some arrays of 0.5 MB, which stay in the cache

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


# Shares of right answers


def right_share(weights: Multiplicities, y: Labels, p: Probabilities, _: tuple[str, ...]) -> Values:
    """The accuracy of the likeliest class."""
    return _share(weights, p.argmax(axis=1) == y, np.ones(len(y), np.bool_))


def mean_recall(weights: Multiplicities, y: Labels, p: Probabilities, classes: tuple[str, ...]) -> Values:
    """The mean of the classes' sensitivities: the balanced accuracy."""
    return np.mean([recall(name, weights, y, p, classes) for name in classes], axis=0)


def recall(name: str, weights: Multiplicities, y: Labels, p: Probabilities, classes: tuple[str, ...]) -> Values:
    """Of a class, the share that is recognized: its sensitivity."""
    c = classes.index(name)
    return _share(weights, p.argmax(axis=1) == c, y == c)


def rejection(name: str, weights: Multiplicities, y: Labels, p: Probabilities, classes: tuple[str, ...]) -> Values:
    """Of those outside a class, the share that is not taken for it: its specificity."""
    c = classes.index(name)
    return _share(weights, p.argmax(axis=1) != c, y != c)


def _share(weights: Multiplicities, hit: Bool[np.ndarray, " patient"], among: Bool[np.ndarray, " patient"]) -> Values:
    """Among some patients the share that is hit, in every resample."""
    drawn = weights[:, among].astype(np.float64)
    return (drawn @ hit[among]) / drawn.sum(axis=1)


# Means over the patients


def _mean(weights: Multiplicities, columns: Columns) -> Float64[np.ndarray, "resample column"]:
    """Of each column in every resample."""
    drawn = weights.astype(np.float64)
    return (drawn @ columns) / drawn.sum(axis=1, keepdims=True)


def mean_loss(position: int, weights: Multiplicities, y: Labels, p: Probabilities, _: tuple[str, ...]) -> Values:
    """Brier score or log loss."""
    return _mean(weights, patient_losses(y, p)[:, position, None])[:, 0]


def classwise_ece(weights: Multiplicities, y: Labels, p: Probabilities, classes: tuple[str, ...]) -> Values:
    """The mean over the classes of the gaps in bins of equal width, closed on the left, as in `ece`."""
    bins = np.clip(np.floor(p * N_BINS), 0, N_BINS - 1).astype(np.int64)
    excess = np.eye(len(classes))[y] - p
    columns = (np.eye(N_BINS)[bins] * excess[:, :, None]).reshape(len(y), -1)
    return np.abs(_mean(weights, columns)).sum(axis=1) / len(classes)


def calibration_slope(
    name: str, weights: Multiplicities, y: Labels, p: Probabilities, classes: tuple[str, ...]
) -> Values:
    """The calibration slope of a class, as `analysis.calibration.slopes` has it, fitted to every resample.

    Newton's method starts from the fit to everybody, and is there after a few steps. NaN where everybody's fit has
    no maximum, and in resamples that have none: their patients are separated, or nearly so.
    """
    c = classes.index(name)
    condition, x = y == c, logit(p[:, c].copy())
    fit = fit_logistic(
        binary_design(np.column_stack([x, np.ones(len(y))])), two_classes(condition), np.zeros((len(y), 2))
    )
    if fit is None or fit.standard_errors[0] > RUNAWAY:
        return np.full(len(weights), np.nan)
    portion = max(1, _CELLS // len(y))
    parts = [weights[start : start + portion] for start in range(0, len(weights), portion)]
    return np.concatenate([_settle(fit.coefficients, part.astype(np.float64), condition, x) for part in parts])


def _settle(
    start: Float64[np.ndarray, "2"],
    drawn: Float64[np.ndarray, "some patient"],
    condition: Bool[np.ndarray, " patient"],
    x: Float64[np.ndarray, " patient"],
) -> Float64[np.ndarray, " some"]:
    """Newton's steps to the slope of every resample; whoever has arrived, or runs away, takes no further one."""
    found = np.full(len(drawn), np.nan)
    powers = np.column_stack([np.ones(len(x)), x, x * x])
    observed = drawn[:, condition] @ powers[condition]
    at = np.tile(start, (len(drawn), 1))
    left = np.arange(len(drawn))
    for _ in range(_STEPS):
        step = _step(at[left], drawn[left], observed[left], powers)
        at[left] += step
        is_there = np.abs(step[:, 0]) < _SETTLED
        found[left[is_there]] = at[left[is_there], 0]
        left = left[np.abs(step[:, 0]) >= _SETTLED]  # a step of a runaway is NaN, and neither
        if not len(left):
            break
    return found


def _step(
    at: Float64[np.ndarray, "some 2"],
    drawn: Float64[np.ndarray, "some patient"],
    observed: Float64[np.ndarray, "some 3"],
    powers: Float64[np.ndarray, "patient 3"],
) -> Float64[np.ndarray, "some 2"]:
    """One step of slope and intercept; NaN where the standard error of the slope betrays a missing maximum."""
    expected = expit(at[:, :1] * powers[:, 1] + at[:, 1:])
    weighted = drawn * expected
    sums = weighted @ powers
    of_intercept, of_slope, _ = (observed - sums).T
    one, x1, xx = (sums - (weighted * expected) @ powers).T
    determinant = xx * one - x1 * x1
    is_sound = one < RUNAWAY**2 * determinant
    moves = np.column_stack([one * of_slope - x1 * of_intercept, xx * of_intercept - x1 * of_slope])
    return np.divide(moves, determinant[:, None], out=np.full_like(moves, np.nan), where=is_sound[:, None])


# Who must be there


def all_classes(y: Labels, classes: tuple[str, ...]) -> dict[str, int]:
    """Everybody's class."""
    return {class_label(name): int(np.sum(y == c)) for c, name in enumerate(classes)}


def class_and_rest(name: str, y: Labels, classes: tuple[str, ...]) -> dict[str, int]:
    """A class and its rest."""
    label, n = class_label(name), int(np.sum(y == classes.index(name)))
    return {label: n, f"other than {label}": len(y) - n}


def class_alone(name: str, y: Labels, classes: tuple[str, ...]) -> dict[str, int]:
    """A class."""
    label = class_label(name)
    return {label: class_and_rest(name, y, classes)[label]}


def rest_alone(name: str, y: Labels, classes: tuple[str, ...]) -> dict[str, int]:
    """All but a class."""
    label = f"other than {class_label(name)}"
    return {label: class_and_rest(name, y, classes)[label]}


def zero_and_rest(y: Labels, _: tuple[str, ...]) -> dict[str, int]:
    """Both sides of the first nested question."""
    return {"HER2-low or -positive": int(np.sum(y >= 1)), "HER2-zero": int(np.sum(y == 0))}


def low_and_positive(y: Labels, _: tuple[str, ...]) -> dict[str, int]:
    """Both sides of the second one."""
    return {"HER2-positive": int(np.sum(y == 2)), "HER2-low": int(np.sum(y == 1))}


def anybody(y: Labels, _: tuple[str, ...]) -> dict[str, int]:
    """All alike."""
    return {"labeled patients": len(y)}
