"""The groups of patients that a bootstrap keeps at their size."""

import numpy as np
import pandas as pd
from jaxtyping import Int

from analysis.patients.samples import Sample
from triher.types import Labels

_FEWEST_A_CELL = 20  # patients of a class in a cohort; see the simulations below


def class_and_cohort(y: Labels, cohort: Labels) -> Labels:
    """Number of each patient's class and cohort together.

    Whoever pools cohorts has decided how many patients each contributes, so a new sample would have the same cohorts
    with as many patients: resampling within class and cohort keeps the difference between cohorts out of the spread.
    Sites are not kept so: they are many and small, and whom a bootstrap draws from a group of one is always the same
    (see `analysis.discrimination.within_site`). For the same reason a class of which some cohort has fewer than 20
    patients, but not none, is resampled over all cohorts.

    In 1,000 simulated samples of three cohorts that differ in level and separability, 95 % intervals of an AUC held
    the truth in 96 to 98 % when resampled within class alone, in 91 to 93 % within class and cohort, and in 93 to
    97 % by this rule (20 to 60 patients of a class in a cohort, or 6 to 8 positive, or 20, 10 and 3).

    >>> class_and_cohort(np.zeros(40, int), np.tile([0, 1], 20)).tolist()[:4]
    [0, 1, 0, 1]
    >>> class_and_cohort(np.zeros(4, int), np.array([0, 1, 1, 1])).tolist()
    [0, 0, 0, 0]
    """
    n_cohorts = int(cohort.max(initial=0)) + 1
    cells = y * n_cohorts + cohort
    for label in np.unique(y):
        of_class = y == label
        sizes = np.bincount(cohort[of_class])
        if (sizes[sizes > 0] < _FEWEST_A_CELL).any():
            cells[of_class] = label * n_cohorts
    return cells


def sample_strata(frame: pd.DataFrame, sample: Sample) -> Labels:
    """The strata of a sample's patients, whose cohorts the prediction table names."""
    cohorts = dict(zip(frame["patient_id"].astype(str), frame["cohort"], strict=True))
    return class_and_cohort(sample.y, _numbers([str(cohorts[name]) for name in sample.patient_id]))


def _numbers(names: list[str]) -> Int[np.ndarray, " patient"]:
    """The place of each name in the sorted list of names."""
    return np.unique(np.array(names, dtype=str), return_inverse=True)[1].astype(np.int64)
