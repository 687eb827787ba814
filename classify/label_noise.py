"""Labels as another pathologist might have given them.

IHC 0 and 1+ are told apart least reliably of all scores: 18 pathologists agreed on 25 % of the biopsies with IHC 0
and on fewer than 1 % of those with 1+ (Robbins et al., 2023).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from triher.cohort import Patient
from triher.label_cells import read_ihc, split_ihc
from triher.types import Labels

_OTHER = {"zero": "low", "ultralow": "low", "low": "zero"}
_SCORES = ("0", "1", "ultralow", "low")  # 2+ and 3+ are not mistaken for 0


def exchangeable(patients: Sequence[Patient], y: Labels, classes: Sequence[str]) -> Bool[np.ndarray, " patient"]:
    """Who has IHC 0 or 1+ (or a class instead of a score), so that another reading could change the class."""
    scores = [read_ihc(split_ihc(patient.ihc)[0]) for patient in patients]
    found = [
        classes[label] in _OTHER and _OTHER[classes[label]] in classes and score in _SCORES
        for score, label in zip(scores, y.tolist(), strict=True)
    ]
    return np.array(found, bool)


def exchange_labels(
    y: Labels,
    candidates: Bool[np.ndarray, " patient"],
    classes: Sequence[str],
    rate: float,
    rng: np.random.Generator,
) -> Labels:
    """Exchange zero and low in a share of the candidates.

    Args:
        y: classes on record.
        candidates: whose label may change.
        classes: of the scheme.
        rate: probability of a change, 0 to 0.5.
        rng: decides who.

    >>> exchange_labels(np.array([0, 1, 2]), np.array([True, True, False]), ["zero", "low", "positive"], 1.0,
    ...                 np.random.default_rng(0))
    array([1, 0, 2])
    """
    changed = y.copy()
    for i in np.flatnonzero(candidates & (rng.random(len(y)) < rate)):
        changed[i] = classes.index(_OTHER[classes[y[i]]])
    return changed
