"""Center, scale and rotate patient vectors."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from classify.design import Design
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
    values, vectors = _gram_axes(centered)
    axes = centered.T @ (vectors / np.sqrt(values)) if _is_wide(centered) else vectors
    return axes, values


@dataclass(frozen=True)
class Space:
    """A training part in coordinates on principal axes, and the way back to the features."""

    mean: Float64[np.ndarray, " feature"]
    scale: Float64[np.ndarray, " feature"]
    """Divides a centered feature; 1 where the feature does not vary."""
    coordinates: Float64[np.ndarray, "patient component"]
    scaled: Float64[np.ndarray, "patient feature"] | None
    """The scaled rows where features outnumber patients: axes of full length are never formed."""
    basis: Float64[np.ndarray, "side component"]
    """The axes; of patients where ``scaled`` is kept, else of features."""

    def back(self, weights: Float[np.ndarray, "column component"]) -> Float64[np.ndarray, "column feature"]:
        """Coefficients of the scaled features that give the same scores as weights of the coordinates."""
        inner = weights.astype(np.float64) @ self.basis.T
        return inner if self.scaled is None else inner @ self.scaled


def unit_space(design: Design) -> Space:
    """Standardize and rotate a training part.

    Scaled by the deviation times the root of the number of features in their block (and of the number of blocks), a
    patient's vector has length about 1 and every block an equal share in it, so that a penalty means the same for
    384 features and for 4,608. The scaling is that of the patients as they are, without weights. Features that do not
    vary are 0 and get no coefficient.
    """
    mean, scale, scaled = unit_rows(design)
    values, vectors = _gram_axes(scaled)
    if _is_wide(scaled):
        return Space(mean, scale, vectors * np.sqrt(values), scaled, vectors / np.sqrt(values))
    return Space(mean, scale, scaled @ vectors, None, vectors)


def unit_rows(
    design: Design,
) -> tuple[Float64[np.ndarray, " feature"], Float64[np.ndarray, " feature"], Float64[np.ndarray, "patient feature"]]:
    """Mean, scale and scaled rows of `unit_space`."""
    mean, deviation = center_and_scale(design.vectors)
    root = np.sqrt(design.block_size)
    scaled = standardize(design.vectors, mean, deviation) / root
    return mean, np.where(deviation > 0, deviation * root, 1.0), scaled


def unit_length(rows: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row feature"]:
    """Rows of length 1, so that the product of two is their cosine; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def _is_wide(centered: Float64[np.ndarray, "patient feature"]) -> bool:
    """Whether the Gram matrix of the patients is the smaller one."""
    return centered.shape[1] >= centered.shape[0]


def _gram_axes(
    centered: Float64[np.ndarray, "patient feature"],
) -> tuple[Float64[np.ndarray, " component"], Float64[np.ndarray, "side component"]]:
    """Eigenvalues above rounding, largest first, and eigenvectors of the smaller Gram matrix."""
    gram = centered @ centered.T if _is_wide(centered) else centered.T @ centered
    values, vectors = np.linalg.eigh(gram)
    keep = np.flatnonzero(values > _RANK * max(values[-1], np.finfo(float).tiny))[::-1]
    return values[keep], vectors[:, keep]
