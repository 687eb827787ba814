"""The screen of XGBoost's trials: boosting whose trees see one block of a partition of the columns each.

XGBoost sums its histograms over all columns, and samples columns only when it looks for splits: a round costs the
same whatever ``colsample_bytree`` is. Here the columns are partitioned at random into blocks of about that share,
each block has a matrix and a booster of its own, and every round adds the trees of one block to the common margins.
So a tree still sees a random sample of columns and a round costs what the sample costs, but the samples come from a
partition: two trees see the same columns or none in common. That is a screen. It ranks parameter sets; the best of
them are scored, and the winner is fitted, by XGBoost itself. On 1,149 patients with 768 synthetic features the log
losses of 20 random parameter sets, means of five folds, had a Spearman correlation of 0.94 to 0.96 with XGBoost's at
32 bins, where two seeds of XGBoost had 0.98, and the same set was the best.

With a single block it *is* XGBoost, to rounding: the first margin is the logarithm of the class shares, centered, and
the derivatives of the multinomial loss are p - 1 (or p) and 2 p (1 - p), as in XGBoost's ``multi:softprob``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xgboost
from jaxtyping import Float32, Float64, Int

from classify.booster_calls import boost_once, margins
from triher.types import Labels, Probabilities

COUNTS = (1, 2, 4, 6, 10, 16, 25, 50)
"""Numbers of blocks, so that trials share partitions."""
_SAMPLED = "colsample_bytree"
_LEAST_SHARE, _LEAST_HESSIAN = 1e-6, np.float32(1e-16)  # XGBoost's


@dataclass(frozen=True)
class Block:
    """Some of the columns, binned."""

    columns: Int[np.ndarray, " block"]
    matrix: xgboost.QuantileDMatrix
    others: list[tuple[np.ndarray, xgboost.DMatrix]] = field(default_factory=list)
    """Who was predicted last, all their columns and a matrix of the block's: trials predict the same patients."""

    def of_others(self, rows: Float32[np.ndarray, "test feature"]) -> xgboost.DMatrix:
        """The matrix of other patients."""
        if not self.others or self.others[0][0] is not rows:
            self.others[:] = [(rows, xgboost.DMatrix(np.ascontiguousarray(rows[:, self.columns]), nthread=1))]
        return self.others[0][1]


@dataclass(frozen=True)
class Columns:
    """A training part whose columns are partitioned as trials ask for it.

    Only one thread may work on it at a time.
    """

    rows: Float32[np.ndarray, "patient feature"]
    y: Labels
    weights: Float64[np.ndarray, " patient"] | None
    n_classes: int
    n_bins: int
    partitions: dict[tuple[int, int], list[Block]] = field(default_factory=dict)
    """By seed and number of blocks."""

    def blocks(self, share: float, seed: int) -> list[Block]:
        """A partition into blocks of about this share of the columns, binned when it is asked for first."""
        n_features = self.rows.shape[1]
        n_blocks = min(COUNTS, key=lambda count: abs(np.log(count * share)))
        key = seed, min(n_blocks, n_features)
        if key not in self.partitions:
            shuffled = np.random.default_rng(key).permutation(n_features)
            self.partitions[key] = [self._bin(np.sort(part)) for part in np.array_split(shuffled, key[1])]
        return self.partitions[key]

    def _bin(self, columns: Int[np.ndarray, " block"]) -> Block:
        """The matrix of some columns; labels are left out, as gradients carry what they say."""
        rows = np.ascontiguousarray(self.rows[:, columns])
        matrix = xgboost.QuantileDMatrix(rows, weight=self.weights, max_bin=self.n_bins, nthread=1)
        return Block(columns, matrix)


@dataclass
class _Side:
    """Rows of a block, and the margins that its trees have given them so far."""

    matrix: xgboost.DMatrix
    margins: Float32[np.ndarray, "row class"] | float = 0.0


@dataclass(frozen=True)
class _Grown:
    """The trees on one block."""

    booster: xgboost.Booster
    train: _Side
    test: _Side


def boost(
    columns: Columns,
    settings: dict[str, Any],
    seed: int,
    test: Float32[np.ndarray, "test feature"],
    stops: tuple[int, ...],
) -> Iterator[Probabilities]:
    """Boost on and on, and predict other patients after each of some numbers of rounds.

    Args:
        columns: the training part.
        settings: of XGBoost; the share of columns among them says how many blocks there are.
        seed: of the partition and of the order of its blocks.
        test: the other patients.
        stops: numbers of rounds, increasing.
    """
    own = {name: value for name, value in settings.items() if name != _SAMPLED}
    blocks = columns.blocks(float(settings.get(_SAMPLED, 1.0)), seed)
    order = np.random.default_rng([seed, len(blocks), 1])
    start, hits, weights = _beginning(columns)
    train, ahead = np.tile(start, (len(columns.y), 1)), np.tile(start, (len(test), 1))
    grown: dict[int, _Grown] = {}
    queue: list[int] = []
    for done, stop in zip((0, *stops), stops, strict=False):
        used: set[int] = set()
        for iteration in range(done, stop):
            queue = queue or order.permutation(len(blocks)).tolist()
            at = queue.pop()
            if at not in grown:
                grown[at] = _begin(blocks[at], own, test)
            grad, hess = _gradients(train, hits, weights)
            boost_once(grown[at].booster, blocks[at].matrix, iteration, grad, hess)
            train += _news(grown[at].booster, grown[at].train)
            used.add(at)
        for at in sorted(used):
            ahead += _news(grown[at].booster, grown[at].test)
        raw = _softmax(ahead).astype(np.float64)
        yield raw / raw.sum(axis=1, keepdims=True)


def _begin(block: Block, settings: dict[str, Any], test: Float32[np.ndarray, "test feature"]) -> _Grown:
    """A booster without trees."""
    ahead = block.of_others(test)
    booster = xgboost.Booster({**settings, "base_score": 0.0}, [block.matrix, ahead])
    return _Grown(booster, _Side(block.matrix), _Side(ahead, margins(booster, ahead)))


def _beginning(
    columns: Columns,
) -> tuple[Float32[np.ndarray, " class"], Float32[np.ndarray, "patient class"], Float32[np.ndarray, "patient 1"]]:
    """XGBoost's first margins, the classes as columns of zeros and ones, and the weights."""
    hits = np.eye(columns.n_classes, dtype=np.float32)[columns.y]
    weights = np.ones(len(hits)) if columns.weights is None else columns.weights
    logs = np.log(weights @ hits / weights.sum() + _LEAST_SHARE)
    return (logs - logs.mean()).astype(np.float32), hits, weights.astype(np.float32)[:, None]


def _softmax(margins: Float32[np.ndarray, "row class"]) -> Float32[np.ndarray, "row class"]:
    """Probabilities."""
    powers = np.exp(margins - margins.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _gradients(
    margins: Float32[np.ndarray, "patient class"],
    hits: Float32[np.ndarray, "patient class"],
    weights: Float32[np.ndarray, "patient 1"],
) -> tuple[Float32[np.ndarray, "patient class"], Float32[np.ndarray, "patient class"]]:
    """First and second derivatives of the multinomial loss, the second as XGBoost has it."""
    p = _softmax(margins)
    return (p - hits) * weights, np.maximum(2 * p * (1 - p) * weights, _LEAST_HESSIAN)


def _news(booster: xgboost.Booster, side: _Side) -> Float32[np.ndarray, "row class"]:
    """What the trees since the last call add to the margins; XGBoost keeps the sum of those before."""
    before = side.margins
    side.margins = margins(booster, side.matrix)
    return np.asarray(side.margins - before)
