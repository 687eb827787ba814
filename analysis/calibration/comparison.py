"""What other recalibrations would have made of a split's predictions, each judged on patients it did not see."""

import math
from dataclasses import dataclass

import numpy as np

from analysis.calibration.brier import patient_losses
from analysis.calibration.calibrators import FOLDS, cross_fitted
from analysis.calibration.ece import ece
from analysis.calibration.logistic_model import CLIP, RUNAWAY, fit_logistic, one_hot
from analysis.discrimination.aucs import shortage
from analysis.inference.bootstrap import macro_auc_lead, mean_losses
from analysis.inference.intervals import wald, without_interval
from analysis.metrics import Metric
from analysis.patients.samples import Sample, class_label
from triher.estimate import Estimate, not_estimable
from triher.settings import Config
from triher.types import Labels, Probabilities

AS_PREDICTED = "as predicted"
"""Stands for a method in the rows of the predictions as they are."""
LEAST = 10
"""Patients of each class below which nothing is recalibrated."""


@dataclass(frozen=True)
class Comparison:
    """All methods on one split."""

    split: str
    metrics: tuple[Metric, ...]
    """Rows with the method as ``class_name``."""
    zeros: dict[str, int]
    """Method -> how many patients got the probability 0 for their own class."""


def compare_calibrators(sample: Sample, classes: tuple[str, ...], config: Config) -> Comparison:
    """Recalibrate over stratified folds of patients, and judge before and after on the same patients.

    Args:
        sample: the patients of a split.
        classes: of the scheme.
        config: ``analysis.calibrators``, seed and number of resamples.

    Raises:
        StopRun: ``unknown_name`` for a method that is not known.
    """
    names = config.analysis.calibrators
    n = len(sample.y)
    few = shortage({class_label(c): int(np.sum(sample.y == k)) for k, c in enumerate(classes)}, fewest=LEAST)
    if few:
        missing = not_estimable(few, n=n, method=f"recalibrated over {FOLDS} folds of patients")
        rows = [Metric("calibrators", sample.split, "log_loss_change", missing, name) for name in names]
        return Comparison(sample.split, tuple(rows), {})
    rows = _rows(sample, AS_PREDICTED, _scores(sample.y, sample.probabilities, config))
    zeros: dict[str, int] = {}
    for name in names:
        after = cross_fitted(name, sample.probabilities, sample.y, config.seed)
        zeros[name] = int(np.sum(after[np.arange(n), sample.y] == 0))
        rows += _rows(sample, name, _scores(sample.y, after, config))
        rows += _rows(sample, name, _changes(sample, after, classes, config))
    return Comparison(sample.split, tuple(rows), zeros)


def _rows(sample: Sample, name: str, estimates: dict[str, Estimate]) -> list[Metric]:
    """Estimates of one method."""
    return [Metric("calibrators", sample.split, quantity, e, name) for quantity, e in estimates.items()]


def _scores(y: Labels, p: Probabilities, config: Config) -> dict[str, Estimate]:
    """Log loss, Brier score, calibration error and slope."""
    n, how = len(y), f"{config.analysis.resamples} stratified bootstrap resamples, percentile"
    methods = (f"Brier score summed over classes, {how}", f"log loss (clipped at 1e-15), {how}")
    brier, loss = mean_losses(y, patient_losses(y, p), methods, resamples=config.analysis.resamples, seed=config.seed)
    errors = [ece(p[:, c].copy(), y == c) for c in range(p.shape[1])]
    error = without_interval(float(np.mean(errors)), "", n=n, method="classwise ECE, 10 bins closed on the left")
    return {"log_loss": loss, "brier": brier, "ece_classwise": error, "slope_of_logs": slope_of_logs(y, p)}


def slope_of_logs(y: Labels, p: Probabilities) -> Estimate:
    """The one slope of all log probabilities that fits best, 1 / temperature; ideal 1, below 1 too extreme.

    Args:
        y: class of each patient.
        p: probabilities, clipped at 1e-6.
    """
    logs = np.log(np.clip(p, CLIP, 1))
    method = "slope of all log p (clipped at 1e-6), maximum likelihood, Wald"
    fit = fit_logistic(logs[:, :, None], one_hot(y, p.shape[1]), np.zeros_like(logs))
    if fit is None or fit.standard_errors[0] > RUNAWAY:
        return not_estimable("the likelihood has no maximum", n=len(y), method=method)
    value, error = float(fit.coefficients[0]), float(fit.standard_errors[0])
    return wald(value, error, n=len(y), method=method, bounds=(-math.inf, math.inf))


def _changes(sample: Sample, after: Probabilities, classes: tuple[str, ...], config: Config) -> dict[str, Estimate]:
    """After minus before on the same patients and resamples."""
    y, before, n = sample.y, sample.probabilities, len(sample.y)
    draws = {"resamples": config.analysis.resamples, "seed": config.seed}
    how = f"after minus before, paired, {config.analysis.resamples} stratified bootstrap resamples, percentile"
    difference = patient_losses(y, after) - patient_losses(y, before)
    brier, loss = mean_losses(y, difference, (f"Brier score {how}", f"log loss {how}"), **draws)
    _, area = macro_auc_lead(y, after, before, classes, resamples=config.analysis.resamples, seed=config.seed)
    moved = int(np.sum(after.argmax(axis=1) != before.argmax(axis=1)))
    return {
        "log_loss_change": loss,
        "brier_change": brier,
        "auc_macro_change": area,
        "likeliest_class_changed": without_interval(float(moved), "", n=n, method="number of patients"),
    }
