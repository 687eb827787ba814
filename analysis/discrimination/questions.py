"""The two-class questions of each scheme that models are compared by, and that a study can be planned for."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from analysis.discrimination.aucs import low_vs_positive_scores, zero_vs_rest_scores
from triher.errors import unknown_name
from triher.settings import Config
from triher.types import Labels, Probabilities

Asked = tuple[Bool[np.ndarray, " concerned"], Float64[np.ndarray, " concerned"]]
"""Of the patients whom a question concerns, who has the condition, and the score for it."""


@dataclass(frozen=True)
class Question:
    """Who is told from whom."""

    quantity: str
    """Of ``metrics.csv``."""
    class_name: str
    label: str
    names: tuple[str, str]
    """What those with and those without the condition are called."""
    ask: Callable[[Labels, Probabilities], Asked]


def _last_class(y: Labels, probabilities: Probabilities) -> Asked:
    """The last class of the scheme against all others."""
    last = probabilities.shape[1] - 1
    return y == last, probabilities[:, last]


QUESTIONS = {
    question.quantity: question
    for question in (
        Question(
            "auc_zero_vs_rest",
            "",
            "Zero against low or positive",
            ("HER2-low or -positive", "HER2-zero"),
            zero_vs_rest_scores,
        ),
        Question(
            "auc_low_vs_positive",
            "",
            "Low against positive",
            ("HER2-positive", "HER2-low"),
            low_vs_positive_scores,
        ),
        Question(
            "auc",
            "positive",
            "Positive against all others",
            ("HER2-positive", "other than HER2-positive"),
            _last_class,
        ),
    )
}
"""Quantity -> its question; the nested ones exist in the triple scheme only."""


def questions(scheme: str) -> tuple[Question, ...]:
    """The questions that models are compared by."""
    nested = ("auc_zero_vs_rest", "auc_low_vs_positive")
    return tuple(QUESTIONS[name] for name in (nested if scheme == "triple" else ("auc",)))


def primary_questions(config: Config) -> tuple[Question, ...]:
    """The questions of ``analysis.primary`` that the scheme has; positive against all others where it has none.

    Raises:
        StopRun: ``unknown_name`` for a quantity that no scheme can test.
    """
    wanted = config.analysis.primary
    for name in wanted:
        if name not in QUESTIONS:
            raise unknown_name("quantity in analysis.primary", name, QUESTIONS)
    there = {question.quantity for question in questions(config.scheme)} | {"auc"}
    found = tuple(QUESTIONS[name] for name in dict.fromkeys(wanted) if name in there)
    return found if found or not wanted else (QUESTIONS["auc"],)
