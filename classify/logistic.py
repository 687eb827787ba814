"""The logistic head: multinomial ridge regression, exact and fast when features outnumber patients.

The ridge penalty does not change under rotation, so each training part is rotated once into the space that its
patients span (at most n axes) and every trial fits there; the coefficients are mapped back (Hastie & Tibshirani,
Biostatistics 2004;5:329, section 3).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float64
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from classify.design import Design
from classify.rotation import center_and_scale, principal_axes, standardize
from triher.errors import StopRun
from triher.types import Labels, Probabilities

PENALTIES = tuple(float(10 ** (exponent / 4)) for exponent in range(-12, 13))
"""Inverse penalties C of the path, from predicting the class shares to parting the training patients."""
_ITERATIONS = 5000
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Logistic:
    """softmax(coef @ (x - mean) / scale + intercept)."""

    mean: Float64[np.ndarray, " feature"]
    scale: Float64[np.ndarray, " feature"]
    coef: Float64[np.ndarray, "class feature"]
    intercept: Float64[np.ndarray, " class"]

    def probabilities(self, design: Design) -> Probabilities:
        """Uncalibrated probabilities."""
        standard = (design.vectors.astype(np.float64) - self.mean) / self.scale
        return softmax(standard @ self.coef.T + self.intercept, axis=1)

    def to_bytes(self) -> bytes:
        """The four arrays as safetensors."""
        arrays = {"mean": self.mean, "scale": self.scale, "coef": self.coef, "intercept": self.intercept}
        return safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


@dataclass(frozen=True)
class LogisticPart:
    """A training part, rotated once for all trials."""

    y: Labels
    mean: Float64[np.ndarray, " feature"]
    scale: Float64[np.ndarray, " feature"]
    axes: Float64[np.ndarray, "feature component"]
    rotated: Float64[np.ndarray, "patient component"]
    n_classes: int
    weights: Float64[np.ndarray, " patient"] | None

    def along(self, params: dict[str, int | float], seed: int, test: Design) -> Iterator[Probabilities]:
        """Fit and predict at each penalty of the path."""
        for value in PENALTIES:
            yield self.fit({**params, "C": value}, seed).probabilities(test)

    def fit(self, params: dict[str, int | float], seed: int) -> Logistic:
        """Fit at the given inverse penalty ``C``; the optimum is unique, so the seed is not needed."""
        solver = LogisticRegression(C=params["C"], max_iter=_ITERATIONS, tol=_TOLERANCE)
        solver.fit(self.rotated, self.y, self.weights)
        coef, intercept = solver.coef_, solver.intercept_
        if self.n_classes == 2:  # scikit-learn gives one row of log odds for two classes
            coef, intercept = np.vstack([np.zeros_like(coef), coef]), np.append(0.0, intercept)
        return Logistic(self.mean, self.scale, coef @ self.axes.T, intercept)


def prepare(
    design: Design, y: Labels, n_classes: int, *, weights: Float64[np.ndarray, " patient"] | None, exact: bool
) -> LogisticPart:
    """Standardize and rotate a training part that holds every class.

    Scaled by the deviation times the root of the number of features in their block, a patient's vector has length
    about 1 and every block an equal share in it, so that ``C`` means the same for 384 features and for 4,608.
    Features that do not vary get no coefficient.

    Args:
        design: the training part only.
        y: class of each patient.
        n_classes: classes of the scheme, all present.
        weights: of the patients; all alike when None.
        exact: without effect; tuning and refit are both exact.
    """
    mean, deviation = center_and_scale(design.vectors)
    root = np.sqrt(design.block_size)
    scaled = standardize(design.vectors, mean, deviation) / root
    axes, _ = principal_axes(scaled)
    scale = np.where(deviation > 0, deviation * root, 1.0)
    return LogisticPart(y, mean, scale, axes, scaled @ axes, n_classes, weights)


def load(data: bytes, *, n_features: int, n_classes: int) -> Logistic:
    """Read what `Logistic.to_bytes` wrote.

    Raises:
        StopRun: ``bundle_corrupt`` when arrays are missing, of another shape, or not finite.
    """
    shapes = {"mean": (n_features,), "scale": (n_features,), "coef": (n_classes, n_features)}
    shapes |= {"intercept": (n_classes,)}
    try:
        arrays = safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise StopRun("bundle_corrupt", f"head.safetensors: {error}") from error
    found = {name: array.shape for name, array in arrays.items()}
    good = all(a.dtype == np.float64 and np.isfinite(a).all() for a in arrays.values())
    if found != shapes or not good or (arrays["scale"] <= 0).any():
        raise StopRun("bundle_corrupt", f"head.safetensors: expected finite arrays {shapes}, found {found}")
    return Logistic(arrays["mean"], arrays["scale"], arrays["coef"], arrays["intercept"])
