"""What to show where hazards are not proportional: a hazard ratio for each period, or a baseline for each group."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from analysis.inference.corrected_p import SMALL_P
from analysis.survival.cox import CoxModel, Options, fit_cox, likelihood_ratio_p
from analysis.survival.followup import Events, Months
from analysis.survival.partial_likelihood import Design
from triher.estimate import Estimate, not_estimable

_MOST_LEVELS = 5
"""Values up to which a covariate can give each its own baseline hazard."""


@dataclass(frozen=True)
class Periods:
    """One variable's hazard ratio before and after the median event time."""

    name: str
    split_months: float
    before: Estimate
    after: Estimate
    differ: Estimate
    """P value of the likelihood-ratio test against one hazard ratio for all times."""


@dataclass(frozen=True)
class OwnBaseline:
    """The model with a baseline hazard for each value of a variable, which then has no hazard ratio."""

    name: str
    model: CoxModel


def violated(model: CoxModel) -> tuple[str, ...]:
    """Variables whose hazards are not proportional (p < 0.05); `GLOBAL` among them where only all together tell."""
    return tuple(test.name for test in model.proportionality if test.p < SMALL_P)


def split_by_time(
    x: Design,
    names: tuple[str, ...],
    varying: str,
    time: Months,
    event: Events,
    strata: tuple[str, ...],
    whole: CoxModel,
) -> Periods:
    """Let one variable's hazard ratio change at the median event time; the others keep theirs.

    Each patient gives a row up to the split, and another from then on if she is still followed up. The periods are
    strata, so that a row is compared with rows of its own period only, and nothing else changes: with one hazard
    ratio for both this is the model of whole follow-up.

    Args:
        x: columns of the model.
        names: of the columns.
        varying: the one that changes.
        time: months.
        event: True for an event.
        strata: group of each patient.
        whole: the model with one hazard ratio for all times.
    """
    split = float(np.median(time[event]))
    later = time > split
    j = names.index(varying)
    first, second = x.copy(), x[later]
    columns = np.zeros((len(x) + len(second), 2))
    columns[: len(x), 0], columns[len(x) :, 1] = first[:, j], second[:, j]
    others = np.delete(np.concatenate([first, second]), j, axis=1)
    periods = (*(f"1/{s}" for s in strata), *(f"2/{s}" for s, stays in zip(strata, later, strict=True) if stays))
    model = fit_cox(
        np.column_stack([columns, others]),
        (f"{varying}, before", f"{varying}, after", *names[:j], *names[j + 1 :]),
        np.concatenate([np.minimum(time, split), time[later]]),
        np.concatenate([event & ~later, event[later]]),
        periods,
        Options(diagnose=False),
    )
    method = "likelihood-ratio test of a hazard ratio for each period against one, p value"
    n = len(x)
    if model.reason:
        nothing = not_estimable(model.reason, n=n, method=method)
        return Periods(varying, split, nothing, nothing, nothing)
    _, p = likelihood_ratio_p(whole.log_likelihood, model.log_likelihood, 1)
    before, after = (_of_patients(line.hazard_ratio, n) for line in model.coefficients[:2])
    return Periods(varying, split, before, after, Estimate(p, np.nan, np.nan, n, method))


def _of_patients(estimate: Estimate, n: int) -> Estimate:
    """The estimate with the number of patients, of whom some have two rows."""
    return Estimate(estimate.value, estimate.low, estimate.high, n, f"{estimate.method}, time split", estimate.reason)


def own_baseline(
    x: Design,
    names: tuple[str, ...],
    terms: tuple[str, ...],
    varying: str,
    time: Months,
    event: Events,
    strata: tuple[str, ...],
) -> OwnBaseline | None:
    """Take a covariate out of the model and give each of its values a baseline hazard instead.

    Args:
        x: columns of the model.
        names: of the columns.
        terms: the covariate that each column codes; the columns of one text covariate go together.
        varying: the column that the test named.
        time: months.
        event: True for an event.
        strata: group of each patient, crossed with the values.

    Returns:
        None where the covariate has more than 5 values, or nothing would be left of the model.
    """
    term = terms[names.index(varying)]
    taken = np.array([t == term for t in terms])
    levels, level = np.unique(x[:, taken], axis=0, return_inverse=True)
    if len(levels) > _MOST_LEVELS or taken.all():
        return None
    groups = tuple(f"{s}/{v}" for s, v in zip(strata, level.reshape(-1).tolist(), strict=True))
    kept = tuple(name for name, gone in zip(names, taken.tolist(), strict=True) if not gone)
    left: Float64[np.ndarray, "patient kept"] = x[:, ~taken]
    return OwnBaseline(term, fit_cox(left, kept, time, event, groups, Options(diagnose=False)))
