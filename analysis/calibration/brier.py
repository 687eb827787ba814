"""The Brier score and the log loss, and what the Brier score is made of."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from analysis.calibration.ece import N_BINS
from analysis.inference.bootstrap import mean_losses
from triher.estimate import Estimate, not_estimable
from triher.types import Labels, Probabilities

LOG_CLIP = 1e-15  # as scikit-learn's log_loss


def patient_losses(y: Labels, probabilities: Probabilities) -> Float64[np.ndarray, "patient 2"]:
    """Each patient's Brier score (summed over the classes, 0 to 2) and log loss (clipped at 1e-15).

    >>> patient_losses(np.array([0]), np.array([[0.5, 0.5]])).round(3).tolist()
    [[0.5, 0.693]]
    """
    brier = ((probabilities - np.eye(probabilities.shape[1])[y]) ** 2).sum(axis=1)
    log_loss = -np.log(np.clip(probabilities[np.arange(len(y)), y], LOG_CLIP, 1))
    return np.column_stack([brier, log_loss])


def brier_and_log_loss(
    y: Labels, probabilities: Probabilities, *, resamples: int, seed: int
) -> tuple[Estimate, Estimate]:
    """Multi-class Brier score (sum over the classes, 0 to 2; Brier 1950) and log loss; lower is better."""
    interval = f"{resamples} stratified bootstrap resamples, percentile"
    methods = (f"Brier score summed over classes, {interval}", f"log loss (clipped at 1e-15), {interval}")
    losses = patient_losses(y, probabilities)
    first, second = mean_losses(y, losses, methods, resamples=resamples, seed=seed)
    return first, second


def scaled_brier(y: Labels, n_classes: int, brier: Estimate) -> Estimate:
    """The share of the Brier score of "everybody gets the class shares" that the model saves.

    1 is perfect, 0 as good as the class shares of these patients, below 0 worse (Steyerberg et al., Epidemiology
    2010;21:128). Stratified resamples keep the shares, so the interval is that of the Brier score on this scale.

    Args:
        y: classes of the patients.
        n_classes: of the scheme.
        brier: their multi-class Brier score.
    """
    method = f"1 - Brier / Brier of the class shares, {brier.method}"
    if not math.isfinite(brier.value):
        return not_estimable(brier.reason, n=brier.n, method=method)
    shares = np.bincount(y, minlength=n_classes) / len(y)
    worst = float(1 - (shares**2).sum())
    if worst == 0:
        return not_estimable("all patients are of one class", n=brier.n, method=method)
    value, low, high = (1 - number / worst for number in (brier.value, brier.high, brier.low))
    return Estimate(value, low, high, brier.n, method, brier.reason)


@dataclass(frozen=True)
class Decomposition:
    """The parts of the Brier score of one class."""

    reliability: float
    """How far observed shares lie from predictions, bin by bin; 0 is ideal."""
    resolution: float
    """How far observed shares of the bins lie from the overall share; higher is better."""
    uncertainty: float
    """Of the class itself: share x (1 - share)."""
    within_variance: float
    """Spread of the predictions within bins."""
    within_covariance: float
    """Twice the covariance of predictions and outcomes within bins."""

    @property
    def total(self) -> float:
        """The Brier score: reliability - resolution + uncertainty + within variance - within covariance."""
        return self.reliability - self.resolution + self.uncertainty + self.within_variance - self.within_covariance


def decompose_brier(
    condition: Bool[np.ndarray, " patient"], p: Float64[np.ndarray, " patient"], n_bins: int = N_BINS
) -> Decomposition:
    """Murphy's parts over bins of equal width, with the two within-bin terms that make the sum exact.

    Murphy, J Appl Meteorol 1973;12:595; Stephenson, Coelho & Jolliffe, Weather Forecast 2008;23:752.

    Args:
        condition: who is of the class; at least one patient.
        p: predicted probability.
        n_bins: closed on the left.

    >>> parts = decompose_brier(np.array([True, False]), np.array([0.8, 0.2]))
    >>> round(parts.total, 3)
    0.04
    """
    y = condition.astype(float)
    bins = np.minimum((p * n_bins).astype(int), n_bins - 1)
    counts = np.bincount(bins, minlength=n_bins)
    inside = np.maximum(counts, 1)
    predicted = np.bincount(bins, p, n_bins) / inside
    observed = np.bincount(bins, y, n_bins) / inside
    n, share = len(p), float(y.mean())
    return Decomposition(
        reliability=float((counts * (predicted - observed) ** 2).sum() / n),
        resolution=float((counts * (observed - share) ** 2).sum() / n),
        uncertainty=share * (1 - share),
        within_variance=float(((p - predicted[bins]) ** 2).mean()),
        within_covariance=float(2 * ((y - observed[bins]) * (p - predicted[bins])).mean()),
    )
