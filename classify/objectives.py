"""What a search makes small: losses of probabilities for patients whom the model did not see."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from scipy.stats import rankdata

from classify.calibration import log_loss
from triher.errors import unknown_name
from triher.types import Labels, Probabilities

Objective: TypeAlias = Callable[[Probabilities, Labels], float]


def macro_auc(p: Probabilities, y: Labels) -> float:
    """Mean over the classes of the AUC of each against the rest, by ranks; ties count half.

    Classes that nobody or everybody has are left out of the mean; nan when that leaves none. Hanley & McNeil,
    Radiology 1982;143:29.

    >>> macro_auc(np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]]), np.array([0, 0, 1, 1]))
    0.75
    """
    is_class = y[:, None] == np.arange(p.shape[1])
    n_in = is_class.sum(axis=0)
    n_out = len(y) - n_in
    used = (n_in > 0) & (n_out > 0)
    if not used.any() or not np.isfinite(p).all():
        return float("nan")
    above = (rankdata(p, axis=0) * is_class).sum(axis=0) - n_in * (n_in + 1) / 2
    return float((above[used] / (n_in * n_out)[used]).mean())


def auc_loss(p: Probabilities, y: Labels) -> float:
    """1 minus the macro AUC."""
    return 1 - macro_auc(p, y)


# The log loss is a proper score, so that it rewards calibrated probabilities, which the AUC does not see.
OBJECTIVES: dict[str, Objective] = {"log-loss": log_loss, "auc": auc_loss}


def find_objective(name: str) -> Objective:
    """The loss of that name; smaller is better.

    Raises:
        StopRun: ``unknown_name``.
    """
    if name not in OBJECTIVES:
        raise unknown_name("objective", name, OBJECTIVES)
    return OBJECTIVES[name]
