"""Trained on each cohort, tested on each: one metric for every pair."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from analysis.ablation.material import StudyMaterial
from triher.estimate import Estimate
from triher.study import StudyFolder


@dataclass(frozen=True)
class Matrix:
    """Training cohorts by test cohorts."""

    rows: tuple[str, ...]
    """Labels of the levels of the axis that changes who is trained on."""
    columns: tuple[str, ...]
    """Cohorts, or sites, whose patients are judged."""
    entries: dict[tuple[str, str], Estimate]
    """(row, column) -> the metric on exactly the column's patients; a reason where there is none."""
    within: frozenset[tuple[str, str]]
    """Pairs whose column's patients trained the row's models: they were predicted out of fold."""
    by: str
    """``cohort`` or ``site``."""
    axis: str = ""
    """That the rows are levels of."""
    metric: str = "auc_macro"
    falls: Mapping[str, Estimate] = field(default_factory=dict)
    """Row -> mean of its entries within minus mean of those outside; above 0 where it is worse outside."""


def cohort_matrix(folder: StudyFolder, material: StudyMaterial) -> Matrix | None:
    """Read the cells of the axis that changes who is trained on; None where no axis does."""
    raise NotImplementedError
