"""Whom the runs of a study have predicted, and when: what tells whether held-out patients were looked at."""

from collections.abc import Collection
from dataclasses import dataclass

from triher.study import StudyFolder
from triher.tables import read_own_table


@dataclass(frozen=True)
class Predicted:
    """One prediction table of a study folder."""

    key: str
    """Of the run; empty for the folder's own table, which is no study's."""
    patients: frozenset[str]
    time_s: float
    """When the run ended, as the file system says: seconds since 1970."""


def predicted(folder: StudyFolder) -> tuple[Predicted, ...]:
    """Every prediction table of a study folder, also of cells that no longer belong to the study."""
    found = []
    for record in sorted((folder.run.path / "cells").glob("*/cell.json")):
        table = folder.predictions(record.parent.name)
        if table.is_file():
            patients = frozenset(map(str, read_own_table(table)["patient_id"]))
            found.append(Predicted(record.parent.name, patients, record.stat().st_mtime))
    own = folder.run.predictions_file
    if own.is_file():
        found.append(Predicted("", frozenset(map(str, read_own_table(own)["patient_id"])), own.stat().st_mtime))
    return tuple(found)


def that_saw(runs: Collection[Predicted], patients: Collection[str]) -> list[Predicted]:
    """Runs that predicted any of some patients."""
    wanted = frozenset(patients)
    return [run for run in runs if not wanted.isdisjoint(run.patients)]
