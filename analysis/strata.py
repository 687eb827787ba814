"""The groups of patients that a bootstrap keeps at their size."""

import numpy as np
import pandas as pd
from jaxtyping import Int

from analysis.intervals import FEWEST
from analysis.samples import Sample
from triher.types import Labels


def class_and_cohort(y: Labels, cohort: Labels) -> Labels:
    """Number of each patient's class and cohort together.

    Whoever pools cohorts has decided how many patients each contributes, so a new sample would have the same cohorts
    with as many patients: resampling within class and cohort leaves the difference between cohorts out of the spread
    within them. Sites are not kept so: they are many and small, and whom a bootstrap draws from a group of one is
    always the same, which makes the interval too short (see `analysis.within_site`). For the same reason a class of
    which a cohort has some patients, but fewer than 5, is resampled over all cohorts.

    >>> class_and_cohort(np.repeat([0, 1], 10), np.tile([0, 1], 10)).tolist()[:2]
    [0, 1]
    >>> set(class_and_cohort(np.zeros(8, int), np.array([0, 1, 1, 1, 1, 1, 1, 1])).tolist())
    {0}
    """
    n_cohorts = int(cohort.max(initial=0)) + 1
    cells = y * n_cohorts + cohort
    for label in np.unique(y):
        of_class = y == label
        sizes = np.bincount(cohort[of_class])
        if (sizes[sizes > 0] < FEWEST).any():
            cells[of_class] = label * n_cohorts
    return cells


def sample_strata(frame: pd.DataFrame, sample: Sample) -> Labels:
    """The strata of a sample's patients, whose cohorts the prediction table names."""
    cohorts = dict(zip(frame["patient_id"].astype(str), frame["cohort"], strict=True))
    return class_and_cohort(sample.y, _numbers([str(cohorts[name]) for name in sample.patient_id]))


def _numbers(names: list[str]) -> Int[np.ndarray, " patient"]:
    """The place of each name in the sorted list of names."""
    return np.unique(np.array(names, dtype=str), return_inverse=True)[1].astype(np.int64)
