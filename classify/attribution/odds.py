"""Log-odds of the classes as the whole model gives them, and their slopes at the head's design."""

import numpy as np
from jaxtyping import Float64
from scipy.special import logsumexp

from classify import calibration, stacking
from classify.attribution.slopes import log_slopes, of_softmax
from classify.inputs import Inputs
from classify.training import Model
from triher.types import Probabilities

_LEAST = 1e-15
"""A probability, or all others together, counts as at least this: log-odds lie between -34.5 and 34.5. Each
probability is held to its own 16 digits, so that nothing is lost near 0; log-odds near 1 are taken from the others'
sum and not from 1 - p, which would lose them."""


def log_odds(p: Probabilities) -> Float64[np.ndarray, "patient class"]:
    """The log-odds log p_c - log(1 - p_c), where 1 - p_c is the sum of the other classes.

    >>> log_odds(np.array([[0.2, 0.8], [0.0, 1.0]])).round(3).tolist()
    [[-1.386, 1.386], [-34.539, 34.539]]
    """
    logs = np.log(np.maximum(p, _LEAST))
    others = np.stack([logsumexp(np.delete(logs, c, axis=1), axis=1) for c in range(p.shape[1])], axis=1)
    return np.asarray(np.clip(logs - others, np.log(_LEAST), -np.log(_LEAST)))


def log_odds_slopes(model: Model, inputs: Inputs) -> Float64[np.ndarray, "class row column"]:
    """Slopes of the log-odds at the values of the design, after head, second model and temperature.

    Where a step holds a probability at its floor (1e-6 before the second model, 1e-15 before the temperature), that
    class no longer moves, as in the model itself.

    Args:
        model: with a smooth head.
        inputs: of one patient.
    """
    design = model.preparation.design(inputs)
    p = model.fitted.probabilities(design)
    slopes = log_slopes(model.fitted, design)
    if model.stack is not None:
        covariates = model.preparation.covariates(inputs)
        by_ratio = log_slopes(model.stack.fitted, stacking.stacked_design(p, covariates))[:, 0, : p.shape[1] - 1]
        logs = np.where(p[0] > stacking.LEAST_P, 1.0, 0.0)[:, None, None] * slopes
        slopes = np.tensordot(by_ratio, logs[1:] - logs[:1], axes=1)
        p = model.stack.probabilities(p, covariates)
    slopes = np.where(p[0] > calibration.LEAST_P, 1.0, 0.0)[:, None, None] * slopes
    p = calibration.apply_temperature(p, model.temperature)
    slopes = of_softmax(slopes / model.temperature, p[0])
    rest = np.array([np.delete(p[0], c).sum() for c in range(p.shape[1])])
    moves = np.abs(log_odds(p)[0]) < -np.log(_LEAST)
    return np.asarray(np.where(moves, 1 / np.maximum(rest, _LEAST), 0.0)[:, None, None] * slopes)
