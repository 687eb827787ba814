"""A measured figure beside its target: a line for people, and a row for the table of all benchmarks.

A script calls `show` for each figure. Where the environment names a file in ``TRIHER_FIGURES``, as
``benchmarks/bench.py`` does, the figure is appended to it as a line of JSON.
"""

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

COLLECTED = "TRIHER_FIGURES"


@dataclass(frozen=True)
class Target:
    """The range in which a figure is wished."""

    least: float | None = None
    most: float | None = None

    def is_met(self, value: float) -> bool:
        low = -math.inf if self.least is None else self.least
        return low <= value <= (math.inf if self.most is None else self.most)

    def text(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        if self.most is not None:
            return f"<= {self.most:g}"
        return "-" if self.least is None else f">= {self.least:g}"


NONE = Target()


def at_least(value: float) -> Target:
    return Target(least=value)


def at_most(value: float) -> Target:
    return Target(most=value)


def between(least: float, most: float) -> Target:
    return Target(least, most)


@dataclass(frozen=True)
class Figure:
    """One measured value; `low` and `high` span what was seen within the run."""

    name: str
    value: float
    low: float
    high: float
    target: Target


def number(value: float) -> str:
    """Three digits, none after the point from 100 on."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def show(name: str, value: float, target: Target = NONE, *, spread: tuple[float, float] | None = None) -> None:
    """Print a figure, and keep it for the table where one is made."""
    low, high = spread or (value, value)
    seen = f" ({number(low)} to {number(high)})" if spread else ""
    print(f"{name:<96} {number(value):>8}{seen}   {target.text()}", flush=True)
    if os.environ.get(COLLECTED):
        with Path(os.environ[COLLECTED]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(Figure(name, value, low, high, target)), allow_nan=False) + "\n")


def collected(path: Path) -> list[Figure]:
    """The figures that scripts have kept in a file."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Figure(**{**row, "target": Target(**row["target"])}) for row in rows]
