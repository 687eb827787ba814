"""The heads of multiple-instance learning: a patient is the bag of her slices, and the label is the bag's.

Rows are standardized and rotated to at most 64 principal components by what the training part's rows taught, and a
small network of `classify.bag_networks` is trained on them, in NumPy on one core.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float64
from scipy.special import softmax
from sklearn.utils.extmath import randomized_svd

from classify import array_files
from classify.adam import Adam
from classify.bag_networks import NETWORKS, Bags, Network, Weights, attention_weights
from classify.design import Design
from classify.rotation import center_and_scale, standardize
from triher.errors import StopRun
from triher.types import Labels, Probabilities

Params: TypeAlias = dict[str, int | float]

EPOCHS = (1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 56)
"""Numbers of epochs at which trials are scored."""
PATIENCE = 4
_MOST_COMPONENTS = 64
_BATCHES, _MOST_IN_BATCH, _LEAST_IN_BATCH = 16, 64, 4
_BIASES = ("b", "v")
_CHUNK = 4096  # rows projected at once


@dataclass(frozen=True)
class Mil:
    """softmax of a network's logits for the bag of rows @ projection - offset."""

    network: str
    projection: Float64[np.ndarray, "feature component"]
    offset: Float64[np.ndarray, " component"]
    weights: Weights

    def probabilities(self, design: Design) -> Probabilities:
        """Uncalibrated probabilities, in whatever order a patient's rows come."""
        logits, _ = NETWORKS[self.network].forward(self.weights, self._bags(design))
        return softmax(logits, axis=1)

    def attention(self, design: Design) -> Float64[np.ndarray, " row"]:
        """The share of each row in its patient's prediction; shares of a patient sum to 1."""
        bags = self._bags(design)
        if self.network != "mil-attention":
            return np.asarray(1.0 / bags.spread(bags.lengths.astype(np.float64)))
        return attention_weights(self.weights, bags)

    def to_bytes(self) -> bytes:
        """All arrays as safetensors."""
        arrays = {"projection": self.projection, "offset": self.offset, **self.weights}
        return array_files.save(arrays)

    def _bags(self, design: Design) -> Bags:
        """The rows in the space of the components."""
        return Bags(_project(design, self.projection, self.offset), design.indptr)


@dataclass(frozen=True)
class MilPart:
    """A training part, rotated once for all trials; the components come in the order of their variance."""

    network: str
    bags: Bags
    y: Labels
    n_classes: int
    weights: Float64[np.ndarray, " patient"]
    """Of the patients, mean 1."""
    projection: Float64[np.ndarray, "feature component"]
    offset: Float64[np.ndarray, " component"]

    def along(self, params: Params, seed: int, test: Design) -> Iterator[Probabilities]:
        """Train on and on, and predict after each number of epochs."""
        n = self._n_components(params)
        bags = Bags(_project(test, self.projection[:, :n], self.offset[:n]), test.indptr)
        for weights in self._states(params, seed):
            yield softmax(NETWORKS[self.network].forward(weights, bags)[0], axis=1)

    def fit(self, params: Params, seed: int) -> Mil:
        """Train for ``epochs``; equal seeds give equal weights."""
        n = self._n_components(params)
        states = self._states(params, seed, (int(params["epochs"]),))
        return Mil(self.network, self.projection[:, :n], self.offset[:n], next(states))

    def _n_components(self, params: Params) -> int:
        """How many components to use, of those that there are."""
        return min(int(params["components"]), len(self.offset))

    def _states(self, params: Params, seed: int, epochs: tuple[int, ...] = EPOCHS) -> Iterator[Weights]:
        """The weights after each number of epochs."""
        bags = Bags(self.bags.rows[:, : self._n_components(params)].copy(), self.bags.indptr)
        rng = np.random.default_rng(seed)
        weights = self._start(rng, bags.rows.shape[1], int(params["hidden"]))
        optimizer = Adam(weights, rate=params["rate"], decay=params["decay"], undecayed=_BIASES)
        size = int(np.clip(len(self.y) // _BATCHES, _LEAST_IN_BATCH, _MOST_IN_BATCH))
        for epoch in range(1, epochs[-1] + 1):
            order = rng.permutation(len(self.y))
            for batch in np.array_split(order, max(1, round(len(order) / size))):
                optimizer.step(self._gradient(weights, bags.take(batch), batch))
            if epoch in epochs:
                yield {name: array.copy() for name, array in weights.items()}

    def _start(self, rng: np.random.Generator, n: int, hidden: int) -> Weights:
        """Small random weights below a classifier that predicts the shares of the classes."""
        shapes = NETWORKS[self.network].shapes(n, hidden, self.n_classes)
        weights = {name: rng.normal(size=shape) / np.sqrt(shape[-1]) for name, shape in shapes.items()}
        shares = np.bincount(self.y, self.weights, minlength=self.n_classes) / self.weights.sum()
        weights["b"] = np.log(np.maximum(shares, 1 / (len(self.y) + self.n_classes)))
        weights["C"] = np.zeros(shapes["C"])
        return weights

    def _gradient(self, weights: Weights, bags: Bags, batch: np.ndarray) -> Weights:
        """Of the weighted mean cross-entropy of a batch."""
        logits, backward = NETWORKS[self.network].forward(weights, bags)
        error = softmax(logits, axis=1)
        error[np.arange(len(batch)), self.y[batch]] -= 1
        return backward(error * (self.weights[batch] / len(batch))[:, None])


def prepare(
    network: str,
    design: Design,
    y: Labels,
    n_classes: int,
    *,
    weights: Float64[np.ndarray, " patient"] | None,
    exact: bool,
) -> MilPart:
    """Standardize and rotate the rows of a training part.

    Every block of columns has an equal share in a row, as in `classify.logistic.prepare`. Columns that do not vary
    get no weight. The components keep their relative variances, scaled so that a component of the average one has
    variance 1: directions in which slices hardly differ must earn a larger weight.

    Args:
        network: a name of `classify.bag_networks.NETWORKS`.
        design: the training part only, with a row or more a patient.
        y: class of each patient.
        n_classes: classes of the scheme.
        weights: of the patients; all alike when None.
        exact: without effect.

    Raises:
        ValueError: when a patient has no row, which is a fault of the program.
    """
    if (np.diff(design.indptr) < 1).any():
        raise ValueError("every patient needs a row")
    mean, deviation = center_and_scale(design.rows)
    block = np.sqrt(design.block_size)
    scaled = standardize(design.rows, mean, deviation).astype(np.float32) / block.astype(np.float32)
    axes, spread = _principal_axes(scaled)
    projection = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation * block, 1.0), 0.0)[:, None] * axes
    projection /= spread
    offset = mean @ projection
    relative = np.ones(len(y)) if weights is None else weights / weights.mean()
    bags = Bags(_project(design, projection, offset), design.indptr)
    return MilPart(network, bags, y, n_classes, relative, projection, offset)


def _principal_axes(
    rows: Float[np.ndarray, "row feature"],
) -> tuple[Float64[np.ndarray, "feature component"], float]:
    """At most 64 axes by falling variance, and the root mean square of the rows along them.

    Randomized subspace iteration (Halko, Martinsson & Tropp, SIAM Rev 2011;53:217, algorithm 4.4) with a fixed seed.
    """
    n = min(_MOST_COMPONENTS, *rows.shape)
    _, values, axes = randomized_svd(rows, n, n_iter=4, random_state=0)
    keep = max(1, int((values > 1e-5 * values[0]).sum()))
    spread = float(np.sqrt((values[:keep] ** 2).mean() / len(rows)))
    return axes[:keep].T.astype(np.float64), spread or 1.0


def _project(
    design: Design, projection: Float64[np.ndarray, "feature component"], offset: Float64[np.ndarray, " component"]
) -> Float64[np.ndarray, "row component"]:
    """Rows @ projection - offset, in double precision."""
    parts = [
        design.rows[start : start + _CHUNK].astype(np.float64) @ projection
        for start in range(0, len(design.rows), _CHUNK)
    ]
    return np.concatenate([np.zeros((0, len(offset))), *parts]) - offset


def load(network: str, data: bytes, *, n_features: int, n_classes: int) -> Mil:
    """Read what `Mil.to_bytes` wrote.

    Raises:
        StopRun: ``bundle_corrupt`` when arrays are missing, of another shape or type, or not finite.
    """
    arrays = array_files.load(data, array_files.HEAD)
    found = array_files.shapes_of(arrays)
    expected = _shapes(NETWORKS[network], found, n_features, n_classes)
    if not array_files.are_sound(arrays, expected):
        raise StopRun("bundle_corrupt", f"{array_files.HEAD}: expected finite arrays {expected}, found {found}")
    weights = {name: array for name, array in arrays.items() if name not in ("projection", "offset")}
    return Mil(network, arrays["projection"], arrays["offset"], weights)


def _shapes(
    network: Network, found: dict[str, tuple[int, ...]], n_features: int, n_classes: int
) -> dict[str, tuple[int, ...]]:
    """The shapes that belong together; the numbers of components and hidden units are those of one array each."""
    n = (found.get("offset") or (0,))[0]
    hidden = (found.get("V") or (0,))[0]
    return {"projection": (n_features, n), "offset": (n,), **network.shapes(n, hidden, n_classes)}


PREPARE = {name: partial(prepare, name) for name in NETWORKS}
"""Head -> its `prepare`, as `classify.heads.Head` calls it."""
LOAD = {name: partial(load, name) for name in NETWORKS}
"""Head -> its `load`, as `classify.heads.Head` calls it."""
