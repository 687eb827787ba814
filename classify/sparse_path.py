"""Minimize a likelihood under an elastic net, at one penalty after the other.

Proximal gradient steps with momentum that starts over when it leads uphill (Beck & Teboulle, SIAM J Imaging Sci
2009;2:183; O'Donoghue & Candes, Found Comput Math 2015;15:715). Each penalty starts from the solution at the last,
and works on the features that the sequential strong rule leaves (Tibshirani et al., J R Stat Soc B 2012;74:245);
the optimality conditions of all others are checked afterwards.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import eigh

from classify.ridge_path import Likelihood

_STEPS = 20_000
_CURVATURE = 0.5  # largest eigenvalue that the softmax Hessian can have (Boehning, Ann Inst Stat Math 1992;44:197)
_MARGIN = 1.0001  # float32 may curve a little more
_SLACK = 1e-3  # relative excess over the l1 penalty at which a left-out feature is taken in


@dataclass(frozen=True)
class Sparse:
    """A solution."""

    weights: Float[np.ndarray, "column feature"]
    offsets: Float[np.ndarray, " offset"]


@dataclass(frozen=True)
class _Penalty:
    """Of the summed loss, and how well it is to be solved."""

    l1: float
    l2: float
    tolerance: float


@dataclass(frozen=True)
class _Net:
    """What is minimized, but for the penalty."""

    likelihood: Likelihood
    rows: Float[np.ndarray, "patient feature"]
    curvature: float
    """Largest second derivative by the weights."""
    offset_curvature: float

    def slopes(self, at: Sparse) -> tuple[Float[np.ndarray, "column feature"], Float[np.ndarray, " offset"]]:
        """Derivatives of the loss; products with vectors, because BLAS copies the matrix for a product with three."""
        scores = np.stack([self.rows @ weights for weights in at.weights])
        slopes = self.likelihood.slopes(scores[None], at.offsets[None])
        return np.stack([column @ self.rows for column in slopes.by_score[0]]), slopes.by_offset[0]


def elastic_net_path(
    likelihood: Likelihood,
    rows: Float[np.ndarray, "patient feature"],
    *,
    square: float,
    heaviest: float,
    l1_ratio: float,
    shares: Sequence[float],
    tolerances: Sequence[float],
) -> Iterator[Sparse]:
    """Minimize loss + penalty * (l1_ratio * |weights|_1 + (1 - l1_ratio) / 2 * |weights|^2).

    Args:
        likelihood: softmax, or another whose scores have a curvature of at most 1/2 times a patient's weight.
        rows: centered and scaled features; their type (float32 or float64) is that of the arithmetic.
        square: `largest_square` of the rows.
        heaviest: the largest weight of a patient.
        l1_ratio: above 0, at most 1.
        shares: the penalties as shares of the least one at which all weights are 0, falling from at most 1.
        tolerances: one a share; a solution ends when no slope is off by more than this share of the l1 penalty.

    Yields:
        The solution at each share.
    """
    bound = _CURVATURE * heaviest
    net = _Net(likelihood, rows, bound * square * _MARGIN, bound * len(rows))
    here = Sparse(np.zeros((likelihood.n_columns, rows.shape[1]), rows.dtype), likelihood.start)
    pull = np.abs(net.slopes(here)[0]).max(axis=0)
    most = float(pull.max(initial=0.0)) / l1_ratio
    before = most
    for share, tolerance in zip(shares, tolerances, strict=True):
        if most == 0:  # no feature varies
            yield here
            continue
        now = share * most
        penalty = _Penalty(now * l1_ratio, now * (1 - l1_ratio), tolerance)
        chosen = (pull >= l1_ratio * (2 * now - before)) | here.weights.any(axis=0)
        here, pull = _solve(net, here, penalty, chosen)
        before = now
        yield here


def _solve(
    net: _Net, here: Sparse, penalty: _Penalty, chosen: Bool[np.ndarray, " feature"]
) -> tuple[Sparse, Float[np.ndarray, " feature"]]:
    """The solution at one penalty, and the steepest slope of the loss along each feature."""
    while True:
        inside = np.flatnonzero(chosen)
        part = _Net(net.likelihood, np.ascontiguousarray(net.rows[:, inside]), net.curvature, net.offset_curvature)
        found = _descend(part, Sparse(here.weights[:, inside], here.offsets), penalty)
        weights = np.zeros_like(here.weights)
        weights[:, inside] = found.weights
        here = Sparse(weights, found.offsets)
        pull = np.abs(net.slopes(here)[0]).max(axis=0)
        missed = ~chosen & (pull > penalty.l1 * (1 + _SLACK))
        if not missed.any():
            return here, pull
        chosen = chosen | missed


def _descend(net: _Net, start: Sparse, penalty: _Penalty) -> Sparse:
    """Proximal gradient steps with momentum from a start.

    As columns of rows have mean 0, the bounded curvature does not couple weights and offsets, and each takes steps of
    its own length.
    """
    kind = net.rows.dtype.type
    stride = kind(1 / (net.curvature + penalty.l2))
    stride_offset = kind(1 / net.offset_curvature)
    here, ahead, momentum = start, start, 1.0
    for _ in range(_STEPS):
        slope, slope_offset = net.slopes(ahead)
        free = ahead.weights - stride * (slope + kind(penalty.l2) * ahead.weights)
        hold = stride * kind(penalty.l1)
        there = Sparse(free - np.clip(free, -hold, hold), ahead.offsets - stride_offset * slope_offset)
        back, back_offset = ahead.weights - there.weights, ahead.offsets - there.offsets
        off = max(np.abs(back).max(initial=0.0) / stride, np.abs(slope_offset).max())
        if off <= penalty.tolerance * penalty.l1:
            return there
        step, step_offset = there.weights - here.weights, there.offsets - here.offsets
        uphill = (back * step).sum() / stride + (back_offset * step_offset).sum() / stride_offset > 0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        pace = kind(0 if uphill else (momentum - 1) / following)
        momentum = 1.0 if uphill else following
        here, ahead = there, Sparse(there.weights + pace * step, there.offsets + pace * step_offset)
    return here


def largest_square(rows: Float[np.ndarray, "patient feature"]) -> float:
    """The largest eigenvalue of rows' rows."""
    gram = rows @ rows.T if rows.shape[1] >= rows.shape[0] else rows.T @ rows
    last = len(gram) - 1
    return float(eigh(gram, eigvals_only=True, subset_by_index=[last, last])[0])
