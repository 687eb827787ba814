"""Prognosis: whether the score separates survival, alone and beside covariates chosen beforehand."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64
from scipy.stats import chi2

from analysis.survival.concordance import harrell_c, paired_difference
from analysis.survival.cox import CoxModel, Options, fit_cox, likelihood_ratio_p
from analysis.survival.depth import Depth, look_deeper
from analysis.survival.followup import Events, FollowUp, Months
from analysis.survival.kaplan_meier import kaplan_meier, median_follow_up, median_time
from analysis.survival.log_rank import log_rank
from analysis.survival.remarks import remarks
from triher.errors import Note
from triher.estimate import Estimate, not_estimable

_PER_GROUP = 30  # patients a group should hold for thirds; else halves
SCORE = "score, per SD"

Steps = tuple[float, ...]


@dataclass(frozen=True)
class RiskGroup:
    """The Kaplan-Meier curve of one group of patients by score, lowest first."""

    label: str
    n: int
    events: int
    median_months: float
    """Infinity when not reached."""
    time_months: Steps
    survival: Steps
    low: Steps
    """95 % log-log (exponential Greenwood) limits."""
    high: Steps
    all_times: Months
    """Times of all patients, for numbers at risk."""
    censored_at: Steps


@dataclass(frozen=True)
class Prognosis:
    """What the score says about survival in one split."""

    split: str
    follow_up: FollowUp
    median_follow_up_months: float
    """By reverse Kaplan-Meier (Schemper & Smith 1996)."""
    groups: tuple[RiskGroup, ...]
    grouped_by: str
    log_rank: Estimate
    """P value."""
    concordance: Estimate
    """Harrell's C of the score itself."""
    alone: CoxModel
    adjusted: CoxModel | None
    """None when no covariates are configured."""
    covariates_only: CoxModel | None
    added: Estimate
    """P value of the likelihood-ratio test of adding the score to the covariates (or to nothing)."""
    added_chisq: float
    concordance_gain: Estimate
    """Harrell's C with the score minus without, both fitted to these patients."""
    n_incomplete: int
    """Patients whom the adjusted model leaves out because a covariate is missing."""
    depth: Depth
    notes: tuple[Note, ...]
    """What weakens the models."""


def judge_prognosis(
    split: str, data: FollowUp, *, few_events: Literal["refuse", "firth"] = "refuse", cutpoint: bool = False
) -> Prognosis:
    """Group, test and model the score; every part that the events do not allow says so.

    Args:
        split: whose patients they are.
        data: patients with survival.
        few_events: what to do with a model of fewer than 5 events per coefficient, or with a monotone likelihood.
        cutpoint: whether to search for the cut of the score that separates survival most.
    """
    group, grouped_by = _grouping(data.score)
    groups = tuple(
        _risk_group(label, data.time_months[group == g], data.event[group == g])
        for g, label in enumerate(grouped_by[1])
        if (group == g).any()
    )
    deviation = float(data.score.std(ddof=1)) if len(data.score) > 1 else 0.0
    per_sd = (data.score / deviation if deviation else data.score)[:, None]
    options = Options(few_events=few_events)
    alone = fit_cox(per_sd, (SCORE,), data.time_months, data.event, data.strata, options)
    complete = ~np.isnan(data.covariates).any(axis=1)
    adjusted, base = _adjusted(data, per_sd, complete, options) if data.names else (None, None)
    added, chisq = _added(alone, adjusted, base)
    return Prognosis(
        split=split,
        follow_up=data,
        median_follow_up_months=_follow_up(data),
        groups=groups,
        grouped_by=grouped_by[0],
        log_rank=_log_rank(group, data.time_months, data.event),
        concordance=harrell_c(data.score, data.time_months, data.event, data.strata),
        alone=alone,
        adjusted=adjusted,
        covariates_only=base,
        added=added,
        added_chisq=chisq,
        concordance_gain=_gain(data, adjusted, base, complete),
        n_incomplete=int((~complete).sum()),
        depth=look_deeper(data, per_sd[:, 0], complete, alone, adjusted, cutpoint=cutpoint),
        notes=(*data.notes, *remarks(split, alone, adjusted, data.terms or data.names)),
    )


def _grouping(score: Float64[np.ndarray, " patient"]) -> tuple[np.ndarray, tuple[str, tuple[str, ...]]]:
    """Thirds of the score where each holds 30 patients, else halves; chosen by n alone, never by the outcome."""
    if len(score) >= 3 * _PER_GROUP:
        cuts = np.quantile(score, [1 / 3, 2 / 3])
        labels = (f"low (up to {cuts[0]:.2f})", f"middle (up to {cuts[1]:.2f})", f"high (above {cuts[1]:.2f})")
        return np.searchsorted(cuts, score, side="left"), ("thirds of the score", labels)
    cut = float(np.median(score)) if len(score) else math.nan
    return (score > cut).astype(int), ("the median score", (f"low (up to {cut:.2f})", f"high (above {cut:.2f})"))


def _risk_group(label: str, time: Months, event: Events) -> RiskGroup:
    """One Kaplan-Meier curve, from the start of the follow-up on."""
    curve = kaplan_meier(time, event)
    median = median_time(curve).value
    return RiskGroup(
        label=label,
        n=len(time),
        events=int(event.sum()),
        median_months=math.inf if math.isnan(median) else median,
        time_months=(0.0, *curve.time.tolist()),
        survival=(1.0, *curve.survival.tolist()),
        low=(1.0, *curve.low.tolist()),
        high=(1.0, *curve.high.tolist()),
        all_times=time,
        censored_at=tuple(time[~event].tolist()),
    )


def _follow_up(data: FollowUp) -> float:
    """Median follow-up; infinity when not reached, NaN without patients. A competing event is no loss."""
    median = median_follow_up(data.time_months, ~(data.event | data.competing)).value
    return math.inf if math.isnan(median) and len(data.time_months) else median


def _log_rank(group: np.ndarray, time: Months, event: Events) -> Estimate:
    """P value of the log-rank test between the groups."""
    if len(np.unique(group)) < 2:
        return not_estimable("all scores are equal", n=len(time), method="log-rank test, p value")
    return log_rank(group, time, event, ("",) * len(time)).p


def _adjusted(
    data: FollowUp, per_sd: Float64[np.ndarray, "patient 1"], complete: np.ndarray, options: Options
) -> tuple[CoxModel, CoxModel]:
    """The covariates with and without the score, on the patients who have all of them."""
    strata = tuple(np.array(data.strata, dtype=object)[complete])
    time, event = data.time_months[complete], data.event[complete]
    both = np.column_stack([per_sd, data.covariates])[complete]
    full = fit_cox(both, (SCORE, *data.names), time, event, strata, options)
    alike = replace(options, diagnose=False, like_penalized=full.penalty == "firth")
    return full, fit_cox(data.covariates[complete], data.names, time, event, strata, alike)


def _added(alone: CoxModel, adjusted: CoxModel | None, base: CoxModel | None) -> tuple[Estimate, float]:
    """The likelihood-ratio test of the score, given the covariates where there are any."""
    full = adjusted or alone
    given = "the covariates" if adjusted else "nothing"
    method = f"likelihood-ratio test of adding the score to {given}, p value"
    if full.penalty == "firth":
        p = full.coefficients[0].p
        return Estimate(p, math.nan, math.nan, full.n, f"penalized {method}"), float(chi2.isf(p, 1))
    reason = full.reason or (base.reason if base else "")
    if reason:
        return not_estimable(reason, n=full.n, method=method), math.nan
    smaller = base.log_likelihood if base else full.log_likelihood_null
    chisq, p = likelihood_ratio_p(smaller, full.log_likelihood, 1)
    return Estimate(p, math.nan, math.nan, full.n, method), chisq


def _gain(data: FollowUp, adjusted: CoxModel | None, base: CoxModel | None, complete: np.ndarray) -> Estimate:
    """How much C grows when the score joins the covariates."""
    if adjusted is None or base is None or adjusted.reason or base.reason:
        reason = "no covariates" if adjusted is None or base is None else adjusted.reason or base.reason
        return not_estimable(reason, n=len(data.score), method="difference of two Harrell C")
    strata = tuple(np.array(data.strata, dtype=object)[complete])
    return paired_difference(
        adjusted.linear_predictor, base.linear_predictor, data.time_months[complete], data.event[complete], strata
    )
