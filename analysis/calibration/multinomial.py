"""Recalibration of all classes at once: a multinomial model of the class on the log ratios of the probabilities.

Van Hoorde, Vergouwe, Timmerman, Van Huffel, Steyerberg & Van Calster, Stat Med 2014;33:2585.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import chi2

from analysis.calibration.logistic_model import CLIP, RUNAWAY, Fit, class_design, fit_logistic, one_hot
from analysis.calibration.slopes import NO_MAXIMUM
from analysis.discrimination.aucs import shortage
from analysis.inference.intervals import FEWEST, wald, without_interval
from analysis.patients.samples import class_label
from triher.estimate import Estimate, not_estimable
from triher.types import Labels, Probabilities


@dataclass(frozen=True)
class MultinomialRecalibration:
    """Intercepts and slopes of every class but the first, against the first."""

    intercepts: tuple[Estimate, ...]
    """Beside the slopes; ideal 0."""
    slopes: tuple[tuple[Estimate, ...], ...]
    """A row a class, a column a log ratio in the order of the classes; ideal 1 on the diagonal and 0 beside it."""
    fixed_intercepts: tuple[Estimate, ...]
    """With the slopes fixed at the identity; ideal 0, above 0 the class is more frequent than predicted."""
    free: Fit | None
    fixed: Fit | None
    calibrated_p: Estimate
    """Likelihood ratio test of all intercepts 0 and slopes the identity."""
    in_the_large_p: Estimate
    """Likelihood ratio test of the intercepts 0, the slopes fixed."""


def multinomial_recalibration(
    y: Labels, probabilities: Probabilities, classes: tuple[str, ...]
) -> MultinomialRecalibration:
    """Fit log(q_c / q_0) = a_c + sum_k b_ck log(p_k / p_0) for c > 0.

    Probabilities are clipped at 1e-6. With three classes there are six coefficients: with few patients in a class
    their intervals are wide, and say so.

    Args:
        y: class of each patient.
        probabilities: predicted.
        classes: of the scheme.
    """
    n, n_classes = probabilities.shape
    counts = {class_label(name): int(np.sum(y == c)) for c, name in enumerate(classes)}
    few = shortage(counts, fewest=FEWEST)
    free = fixed = None
    as_predicted = math.nan
    if not few:
        logs = np.log(np.clip(probabilities, CLIP, 1))
        targets = one_hot(y, n_classes)
        design = np.column_stack([np.ones(n), logs[:, 1:] - logs[:, :1]])
        free = fit_logistic(class_design(design, n_classes), targets, np.zeros((n, n_classes)))
        fixed = fit_logistic(class_design(np.ones((n, 1)), n_classes), targets, logs)
        as_predicted = _log_likelihood(logs, targets)
    reason = few or ("" if _settled(free) else NO_MAXIMUM)
    reason_fixed = few or ("" if _settled(fixed) else NO_MAXIMUM)
    terms, others = n_classes, range(n_classes - 1)
    how = "multinomial recalibration on log ratios (clipped at 1e-6), Wald"
    return MultinomialRecalibration(
        tuple(_coefficient(free, c * terms, n, f"intercept, {how}", reason) for c in others),
        tuple(
            tuple(_coefficient(free, c * terms + 1 + k, n, f"slope, {how}", reason) for k in others) for c in others
        ),
        tuple(_coefficient(fixed, c, n, f"intercept with slopes fixed, {how}", reason_fixed) for c in others),
        free,
        fixed,
        _test(free, as_predicted, (n_classes - 1) * n_classes, n, "calibrated", reason),
        _test(fixed, as_predicted, n_classes - 1, n, "calibrated in the large", reason_fixed),
    )


def _log_likelihood(
    logs: Float64[np.ndarray, "patient class"], targets: Float64[np.ndarray, "patient class"]
) -> float:
    """Of the predictions as they are, summing to 1 again after the clipping."""
    return float((targets * (logs - np.logaddexp.reduce(logs, axis=1, keepdims=True))).sum())


def _settled(fit: Fit | None) -> bool:
    """Whether there is a maximum, and it is not on its way to infinity."""
    return fit is not None and bool(fit.standard_errors.max() <= RUNAWAY)


def _coefficient(fit: Fit | None, position: int, n: int, method: str, reason: str) -> Estimate:
    """One coefficient as an estimate."""
    if reason or fit is None:
        return not_estimable(reason, n=n, method=method)
    value, error = float(fit.coefficients[position]), float(fit.standard_errors[position])
    return wald(value, error, n=n, method=method, bounds=(-math.inf, math.inf))


def _test(fit: Fit | None, as_predicted: float, freedom: int, n: int, what: str, reason: str) -> Estimate:
    """The likelihood ratio against the predictions as they are."""
    method = f"{what}, likelihood ratio with {freedom} degrees of freedom, p value"
    if reason or fit is None:
        return not_estimable(reason, n=n, method=method)
    return without_interval(
        float(chi2.sf(max(0.0, 2 * (fit.log_likelihood - as_predicted)), freedom)), "", n=n, method=method
    )
