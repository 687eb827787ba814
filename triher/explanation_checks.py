"""What the sanity tests of the maps found, as the table ``explanations/sanity.csv``.

Each test asks whether the maps depend on what they claim to explain, and each can fail.
"""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from triher.errors import StopRun
from triher.tables import read_own_cells, write_table

NAME = "sanity.csv"

RANDOMIZED = "randomized weights"
"""Maps of a network whose weights were shuffled, beside those of the trained one (Adebayo et al., NeurIPS 2018)."""
RANDOM_HEAD = "randomized head"
"""The same with the network as it is, and what the head looks for shuffled over the features."""
DELETION = "deletion"
"""The model's log-odds while the squares of the map are hidden, highest first (Petsiuk et al., BMVC 2018)."""
INSERTION = "insertion"
"""The same while they are uncovered, highest first."""
OVERLAP = "overlap with the lesion"
"""Where what speaks for the class lies, against a map that is the same everywhere."""


@dataclass(frozen=True)
class Check:
    """One quantity of one sanity test, over the patients it was run on."""

    test: str
    quantity: str
    """In words: what the value is, with its unit."""
    value: float
    """Mean over the patients."""
    low: float
    """95 % interval of the mean; NaN where it cannot be estimated."""
    high: float
    n: int
    """Patients."""
    expected: float
    """What a map that says nothing would have; for randomized maps the bound below which they count as other maps."""
    passed: bool | None
    """None for a quantity that is only reported."""
    p: float
    """Two-sided, of no difference from `expected`; NaN where nothing is tested."""


def write_checks(path: Path, checks: Sequence[Check]) -> None:
    """Write the table, a row a quantity."""
    words = {True: "yes", False: "no", None: ""}
    rows = [[words[cell] if isinstance(cell, bool | None) else cell for cell in astuple(check)] for check in checks]
    write_table(path, [field.name for field in fields(Check)], rows)


def read_checks(path: Path) -> tuple[Check, ...]:
    """Read what `write_checks` wrote; none where there is no such file.

    Raises:
        StopRun: ``column_missing``; ``number_format`` where a cell is no number, or ``passed`` no answer.
    """
    columns = [field.name for field in fields(Check)]
    rows = read_own_cells(path, columns, purpose="table of sanity tests")
    try:
        return tuple(_check(dict(zip(columns, row, strict=True))) for row in rows)
    except (ValueError, KeyError) as error:
        raise StopRun("number_format", f"{path}: {error}") from error


def _check(row: dict[str, str]) -> Check:
    """One row."""
    value, low, high, expected, p = (_number(row[name]) for name in ("value", "low", "high", "expected", "p"))
    passed = {"yes": True, "no": False, "": None}[row["passed"]]
    return Check(row["test"], row["quantity"], value, low, high, int(row["n"]), expected, passed, p)


def _number(cell: str) -> float:
    """A number, NaN for an empty cell."""
    return float(cell) if cell else math.nan
