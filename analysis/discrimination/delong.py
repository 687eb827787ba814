"""DeLong's variance of an AUC and covariance of several.

Both hold for scores of patients the models were not trained on (Demler et al., Stat Med 2012;31:2577). For pooled
out-of-fold scores, which several models gave, they describe rather than test; for two models of which one has all
terms of the other, fitted on these same patients, a likelihood-ratio test is the right one.
"""

import math

import numpy as np
from jaxtyping import Bool, Float64, Real
from scipy.stats import rankdata

NO_VARIANCE = 1e-14
"""Rounding error; the variance of a real sample is many orders above."""


def delong(positives: Real[np.ndarray, " positive"], negatives: Real[np.ndarray, " negative"]) -> tuple[float, float]:
    """AUC and its variance by mid-ranks (DeLong 1988; fast form of Sun & Xu, IEEE Signal Process Lett 2014).

    Args:
        positives: scores of those with the condition; higher means likelier.
        negatives: scores of those without it.

    Returns:
        The AUC (ties count half) and its variance, NaN with fewer than two on a side. Perfect separation and
        constant scores give variance 0, which says nothing about the precision.

    >>> delong(np.array([0.9, 0.8]), np.array([0.1, 0.2]))
    (1.0, 0.0)
    """
    with_it, without = _placements(positives, negatives)
    return float(with_it.mean()), _variance_of_mean(with_it) + _variance_of_mean(without)


def delong_covariance(
    condition: Bool[np.ndarray, " patient"], scores: Real[np.ndarray, "model patient"]
) -> tuple[Float64[np.ndarray, " model"], Float64[np.ndarray, "model model"]]:
    """The AUCs of several scores of the same patients, and their covariance matrix (DeLong et al., Biometrics 1988).

    Args:
        condition: who has the condition; at least two on each side.
        scores: one score a row, higher means likelier.
    """
    found = [_placements(score[condition], score[~condition]) for score in scores]
    with_it, without = (np.array(side) for side in zip(*found, strict=True))
    covariance = np.cov(with_it) / with_it.shape[1] + np.cov(without) / without.shape[1]
    return with_it.mean(axis=1), np.reshape(covariance, (len(scores), len(scores)))


def _placements(
    positives: Real[np.ndarray, " positive"], negatives: Real[np.ndarray, " negative"]
) -> tuple[Float64[np.ndarray, " positive"], Float64[np.ndarray, " negative"]]:
    """Of each patient the share of the other side that is ranked right against this one; ties count half."""
    m, n = len(positives), len(negatives)
    ranks = rankdata(np.concatenate([positives, negatives]))
    return (ranks[:m] - rankdata(positives)) / n, 1 - (ranks[m:] - rankdata(negatives)) / m


def _variance_of_mean(values: Float64[np.ndarray, " value"]) -> float:
    """The squared standard error of a mean; NaN of fewer than two."""
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else math.nan
