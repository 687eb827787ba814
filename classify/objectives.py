"""What a search makes small: losses of probabilities for patients whom the model did not see."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool
from scipy.stats import rankdata

from classify.calibration import log_loss
from triher.errors import unknown_name
from triher.types import Labels, Probabilities, Scores

Objective: TypeAlias = Callable[[Probabilities, Labels], float]


def auc(score: Scores, inside: Bool[np.ndarray, " patient"]) -> float:
    """Probability that a member has a higher score than another patient, by ranks; ties count half.

    Hanley & McNeil, Radiology 1982;143:29.

    Args:
        score: finite.
        inside: who is a member; some are and some are not.

    >>> auc(np.array([0.1, 0.4, 0.3, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    n_in = int(inside.sum())
    above = rankdata(score)[inside].sum() - n_in * (n_in + 1) / 2
    return float(above / (n_in * (len(score) - n_in)))


def macro_auc(p: Probabilities, y: Labels) -> float:
    """Mean over the classes of the AUC of each against the rest.

    Classes that nobody or everybody has are left out of the mean; nan when that leaves none.

    >>> macro_auc(np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]]), np.array([0, 0, 1, 1]))
    0.75
    """
    is_class = y[:, None] == np.arange(p.shape[1])
    used = np.flatnonzero(is_class.any(axis=0) & ~is_class.all(axis=0))
    if not len(used) or not np.isfinite(p).all():
        return float("nan")
    return float(np.mean([auc(p[:, c], is_class[:, c]) for c in used]))


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
