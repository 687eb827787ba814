"""Small networks on bags of rows: their logits, and the gradients of those by hand.

A bag is a patient, its rows are her slices. Both networks give the same logits in whatever order the rows of a bag
come. Weights are dictionaries of arrays; rows and weights are of one precision, and so are the results.

What runs thousands of times in a training has its shapes in words, because checking them costs more than the sums.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from scipy.special import expit

Weights: TypeAlias = dict[str, np.ndarray]
Backward: TypeAlias = Callable[[np.ndarray], Weights]
"""Gradient of the logits [bag, class] -> gradient of each weight."""


@dataclass(frozen=True)
class Bags:
    """Rows in bags of one row or more."""

    rows: np.ndarray
    """[row, component]"""
    indptr: np.ndarray
    """[bag + 1]"""

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each bag."""
        return np.diff(self.indptr)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum over the rows of each bag, [row, ...] -> [bag, ...]."""
        return np.add.reduceat(values, self.indptr[:-1], axis=0)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """The value of each row's bag, [bag, ...] -> [row, ...]."""
        return np.repeat(values, self.lengths, axis=0)

    def take(self, bags: np.ndarray) -> "Bags":
        """The bags at the given positions."""
        lengths = self.lengths[bags]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        where = np.arange(indptr[-1]) + np.repeat(self.indptr[bags] - indptr[:-1], lengths)
        return Bags(self.rows[where], indptr)


@dataclass(frozen=True)
class Network:
    """A kind of network."""

    shapes: Callable[[int, int, int], dict[str, tuple[int, ...]]]
    """(components, hidden units, classes) -> shape of each weight."""
    forward: Callable[[Weights, Bags], tuple[np.ndarray, Backward]]
    """Logits, and their backward pass."""


def attention_weights(weights: Weights, bags: Bags) -> Float[np.ndarray, " row"]:
    """The share of each row in its bag, above 0 and summing to 1: equation 9 of Ilse, Tomczak & Welling, 2018."""
    gated = np.tanh(bags.rows @ weights["V"].T) * expit(bags.rows @ weights["U"].T)
    return _softmax(gated @ weights["w"], bags)


def _softmax(scores: np.ndarray, bags: Bags) -> np.ndarray:
    """Softmax over the rows of each bag."""
    raised = np.exp(scores - bags.spread(np.maximum.reduceat(scores, bags.indptr[:-1])))
    return np.asarray(raised / bags.spread(bags.sums(raised)))


def _attention_forward(weights: Weights, bags: Bags) -> tuple[np.ndarray, Backward]:
    """Gated attention: a linear classifier of the bag's weighted mean row.

    M. Ilse, J. M. Tomczak, M. Welling, "Attention-based deep multiple instance learning", ICML 2018, PMLR 80:2127:
    equation 7 (the weighted mean) with the weights of equation 9, a_k = softmax(w' (tanh(V h_k) * sigm(U h_k))).
    """
    tanh = np.tanh(bags.rows @ weights["V"].T)
    gate = expit(bags.rows @ weights["U"].T)
    share = _softmax((tanh * gate) @ weights["w"], bags)
    mean = bags.sums(share[:, None] * bags.rows)

    def backward(logits: np.ndarray) -> Weights:
        """Chain rule."""
        of_share = np.einsum("rc,rc->r", bags.spread(logits @ weights["C"]), bags.rows)
        of_score = share * (of_share - bags.spread(bags.sums(share * of_share)))
        through = of_score[:, None] * weights["w"]
        return {
            "V": (through * gate * (1 - tanh**2)).T @ bags.rows,
            "U": (through * tanh * gate * (1 - gate)).T @ bags.rows,
            "w": (tanh * gate).T @ of_score,
            "C": logits.T @ mean,
            "b": logits.sum(axis=0),
        }

    return mean @ weights["C"].T + weights["b"], backward


def _mean_forward(weights: Weights, bags: Bags) -> tuple[np.ndarray, Backward]:
    """The mean over a bag's rows of each row's own logits, C tanh(V h_k + v) + b."""
    tanh = np.tanh(bags.rows @ weights["V"].T + weights["v"])
    n_rows = bags.lengths[:, None].astype(bags.rows.dtype)
    mean = bags.sums(tanh) / n_rows

    def backward(logits: np.ndarray) -> Weights:
        """Chain rule."""
        through = bags.spread(logits @ weights["C"] / n_rows) * (1 - tanh**2)
        return {
            "V": through.T @ bags.rows,
            "v": through.sum(axis=0),
            "C": logits.T @ mean,
            "b": logits.sum(axis=0),
        }

    return mean @ weights["C"].T + weights["b"], backward


NETWORKS: dict[str, Network] = {
    "mil-attention": Network(
        lambda n, hidden, n_classes: {
            "V": (hidden, n),
            "U": (hidden, n),
            "w": (hidden,),
            "C": (n_classes, n),
            "b": (n_classes,),
        },
        _attention_forward,
    ),
    "mil-mean": Network(
        lambda n, hidden, n_classes: {"V": (hidden, n), "v": (hidden,), "C": (n_classes, hidden), "b": (n_classes,)},
        _mean_forward,
    ),
}
"""Name of the head -> its network."""
