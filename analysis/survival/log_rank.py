"""Tests of equal survival in groups: log-rank, Peto-Peto, and both within strata."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from analysis.survival.followup import Events, Months
from triher.estimate import Estimate, not_estimable


@dataclass(frozen=True)
class GroupTest:
    """A chi-square test."""

    chisq: float
    df: int
    p: Estimate


def log_rank(
    group: Int[np.ndarray, " patient"], time: Months, event: Events, strata: tuple[str, ...], *, early: bool = False
) -> GroupTest:
    """Whether survival differs between groups (R's ``survdiff``; `statsmodels` gives the same numbers).

    Args:
        group: number of each patient's group.
        time: any unit.
        event: True for an event.
        strata: patients are compared within these.
        early: weigh each time by the survival just before it, after Peto & Peto (J R Stat Soc A 1972;135:185), which
            is R's rho = 1; else all times alike, which is the log-rank test (Mantel 1966).
    """
    from statsmodels.duration.survfunc import survdiff

    method = f"{'Peto-Peto' if early else 'log-rank'} test, p value"
    stratified = len(set(strata)) > 1
    if stratified:
        method = f"stratified {method}"
    df = len(np.unique(group)) - 1
    if df < 1:
        return GroupTest(math.nan, 0, not_estimable("there is one group", n=len(time), method=method))
    if not event.any():
        return GroupTest(math.nan, df, not_estimable("0 events", n=len(time), method=method))
    weights = {"weight_type": "fh", "fh_p": 1} if early else {}
    within = {"strata": np.array(strata, dtype=str)} if stratified else {}
    with np.errstate(divide="ignore"):  # nobody survives a last time that is an event: weight 0
        chisq, p = survdiff(time, event.astype(int), group, **weights, **within)
    if not np.isfinite(p):
        return GroupTest(math.nan, df, not_estimable("no time compares the groups", n=len(time), method=method))
    return GroupTest(float(chisq), df, Estimate(float(p), math.nan, math.nan, len(time), method))
