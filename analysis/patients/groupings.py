"""Which group each patient belongs to: cohort, site, vendor, a text column, or a range of a number."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from triher.cohort import Cohort
from triher.errors import StopRun, unknown_name
from triher.settings import CohortConfig, Config
from triher.tables import is_missing

PLACES = ("cohort", "site")
"""Groupings that the prediction table tells itself."""
NOT_KNOWN = ""
"""Level of the patients whose cell is empty, or who are not in the cohort table."""


@dataclass(frozen=True)
class Grouping:
    """The levels of one column, and who belongs to which."""

    name: str
    level_of: Mapping[str, str]
    """Patient id -> level; `NOT_KNOWN`, or absent, where there is none."""
    ranges: tuple[str, ...] = ()
    """All ranges of a number from low to high, whether somebody is in them or not; empty for words."""

    def levels(self, patient_ids: Sequence[str]) -> tuple[str, ...]:
        """The levels among some patients: ranges from low to high, words by the alphabet, those not known last."""
        there = {self.level_of.get(name, NOT_KNOWN) for name in patient_ids}
        known = self.ranges or tuple(sorted(there - {NOT_KNOWN}))
        return known + ((NOT_KNOWN,) if NOT_KNOWN in there else ())


def groupings(config: Config, cohort: Cohort, frame: pd.DataFrame) -> tuple[Grouping, ...]:
    """All groupings of ``analysis.subgroups``, cohort and site first where there are several of them.

    Args:
        config: the run's configuration.
        cohort: vendor, text columns and covariates.
        frame: the prediction table; tells cohort and site.

    Raises:
        StopRun: ``unknown_name``; ``column_missing`` for ``vendor`` without such a column; ``config_value`` for a
            number without cut points, words with cut points, or cut points that do not rise.
    """
    places = [name for name in PLACES if len(frame[name].unique()) > 1]
    if len(places) > 1 and not frame.groupby("cohort")["site"].nunique().gt(1).any():
        places = ["cohort"]  # the sites are the cohorts under other names
    wanted = {**dict.fromkeys(places, ()), **config.analysis.subgroups}
    return tuple(
        _grouping(name, tuple(map(float, cuts)), config.cohort, cohort, frame) for name, cuts in wanted.items()
    )


def _grouping(
    name: str, cuts: tuple[float, ...], config: CohortConfig, cohort: Cohort, frame: pd.DataFrame
) -> Grouping:
    """One grouping, after the kind of its column."""
    words = (*PLACES, "vendor", *config.groups)
    if name in config.covariates and (cuts or name not in words):
        _check_cuts(name, cuts)
        ranges = range_labels(name, cuts)
        numbers = {patient.patient_id: patient.covariates[name] for patient in cohort.patients}
        return Grouping(name, {who: _range(number, cuts, ranges) for who, number in numbers.items()}, ranges)
    if name not in words:
        raise unknown_name("subgroup", name, (*words, *config.covariates))
    if cuts:
        message = f"analysis.subgroups gives cut points for '{name}', which holds words and no numbers"
        raise StopRun("config_value", message, remedy=f"write `{name}: []`, or name it under cohort.covariates")
    if name in PLACES:
        return Grouping(name, _places(name, frame))
    if name == "vendor":
        if "vendor" not in cohort.columns:
            message = "analysis.subgroups names 'vendor', but the cohort table has no such column"
            raise StopRun("column_missing", message, remedy="map it under cohort.columns.vendor")
        cells = {patient.patient_id: patient.vendor for patient in cohort.patients}
        return Grouping(name, {who: NOT_KNOWN if is_missing(cell) else cell for who, cell in cells.items()})
    return Grouping(name, {patient.patient_id: patient.groups[name] for patient in cohort.patients})


def _check_cuts(name: str, cuts: tuple[float, ...]) -> None:
    """Demand finite cut points that rise."""
    if not cuts:
        message = f"analysis.subgroups names '{name}', a column of numbers, without cut points"
        raise StopRun("config_value", message, remedy=f"give some: `{name}: [50]`")
    if not all(map(math.isfinite, cuts)) or any(b <= a for a, b in itertools.pairwise(cuts)):
        listed = ", ".join(f"{cut:g}" for cut in cuts)
        message = f"the cut points of '{name}' under analysis.subgroups must rise, and are {listed}"
        raise StopRun("config_value", message, remedy="give each number once, from low to high")


def range_labels(name: str, cuts: Sequence[float]) -> tuple[str, ...]:
    """The ranges between cut points; a value at a cut point belongs above it.

    >>> range_labels("age", [50.0])
    ('age < 50', 'age >= 50')
    >>> range_labels("age", [40.0, 62.5])
    ('age < 40', '40 <= age < 62.5', 'age >= 62.5')
    """
    inner = [f"{a:.12g} <= {name} < {b:.12g}" for a, b in itertools.pairwise(cuts)]
    return (f"{name} < {cuts[0]:.12g}", *inner, f"{name} >= {cuts[-1]:.12g}")


def _range(number: float, cuts: Sequence[float], ranges: Sequence[str]) -> str:
    """The range that a number lies in."""
    return ranges[int(np.searchsorted(cuts, number, side="right"))] if math.isfinite(number) else NOT_KNOWN


def _places(name: str, frame: pd.DataFrame) -> dict[str, str]:
    """Each patient's cohort, or site; with its cohort where two cohorts have a site of that name."""
    people = frame.drop_duplicates("patient_id")
    cells = people[name].astype(str)
    if name == "site":
        cohorts = people.groupby("site")["cohort"].nunique()
        shared = people["site"].map(cohorts) > 1
        cells = cells.mask(shared, people["cohort"].astype(str) + ": " + cells)
    return dict(zip(people["patient_id"].astype(str), cells, strict=True))
