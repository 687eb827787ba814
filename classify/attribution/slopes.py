"""How the logarithms of a head's probabilities change with what reaches the head, by formula.

All smooth heads take one way: d log p / d (value of the design), in closed form and double precision. Differences
would cost two predictions a feature, and could not be finer than the float32 that a design is held in.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.special import expit, softmax

from classify.design import Design
from classify.hierarchical import Hierarchy
from classify.logistic import Logistic
from classify.mil import Mil
from classify.network import LEAST_P, Network
from classify.ordinal import Ordinal


def is_smooth(fitted: object) -> bool:
    """Whether the head has slopes: trees, class shares and heads of other packages have none."""
    if isinstance(fitted, Hierarchy):
        return all(is_smooth(level) for level in fitted.levels)
    return type(fitted) in _SLOPES


def log_slopes(fitted: object, design: Design) -> Float64[np.ndarray, "class row feature"]:
    """Slopes d log p_c / d value for every class and every value of one patient's rows.

    Args:
        fitted: a head for which `is_smooth` holds.
        design: of one patient.

    Raises:
        TypeError: for a head without slopes, which is a fault of the program.
    """
    if not is_smooth(fitted):
        raise TypeError(f"{type(fitted).__name__} has no slopes")
    if isinstance(fitted, Hierarchy):
        return _of_hierarchy(fitted, design)
    return np.asarray(_SLOPES[type(fitted)](fitted, design))


def _of_logistic(fitted: Logistic, design: Design) -> np.ndarray:
    """w_c - sum of p_k w_k, with w the coefficients of the values as they are."""
    return of_softmax((fitted.coef / fitted.scale)[:, None], fitted.probabilities(design)[0])


def _of_ordinal(fitted: Ordinal, design: Design) -> np.ndarray:
    """As log p_j = log expit(upper - s) + log expit(s - lower) + a constant, with s the score."""
    score = ((design.vectors.astype(np.float64) - fitted.mean) / fitted.scale) @ fitted.coef
    ends = np.concatenate([[-np.inf], fitted.thresholds, [np.inf]]) - score
    by_score = expit(ends[:-1]) - expit(-ends[1:])
    return np.asarray(by_score[:, None, None] * (fitted.coef / fitted.scale))


def _of_hierarchy(fitted: Hierarchy, design: Design) -> np.ndarray:
    """Log probabilities of a path add up: passing every boundary below the class, and staying at its own."""
    levels = [log_slopes(level, design) for level in fitted.levels]
    passed, found = np.zeros_like(levels[0][0]), []
    for level in levels:
        found.append(passed + level[0])
        passed = passed + level[1]
    return np.stack([*found, passed])


def _of_mil(fitted: Mil, design: Design) -> np.ndarray:
    """Through the network to its components, and through the projection to the rows."""
    rows = design.rows.astype(np.float64) @ fitted.projection - fitted.offset
    logits = _NETWORKS[fitted.network](fitted.weights, rows)
    return np.asarray(of_softmax(logits, fitted.probabilities(design)[0]) @ fitted.projection.T)


def _of_attention(weights: dict[str, np.ndarray], rows: Float64[np.ndarray, "row component"]) -> np.ndarray:
    """Of `classify.bag_networks`: a row moves the weighted mean by itself, and by its share."""
    tanh, gate = np.tanh(rows @ weights["V"].T), expit(rows @ weights["U"].T)
    share = softmax((tanh * gate) @ weights["w"])
    by_row = rows @ weights["C"].T
    of_score = share[:, None] * (by_row - share @ by_row)
    of_hidden = (weights["w"] * gate * (1 - tanh**2)) @ weights["V"]
    of_hidden += (weights["w"] * tanh * gate * (1 - gate)) @ weights["U"]
    return np.asarray(weights["C"][:, None] * share[:, None] + of_score.T[:, :, None] * of_hidden)


def _of_mean(weights: dict[str, np.ndarray], rows: Float64[np.ndarray, "row component"]) -> np.ndarray:
    """Of `classify.bag_networks`: each row counts as one of so many."""
    bent = 1 - np.tanh(rows @ weights["V"].T + weights["v"]) ** 2
    return np.asarray(np.einsum("ch,rh,hf->crf", weights["C"], bent, weights["V"], optimize=True) / len(rows))


def _of_network(fitted: Network, design: Design) -> np.ndarray:
    """Of log (s_c / sum of s), with s the mean of the views; a score at its floor does not move."""
    scores = fitted.scores(design)[0]
    own = np.diag(1 / scores) - 1 / scores.sum()
    moves = np.where(scores > LEAST_P, 1 / fitted.n_views, 0.0)
    return np.tile(own * moves, fitted.n_views)[:, None]


def of_softmax(
    logits: Float64[np.ndarray, "class *place"], p: Float64[np.ndarray, " class"]
) -> Float64[np.ndarray, "class *place"]:
    """From slopes of logits to slopes of the logarithms of their softmax."""
    return np.asarray(logits - np.tensordot(p, logits, axes=1))


_SLOPES: dict[type, Callable[[Any, Design], np.ndarray]] = {
    Logistic: _of_logistic,
    Ordinal: _of_ordinal,
    Mil: _of_mil,
    Network: _of_network,
}
_NETWORKS: dict[str, Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray]] = {
    "mil-attention": _of_attention,
    "mil-mean": _of_mean,
}
