"""Minimize a ridge-penalized likelihood at many penalties at once.

All penalties go through one limited-memory BFGS (Liu & Nocedal, Math Program 1989;45:503) side by side, so that each
step costs two products with the data however many penalties there are. Rows come in coordinates on principal axes,
where the curvature is nearly diagonal, which gives a good first guess of the inverse Hessian at every step.
"""

from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

_PAIRS = 10  # steps that the quasi-Newton memory keeps
_STEPS = 1000
_HALVINGS = 20
_ARMIJO = 1e-4  # share of the promised decrease that a step must bring
_ROUNDING = 4.0  # units of the last place within which two losses count as equal

Scores: TypeAlias = Float[np.ndarray, "problem column patient"]
Offsets: TypeAlias = Float[np.ndarray, "problem offset"]
Parameters: TypeAlias = Float[np.ndarray, "problem parameter"]
PerProblem: TypeAlias = Float[np.ndarray, " problem"]


@dataclass(frozen=True)
class Slopes:
    """A loss, summed over patients, and its derivatives."""

    loss: PerProblem
    by_score: Scores
    by_offset: Offsets
    score_curvature: Float[np.ndarray, "problem column"]
    """Second derivative by a column of scores, summed over patients; an estimate is enough."""
    offset_curvature: Offsets


@runtime_checkable
class Likelihood(Protocol):
    """What turns scores, which are linear in the features, into a loss."""

    @property
    def n_columns(self) -> int:
        """Scores of a patient, each with coefficients of its own."""

    @property
    def start(self) -> Float[np.ndarray, " offset"]:
        """The unpenalized parameters that fit best where all scores are 0."""

    def slopes(self, scores: Scores, offsets: Offsets) -> Slopes:
        """The loss and its derivatives."""


@dataclass(frozen=True)
class Minimum:
    """Where the penalized loss is least, for each penalty."""

    weights: Float[np.ndarray, "problem column component"]
    offsets: Offsets


@dataclass(frozen=True)
class _Task:
    """What is minimized."""

    likelihood: Likelihood
    rows: Float[np.ndarray, "patient component"]
    spread: Float[np.ndarray, " component"]
    """Mean square of each coordinate."""
    ridge: PerProblem
    """1 / C."""

    @property
    def n_weights(self) -> int:
        """Penalized parameters of a problem."""
        return self.likelihood.n_columns * self.rows.shape[1]

    def scores(self, theta: Parameters) -> Scores:
        """The linear part."""
        shape = (len(theta), self.likelihood.n_columns)
        flat = theta[:, : self.n_weights].reshape(shape[0] * shape[1], self.rows.shape[1])
        return (flat @ self.rows.T).reshape(*shape, len(self.rows))


@dataclass(frozen=True)
class _Point:
    """Where each problem stands."""

    theta: Parameters
    scores: Scores
    slopes: Slopes
    loss: PerProblem
    """With the penalty."""


def minimize(
    likelihood: Likelihood, rows: Float[np.ndarray, "patient component"], penalties: PerProblem, tolerance: float
) -> Minimum:
    """Minimize loss + |weights|^2 / (2 C) for every C.

    Args:
        likelihood: the loss.
        rows: centered coordinates on principal axes; their type (float32 or float64) is that of the arithmetic.
        penalties: inverse penalties C, above 0.
        tolerance: a problem ends when g @ H @ g, about twice what its loss lies above the least one (g the gradient,
            H the guess of the inverse Hessian), is below this for the mean patient, or when rounding hides any
            further decrease.
    """
    spread, ridge = (rows**2).mean(axis=0), (1 / penalties).astype(rows.dtype)
    task = _Task(likelihood, rows, spread, ridge)
    theta = np.zeros((len(penalties), task.n_weights + len(likelihood.start)), rows.dtype)
    theta[:, task.n_weights :] = likelihood.start
    running = np.arange(len(penalties))
    here = _point(task, theta, task.scores(theta))
    memory: list[tuple[Parameters, Parameters]] = []
    gradient, metric = _gradient(task, here), _metric(task, here)
    for _ in range(_STEPS):
        direction = _direction(gradient, metric, memory)
        there, moved = _search(task, here, direction, (direction * gradient).sum(axis=1))
        theta[running[moved]] = there.theta[moved]
        slope, metric = _gradient(task, there), _metric(task, there)
        on = moved & ((slope**2 * metric).sum(axis=1) > tolerance * len(rows))
        memory = [*memory[1 - _PAIRS :], (there.theta - here.theta, slope - gradient)]
        here, gradient = there, slope
        if not on.all():
            running, gradient, metric, here = running[on], gradient[on], metric[on], _take(there, on)
            memory = [(step[on], change[on]) for step, change in memory]
            task = _Task(likelihood, rows, spread, task.ridge[on])
        if not len(running):
            break
    shape = (len(penalties), likelihood.n_columns, rows.shape[1])
    return Minimum(theta[:, : task.n_weights].reshape(shape), theta[:, task.n_weights :])


def _point(task: _Task, theta: Parameters, scores: Scores) -> _Point:
    """Evaluate the loss."""
    slopes = task.likelihood.slopes(scores, theta[:, task.n_weights :])
    penalty = 0.5 * task.ridge * (theta[:, : task.n_weights].astype(np.float64) ** 2).sum(axis=1)
    return _Point(theta, scores, slopes, slopes.loss + penalty)


def _gradient(task: _Task, point: _Point) -> Parameters:
    """The derivative of the penalized loss."""
    by_score = point.slopes.by_score
    n_problems, n_columns, n_patients = by_score.shape
    flat = by_score.reshape(n_problems * n_columns, n_patients) @ task.rows
    of_loss = flat.reshape(n_problems, task.n_weights)
    weights = of_loss + task.ridge[:, None] * point.theta[:, : task.n_weights]
    return np.concatenate([weights, point.slopes.by_offset], axis=1)


def _metric(task: _Task, point: _Point) -> Parameters:
    """The inverse of the Hessian's diagonal, if all patients were equally curved."""
    curved = point.slopes.score_curvature[:, :, None] * task.spread + task.ridge[:, None, None]
    floor = np.finfo(curved.dtype).eps * len(task.rows)
    offsets = np.maximum(point.slopes.offset_curvature, floor)
    return np.concatenate([1 / curved.reshape(len(curved), task.n_weights), 1 / offsets], axis=1)


def _direction(gradient: Parameters, metric: Parameters, memory: list[tuple[Parameters, Parameters]]) -> Parameters:
    """The two loops of L-BFGS; a pair without positive curvature is left out."""
    left, used = gradient.copy(), []
    for step, change in reversed(memory):
        curvature = (step * change).sum(axis=1)
        rho = np.divide(1, curvature, out=np.zeros_like(curvature), where=curvature > 0)
        alpha = rho * (step * left).sum(axis=1)
        left -= alpha[:, None] * change
        used.append((step, change, rho, alpha))
    left *= metric
    for step, change, rho, alpha in reversed(used):
        beta = rho * (change * left).sum(axis=1)
        left += (alpha - beta)[:, None] * step
    return -left


def _search(
    task: _Task, here: _Point, direction: Parameters, slope: PerProblem
) -> tuple[_Point, Bool[np.ndarray, " problem"]]:
    """Halve each problem's step until its loss falls enough; tell which problems moved."""
    towards = task.scores(direction)
    length = np.ones(len(direction), direction.dtype)
    noise = _ROUNDING * np.finfo(direction.dtype).eps * np.abs(here.loss)
    for _ in range(_HALVINGS):
        theta = here.theta + length[:, None] * direction
        there = _point(task, theta, here.scores + length[:, None, None] * towards)
        good = there.loss <= here.loss + _ARMIJO * length * slope + noise
        if good.all():
            break
        length = np.where(good | (length == 0), length, length / 2).astype(direction.dtype)
    return there, good & (slope < 0)


def _take(point: _Point, on: Bool[np.ndarray, " problem"]) -> _Point:
    """The problems that go on."""
    s = point.slopes
    slopes = Slopes(s.loss[on], s.by_score[on], s.by_offset[on], s.score_curvature[on], s.offset_curvature[on])
    return _Point(point.theta[on], point.scores[on], slopes, point.loss[on])
