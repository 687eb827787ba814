"""All numbers and curves on the calibration of one split."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from analysis.calibration.brier import brier_and_log_loss, decompose_brier, scaled_brier
from analysis.calibration.curves import Reliability, error_estimates, reliability, smooth_reliability
from analysis.calibration.ece import N_BINS, SIMULATIONS, ece_estimates
from analysis.calibration.multinomial import multinomial_recalibration
from analysis.calibration.slopes import Condition, Probability, logistic_recalibration, spiegelhalter, too_few
from analysis.inference.intervals import without_interval
from analysis.metrics import Metric, find
from analysis.patients.samples import Sample
from triher.estimate import Estimate, not_estimable
from triher.settings import Config


def judge_calibration(
    sample: Sample, classes: tuple[str, ...], config: Config, *, part: str = "calibration"
) -> list[Metric]:
    """Scores of the probabilities, recalibration of all classes at once, and each class against the others.

    Args:
        sample: the patients.
        classes: of the scheme.
        config: seed and number of resamples.
        part: name of the part in ``metrics.csv``.
    """
    y, probabilities = sample.y, sample.probabilities
    brier, log_loss = brier_and_log_loss(y, probabilities, resamples=config.analysis.resamples, seed=config.seed)
    overall = {"brier": brier, "scaled_brier": scaled_brier(y, len(classes), brier), "log_loss": log_loss}
    overall |= ece_estimates(y, probabilities, seed=config.seed)
    rows = _rows(sample, part, overall)
    rows += _multinomial(sample, classes, part)
    for c, name in enumerate(classes):
        rows += _rows(sample, part, _of_class(y == c, probabilities[:, c].copy(), name, config), name)
    return rows


def joint_test(metrics: Sequence[Metric], split: str) -> Estimate | None:
    """The p value that the probabilities of all classes are calibrated, None where it was not or cannot be tested."""
    found = find(metrics, split, "multinomial_calibrated_p")
    return found if found is not None and math.isfinite(found.value) else None


def _rows(sample: Sample, part: str, estimates: Mapping[str, Estimate], class_name: str = "") -> list[Metric]:
    """Estimates at the sample's place."""
    return [
        Metric(part, sample.split, name, estimate, class_name, sample.cohort, sample.site)
        for name, estimate in estimates.items()
    ]


def _multinomial(sample: Sample, classes: tuple[str, ...], part: str) -> list[Metric]:
    """Intercepts, slopes and tests of all classes against the first."""
    found = multinomial_recalibration(sample.y, sample.probabilities, classes)
    tests = {"multinomial_calibrated_p": found.calibrated_p, "multinomial_in_the_large_p": found.in_the_large_p}
    rows = _rows(sample, part, tests)
    for c, name in enumerate(classes[1:]):
        own = {
            "multinomial_intercept_slopes_fixed": found.fixed_intercepts[c],
            "multinomial_intercept": found.intercepts[c],
        }
        own |= {f"multinomial_slope_on_{k}": slope for k, slope in zip(classes[1:], found.slopes[c], strict=True)}
        rows += _rows(sample, part, own, name)
    return rows


def _of_class(condition: Condition, p: Probability, name: str, config: Config) -> dict[str, Estimate]:
    """One class against the others."""
    few = too_few(condition, name)
    logistic = logistic_recalibration(condition, p, name)
    return {
        "calibration_slope": logistic.slope,
        "calibration_intercept": logistic.intercept,
        "calibration_in_the_large": logistic.in_the_large,
        "unreliability_p": logistic.unreliability_p,
        **_spiegelhalter(condition, p, few),
        **_brier_parts(condition, p, few),
        **error_estimates(condition, p, few, draws=SIMULATIONS, seed=config.seed),
    }


def _spiegelhalter(condition: Condition, p: Probability, few: str) -> dict[str, Estimate]:
    """The z statistic and its p value."""
    methods = {"spiegelhalter_z": "Spiegelhalter's z", "spiegelhalter_p": "Spiegelhalter's z, two-sided p value"}
    values = (float("nan"),) * 2 if few else spiegelhalter(condition, p)
    reason = few or ("" if values[0] == values[0] else "no probability is other than 0, 0.5 and 1")
    return {
        name: not_estimable(reason, n=len(p), method=method)
        if reason
        else without_interval(value, "", n=len(p), method=method)
        for (name, method), value in zip(methods.items(), values, strict=True)
    }


def _brier_parts(condition: Condition, p: Probability, few: str) -> dict[str, Estimate]:
    """The Brier score of the class and its parts."""
    n, method = len(p), f"part of the Brier score of one class over {N_BINS} equal-width bins closed on the left"
    names = ("reliability", "resolution", "uncertainty", "within_variance", "within_covariance")
    if few:
        return {f"brier_{name}": not_estimable(few, n=n, method=method) for name in (*names, "of_class")}
    parts = decompose_brier(condition, p)
    found = {
        f"brier_{name}": without_interval(value, "", n=n, method=method) for name, value in asdict(parts).items()
    }
    return found | {
        "brier_of_class": without_interval(parts.total, "", n=n, method="Brier score of one class, 0 to 1")
    }


def reliability_curves(sample: Sample, classes: tuple[str, ...], config: Config) -> tuple[Reliability, ...]:
    """The curve of each class, in bins and smooth."""
    curves = []
    for c, name in enumerate(classes):
        condition, p = sample.y == c, sample.probabilities[:, c].copy()
        smooth = smooth_reliability(condition, p, resamples=config.analysis.resamples, seed=config.seed)
        curves.append(replace(reliability(condition, p, name), smooth=smooth))
    return tuple(curves)
