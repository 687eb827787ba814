"""Every number of the analysis as one row: what, where, for whom, with its interval or the reason for none."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from triher.estimate import Estimate
from triher.tables import write_table

ESTIMATE_COLUMNS = ("value", "low", "high", "n", "method", "reason")
COLUMNS = (
    "part", "split", "cohort", "site", "quantity", "class", *ESTIMATE_COLUMNS,
)  # fmt: skip

Cell = str | int | float | None
"""A cell of a table for machines: a number unrounded, None where there is none."""


@dataclass(frozen=True)
class Metric:
    """One estimate and its place."""

    part: str
    """``discrimination``, ``nested``, ``calibration``, ``reference``, ``beside``, ``shortcut``, ``prognosis``,
    ``paper``, ``multiplicity``, or the name of one of `analysis.parts`."""
    split: str
    quantity: str
    estimate: Estimate
    class_name: str = ""
    """Class, covariate, companion or target that the quantity belongs to; empty for all together."""
    cohort: str = ""
    site: str = ""


def find(
    metrics: Iterable[Metric], split: str, quantity: str, class_name: str = "", *, cohort: str = "", site: str = ""
) -> Estimate | None:
    """The estimate at a place, or None."""
    place = (split, quantity, class_name, cohort, site)
    for metric in metrics:
        if (metric.split, metric.quantity, metric.class_name, metric.cohort, metric.site) == place:
            return metric.estimate
    return None


def write_metrics(path: Path, metrics: Iterable[Metric]) -> None:
    """Write ``metrics.csv``; what cannot be estimated is an empty cell with a reason."""
    rows = []
    for metric in metrics:
        place = [metric.part, metric.split, metric.cohort, metric.site, metric.quantity, metric.class_name]
        rows.append([*place, *estimate_cells(metric.estimate)])
    write_table(path, COLUMNS, rows)


def estimate_cells(estimate: Estimate) -> list[Cell]:
    """The cells of an estimate under `ESTIMATE_COLUMNS`, None for a number that there is not."""
    numbers = (estimate.value, estimate.low, estimate.high)
    return [*map(number_cell, numbers), estimate.n, estimate.method, estimate.reason]


def number_cell(value: float) -> float | None:
    """A number for machines, None where it cannot be estimated."""
    return value if math.isfinite(value) else None
