"""The range of the training data, and what lies outside it.

The embedding distance is a Mahalanobis distance under probabilistic principal components (Tipping & Bishop, J R Stat
Soc B 1999;61:611): the leading axes keep their own variances, all others share one. Its threshold comes from
distances of training patients that were held out while the axes were fitted, because within the fit every patient of
a p >> n cohort looks close.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from classify.conformal import order_statistic
from classify.gaps import filled, medians
from classify.rotation import center_and_scale, principal_axes, standardize
from triher.types import Vectors

_SHARE = 0.9  # of the variance that axes of their own keep
_MAX_AXES = 32  # keeps the bundle small
_FOLDS = 10
_FALSE_ALARMS = 0.01  # share of patients like those of the training that are flagged all the same
_LEAST_NOISE = 1e-6  # of features in deviations: what float32 cannot tell from 0, so that no distance is infinite
_TOLERANCE = 0.01  # a header's spacing may differ by rounding, relative to the bound


@dataclass(frozen=True)
class Subspace:
    """Where the training vectors lie; no single patient's vector is kept."""

    mean: Float[np.ndarray, " feature"]
    deviation: Float[np.ndarray, " feature"]
    axes: Float[np.ndarray, "feature component"]
    variances: Float[np.ndarray, " component"]
    noise: float
    """Variance along every other axis."""

    def distances(self, vectors: Vectors) -> Float64[np.ndarray, " patient"]:
        """Mahalanobis distance divided by the root of the number of features: about 1 within the training.

        A gap counts as the training's mean.
        """
        standard = standardize(filled(vectors, self.mean.astype(np.float64)), self.mean, self.deviation)
        along = standard @ self.axes
        rest = np.maximum((standard**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        squared = (along**2 / self.variances).sum(axis=1) + rest / self.noise
        return np.sqrt(squared / standard.shape[1])


@dataclass(frozen=True)
class TrainingRange:
    """Acquisition facts and embeddings as seen in training."""

    acquisition: dict[str, tuple[float, float]]
    """Field -> smallest and largest value."""
    subspace: Subspace
    threshold: float
    """Largest embedding distance that still counts as inside."""


def fit_range(acquisition: Mapping[str, Float64[np.ndarray, " patient"]], vectors: Vectors) -> TrainingRange:
    """Learn the range from the training patients.

    Args:
        acquisition: facts about the source images; values that are not finite are left out.
        vectors: pooled vectors of at least 3 patients; a gap counts as the feature's median.
    """
    vectors = filled(vectors, medians(vectors))
    bounds = {}
    for name, values in sorted(acquisition.items()):
        known = values[np.isfinite(values)]
        if len(known):
            bounds[name] = (float(known.min()), float(known.max()))
    distances = np.sort(_held_out_distances(vectors))
    rank = min(order_statistic(len(distances), _FALSE_ALARMS), len(distances))
    return TrainingRange(bounds, _fit_subspace(vectors), float(distances[rank - 1]))


def _fit_subspace(vectors: Vectors) -> Subspace:
    """Mean, deviation, leading axes and the variance of the rest."""
    mean, deviation = center_and_scale(vectors)
    standard = standardize(vectors, mean, deviation)
    axes, squares = principal_axes(standard)
    variances = squares / (len(vectors) - 1)
    n_axes = min(int(np.searchsorted(np.cumsum(variances), _SHARE * variances.sum())) + 1, _MAX_AXES)
    n_rest = max(standard.shape[1] - n_axes, 1)
    noise = max(float(variances[n_axes:].sum()) / n_rest, _LEAST_NOISE)
    return Subspace(
        mean.astype(np.float32),
        deviation.astype(np.float32),
        np.ascontiguousarray(axes[:, :n_axes], np.float32),
        variances[:n_axes].astype(np.float32),
        noise,
    )


def _held_out_distances(vectors: Vectors) -> Float64[np.ndarray, " patient"]:
    """Distance of each patient from axes that were fitted without that tenth of the patients."""
    n_patients = len(vectors)
    distances = np.zeros(n_patients)
    for fold in range(min(_FOLDS, n_patients)):
        out = np.arange(n_patients) % _FOLDS == fold
        distances[out] = _fit_subspace(vectors[~out]).distances(vectors[out])
    return distances


def outside(
    seen: TrainingRange, acquisition: Mapping[str, Float64[np.ndarray, " patient"]], vectors: Vectors
) -> list[list[str]]:
    """Say for each patient what lies outside the training range; an empty list for one inside it.

    Args:
        seen: the training range.
        acquisition: facts about the new images.
        vectors: the new patients' pooled vectors.
    """
    reasons: list[list[str]] = [[] for _ in vectors]
    for name, (low, high) in seen.acquisition.items():
        values = acquisition.get(name, np.full(len(vectors), np.nan))
        for found, value in zip(reasons, values.tolist(), strict=True):
            found += _outside_bounds(name, value, low, high)
    for found, distance in zip(reasons, seen.subspace.distances(vectors).tolist(), strict=True):
        if not distance <= seen.threshold:
            found.append(f"embedding distance {distance:.3g} above {seen.threshold:.3g}")
    return reasons


def _outside_bounds(name: str, value: float, low: float, high: float) -> list[str]:
    """The reason why one value lies outside, if it does."""
    if not math.isfinite(value):
        return [f"{name} is not known"]
    margin = _TOLERANCE * max(abs(low), abs(high))
    if low - margin <= value <= high + margin:
        return []
    side = "below" if value < low else "above"
    return [f"{name} {value:.4g} {side} the training range {low:.4g} to {high:.4g}"]
