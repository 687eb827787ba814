"""Operating points for the nested two-class questions that an ordered scheme asks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from triher.types import Labels, Probabilities, Scores


@dataclass(frozen=True)
class Threshold:
    """Where a score says yes, and how that served on the development predictions."""

    task: str
    threshold: float
    """Yes at or above."""
    sensitivity: float
    specificity: float
    n: int


def nested_tasks(classes: Sequence[str]) -> list[str]:
    """One question between each class and all above it.

    >>> nested_tasks(["zero", "low", "positive"])
    ['zero vs low+positive', 'low vs positive']
    """
    return [f"{name} vs {'+'.join(classes[i + 1 :])}" for i, name in enumerate(classes[:-1])]


def nested_score(p: Probabilities, level: int) -> Scores:
    """P(above the level | at or above it): 1 - p_zero at level 0, p_positive / (p_low + p_positive) at level 1."""
    above, at_or_above = p[:, level + 1 :].sum(axis=1), p[:, level:].sum(axis=1)
    return np.divide(above, at_or_above, out=np.full(len(p), 0.5), where=at_or_above > 0)


def youden(scores: Scores, positive: Bool[np.ndarray, " patient"], task: str) -> Threshold:
    """The threshold with the largest sensitivity + specificity - 1 (Youden, Cancer 1950;3:32).

    Candidates are the mid-points between neighboring values, as in pROC; of equally good ones the lowest.

    Args:
        scores: higher means likelier positive; out-of-fold predictions of development patients only.
        positive: the truth, both values present.
        task: the name to keep.

    >>> youden(np.array([0.1, 0.4, 0.6]), np.array([False, True, True]), "example").threshold
    0.25
    """
    values = np.unique(scores)
    candidates = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values
    sensitivity = (scores[positive] >= candidates[:, None]).mean(axis=1)
    specificity = (scores[~positive] < candidates[:, None]).mean(axis=1)
    best = int(np.argmax(sensitivity + specificity))
    return Threshold(task, float(candidates[best]), float(sensitivity[best]), float(specificity[best]), len(scores))


def fit_thresholds(p: Probabilities, y: Labels, classes: Sequence[str]) -> tuple[Threshold, ...]:
    """A threshold for each nested question, among the patients whom it concerns."""
    found = []
    for level, task in enumerate(nested_tasks(classes)):
        concerned = y >= level
        found.append(youden(nested_score(p[concerned], level), y[concerned] > level, task))
    return tuple(found)
