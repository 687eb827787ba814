"""How likely it is to be still followed: the censoring weights of one cohort, in all resamples at once.

Weights come from the patients who are judged, never from those that a model was trained on, and each resample has its
own. Deaths precede censorings at one time: who has the event is not at risk of being censored then (R's survival).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from analysis.inference.bootstrap import percentile, resampled
from analysis.inference.intervals import FEWEST, without_interval
from analysis.survival.followup import Events, Months
from triher.estimate import Estimate, not_estimable

_MOST_WITHOUT = 0.05  # share of resamples without a value above which the others no longer show the spread

Drawn = Int[np.ndarray, "resample patient"]
Statistic = Callable[[Drawn], Float[np.ndarray, "resample statistic"]]


@dataclass(frozen=True)
class Uncensored:
    """G, the probability of being still followed, by reverse Kaplan-Meier in each resample."""

    times: Float[np.ndarray, " step"]
    g: Float[np.ndarray, "resample after"]
    """1 first, then from each time on."""

    def before(self, time: Months) -> Float[np.ndarray, "resample patient"]:
        """G just before each time, in every resample."""
        return self.g[:, np.searchsorted(self.times, time, side="left")]

    def at(self, months: Float[np.ndarray, " horizon"]) -> Float[np.ndarray, "resample horizon"]:
        """G at each time, in every resample."""
        return self.g[:, np.searchsorted(self.times, months, side="right")]


def uncensored(time: Months, event: Events, drawn: Drawn) -> Uncensored:
    """Estimate G in every resample.

    Args:
        time: any unit.
        event: True for an event, False for a censoring.
        drawn: how often each patient occurs in each resample.

    >>> one = np.ones((1, 4), np.int64)
    >>> time, event = np.array([1.0, 2, 2, 3]), np.array([False, True, False, True])
    >>> uncensored(time, event, one).g.tolist()
    [[1.0, 0.75, 0.375, 0.375]]
    """
    order = np.lexsort((~event, time))
    times, starts = np.unique(time[order], return_index=True)
    weights = drawn[:, order]
    censored = np.add.reduceat(weights * ~event[order], starts, axis=1)
    leaving = np.add.reduceat(weights, starts, axis=1)
    at_risk = np.cumsum(leaving[:, ::-1], axis=1)[:, ::-1] - (leaving - censored)
    stay = 1 - np.divide(censored, at_risk, out=np.zeros(censored.shape), where=at_risk > 0)
    return Uncensored(times, np.hstack([np.ones((len(drawn), 1)), np.cumprod(stay, axis=1)]))


def inverse(g: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """1 / G, and 0 where nobody of a resample is followed that long, so that no such patient weighs anything."""
    return np.divide(1.0, g, out=np.zeros(g.shape), where=g > 0)


def bootstrapped(
    statistic: Statistic, n: int, methods: tuple[str, ...], few: tuple[str, ...], *, resamples: int, seed: int
) -> list[Estimate]:
    """Values on the patients themselves, and percentile intervals over resamples of the patients.

    Args:
        statistic: from resamples to values; NaN where a resample has none.
        n: number of patients.
        methods: of each value, for print.
        few: of each value, why it gets no interval; empty where it does.
        resamples: of the bootstrap.
        seed: of the bootstrap; the same seed gives the same resamples, so that differences are paired.
    """
    methods = tuple(f"{method}, {resamples} bootstrap resamples of the patients, percentile" for method in methods)
    if n < FEWEST:
        return [not_estimable(f"{n} patients", n=n, method=method) for method in methods]
    values = statistic(np.ones((1, n), np.int64))[0]
    draws = resampled(np.zeros(n, np.int64), statistic, resamples=resamples, seed=seed)
    found = zip(values.tolist(), draws.T, methods, few, strict=True)
    return [_summary(value, each, reason, n, method) for value, each, method, reason in found]


def _summary(value: float, draws: Float[np.ndarray, " resamples"], few: str, n: int, method: str) -> Estimate:
    """One value with its interval, or why it has none."""
    if few or not np.isfinite(value):
        reason = few or "no pair to compare"
        return without_interval(value, reason, n=n, method=method)
    usable = np.isfinite(draws)
    missing = int(np.sum(~usable))
    if missing > _MOST_WITHOUT * len(draws):
        return without_interval(value, f"{missing} of {len(draws)} resamples have no value", n=n, method=method)
    return percentile(value, draws[usable], n=n, method=f"{method}, {missing} left out" if missing else method)
