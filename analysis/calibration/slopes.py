"""Logistic recalibration of one class: slope, intercepts, and tests of whether they are as they should be."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from scipy.stats import chi2, norm

from analysis.calibration.logistic_model import RUNAWAY, Fit, binary_design, fit_logistic, logit, two_classes
from analysis.discrimination.aucs import shortage
from analysis.inference.intervals import FEWEST, wald, without_interval
from analysis.patients.samples import class_label
from triher.estimate import Estimate, not_estimable

NO_MAXIMUM = "the likelihood has no maximum (perfect separation)"

Condition = Bool[np.ndarray, " patient"]
Probability = Float64[np.ndarray, " patient"]


@dataclass(frozen=True)
class LogisticRecalibration:
    """How one class's probabilities would have to be bent to fit what was observed."""

    slope: Estimate
    """Of the condition on logit p with free intercept; ideal 1, below 1 the predictions are too extreme."""
    intercept: Estimate
    """Beside that slope; ideal 0."""
    in_the_large: Estimate
    """Intercept with the slope fixed at 1; ideal 0, above 0 the class is more frequent than predicted."""
    unreliability_chi2: float
    """Likelihood ratio of slope and intercept against 1 and 0; NaN where there is none."""
    unreliability_p: Estimate
    """Its p value on 2 degrees of freedom."""


def logistic_recalibration(condition: Condition, p: Probability, class_name: str) -> LogisticRecalibration:
    """Recalibrate one class against the rest (Cox, Biometrika 1958;45:562; Miller et al., Stat Med 1991;10:1213).

    Args:
        condition: who is of the class.
        p: predicted probability, 0 to 1; clipped at 1e-6.
        class_name: of the scheme, for the reasons.

    >>> y = np.arange(40) % 2 == 0
    >>> found = logistic_recalibration(y, np.where(np.arange(40) % 4 == 0, 0.6, 0.4), "low")
    >>> round(found.in_the_large.value, 2)
    0.21
    """
    few = too_few(condition, class_name)
    x, n = logit(p), len(p)
    free = fixed = None
    if not few:
        targets, zeros, ones = two_classes(condition), np.zeros((n, 2)), np.ones((n, 1))
        free = fit_logistic(binary_design(np.column_stack([x, ones])), targets, zeros)
        fixed = fit_logistic(binary_design(ones), targets, np.column_stack([np.zeros(n), x]))
    how = "logistic on logit p (clipped at 1e-6), Wald"
    statistic = math.nan
    test = "unreliability, likelihood ratio with 2 degrees of freedom, p value"
    unreliable = not_estimable(few or NO_MAXIMUM, n=n, method=test)
    if free is not None and not _runaway(free, 0):
        as_predicted = float(np.where(condition, -np.logaddexp(0, -x), -np.logaddexp(0, x)).sum())
        statistic = max(0.0, 2 * (free.log_likelihood - as_predicted))
        unreliable = without_interval(float(chi2.sf(statistic, 2)), "", n=n, method=test)
    return LogisticRecalibration(
        slope=_coefficient(free, 0, n, f"calibration slope, {how}", few),
        intercept=_coefficient(free, 1, n, f"calibration intercept beside the slope, {how}", few),
        in_the_large=_coefficient(
            fixed, 0, n, "calibration in the large, logistic with offset logit p (clipped at 1e-6), Wald", few
        ),
        unreliability_chi2=statistic,
        unreliability_p=unreliable,
    )


def too_few(condition: Condition, class_name: str) -> str:
    """Why there are too few patients of a class or of the others, or nothing.

    >>> too_few(np.array([True, True, False]), "low")
    'only 2 HER2-low, only 1 other than HER2-low'
    """
    label = class_label(class_name)
    sides = {label: int(condition.sum()), f"other than {label}": int((~condition).sum())}
    return shortage(sides, fewest=FEWEST)


def _runaway(fit: Fit, position: int) -> bool:
    """Whether a coefficient is on its way to infinity."""
    return bool(fit.standard_errors[position] > RUNAWAY)


def _coefficient(fit: Fit | None, position: int, n: int, method: str, few: str) -> Estimate:
    """One coefficient as an estimate."""
    if few:
        return not_estimable(few, n=n, method=method)
    if fit is None or _runaway(fit, position):
        return not_estimable(NO_MAXIMUM, n=n, method=method)
    value, error = float(fit.coefficients[position]), float(fit.standard_errors[position])
    return wald(value, error, n=n, method=method, bounds=(-math.inf, math.inf))


def spiegelhalter(condition: Condition, p: Probability) -> tuple[float, float]:
    """Spiegelhalter's z of the Brier score, and its two-sided p value (Stat Med 1986;5:421).

    Above 0 the Brier score is larger than it would be if the probabilities were right.

    Returns:
        NaN for both where no probability says anything (all are 0, 0.5 or 1).

    >>> z, p = spiegelhalter(np.array([True, False]), np.array([0.9, 0.1]))
    >>> round(z, 3), round(p, 3)
    (-0.471, 0.637)
    """
    variance = float(((1 - 2 * p) ** 2 * p * (1 - p)).sum())
    if variance <= 0:
        return math.nan, math.nan
    z = float(((condition - p) * (1 - 2 * p)).sum()) / math.sqrt(variance)
    return z, float(2 * norm.sf(abs(z)))
