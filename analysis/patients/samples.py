"""The labeled patients of each split, and of each cohort and site in it, as arrays."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from triher.predictions import one_row_a_patient, probability_columns
from triher.types import Labels, Probabilities

SPLIT_ORDER = ("test", "new", "oof")
"""Held-out patients come first."""
DECIMALS = 12
"""Numbers that differ behind these differ by rounding errors alone, and must stay equal, or noise would rank them."""


@dataclass(frozen=True)
class Sample:
    """Labeled patients that are judged together, ordered by id so that the table's order changes nothing."""

    split: str
    cohort: str
    """Empty for all cohorts."""
    site: str
    """Empty for all sites."""
    patient_id: tuple[str, ...]
    y: Labels
    probabilities: Probabilities
    n_unlabeled: int
    place: Labels
    """Number of each patient's cohort and site together, for comparisons within sites."""

    @property
    def n_places(self) -> int:
        """How many sites there are."""
        return len(np.unique(self.place))


def class_label(name: str) -> str:
    """How a class is called in print.

    >>> class_label("low")
    'HER2-low'
    """
    return f"HER2-{name}"


def split_samples(frame: pd.DataFrame, scheme: str) -> tuple[Sample, ...]:
    """One sample a split, held-out splits first.

    Args:
        frame: a prediction table as `triher.predictions.read_predictions` gives it; repeats are averaged.
        scheme: the label scheme of its probability columns.
    """
    averaged = one_row_a_patient(frame, scheme)
    found = sorted(averaged["split"].unique(), key=lambda s: (SPLIT_ORDER.index(s) if s in SPLIT_ORDER else 9, s))
    return tuple(_sample(averaged[averaged["split"] == split], scheme) for split in found)


def subgroup_samples(frame: pd.DataFrame, scheme: str, split: str) -> tuple[Sample, ...]:
    """The same per cohort and per site of one split, where there is more than one."""
    averaged = one_row_a_patient(frame, scheme)
    rows = averaged[averaged["split"] == split]
    cohorts = sorted(rows["cohort"].unique())
    sites = sorted(set(zip(rows["cohort"], rows["site"], strict=True)))
    samples = []
    if len(cohorts) > 1:
        samples += [_sample(rows[rows["cohort"] == name], scheme, cohort=name) for name in cohorts]
    if len(sites) > 1 and sites != [(name, name) for name in cohorts]:
        for cohort, site in sites:
            chosen = rows[(rows["cohort"] == cohort) & (rows["site"] == site)]
            samples.append(_sample(chosen, scheme, cohort=cohort, site=site))
    return tuple(samples)


def _sample(rows: pd.DataFrame, scheme: str, *, cohort: str = "", site: str = "") -> Sample:
    """Arrays of the labeled rows, ordered by patient."""
    known = rows[rows["y"].notna()].sort_values("patient_id", kind="stable")
    y = known["y"].to_numpy(float).astype(np.int64)
    probabilities = np.round(known[probability_columns(scheme)].to_numpy(np.float64), DECIMALS)
    place = known.groupby(["cohort", "site"], sort=True).ngroup().to_numpy(np.int64)
    ids = tuple(str(name) for name in known["patient_id"])
    split = str(rows["split"].iloc[0])
    return Sample(split, cohort, site, ids, y, probabilities, len(rows) - len(known), place)
