"""The elastic-net head: multinomial regression that leaves features out.

Part of the penalty is on the absolute values of the coefficients, so that most are exactly 0 (Zou & Hastie, J R Stat
Soc B 2005;67:301). That penalty does change under rotation, so the fit stays in the features themselves. The fitted
head is a `classify.logistic.Logistic` like any other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import softmax

from classify.design import Design
from classify.logistic import Logistic, Softmax
from classify.majority import class_shares
from classify.rotation import unit_rows
from classify.sparse_path import Sparse, elastic_net_path, largest_square
from triher.types import Labels, Probabilities

SHARES = tuple(float(10 ** (-exponent / 4)) for exponent in range(9))
"""Penalties as shares of the least one at which all coefficients are 0, as in glmnet: from 1 to 0.01."""
_PATH_TOLERANCE = 2e-2
_FIT_TOLERANCE = 1e-4  # moves the mean log loss by less than 1e-6


@dataclass(frozen=True)
class ElasticNetPart:
    """A training part, scaled once for all fits."""

    mean: Float64[np.ndarray, " feature"]
    scale: Float64[np.ndarray, " feature"]
    rows: Float64[np.ndarray, "patient feature"]
    square: float
    """The largest eigenvalue of rows' rows."""
    hits: Float64[np.ndarray, "class patient"]
    weights: Float64[np.ndarray, " patient"]

    def along(self, params: dict[str, int | float], seed: int, test: Design) -> Iterator[Probabilities]:
        """Fit at one share after the other, in float32, and predict at each."""
        scaled = (test.vectors.astype(np.float64) - self.mean) / self.scale
        tolerances = (_PATH_TOLERANCE,) * len(SHARES)
        for found in self._path(params, SHARES, tolerances, np.dtype(np.float32)):
            coef, intercept = self._model(found)
            yield softmax(scaled @ coef.T + intercept, axis=1)

    def fit(self, params: dict[str, int | float], seed: int) -> Logistic:
        """Follow the path to the given ``share``, in float64, and settle there; the seed is not needed."""
        shares = (*(share for share in SHARES if share > params["share"]), float(params["share"]))
        tolerances = (_PATH_TOLERANCE,) * (len(shares) - 1) + (_FIT_TOLERANCE,)
        *_, found = self._path(params, shares, tolerances, np.dtype(np.float64))
        return Logistic(self.mean, self.scale, *self._model(found))

    def _path(
        self,
        params: dict[str, int | float],
        shares: tuple[float, ...],
        tolerances: tuple[float, ...],
        kind: np.dtype[np.floating],
    ) -> Iterator[Sparse]:
        """The solutions along shares of the penalty."""
        likelihood = Softmax(self.hits.astype(kind), self.weights.astype(kind))
        return elastic_net_path(
            likelihood,
            self.rows.astype(kind),
            square=self.square,
            heaviest=float(self.weights.max()),
            l1_ratio=float(params["l1_ratio"]),
            shares=shares,
            tolerances=tolerances,
        )

    def _model(self, found: Sparse) -> tuple[Float64[np.ndarray, "class feature"], Float64[np.ndarray, " class"]]:
        """Coefficients and intercepts of all classes, 0 for the first of two."""
        missing = len(self.hits) - len(found.weights)
        coef = np.vstack([np.zeros((missing, found.weights.shape[1])), found.weights])
        return coef, np.concatenate([np.zeros(missing), found.offsets])


def prepare(
    design: Design, y: Labels, n_classes: int, *, weights: Float64[np.ndarray, " patient"] | None, exact: bool
) -> ElasticNetPart:
    """Standardize a training part that holds every class; see `classify.rotation.unit_space`.

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
    mean, scale, rows = unit_rows(design)
    hits = (y == np.arange(n_classes)[:, None]).astype(np.float64)
    own = np.ones(len(y)) if weights is None else weights
    return ElasticNetPart(mean, scale, rows, largest_square(rows), hits, own)
