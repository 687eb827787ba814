"""Whom the runs of a study have predicted, and when: what tells whether held-out patients were looked at."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from triher.study import StudyFolder
from triher.tables import read_own_table


@dataclass(frozen=True)
class Predicted:
    """One prediction table of a study folder."""

    key: str
    """Of the run; empty for the folder's own table, which is no study's."""
    patients: frozenset[str]
    parts: Mapping[str, frozenset[str]]
    """Split -> those of the patients who were predicted in it."""
    classes: Mapping[str, float]
    """Labeled patient -> position of the class."""
    time_s: float
    """When the run ended, as the file system says: seconds since 1970."""

    def labeled_in(self, splits: Collection[str]) -> frozenset[str]:
        """Patients with a class who were predicted in any of some splits."""
        there = frozenset().union(*(self.parts.get(split, frozenset()) for split in splits))
        return there.intersection(self.classes)


def predicted(folder: StudyFolder) -> tuple[Predicted, ...]:
    """Every prediction table of a study folder, also of cells that no longer belong to the study."""
    found = []
    for record in sorted((folder.run.path / "cells").glob("*/cell.json")):
        table = folder.predictions(record.parent.name)
        if table.is_file():
            found.append(_read(table, record.parent.name, record))
    own = folder.run.predictions_file
    if own.is_file():
        found.append(_read(own, "", own))
    return tuple(found)


def _read(table: Path, key: str, dated: Path) -> Predicted:
    """Whom a table holds; when the run ended is the time of another file."""
    rows = read_own_table(table)
    ids = rows["patient_id"].astype(str)
    parts = {str(split): frozenset(there) for split, there in ids.groupby(rows["split"])}
    y = pd.to_numeric(rows["y"], errors="coerce")
    classes = {patient: float(value) for patient, value in zip(ids, y, strict=True) if value == value}
    return Predicted(key, frozenset(ids), parts, classes, dated.stat().st_mtime)


def that_saw(runs: Collection[Predicted], patients: Collection[str]) -> list[Predicted]:
    """Runs that predicted any of some patients."""
    wanted = frozenset(patients)
    return [run for run in runs if not wanted.isdisjoint(run.patients)]
