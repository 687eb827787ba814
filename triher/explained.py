"""Whom a run explains, and why these, as the table ``explanations/patients.csv``."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from triher.tables import read_own_cells, write_table

NAME = "patients.csv"


@dataclass(frozen=True)
class Chosen:
    """A patient who is explained."""

    patient_id: str
    reason: str
    """In words, for people: ``surest error``, ``matched with P7``."""


def write_chosen(path: Path, chosen: Sequence[Chosen]) -> None:
    """Write the table, in the order of choice."""
    write_table(path, [field.name for field in fields(Chosen)], [astuple(one) for one in chosen])


def read_chosen(path: Path) -> tuple[Chosen, ...]:
    """Read what `write_chosen` wrote; nobody where there is no such file.

    Raises:
        StopRun: ``column_missing``.
    """
    rows = read_own_cells(path, [field.name for field in fields(Chosen)], purpose="table of explained patients")
    return tuple(Chosen(*row) for row in rows)
