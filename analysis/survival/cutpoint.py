"""The cut of the score that separates survival most, with a p value that pays for the search."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import norm

from analysis.survival.followup import Events, Months
from triher.estimate import Estimate, not_estimable
from triher.types import Scores

INNER = 0.10
"""Share of the patients at each end where no cut is tried (Altman et al., J Natl Cancer Inst 1994;86:829)."""
_METHOD = "maximally selected log-rank test over the inner 80 % of the scores"
_FEW_BESIDE = 10  # patients on a side; with fewer, the normal approximation makes p values too small
_BLOCK = 256  # cuts that are looked at together


@dataclass(frozen=True)
class BestCut:
    """The cut with the largest log-rank statistic."""

    cut: float
    """Scores above it are high."""
    n_high: int
    n_tried: int
    naive: Estimate
    """P value as if the cut had been chosen beforehand; far too small."""
    corrected: Estimate
    """P value of the largest of all statistics that were looked at."""


def best_cut(score: Scores, time: Months, event: Events, strata: tuple[str, ...], inner: float = INNER) -> BestCut:
    """Search all cuts between the `inner` and the 1 - `inner` quantile of the score.

    Args:
        score: of each patient.
        time: months.
        event: True for an event.
        strata: group of each patient; the log-rank test is stratified.
        inner: share of the patients at each end where no cut is tried.
    """
    cuts = _candidates(score, inner)
    z = np.abs(log_rank_z(score, cuts, time, event, strata)) if len(cuts) and event.any() else np.zeros(0)
    if not np.isfinite(z).any() or not z.size:
        reason = "0 events" if not event.any() else "no cut leaves events and patients on both sides"
        nothing = not_estimable(reason, n=len(score), method=_METHOD)
        return BestCut(math.nan, 0, len(cuts), nothing, nothing)
    best = int(np.nanargmax(z))
    naive, corrected = float(2 * norm.sf(z[best])), corrected_p(float(z[best]), inner)
    n_high = int((score > cuts[best]).sum())
    method = f"{_METHOD}, corrected (Miller & Siegmund 1982), p value"
    return BestCut(
        cut=float(cuts[best]),
        n_high=n_high,
        n_tried=len(cuts),
        naive=Estimate(naive, math.nan, math.nan, len(score), f"{_METHOD}, not corrected, p value"),
        corrected=Estimate(corrected, math.nan, math.nan, len(score), method, _caution(n_high, len(score) - n_high)),
    )


def _caution(n_high: int, n_low: int) -> str:
    """Where the approximation fails: a large-sample p value of a handful of patients is too small."""
    side, n = ("above", n_high) if n_high <= n_low else ("up to", n_low)
    few = f"only {n} {'patient lies' if n == 1 else 'patients lie'} {side} the cut"
    return f"{few}, so the approximation makes the p value too small" if n < _FEW_BESIDE else ""


def corrected_p(z: float, inner: float = INNER) -> float:
    """How likely the largest of the statistics over all cuts reaches z when the score says nothing.

    Miller & Siegmund, Biometrics 1982;38:1011: phi(z) (z - 1/z) log((1 - e)^2 / e^2) + 4 phi(z) / z, with e the share
    of patients at each end that is not searched. An approximation for small p; below z = 1 it says 1.

    >>> round(corrected_p(1.96), 2), round(corrected_p(3.29), 3)
    (0.49, 0.026)
    """
    if z <= 1:
        return 1.0
    density = float(norm.pdf(z))
    p = density * (z - 1 / z) * math.log((1 - inner) ** 2 / inner**2) + 4 * density / z
    return min(1.0, p)


def _candidates(score: Scores, inner: float) -> Float64[np.ndarray, " cut"]:
    """The scores that a cut may lie at."""
    if not len(score):
        return np.zeros(0)
    low, high = np.quantile(score, [inner, 1 - inner])
    values = np.unique(score).astype(np.float64)
    return values[(values >= low) & (values <= high) & (values < values[-1])]


def log_rank_z(
    score: Scores, cuts: Float64[np.ndarray, " cut"], time: Months, event: Events, strata: tuple[str, ...]
) -> Float64[np.ndarray, " cut"]:
    """The log-rank statistic of the patients above each cut against the others.

    Args:
        score: of each patient.
        cuts: scores above which a patient is high.
        time: months.
        event: True for an event.
        strata: group of each patient; observed minus expected and variances add up over the groups.

    Returns:
        Standard normal where the score says nothing; positive where those above the cut have more events; NaN where
        no event time has patients on both sides.
    """
    excess, variance = np.zeros(len(cuts)), np.zeros(len(cuts))
    groups = np.array(strata, dtype=str)
    for group in np.unique(groups):
        inside = groups == group
        if event[inside].any():
            found = _one_stratum(score[inside], cuts, time[inside], event[inside])
            excess, variance = excess + found[0], variance + found[1]
    return np.divide(excess, np.sqrt(variance), out=np.full(len(cuts), np.nan), where=variance > 0)


def _one_stratum(
    score: Scores, cuts: Float64[np.ndarray, " cut"], time: Months, event: Events
) -> tuple[Float64[np.ndarray, " cut"], Float64[np.ndarray, " cut"]]:
    """Observed minus expected events above each cut, and their hypergeometric variance."""
    order = np.argsort(-time, kind="stable")
    score, time, event = score[order], time[order], event[order]
    times, deaths = np.unique(time[event], return_counts=True)
    last = np.searchsorted(-time, -times, side="right")  # how many are at risk
    spread = deaths * np.divide(last - deaths, last - 1, out=np.zeros(len(last)), where=last > 1)
    excess, variance = np.zeros(len(cuts)), np.zeros(len(cuts))
    for start in range(0, len(cuts), _BLOCK):
        block = slice(start, start + _BLOCK)
        above = score[:, None] > cuts[None, block]
        share = np.cumsum(above, axis=0)[last - 1] / last[:, None]
        excess[block] = above[event].sum(axis=0) - deaths @ share
        variance[block] = spread @ (share * (1 - share))
    return excess, variance
