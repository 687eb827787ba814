"""The list of a run's predictions: who was predicted as what, and how far from the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from triher.errors import StopRun
from triher.labels import scheme_classes
from triher.prediction_cells import SUM_TOLERANCE, classes_of_set
from triher.tables import read_own_rows

_COLUMNS = ("patient_id", "cohort", "site", "split", "y")


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

    The table is that of `triher.predictions`, read without pandas so that the page opens sooner.

    Raises:
        StopRun: ``column_missing``; ``number_format`` where a cell is no number, a row is not of probabilities or
            ``y`` is no position in the scheme; as `triher.tables.read_own_rows`.
    """
    classes = scheme_classes(scheme)
    groups: dict[tuple[str, str], list[_Row]] = {}
    for line, cells in read_own_rows(path):
        row = _row(cells, classes, f"{path}, line {line}")
        groups.setdefault((row.cells["split"], row.cells["patient_id"]), []).append(row)
    return tuple(_case(rows, classes) for rows in groups.values())


@dataclass(frozen=True)
class _Row:
    """One row of the table, checked."""

    cells: Mapping[str, str]
    truth: int
    probabilities: tuple[float, ...]


def _row(cells: Mapping[str, str], classes: Sequence[str], where: str) -> _Row:
    """Check one row."""
    missing = [name for name in (*_COLUMNS, *(f"p_{name}" for name in classes)) if name not in cells]
    if missing:
        raise StopRun("column_missing", f"{where}: the prediction table has no column '{missing[0]}'")
    try:
        truth = int(float(cells["y"])) if cells["y"] else -1
        probabilities = tuple(float(cells[f"p_{name}"]) for name in classes)
    except ValueError as error:
        raise StopRun("number_format", f"{where}: {error}") from error
    if not abs(sum(probabilities) - 1) <= SUM_TOLERANCE or min(probabilities) < 0:
        raise StopRun("number_format", f"{where}: the probabilities do not sum to 1, or one is negative")
    if not -1 <= truth < len(classes):
        raise StopRun("number_format", f"{where}: y is no position in the scheme")
    return _Row(cells, truth, probabilities)


def _case(rows: Sequence[_Row], classes: Sequence[str]) -> Case:
    """A patient's repeats as one."""
    first = rows[0].cells
    means = np.mean([row.probabilities for row in rows], axis=0)
    named = classes_of_set(first.get("set", ""))
    return Case(
        first["patient_id"],
        first["cohort"],
        first["site"],
        first["split"],
        rows[0].truth,
        tuple(float(p) for p in means),
        tuple(name for name in classes if name in named) if "set" in first else None,
        first.get("outside", ""),
        len(rows),
    )
