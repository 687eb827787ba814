"""How predictions fare before and after a recalibration, on the same patients."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64

from analysis.calibration.brier import patient_losses
from analysis.calibration.slopes import logistic_recalibration
from analysis.discrimination.aucs import shortage
from analysis.inference.bootstrap import mean_losses, percentile, resampled
from analysis.inference.intervals import FEWEST
from analysis.metrics import Metric
from analysis.patients.samples import Sample, class_label
from triher.estimate import Estimate, not_estimable
from triher.settings import Config
from triher.types import Labels

PART = "recalibration"
_LOSSES = ("brier", "log_loss")


def before_and_after(
    before: Sample,
    after: Sample,
    classes: tuple[str, ...],
    config: Config,
    *,
    shares: Float64[np.ndarray, " class"] | None,
) -> list[Metric]:
    """Scores and calibration of each class, before, after, and the paired change of the scores.

    Args:
        before: the patients of a split (or of one site in it) with the predictions as they were.
        after: the same patients, recalibrated.
        classes: of the scheme.
        config: seed and number of resamples.
        shares: judge also a population of these class shares, by weighing the classes.
    """
    rows: list[Metric] = []
    y = before.y
    losses = [patient_losses(y, sample.probabilities) for sample in (before, after)]
    stacked = np.column_stack([*losses, losses[1] - losses[0]])
    names = [f"{loss}_{when}" for when in ("before", "after", "change") for loss in _LOSSES]
    how = f"{config.analysis.resamples} stratified bootstrap resamples, percentile"
    methods = tuple(f"{name.replace('_', ' ')} (Brier summed over classes, 0 to 2), {how}" for name in names)
    draws = {"resamples": config.analysis.resamples, "seed": config.seed}
    found = mean_losses(y, stacked, methods, **draws)
    rows += _rows(before, dict(zip(names, found, strict=True)))
    if shares is not None:
        at_shares = [f"{name}_at_stated_shares" for name in names]
        weighed = weighed_losses(y, stacked, shares, classes, **draws)
        rows += _rows(before, dict(zip(at_shares, weighed, strict=True)))
    for c, name in enumerate(classes):
        for when, sample in (("before", before), ("after", after)):
            logistic = logistic_recalibration(y == c, sample.probabilities[:, c].copy(), name)
            own = {
                f"calibration_in_the_large_{when}": logistic.in_the_large,
                f"calibration_slope_{when}": logistic.slope,
            }
            rows += _rows(before, own, name)
    return rows


def weighed_losses(
    y: Labels,
    losses: Float64[np.ndarray, "patient loss"],
    shares: Float64[np.ndarray, " class"],
    classes: tuple[str, ...],
    *,
    resamples: int,
    seed: int,
) -> list[Estimate]:
    """Mean losses in a population with these class shares: the classes' means, weighed by the shares.

    Args:
        y: class of each patient.
        losses: of each patient.
        shares: of the classes, sum 1.
        classes: of the scheme.
        resamples: stratified by class.
        seed: of the resamples.
    """
    n, method = len(y), f"mean weighed to the stated shares, {resamples} stratified bootstrap resamples, percentile"
    counts = np.bincount(y, minlength=len(classes))
    few = shortage({class_label(name): int(k) for name, k in zip(classes, counts, strict=True)}, fewest=FEWEST)
    if few:
        return [not_estimable(few, n=n, method=method)] * losses.shape[1]
    weighed = losses * (shares / counts)[y][:, None]
    draws = resampled(y, lambda weights: weights @ weighed, resamples=resamples, seed=seed)
    values = weighed.sum(axis=0)
    return [percentile(float(value), draws[:, i], n=n, method=method) for i, value in enumerate(values)]


def _rows(sample: Sample, estimates: Mapping[str, Estimate], class_name: str = "") -> list[Metric]:
    """Estimates at the sample's place."""
    return [
        Metric(PART, sample.split, name, estimate, class_name, sample.cohort, sample.site)
        for name, estimate in estimates.items()
    ]
