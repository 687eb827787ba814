"""The logistic head: multinomial ridge regression, exact and fast when features outnumber patients.

The ridge penalty does not change under rotation, so each training part is rotated once into the space that its
patients span (at most n axes) and every fit takes place there; the coefficients are mapped back (Hastie & Tibshirani,
Biostatistics 2004;5:329, section 3). The path over penalties is one batch in float32, the final fit is float64.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from scipy.special import softmax

from classify import array_files
from classify.design import Design
from classify.majority import class_shares
from classify.ridge_path import Minimum, Offsets, Scores, Slopes, minimize
from classify.rotation import Space, unit_space
from triher.errors import StopRun
from triher.types import Labels, Probabilities

PENALTIES = tuple(float(10 ** (exponent / 4)) for exponent in range(-12, 13))
"""Inverse penalties C of the path, from predicting the class shares to parting the training patients."""
PATH_TOLERANCE = 1e-9
"""Of `classify.ridge_path.minimize`, in float32: moves no probability of the path by 2e-4."""
FIT_TOLERANCE = 1e-14
"""The same for the final fit in float64: no probability moves by 1e-6."""


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
        return array_files.save(arrays)


@dataclass(frozen=True)
class Softmax:
    """The multinomial likelihood; of two classes the first has score 0, as in the usual logistic regression."""

    hits: Float[np.ndarray, "class patient"]
    """1 where a patient has a class, else 0."""
    weights: Float[np.ndarray, " patient"]

    @property
    def n_columns(self) -> int:
        """One column a class, or one for the second of two."""
        return 1 if len(self.hits) == 2 else len(self.hits)

    @property
    def start(self) -> Float[np.ndarray, " offset"]:
        """Logarithms of the class shares."""
        logs = np.log(self.hits @ self.weights)
        return logs[1:] - logs[0] if len(self.hits) == 2 else logs - logs.mean()

    def slopes(self, scores: Scores, offsets: Offsets) -> Slopes:
        """Log loss and derivatives."""
        z = scores + offsets[:, :, None]
        n_fixed = len(self.hits) - z.shape[1]
        z = np.concatenate([np.zeros_like(z[:, :n_fixed]), z], axis=1)
        z -= z.max(axis=1, keepdims=True)
        raised = np.exp(z)
        total = raised.sum(axis=1, keepdims=True)
        p = raised / total
        lost = (np.log(total[:, 0]) - (z * self.hits).sum(axis=1)) * self.weights
        excess = ((p - self.hits) * self.weights)[:, n_fixed:]
        curvature = (p * (1 - p) * self.weights).sum(axis=2)[:, n_fixed:]
        return Slopes(lost.sum(axis=1, dtype=np.float64), excess, excess.sum(axis=2), curvature, curvature)


@dataclass(frozen=True)
class LogisticPart:
    """A training part, rotated once for all fits."""

    space: Space
    hits: Float64[np.ndarray, "class patient"]
    weights: Float64[np.ndarray, " patient"]

    def along(self, params: dict[str, int | float], seed: int, test: Design) -> Iterator[Probabilities]:
        """Fit all penalties of the path at once, in float32, and predict at each."""
        found = self._minimize(PENALTIES, np.dtype(np.float32), PATH_TOLERANCE)
        rows = (test.vectors.astype(np.float64) - self.space.mean) / self.space.scale
        for coef, intercept in zip(*self._models(found), strict=True):
            yield softmax(rows @ coef.T + intercept, axis=1)

    def fit(self, params: dict[str, int | float], seed: int) -> Logistic:
        """Fit at the given inverse penalty ``C``; the optimum is unique, so the seed is not needed."""
        found = self._minimize((float(params["C"]),), np.dtype(np.float64), FIT_TOLERANCE)
        coef, intercept = self._models(found)
        return Logistic(self.space.mean, self.space.scale, coef[0], intercept[0])

    def _minimize(self, penalties: tuple[float, ...], kind: np.dtype[np.floating], tolerance: float) -> Minimum:
        """Fit at each penalty."""
        likelihood = Softmax(self.hits.astype(kind), self.weights.astype(kind))
        return minimize(likelihood, self.space.coordinates.astype(kind), np.array(penalties), tolerance)

    def _models(
        self, found: Minimum
    ) -> tuple[Float64[np.ndarray, "penalty class feature"], Float64[np.ndarray, "penalty class"]]:
        """Coefficients of the scaled features and intercepts, with zeros for a class of fixed score."""
        n_penalties, n_columns, n_components = found.weights.shape
        flat = self.space.back(found.weights.reshape(n_penalties * n_columns, n_components))
        coef = flat.reshape(n_penalties, n_columns, flat.shape[1])
        n_fixed = len(self.hits) - n_columns
        wide = np.concatenate([np.zeros_like(coef[:, :n_fixed]), coef], axis=1)
        offsets = found.offsets.astype(np.float64)
        return wide, np.concatenate([np.zeros_like(offsets[:, :n_fixed]), offsets], axis=1)


def prepare(
    design: Design, y: Labels, n_classes: int, *, weights: Float64[np.ndarray, " patient"] | None, exact: bool
) -> LogisticPart:
    """Standardize and rotate a training part that holds every class; see `classify.rotation.unit_space`.

    Args:
        design: the training part only.
        y: class of each patient.
        n_classes: classes of the scheme, all present.
        weights: of the patients, as if each stood there so many times; all 1 when None.
        exact: without effect; the path is float32 and the fit float64 in either case.

    Raises:
        StopRun: ``class_too_small`` when a class is absent.
    """
    class_shares(y, n_classes, weights)
    hits = (y == np.arange(n_classes)[:, None]).astype(np.float64)
    return LogisticPart(unit_space(design), hits, np.ones(len(y)) if weights is None else weights)


def load(data: bytes, *, n_features: int, n_classes: int) -> Logistic:
    """Read what `Logistic.to_bytes` wrote.

    Raises:
        StopRun: ``bundle_corrupt`` when arrays are missing, of another shape, or not finite.
    """
    shapes = {"mean": (n_features,), "scale": (n_features,), "coef": (n_classes, n_features)}
    shapes |= {"intercept": (n_classes,)}
    arrays = array_files.load(data, array_files.HEAD)
    if not array_files.are_sound(arrays, shapes) or (arrays["scale"] <= 0).any():
        found = array_files.shapes_of(arrays)
        raise StopRun("bundle_corrupt", f"{array_files.HEAD}: expected finite arrays {shapes}, found {found}")
    return Logistic(arrays["mean"], arrays["scale"], arrays["coef"], arrays["intercept"])
