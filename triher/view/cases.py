"""The list of a run's predictions: who was predicted as what, and how far from the truth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from triher.labels import scheme_classes
from triher.predictions import one_row_a_patient, probability_columns, read_predictions


@dataclass(frozen=True)
class Case:
    """One patient as predicted in one split; probabilities are means over repeats."""

    patient_id: str
    cohort: str
    site: str
    split: str
    """``oof``, ``test`` or ``new``."""
    truth: int
    """Position of the class in the scheme, -1 where not known."""
    probabilities: tuple[float, ...]
    conformal_set: tuple[str, ...] | None
    """Classes of the prediction set (of the first repeat), None where the table has no sets."""
    outside: str
    """What lies outside the training range; empty for nothing, and out of fold, where nobody is asked."""
    n_repeats: int

    @property
    def predicted(self) -> int:
        """Position of the likeliest class, the first of equals."""
        return int(np.argmax(self.probabilities))

    @property
    def wrongness(self) -> float | None:
        """Probability of the likeliest other class less that of the true one: from 1, surely wrong, to -1."""
        if self.truth < 0:
            return None
        others = [p for position, p in enumerate(self.probabilities) if position != self.truth]
        return max(others) - self.probabilities[self.truth]


def read_cases(path: Path, scheme: str) -> tuple[Case, ...]:
    """Every patient of a prediction table, once a split, in the order of first appearance.

    Raises:
        StopRun: as `triher.predictions.read_predictions`.
    """
    frame = read_predictions(path, scheme)
    counts = frame.groupby(["split", "patient_id"], sort=False).size()
    merged = one_row_a_patient(frame, scheme)
    columns, classes = probability_columns(scheme), scheme_classes(scheme)
    return tuple(
        Case(
            patient_id=row["patient_id"],
            cohort=row["cohort"],
            site=row["site"],
            split=row["split"],
            truth=-1 if np.isnan(row["y"]) else int(row["y"]),
            probabilities=tuple(float(row[column]) for column in columns),
            conformal_set=_members(row["set"], classes) if "set" in row else None,
            outside=row.get("outside", ""),
            n_repeats=int(counts[row["split"], row["patient_id"]]),
        )
        for row in merged.to_dict("records")
    )


def _members(cell: str, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes that a cell such as ``zero|low`` names, in the order of the scheme."""
    named = set(cell.split("|"))
    return tuple(name for name in classes if name in named)
