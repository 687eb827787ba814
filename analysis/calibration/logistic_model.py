"""Logistic models of two or more classes with offsets and a ridge penalty, by Newton's method.

One model serves recalibration in all its forms. statsmodels' GLM and MNLogit agree with it where they apply (see the
tests), but MNLogit takes neither an offset nor a penalty nor targets between 0 and 1.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from scipy.special import log_softmax

from triher.types import Labels

CLIP = 1e-6
"""logit(0) is infinite; stated in the method of every slope."""
_STEPS = 100
_CONVERGED = 1e-10
_HALVINGS = 30

Design = Float64[np.ndarray, "patient class parameter"]
Targets = Float64[np.ndarray, "patient class"]

RUNAWAY = 10.0
"""A standard error on the logit scale that betrays a missing maximum."""


@dataclass(frozen=True)
class Fit:
    """Coefficients at the maximum."""

    coefficients: Float64[np.ndarray, " parameter"]
    covariance: Float64[np.ndarray, "parameter parameter"]
    """Inverse of the information, the penalty's included."""
    log_likelihood: float
    """Without the penalty, in nats."""

    @property
    def standard_errors(self) -> Float64[np.ndarray, " parameter"]:
        """Of the coefficients."""
        return np.sqrt(np.diag(self.covariance))


def fit_logistic(
    design: Design, targets: Targets, offset: Targets, *, penalty: Float64[np.ndarray, " parameter"] | None = None
) -> Fit | None:
    """Maximize the likelihood of log p = offset + design b - (what makes the classes sum to 1).

    Args:
        design: covariates of each class; a class whose rows are 0 is the reference.
        targets: 1 for a patient's class and 0 for the others, or shares that sum to 1.
        offset: added to each class's linear predictor.
        penalty: l of the term l/2 b^2 that is taken off the log likelihood, for each coefficient; 0 when None.

    Returns:
        None when there is no finite maximum (the classes are separated, or covariates determine each other).

    >>> ones = np.array([[[0.0], [1.0]]] * 4)
    >>> shares = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> fit = fit_logistic(ones, shares, np.zeros((4, 2)))
    >>> round(float(fit.coefficients[0]), 6), round(float(np.log(1 / 3)), 6)
    (-1.098612, -1.098612)
    """
    ridge = np.zeros(design.shape[2]) if penalty is None else penalty
    b = np.zeros(design.shape[2])
    rows = design.reshape(-1, design.shape[2])
    logs = log_softmax(offset, axis=1)
    value = float((targets * logs).sum())
    for _ in range(_STEPS):
        p = np.exp(logs)
        mean = (p[:, None, :] @ design)[:, 0]
        information = (rows * p.reshape(-1, 1)).T @ rows - mean.T @ mean + np.diag(ridge)
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1 / np.finfo(float).eps:
            return None
        step = np.linalg.solve(information, rows.T @ (targets - p).ravel() - ridge * b)
        b, logs, value = _climb(b, step, value, design, targets, offset, ridge)
        if np.abs(step).max() < _CONVERGED:
            return Fit(b, np.linalg.inv(information), float((targets * logs).sum()))
    return None


def _climb(
    b: Float64[np.ndarray, " parameter"],
    step: Float64[np.ndarray, " parameter"],
    value: float,
    design: Design,
    targets: Targets,
    offset: Targets,
    ridge: Float64[np.ndarray, " parameter"],
) -> tuple[Float64[np.ndarray, " parameter"], Targets, float]:
    """Go the step, or the half of it as often as the likelihood would fall."""
    for _ in range(_HALVINGS):
        logs = log_softmax(offset + design @ (b + step), axis=1)
        reached = float((targets * logs).sum() - (ridge * (b + step) ** 2).sum() / 2)
        if reached >= value - 1e-9 * (1 + abs(value)):
            break
        step = step / 2
    return b + step, logs, reached


def one_hot(y: Labels, n_classes: int) -> Targets:
    """1 for each patient's class, 0 for the others."""
    return np.eye(n_classes)[y]


def two_classes(condition: Bool[np.ndarray, " patient"]) -> Targets:
    """The targets of a model of a condition."""
    return one_hot(condition.astype(np.int64), 2)


def binary_design(x: Float64[np.ndarray, "patient parameter"]) -> Design:
    """The design of a model of a condition: those without it are the reference.

    >>> binary_design(np.array([[2.0, 1.0]])).tolist()
    [[[0.0, 0.0], [2.0, 1.0]]]
    """
    return np.stack([np.zeros_like(x), x], axis=1)


def class_design(x: Float64[np.ndarray, "patient k"], n_classes: int) -> Design:
    """The design in which each class but the first has coefficients of its own, class after class.

    >>> class_design(np.array([[5.0]]), 3).tolist()
    [[[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]]]
    """
    n, k = x.shape
    design = np.zeros((n, n_classes, (n_classes - 1) * k))
    for c in range(1, n_classes):
        design[:, c, (c - 1) * k : c * k] = x
    return design


def logit(p: Float64[np.ndarray, " patient"]) -> Float64[np.ndarray, " patient"]:
    """Log odds of probabilities clipped at 1e-6.

    >>> logit(np.array([0.5])).tolist()
    [0.0]
    """
    clipped = np.clip(p, CLIP, 1 - CLIP)
    return np.log(clipped) - np.log1p(-clipped)
