"""The ordinal head: proportional odds with a ridge penalty.

P(y <= j) = 1 / (1 + exp(-(threshold_j - x @ coef))) (McCullagh, J R Stat Soc B 1980;42:109). All boundaries between
classes share one direction, so it spends one coefficient a feature where the multinomial model spends one a class.
Thresholds rise by construction, because the logarithms of their gaps are what is fitted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy.special import expit, log_expit, logit

from classify import array_files
from classify.design import Design
from classify.logistic import FIT_TOLERANCE, PATH_TOLERANCE, PENALTIES
from classify.majority import class_shares
from classify.ridge_path import Minimum, Offsets, Scores, Slopes, minimize
from classify.rotation import Space, unit_space
from triher.errors import StopRun
from triher.types import Labels, Probabilities

Thresholds: TypeAlias = Float[np.ndarray, "problem threshold"]


@dataclass(frozen=True)
class Ordinal:
    """Differences of 1 / (1 + exp(-(thresholds - coef @ (x - mean) / scale)))."""

    mean: Float64[np.ndarray, " feature"]
    scale: Float64[np.ndarray, " feature"]
    coef: Float64[np.ndarray, " feature"]
    thresholds: Float64[np.ndarray, " threshold"]
    """Rising, one fewer than classes."""

    def probabilities(self, design: Design) -> Probabilities:
        """Uncalibrated probabilities."""
        standard = (design.vectors.astype(np.float64) - self.mean) / self.scale
        return class_probabilities(standard @ self.coef, self.thresholds)

    def to_bytes(self) -> bytes:
        """The four arrays as safetensors."""
        arrays = {"mean": self.mean, "scale": self.scale, "coef": self.coef, "thresholds": self.thresholds}
        return array_files.save(arrays)


def class_probabilities(
    scores: Float64[np.ndarray, " patient"], thresholds: Float64[np.ndarray, " threshold"]
) -> Probabilities:
    """P(y = j) for each score.

    As expit(u) - expit(l) = expit(u) expit(-l) (1 - exp(l - u)), no difference of nearly equal numbers is taken.

    >>> class_probabilities(np.array([0.0]), np.array([-1.0, 1.0])).round(4).tolist()
    [[0.2689, 0.4621, 0.2689]]
    """
    ends = np.concatenate([[-np.inf], thresholds, [np.inf]])
    below, above = ends[:-1] - scores[:, None], ends[1:] - scores[:, None]
    p = expit(above) * expit(-below) * -np.expm1(ends[:-1] - ends[1:])
    return p / p.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class ProportionalOdds:
    """The likelihood; offsets are the first threshold, then the logarithms of the gaps between neighbors."""

    y: Int[np.ndarray, " patient"]
    weights: Float[np.ndarray, " patient"]
    first: Float[np.ndarray, " offset"]

    @property
    def n_columns(self) -> int:
        """One direction."""
        return 1

    @property
    def start(self) -> Float[np.ndarray, " offset"]:
        """The thresholds that give the class shares."""
        return self.first

    @np.errstate(over="ignore", divide="ignore", invalid="ignore")
    def slopes(self, scores: Scores, offsets: Offsets) -> Slopes:
        """Log loss and derivatives; no finite loss where a step leads too far, so that the search halves it."""
        thresholds = _thresholds(offsets)
        endless = np.full_like(thresholds[:, :1], np.inf)
        ends = np.concatenate([-endless, thresholds, endless], axis=1)
        below, above = ends[:, self.y] - scores[:, 0], ends[:, self.y + 1] - scores[:, 0]
        totals = self._totals(len(offsets[0]) + 1).astype(scores.dtype)
        gaps = np.exp(offsets[:, 1:])
        lost = -(self.weights * (log_expit(above) + log_expit(-below))).sum(axis=1, dtype=np.float64)
        lost -= (totals[1:-1] * np.log(-np.expm1(-gaps))).sum(axis=1)
        pull, push = expit(-above) * self.weights, expit(below) * self.weights
        by_threshold = self._by_class(push)[:, 1:] - self._by_class(pull)[:, :-1]
        bent = self._by_class(push * expit(-below))[:, 1:] + self._by_class(pull * expit(above))[:, :-1]
        by_gap = gaps * (_from_here(by_threshold)[:, 1:] - totals[1:-1] / np.expm1(gaps))
        bent_gap = gaps**2 * (_from_here(bent)[:, 1:] + totals[1:-1] / (4 * np.sinh(gaps / 2) ** 2))
        curvature = bent.sum(axis=1, keepdims=True)
        return Slopes(
            lost,
            (pull - push)[:, None],
            np.concatenate([by_threshold.sum(axis=1, keepdims=True), by_gap], axis=1),
            curvature,
            np.concatenate([curvature, bent_gap], axis=1),
        )

    def _totals(self, n_classes: int) -> Float64[np.ndarray, " class"]:
        """Weight of each class."""
        return np.bincount(self.y, self.weights, minlength=n_classes)

    def _by_class(self, values: Float[np.ndarray, "problem patient"]) -> Float[np.ndarray, "problem class"]:
        """Sums over the patients of each class."""
        member = self.y[:, None] == np.arange(len(self.first) + 1)
        return values @ member.astype(values.dtype)


def _thresholds(offsets: Offsets) -> Thresholds:
    """Thresholds from the first one and the logarithms of the gaps."""
    return np.cumsum(np.concatenate([offsets[:, :1], np.exp(offsets[:, 1:])], axis=1), axis=1)


def _from_here(values: Thresholds) -> Thresholds:
    """At each threshold the sum over it and all above."""
    return np.cumsum(values[:, ::-1], axis=1)[:, ::-1]


@dataclass(frozen=True)
class OrdinalPart:
    """A training part, rotated once for all fits."""

    space: Space
    y: Labels
    weights: Float64[np.ndarray, " patient"]
    start: Float64[np.ndarray, " offset"]

    def along(self, params: dict[str, int | float], seed: int, test: Design) -> Iterator[Probabilities]:
        """Fit all penalties of the path at once, in float32, and predict at each."""
        found = self._minimize(PENALTIES, np.dtype(np.float32), PATH_TOLERANCE)
        coef, thresholds = self.space.back(found.weights[:, 0]), _thresholds(found.offsets.astype(np.float64))
        rows = (test.vectors.astype(np.float64) - self.space.mean) / self.space.scale
        for scores, ends in zip((rows @ coef.T).T, thresholds, strict=True):
            yield class_probabilities(scores, ends)

    def fit(self, params: dict[str, int | float], seed: int) -> Ordinal:
        """Fit at the given inverse penalty ``C``; the optimum is unique, so the seed is not needed."""
        found = self._minimize((float(params["C"]),), np.dtype(np.float64), FIT_TOLERANCE)
        coef = self.space.back(found.weights[:, 0])[0]
        return Ordinal(self.space.mean, self.space.scale, coef, _thresholds(found.offsets)[0])

    def _minimize(self, penalties: tuple[float, ...], kind: np.dtype[np.floating], tolerance: float) -> Minimum:
        """Fit at each penalty."""
        likelihood = ProportionalOdds(self.y, self.weights.astype(kind), self.start.astype(kind))
        return minimize(likelihood, self.space.coordinates.astype(kind), np.array(penalties), tolerance)


def prepare(
    design: Design, y: Labels, n_classes: int, *, weights: Float64[np.ndarray, " patient"] | None, exact: bool
) -> OrdinalPart:
    """Standardize and rotate a training part that holds every class; see `classify.rotation.unit_space`.

    Args:
        design: the training part only.
        y: class of each patient; the order of the scheme is the order of the classes.
        n_classes: classes of the scheme, all present.
        weights: of the patients, as if each stood there so many times; all 1 when None.
        exact: without effect; the path is float32 and the fit float64 in either case.

    Raises:
        StopRun: ``class_too_small`` when a class is absent.
    """
    thresholds = logit(np.cumsum(class_shares(y, n_classes, weights))[:-1])
    start = np.concatenate([thresholds[:1], np.log(np.diff(thresholds))])
    return OrdinalPart(unit_space(design), y, np.ones(len(y)) if weights is None else weights, start)


def load(data: bytes, *, n_features: int, n_classes: int) -> Ordinal:
    """Read what `Ordinal.to_bytes` wrote.

    Raises:
        StopRun: ``bundle_corrupt`` when arrays are missing, of another shape or not finite, or thresholds fall.
    """
    shapes = {"mean": (n_features,), "scale": (n_features,), "coef": (n_features,), "thresholds": (n_classes - 1,)}
    arrays = array_files.load(data, array_files.HEAD)
    is_sound = array_files.are_sound(arrays, shapes)
    if not is_sound or (arrays["scale"] <= 0).any() or (np.diff(arrays["thresholds"]) <= 0).any():
        expected = f"expected finite, ordered arrays {shapes}, found {array_files.shapes_of(arrays)}"
        raise StopRun("bundle_corrupt", f"{array_files.HEAD}: {expected}")
    return Ordinal(arrays["mean"], arrays["scale"], arrays["coef"], arrays["thresholds"])
