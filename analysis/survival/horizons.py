"""Up to when survival can be judged, and how well the score tells early from late events up to then."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from analysis.inference.intervals import FEWEST
from analysis.survival.censoring import Drawn, bootstrapped, inverse, uncensored
from analysis.survival.followup import Events, Months
from analysis.survival.pairs import resampled_index, sort_patients
from triher.estimate import Estimate, not_estimable
from triher.types import Scores

FEWEST_AT_RISK = 10
_SHARE_OF_EVENTS = 0.9  # see `latest_horizon`


@dataclass(frozen=True)
class Horizons:
    """Times in months at which one split is judged."""

    months: tuple[float, ...]
    limit: float
    """The latest time that can be judged; 0 where there is none."""
    beyond: tuple[float, ...]
    """Times asked for that lie beyond it."""


def latest_horizon(time: Months, event: Events) -> float:
    """The latest time that survival can be judged at.

    Until then at most 90 % of the events have happened, and 10 patients are still followed; the weights of later
    patients grow without bound (Uno et al., Stat Med 2011;30:1105). 0 where there is no event, or fewer than 10
    patients.

    >>> latest_horizon(np.arange(1.0, 101), np.ones(100, bool))
    90.0
    """
    if not event.any() or len(time) < FEWEST_AT_RISK:
        return 0.0
    late = float(np.quantile(time[event], _SHARE_OF_EVENTS, method="inverted_cdf"))
    return min(late, float(np.sort(time)[-FEWEST_AT_RISK]))


def usable_horizons(asked: tuple[float | int, ...], time: Months, event: Events) -> Horizons:
    """Those of the times asked for that can be judged, earliest first."""
    limit = latest_horizon(time, event)
    ordered = sorted(set(map(float, asked)))
    return Horizons(tuple(t for t in ordered if t <= limit), limit, tuple(t for t in ordered if t > limit))


def uno_c(
    score: Scores, time: Months, event: Events, strata: tuple[str, ...], *, tau: float, resamples: int, seed: int
) -> Estimate:
    """Uno's C: as Harrell's, but the same whatever the censoring (Uno et al., Stat Med 2011;30:1105).

    A pair weighs 1 / G(t)^2, with t the time of its event and G the probability of being still followed just before;
    only events before tau lead a pair. The interval resamples patients, G included.

    Args:
        score: higher is riskier.
        time: in months.
        event: True for an event; competing events count as censored.
        strata: pairs lie within these; G is of all patients together.
        tau: in months, infinity for all events.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    method = f"Uno's C{f' up to {tau:.4g} months' if np.isfinite(tau) else ''}"
    n, leading = len(score), event & (time < tau)
    if not leading.any():
        return not_estimable(f"{int(event.sum())} events, none before {tau:.4g} months", n=n, method=method)
    order = sort_patients(score, time, event, strata)

    def index(drawn: Drawn) -> Float[np.ndarray, "resample statistic"]:
        lead = leading * inverse(uncensored(time, event, drawn).before(time)) ** 2
        return resampled_index(order, lead, drawn)[:, None]

    few = _few(int(leading.sum()), "events")
    [found] = bootstrapped(index, n, (method,), (few,), resamples=resamples, seed=seed)
    return found


def _few(count: int, what: str) -> str:
    """Why so few give no interval."""
    return f"only {count} {what}" if count < FEWEST else ""


def time_dependent_auc(
    score: Scores, time: Months, event: Events, horizons: tuple[float, ...], *, resamples: int, seed: int
) -> tuple[Estimate, ...]:
    """At each time: how often a patient with the event by then has a higher score than one without.

    Cumulative cases, dynamic controls: a case weighs 1 / G just before its event, controls weigh alike (Uno et al.,
    J Am Stat Assoc 2007;102:527; Blanche et al., Stat Med 2013;32:5381). Equal scores count half. The interval
    resamples patients, G included.

    Args:
        score: higher is riskier.
        time: in months.
        event: True for an event; competing events count as censored.
        horizons: in months, within `latest_horizon`.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    cases = [int((event & (time <= t)).sum()) for t in horizons]
    methods = tuple(f"cumulative/dynamic AUC at {t:g} months, IPCW" for t in horizons)
    few = tuple(
        _few(n, f"events up to {t:g} months") or _few(int((time > t).sum()), f"patients followed beyond {t:g} months")
        for n, t in zip(cases, horizons, strict=True)
    )

    def areas(drawn: Drawn) -> Float[np.ndarray, "resample statistic"]:
        weights = drawn * inverse(uncensored(time, event, drawn).before(time))
        columns = [_area(score, event & (time <= t), time > t, weights, drawn) for t in horizons]
        return np.stack(columns, axis=1)

    if not horizons:
        return ()
    return tuple(bootstrapped(areas, len(score), methods, few, resamples=resamples, seed=seed))


def _area(
    score: Scores, case: Events, control: Events, weights: Float[np.ndarray, "resample patient"], drawn: Drawn
) -> Float[np.ndarray, " resample"]:
    """The weighted share of pairs whose case scores higher, in every resample; NaN without a pair."""
    order = np.argsort(score, kind="stable")
    order = order[(case | control)[order]]
    if not len(order):
        return np.full(len(drawn), np.nan)
    _, starts = np.unique(score[order], return_index=True)
    with_event = np.add.reduceat(weights[:, order] * case[order], starts, axis=1)
    without = np.add.reduceat(drawn[:, order] * control[order], starts, axis=1).astype(float)
    below = np.cumsum(without, axis=1) - without / 2
    pairs = with_event.sum(axis=1) * without.sum(axis=1)
    return np.divide((with_event * below).sum(axis=1), pairs, out=np.full(len(drawn), np.nan), where=pairs > 0)
