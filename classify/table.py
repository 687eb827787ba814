"""Predictions as rows of the prediction table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from classify.conformal import name_sets, prediction_sets
from classify.training import Model
from triher.cohort import Patient
from triher.labels import scheme_classes
from triher.predictions import probability_columns
from triher.types import Probabilities


@dataclass(frozen=True)
class Place:
    """Where in a run a prediction was made."""

    split: str
    """``oof`` within the development part, ``test`` for a held-out one, ``new`` for an applied bundle."""
    repeat: int
    fold: int
    """Number of the fold or of the held-out group."""
    seed: int
    """Seed of the run."""


def prediction_frame(
    patients: Sequence[Patient],
    y: Float[np.ndarray, " patient"],
    p: Probabilities,
    *,
    model: Model,
    scheme: str,
    place: Place,
    reasons: Sequence[Sequence[str]] = (),
    for_sets: Probabilities | None = None,
) -> pd.DataFrame:
    """One row a patient, with the prediction set and what lies outside the training range.

    Args:
        patients: who.
        y: position in the scheme, NaN for unknown.
        p: calibrated probabilities.
        model: the model that predicted them; its conformal quantiles make the column ``set``.
        scheme: names the classes.
        place: where in the run they were predicted.
        reasons: why each patient is outside the training range; none given means not looked at.
        for_sets: the probabilities as the model gave them, where `p` was moved since; the quantiles are of such.
    """
    sets = name_sets(prediction_sets(p if for_sets is None else for_sets, model.conformal), scheme_classes(scheme))
    return pd.DataFrame(
        {
            "patient_id": [patient.patient_id for patient in patients],
            "cohort": [patient.cohort for patient in patients],
            "site": [patient.site for patient in patients],
            **asdict(place),
            "y": y,
            **{name: p[:, i] for i, name in enumerate(probability_columns(scheme))},
            "set": sets,
            "outside": ["; ".join(found) for found in reasons] or "",
        }
    )
