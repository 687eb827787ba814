"""All survival measures of one split: how well the score ranks and predicts, and how long its halves live."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from analysis.survival.competing import Incidence, cumulative_incidence, incidence_at
from analysis.survival.concordance import harrell_c
from analysis.survival.cox import CoxModel, fit_cox
from analysis.survival.followup import FollowUp
from analysis.survival.horizons import FEWEST_AT_RISK, Horizons, time_dependent_auc, uno_c, usable_horizons
from analysis.survival.kaplan_meier import At, kaplan_meier, median_follow_up, median_time, survival_at
from analysis.survival.log_rank import GroupTest, log_rank
from analysis.survival.prediction_error import PredictionError, prediction_error
from analysis.survival.prognosis import SCORE
from analysis.survival.restricted_mean import MeanDifference, RestrictedMean, mean_difference, restricted_mean
from triher.estimate import Estimate, not_estimable
from triher.settings import AnalysisConfig
from triher.types import Scores

LABELS = ("low", "high")


@dataclass(frozen=True)
class HalfSurvival:
    """Patients whose score lies up to the median (``low``) or above it (``high``)."""

    label: str
    n: int
    events: int
    median: Estimate
    survival: tuple[At, ...]
    """At each horizon."""
    restricted: tuple[RestrictedMean, ...]
    """Up to each horizon."""


@dataclass(frozen=True)
class Incidences:
    """Of one half, or of ``all`` patients."""

    label: str
    n: int
    own: Incidence
    other: Incidence
    own_at: tuple[Estimate, ...]
    """At each horizon."""
    other_at: tuple[Estimate, ...]
    naive_at: tuple[float, ...]
    """1 - Kaplan-Meier with competing events as censorings: too high; NaN where nobody is followed that long."""


@dataclass(frozen=True)
class CompetingRisks:
    """How often each kind of event comes first, and what the score does to the hazard of each."""

    events: int
    competing: int
    groups: tuple[Incidences, ...]
    own_model: CoxModel
    other_model: CoxModel


@dataclass(frozen=True)
class SurvivalMeasures:
    """What is said of one split."""

    split: str
    follow_up: FollowUp
    horizons: Horizons
    median: Estimate
    median_follow_up: Estimate
    halves: tuple[HalfSurvival, ...]
    differences: tuple[MeanDifference, ...]
    """Restricted mean of the high half minus that of the low one, up to each horizon; none with one half."""
    tests: tuple[GroupTest, ...]
    """Log-rank, Peto-Peto, and the log-rank test within strata where the model is stratified."""
    harrell: Estimate
    uno: Estimate
    auc: tuple[Estimate, ...]
    error: PredictionError | None
    """None where no time can be judged."""
    competing: CompetingRisks | None
    """None without competing events."""


def judge_survival(split: str, data: FollowUp, config: AnalysisConfig, seed: int) -> SurvivalMeasures:
    """Measure one split; each part that the patients do not allow says so.

    Args:
        split: its name.
        data: patients with score, time and event.
        config: the horizons and the number of resamples.
        seed: of the bootstrap and of the folds.
    """
    score, time, event = data.score, data.time_months, data.event
    horizons = usable_horizons(config.horizons_months, time, event)
    half = halves(score)
    parts = tuple(_half(data, half == k, LABELS[k], horizons) for k in np.unique(half).tolist())
    return SurvivalMeasures(
        split=split,
        follow_up=data,
        horizons=horizons,
        median=median_time(kaplan_meier(time, event)),
        median_follow_up=median_follow_up(time, ~(event | data.competing)),
        halves=parts,
        differences=_differences(parts, horizons),
        tests=_tests(data, half),
        harrell=harrell_c(score, time, event, data.strata),
        uno=_uno(data, horizons, config.resamples, seed),
        auc=time_dependent_auc(score, time, event, horizons.months, resamples=config.resamples, seed=seed),
        error=_error(data, horizons, config.resamples, seed),
        competing=_competing(data, half, horizons) if data.competing.any() else None,
    )


def halves(score: Scores) -> Int[np.ndarray, " patient"]:
    """1 where the score lies above its median, else 0; chosen by n alone, never by the outcome."""
    return (score > np.median(score)).astype(np.int64) if len(score) else np.zeros(0, np.int64)


def _half(data: FollowUp, inside: Bool[np.ndarray, " patient"], label: str, horizons: Horizons) -> HalfSurvival:
    """Median, survival and restricted mean of one half."""
    time, event = data.time_months[inside], data.event[inside]
    curve = kaplan_meier(time, event)
    return HalfSurvival(
        label=label,
        n=len(time),
        events=int(event.sum()),
        median=median_time(curve),
        survival=tuple(survival_at(curve, t) for t in horizons.months),
        restricted=tuple(restricted_mean(time, event, t) for t in horizons.months),
    )


def _differences(parts: tuple[HalfSurvival, ...], horizons: Horizons) -> tuple[MeanDifference, ...]:
    """High minus low."""
    if len(parts) < len(LABELS):
        return ()
    low, high = parts
    pairs = zip(high.restricted, low.restricted, horizons.months, strict=True)
    return tuple(mean_difference(one, other, t) for one, other, t in pairs)


def _tests(data: FollowUp, half: np.ndarray) -> tuple[GroupTest, ...]:
    """Between the halves."""
    nobody = ("",) * len(half)
    found = [log_rank(half, data.time_months, data.event, nobody, early=early) for early in (False, True)]
    if len(set(data.strata)) > 1:
        found.append(log_rank(half, data.time_months, data.event, data.strata))
    return tuple(found)


def _uno(data: FollowUp, horizons: Horizons, resamples: int, seed: int) -> Estimate:
    """Uno's C up to the latest time that can be judged."""
    if not horizons.limit:
        n, events = len(data.score), int(data.event.sum())
        reason = f"{events} events in {n} patients, of whom {FEWEST_AT_RISK} must be followed to the last time judged"
        return not_estimable(reason, n=n, method="Uno's C")
    return uno_c(
        data.score, data.time_months, data.event, data.strata, tau=horizons.limit, resamples=resamples, seed=seed
    )


def _error(data: FollowUp, horizons: Horizons, resamples: int, seed: int) -> PredictionError | None:
    """Brier scores up to the latest time that can be judged."""
    if not horizons.limit:
        return None
    return prediction_error(
        data.score,
        data.time_months,
        data.event,
        horizons.months,
        limit=horizons.limit,
        resamples=resamples,
        seed=seed,
    )


def _competing(data: FollowUp, half: np.ndarray, horizons: Horizons) -> CompetingRisks:
    """Incidences of all patients and of each half; a cause-specific Cox model of each kind of event."""
    everybody = np.ones(len(half), dtype=bool)
    groups = [("all", everybody), *((LABELS[k], half == k) for k in np.unique(half).tolist())]
    deviation = float(data.score.std(ddof=1)) if len(data.score) > 1 else 0.0
    x = (data.score / (deviation or 1.0))[:, None]
    models = [fit_cox(x, (SCORE,), data.time_months, which, data.strata) for which in (data.event, data.competing)]
    return CompetingRisks(
        events=int(data.event.sum()),
        competing=int(data.competing.sum()),
        groups=tuple(_incidences(data, inside, label, horizons) for label, inside in groups),
        own_model=models[0],
        other_model=models[1],
    )


def _incidences(data: FollowUp, inside: Bool[np.ndarray, " patient"], label: str, horizons: Horizons) -> Incidences:
    """Both incidences of some patients."""
    time, event, competing = data.time_months[inside], data.event[inside], data.competing[inside]
    own, other = cumulative_incidence(time, event, competing), cumulative_incidence(time, competing, event)
    curve = kaplan_meier(time, event)
    return Incidences(
        label=label,
        n=len(time),
        own=own,
        other=other,
        own_at=tuple(incidence_at(own, t) for t in horizons.months),
        other_at=tuple(incidence_at(other, t) for t in horizons.months),
        naive_at=tuple(1 - survival_at(curve, t).survival.value for t in horizons.months),
    )
