"""Temperature scaling of predicted probabilities.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017: divide the log probabilities by one number T, which
is fitted by maximum likelihood on predictions for patients that the model did not see. The order of a patient's
classes is kept. With some hundred patients one parameter is all that can be afforded.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from triher.types import Labels, Probabilities

LEAST_P = 1e-15
"""Of a probability whose logarithm is taken; trees may give one that rounds to 0."""
_LOG_RANGE = (-3.0, 3.0)  # T from 0.05 to 20; a head that knows nothing would drive T to infinity
_TOLERANCE = 1e-10


def log_loss(p: Probabilities, y: Labels) -> float:
    """Mean negative log likelihood in nats; a proper score (Gneiting & Raftery, JASA 2007;102:359).

    >>> round(log_loss(np.array([[0.5, 0.5]]), np.array([0])), 4)
    0.6931
    """
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], LEAST_P)).mean())


def fit_temperature(p: Probabilities, y: Labels, *, smoothing: float = 0.0) -> float:
    """The temperature that makes held-out probabilities most likely.

    Args:
        p: probabilities of patients that the model did not see.
        y: their classes.
        smoothing: share of each patient's target that is spread over all classes, 0 to 1. With 0, classes that the
            predictions part without a mistake drive T to its lower bound and the probabilities to certainty;
            1 / (n + 2) prevents that (Platt, Probabilistic outputs for support vector machines, 1999).

    Returns:
        T between 0.05 and 20; above 1 the model was too sure of itself.
    """
    logs = np.log(np.maximum(p, LEAST_P))
    targets = np.full(p.shape, smoothing / p.shape[1])
    targets[np.arange(len(y)), y] += 1 - smoothing

    def loss(log_temperature: float) -> float:
        return float(-(targets * log_softmax(logs / np.exp(log_temperature), axis=1)).sum(axis=1).mean())

    found = minimize_scalar(loss, bounds=_LOG_RANGE, method="bounded", options={"xatol": _TOLERANCE})
    return float(np.exp(found.x))


def apply_temperature(p: Probabilities, temperature: float) -> Probabilities:
    """Probabilities in proportion to p ** (1 / T).

    >>> apply_temperature(np.array([[0.2, 0.8]]), 1.0).round(6).tolist()
    [[0.2, 0.8]]
    """
    return softmax(np.log(np.maximum(p, LEAST_P)) / temperature, axis=1)
