"""Covariates that join late: a small model on what the images say and on the covariates (stacking).

Wolpert, Neural Netw 1992;5:241. It is trained on what models said of patients whom they had not seen, so that it
learns how much the images are worth on new patients and not on their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from classify.design import Design, one_row_each
from classify.heads import Fitted, find_head
from classify.tuning import InnerFold, Search, tune
from triher.folds import Split
from triher.types import Labels, Probabilities

HEAD = "logistic"
LEAST_P = 1e-6
"""Of a probability whose logarithm is a feature."""


@dataclass(frozen=True)
class Stack:
    """The second model."""

    fitted: Fitted
    penalty: float
    """Its inverse penalty C."""

    def probabilities(self, p: Probabilities, covariates: Float64[np.ndarray, "patient covariate"]) -> Probabilities:
        """Combine what the images say with the covariates, which must be without gaps."""
        return self.fitted.probabilities(stacked_design(p, covariates))


def fit_stack(
    held_out: Probabilities,
    covariates: Float64[np.ndarray, "patient covariate"],
    y: Labels,
    splits: Sequence[Split],
    seed: int,
) -> tuple[Stack, Probabilities]:
    """Fit the second model.

    Args:
        held_out: what the first model's inner folds said of each patient.
        covariates: without gaps.
        y: classes.
        splits: the inner folds.
        seed: of the search.

    Returns:
        The model, and what its own inner folds say of each patient.
    """
    head, design = find_head(HEAD), stacked_design(held_out, covariates)
    folds = [
        InnerFold(design.take(s.train), y[s.train], None, design.take(s.test), y[s.test], s.test) for s in splits
    ]
    n_classes = held_out.shape[1]
    tuned = tune(head, folds, n_classes=n_classes, search=Search(1, seed))
    fitted = head.prepare(design, y, n_classes, weights=None, exact=True).fit(tuned.params, seed)
    return Stack(fitted, float(tuned.params[head.dial.name])), tuned.held_out


def n_columns(n_classes: int, n_covariates: int) -> int:
    """Columns of the second model's design."""
    return n_classes - 1 + n_covariates


def stacked_design(p: Probabilities, covariates: Float64[np.ndarray, "patient covariate"]) -> Design:
    """Log ratios to the first class, and the covariates as a block of equal weight."""
    logs = np.log(np.maximum(p, LEAST_P))
    ratios = logs[:, 1:] - logs[:, :1]
    rows = np.hstack([ratios, covariates]).astype(np.float32)
    return one_row_each(rows, (ratios.shape[1], covariates.shape[1]))
