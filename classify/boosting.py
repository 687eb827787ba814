"""The XGBoost head: gradient boosted trees, screened on blocks of columns, scored and fitted on all of them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost
from jaxtyping import Float32, Float64

from classify.boosting_blocks import Columns, boost
from classify.design import Design
from triher.errors import StopRun, first_line
from triher.types import Labels, Probabilities

ROUNDS = (5, 10, 15, 20, 25, 30, 35, 40, 50, 60, 70, 80, 100, 120)
"""Numbers of rounds at which trials are scored."""
_BINS_TUNING, _BINS_FINAL = 32, 256  # 32 bins rank the trials as 256 do, at a fifth of the cost
# XGBoost draws from one random state a thread: unless each round seeds it, a path depends on what the thread does
# between the rounds, and on which thread goes on with it.
_FIXED = {
    "objective": "multi:softprob", "tree_method": "hist", "nthread": 1, "verbosity": 0, "seed_per_iteration": True,
}  # fmt: skip
_PER_NODE = (
    "left_children", "right_children", "parents", "split_indices", "split_conditions", "default_left", "split_type",
    "base_weights", "loss_changes", "sum_hessian",
)  # fmt: skip


@dataclass(frozen=True)
class Trees:
    """A fitted ensemble."""

    booster: xgboost.Booster

    def probabilities(self, design: Design) -> Probabilities:
        """Uncalibrated probabilities; the features must come in the order of the training."""
        raw = self.booster.inplace_predict(np.ascontiguousarray(design.vectors, np.float32)).astype(np.float64)
        return raw / raw.sum(axis=1, keepdims=True)

    def to_bytes(self) -> bytes:
        """XGBoost's own JSON."""
        return bytes(self.booster.save_raw("json"))


@dataclass(frozen=True)
class TreesPart:
    """A training part, binned once for all parameters."""

    matrix: xgboost.QuantileDMatrix
    n_classes: int

    def along(self, params: dict[str, int | float], seed: int, test: Design) -> Iterator[Probabilities]:
        """Boost on and on, and predict after each number of rounds."""
        booster = xgboost.Booster(_settings(params, self.n_classes, _BINS_FINAL, seed), [self.matrix])
        for start, stop in zip((0, *ROUNDS), ROUNDS, strict=False):
            for iteration in range(start, stop):
                booster.update(self.matrix, iteration)
            yield Trees(booster).probabilities(test)

    def fit(self, params: dict[str, int | float], seed: int) -> Trees:
        """Boost with the given parameters; one thread, so that equal seeds give equal trees."""
        own = {name: value for name, value in params.items() if name != "rounds"}
        settings = _settings(own, self.n_classes, _BINS_FINAL, seed)
        return Trees(xgboost.train(settings, self.matrix, num_boost_round=int(params["rounds"])))


@dataclass(frozen=True)
class ScreenPart:
    """A training part for trials, which rank parameters by trees on blocks of columns.

    One thread at a time may work on it.
    """

    columns: Columns

    def along(self, params: dict[str, int | float], seed: int, test: Design) -> Iterator[Probabilities]:
        """Boost on and on, and predict after each number of rounds: near to XGBoost, but not equal to it."""
        settings = _settings(params, self.columns.n_classes, self.columns.n_bins, seed)
        return boost(self.columns, settings, seed, np.asarray(test.vectors, np.float32), ROUNDS)

    def fit(self, params: dict[str, int | float], seed: int) -> Trees:
        """XGBoost itself, as a screen fits nothing."""
        c = self.columns
        return _bin_all(c.rows, c.y, c.n_classes, c.weights).fit(params, seed)


def prepare(
    design: Design, y: Labels, n_classes: int, *, weights: Float64[np.ndarray, " patient"] | None, exact: bool
) -> TreesPart | ScreenPart:
    """Prepare a training part.

    Args:
        design: the training part only.
        y: class of each patient.
        n_classes: classes of the scheme.
        weights: of the patients; all alike when None.
        exact: XGBoost itself on 256 bins, for scores and the refit; else 32 bins and blocks of columns, for trials.
    """
    rows = design.vectors.astype(np.float32)
    return (
        _bin_all(rows, y, n_classes, weights)
        if exact
        else ScreenPart(Columns(rows, y, weights, n_classes, _BINS_TUNING))
    )


def _bin_all(
    rows: Float32[np.ndarray, "patient feature"],
    y: Labels,
    n_classes: int,
    weights: Float64[np.ndarray, " patient"] | None,
) -> TreesPart:
    """Bin all columns finely."""
    matrix = xgboost.QuantileDMatrix(rows, y, weight=weights, max_bin=_BINS_FINAL, nthread=1)
    return TreesPart(matrix, n_classes)


def _settings(params: dict[str, int | float], n_classes: int, n_bins: int, seed: int) -> dict[str, Any]:
    """XGBoost's parameters."""
    return {**_FIXED, **params, "num_class": n_classes, "max_bin": n_bins, "seed": seed}


def load(data: bytes, *, n_features: int, n_classes: int) -> Trees:
    """Read what `Trees.to_bytes` wrote, after proving that no index leads astray.

    XGBoost follows the child indices of its JSON without a check; a bad one ends the process.

    Raises:
        StopRun: ``bundle_corrupt``.
    """
    try:
        _check_model(json.loads(data), n_features, n_classes)
        booster = xgboost.Booster({"nthread": 1, "verbosity": 0})
        booster.load_model(bytearray(data))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, xgboost.core.XGBoostError) as error:
        raise StopRun("bundle_corrupt", f"head.json is no sound XGBoost model: {first_line(error)}") from error
    return Trees(booster)


def _check_model(model: dict[str, Any], n_features: int, n_classes: int) -> None:
    """Raise `ValueError` unless sizes agree and every tree is one."""
    learner = model["learner"]
    sizes, booster = learner["learner_model_param"], learner["gradient_booster"]
    if booster["name"] != "gbtree" or learner["objective"]["name"] != "multi:softprob":
        raise ValueError("the booster is not gbtree with multi:softprob")
    if int(sizes["num_feature"]) != n_features or int(sizes["num_class"]) != n_classes:
        raise ValueError(f"sizes differ from the manifest's {n_features} features and {n_classes} classes")
    inner = booster["model"]
    trees, info, starts = inner["trees"], inner["tree_info"], inner["iteration_indptr"]
    if int(inner["gbtree_model_param"]["num_trees"]) != len(trees) or len(info) != len(trees):
        raise ValueError("the number of trees is not the one announced")
    if starts != list(range(0, len(trees) + 1, n_classes)) or any(c not in range(n_classes) for c in info):
        raise ValueError("the trees do not belong to the classes in turn")
    for position, tree in enumerate(trees):
        _check_tree(tree, position, n_features)


def _check_tree(tree: dict[str, Any], position: int, n_features: int) -> None:
    """Raise `ValueError` unless each node but the root is the child of exactly one node before it."""
    n_nodes = int(tree["tree_param"]["num_nodes"])
    if n_nodes < 1 or any(len(tree[name]) != n_nodes for name in _PER_NODE):
        raise ValueError(f"tree {position} announces {n_nodes} nodes and holds another number")
    if any(tree["split_type"]) or int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise ValueError(f"tree {position} has categorical splits or vector leaves")
    seen: list[int] = []
    for node, pair in enumerate(zip(tree["left_children"], tree["right_children"], strict=True)):
        if pair == (-1, -1):
            continue
        if any(type(child) is not int or not node < child < n_nodes for child in pair):
            raise ValueError(f"tree {position}, node {node}: child index out of range")
        if tree["split_indices"][node] not in range(n_features):
            raise ValueError(f"tree {position}, node {node}: feature index out of range")
        seen += pair
    if sorted(seen) != list(range(1, n_nodes)):
        raise ValueError(f"tree {position}: a node has no parent or two")
