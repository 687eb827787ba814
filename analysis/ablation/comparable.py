"""Which cells of a study can be compared: those that give every patient the same class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from analysis.wording import count
from triher.config import build_config, dump_config
from triher.labels import scheme_classes
from triher.settings import Config, SplitConfig
from triher.study import Cell

State = Literal["done", "failed", "unfinished", "not comparable"]
Truth = Mapping[str, set[int]]
"""Patient -> positions of the classes that a cell's tables give."""


@dataclass(frozen=True)
class Verdict:
    """Why a cell is not compared."""

    state: State
    reason: str
    code: str = ""
    """Of an error."""
    named: tuple[str, ...] = ()
    """Patients whom the reason names."""


def truth_of(tables: Sequence[pd.DataFrame]) -> dict[str, set[int]]:
    """The classes of the labeled patients in a cell's prediction tables, one a seed."""
    found: dict[str, set[int]] = {}
    for table in tables:
        pairs = table.loc[table["y"].notna(), ["patient_id", "y"]].drop_duplicates()
        for patient, y in zip(pairs["patient_id"].astype(str), pairs["y"], strict=True):
            found.setdefault(patient, set()).add(int(y))
    return found


def contradiction(own: Truth) -> Verdict | None:
    """What is wrong with a cell whose seeds give a patient different classes.

    >>> contradiction({"P1": {0, 1}, "P2": {0}}).reason
    "its seeds give 1 patient ('P1') different classes"
    """
    torn = sorted(patient for patient, classes in own.items() if len(classes) > 1)
    if not torn:
        return None
    return Verdict("failed", f"its seeds give {_patients(torn)} different classes", "truth_differs", (torn[0],))


def other_truth(own: Truth, known: Mapping[str, tuple[int, str]], scheme: str) -> Verdict | None:
    """Why a cell is not comparable with those before it, where some patient is of another class.

    Args:
        own: of the cell; one class a patient.
        known: patient -> class in the cells before it, and the first of them.
        scheme: of all these cells.

    >>> other_truth({"P1": {0}, "P2": {1}}, {"P1": (0, "base"), "P2": (2, "base")}, "triple").reason
    "its truth is another one: 1 patient ('P2') is of another class, low in place of positive in 'base'"
    """
    others = sorted(
        patient for patient, classes in own.items() if patient in known and known[patient][0] not in classes
    )
    if not others:
        return None
    classes, (y, where) = scheme_classes(scheme), known[others[0]]
    told = f"{_patients(others)} {'is' if len(others) == 1 else 'are'} of another class"
    here = classes[min(own[others[0]])]
    reason = f"its truth is another one: {told}, {here} in place of {classes[y]} in '{where}'"
    return Verdict("not comparable", reason, named=(others[0],))


def _patients(names: Sequence[str]) -> str:
    """How many, and one of them."""
    return f"{count(len(names), 'patient')} ('{names[0]}'{' and others' if len(names) > 1 else ''})"


def plans_differ(cells: Sequence[Cell], config: Config, folder: Path) -> bool:
    """Whether cells have other settings of who is held out than the base.

    Args:
        cells: of the study.
        config: of the base.
        folder: that relative paths of the cells' changes are resolved against.

    Raises:
        StopRun: ``config_key`` and ``config_value`` where a cell does not fit the configuration.
    """
    tree = dump_config(config)
    plans = [build_config(tree, cell.changes, folder / "config.yaml").classify.split for cell in cells]
    return any(_who(plan) != _who(config.classify.split) for plan in plans)


def _who(plan: SplitConfig) -> SplitConfig:
    """A plan without what holds out nobody else."""
    return plan.model_copy(update={"reopen": False})
