"""Center, scale and rotate patient vectors."""

import numpy as np
from jaxtyping import Float, Float64

from triher.types import Vectors

_NOISE = 1e-6  # relative spread that float32 embeddings of one value can have (eps is 1.2e-7)
_RANK = 1e-10  # eigenvalues below this share of the largest are rounding


def center_and_scale(
    vectors: Vectors,
) -> tuple[Float64[np.ndarray, " feature"], Float64[np.ndarray, " feature"]]:
    """Mean and standard deviation of each feature; 0 as the deviation of a feature that does not vary."""
    wide = vectors.astype(np.float64)
    mean, deviation = wide.mean(axis=0), wide.std(axis=0)
    deviation[deviation <= _NOISE * np.abs(mean)] = 0.0
    return mean, deviation


def standardize(
    vectors: Vectors, mean: Float[np.ndarray, " feature"], deviation: Float[np.ndarray, " feature"]
) -> Float64[np.ndarray, "patient feature"]:
    """(x - mean) / deviation, and 0 for features of no deviation."""
    varies = deviation > 0
    divisor = np.where(varies, deviation, 1.0)
    return np.where(varies, (vectors.astype(np.float64) - mean) / divisor, 0.0)


def principal_axes(
    centered: Float64[np.ndarray, "patient feature"],
) -> tuple[Float64[np.ndarray, "feature component"], Float64[np.ndarray, " component"]]:
    """Orthonormal axes of the cloud and the sums of squares along them, largest first.

    The eigenvectors of the smaller of the two Gram matrices are taken, which costs n^2 p instead of n p^2 where
    features outnumber patients. Axes without spread are left out.
    """
    n_patients, n_features = centered.shape
    wide = n_features >= n_patients
    values, vectors = np.linalg.eigh(centered @ centered.T if wide else centered.T @ centered)
    keep = np.flatnonzero(values > _RANK * max(values[-1], np.finfo(float).tiny))[::-1]
    values, vectors = values[keep], vectors[:, keep]
    axes = centered.T @ (vectors / np.sqrt(values)) if wide else vectors
    return axes, values
