"""Brier scores of survival predictions that were made without the patient, against Kaplan-Meier without the score."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from analysis.inference.intervals import FEWEST
from analysis.survival.baseline import predicted_survival
from analysis.survival.censoring import Drawn, bootstrapped, inverse, uncensored
from analysis.survival.cox import Options, fit_cox
from analysis.survival.followup import Events, Months
from analysis.survival.kaplan_meier import kaplan_meier, survival_steps
from triher.estimate import Estimate, not_estimable
from triher.types import Scores

_FOLDS = 5
_QUICK = Options(diagnose=False)
_GRID = 50  # times of the curve; more change the third digit of its area at most

Times = Float64[np.ndarray, " horizon"]
Predicted = Float64[np.ndarray, "patient horizon"]


@dataclass(frozen=True)
class Predictions:
    """Probability of being without event at each time, for each patient by models fitted to the other folds."""

    months: Times
    model: Predicted
    """By a Cox model of the score."""
    null: Predicted
    """By Kaplan-Meier, alike for all patients of a fold."""
    reason: str = ""
    """Why there are none; the arrays are empty then."""


@dataclass(frozen=True)
class PredictionError:
    """Brier scores: at each horizon, and as the mean over the time up to the last one."""

    months: tuple[float, ...]
    model: tuple[Estimate, ...]
    null: tuple[Estimate, ...]
    scaled: tuple[Estimate, ...]
    """1 - model / null: the share of the error that the score takes away."""
    integrated: Estimate
    integrated_null: Estimate
    integrated_scaled: Estimate
    curve_months: tuple[float, ...]
    curve_model: tuple[float, ...]
    curve_null: tuple[float, ...]
    limit: float


def cross_fitted(score: Scores, time: Months, event: Events, months: Times, *, seed: int) -> Predictions:
    """Survival probabilities from five-fold cross-fitting, folds drawn within events and censorings.

    Each fold's patients are predicted by a Cox model of the score (one baseline hazard) that was fitted to the other
    four; a model judged on its own patients looks better than it is.

    Args:
        score: of patients whom the classifier did not see.
        time: in months.
        event: True for an event.
        months: when to predict.
        seed: of the folds.
    """
    fold = _folds(event, seed)
    per_sd = (score - score.mean()) / (score.std(ddof=1) or 1.0)
    model, null = np.ones((len(time), len(months))), np.ones((len(time), len(months)))
    for k in range(_FOLDS):
        inside, rest = fold == k, fold != k
        fitted = fit_cox(per_sd[rest, None], ("score",), time[rest], event[rest], ("",) * int(rest.sum()), _QUICK)
        if fitted.reason:
            return Predictions(months, model[:0], null[:0], f"no Cox model of four fifths: {fitted.reason}")
        coef, column = np.array([fitted.coefficients[0].coef]), per_sd[:, None]
        model[inside] = predicted_survival(coef, column[rest], time[rest], event[rest], column[inside], months)
        null[inside] = survival_steps(kaplan_meier(time[rest], event[rest]), months)
    return Predictions(months, model, null)


def _folds(event: Events, seed: int) -> Int[np.ndarray, " patient"]:
    """The number of each patient's fold; events and censorings are spread evenly."""
    rng = np.random.default_rng(seed)
    fold = np.zeros(len(event), np.int64)
    start = 0
    for members in (np.flatnonzero(event), np.flatnonzero(~event)):
        fold[rng.permutation(members)] = (start + np.arange(len(members))) % _FOLDS
        start += len(members)
    return fold


def brier_scores(
    predicted: Predicted, time: Months, event: Events, months: Times, drawn: Drawn
) -> Float[np.ndarray, "resample horizon"]:
    """Mean squared error of survival probabilities at each time, in every resample (Graf, Stat Med 1999;18:2529).

    A patient with the event before the time weighs 1 / G just before the event, one followed beyond the time 1 / G at
    the time, one censored before nothing.

    Args:
        predicted: probability of being without event at each time.
        time: in months.
        event: True for an event; competing events count as censored.
        months: the times.
        drawn: how often each patient occurs in each resample.
    """
    g = uncensored(time, event, drawn)
    gone = (event[:, None] & (time[:, None] <= months)) * predicted**2
    there = (time[:, None] > months) * (1 - predicted) ** 2
    total = (drawn * inverse(g.before(time))) @ gone + (drawn @ there) * inverse(g.at(months))
    return total / drawn.sum(axis=1, keepdims=True)


def prediction_error(
    score: Scores,
    time: Months,
    event: Events,
    horizons: tuple[float, ...],
    *,
    limit: float,
    resamples: int,
    seed: int,
) -> PredictionError:
    """Brier scores of cross-fitted predictions, with intervals from resamples of the patients.

    The models stay as they are in the resamples: the intervals speak of these predictions, not of other fits.

    Args:
        score: higher is riskier.
        time: in months.
        event: True for an event; competing events count as censored.
        horizons: in months, within `limit`.
        limit: the latest time that can be judged; the integrated score is the mean over the time up to it.
        resamples: of the bootstrap.
        seed: of the folds and of the bootstrap.
    """
    months = np.concatenate([np.linspace(0, limit, _GRID + 1), np.array(horizons, dtype=float)])
    made = cross_fitted(score, time, event, months, seed=seed)
    methods, n = _methods(horizons, limit), len(score)
    if made.reason:
        nothing = [not_estimable(made.reason, n=n, method=method) for method in methods]
        return _arranged(nothing, horizons, limit, np.zeros((3, 0)))

    def errors(drawn: Drawn) -> Float[np.ndarray, "resample statistic"]:
        model = _with_area(brier_scores(made.model, time, event, months, drawn), months)
        null = _with_area(brier_scores(made.null, time, event, months, drawn), months)
        return np.hstack([model, null, 1 - np.divide(model, null, out=np.full(null.shape, np.nan), where=null > 0)])

    counts = [int((event & (time <= t)).sum()) for t in (*horizons, limit)]
    few = tuple(f"only {k} events" if k < FEWEST else "" for k in counts) * 3
    found = bootstrapped(errors, n, methods, few, resamples=resamples, seed=seed)
    once = np.ones((1, n), np.int64)
    curves = [brier_scores(p, time, event, months, once)[0, : _GRID + 1] for p in (made.model, made.null)]
    return _arranged(found, horizons, limit, np.stack([months[: _GRID + 1], *curves]))


def _with_area(scores: Float[np.ndarray, "resample time"], months: Times) -> Float[np.ndarray, "resample part"]:
    """The scores at the horizons, then the mean over the grid of times (trapezoids)."""
    grid = months[: _GRID + 1]
    area = np.trapezoid(scores[:, : _GRID + 1], grid, axis=1) / grid[-1]
    return np.column_stack([scores[:, _GRID + 1 :], area])


def _methods(horizons: tuple[float, ...], limit: float) -> tuple[str, ...]:
    """How each number was made, in the order of `errors`."""
    places = [f"at {t:g} months" for t in horizons] + [f"up to {limit:.4g} months (mean over time)"]
    kinds = ("Brier score", "Brier score of Kaplan-Meier", "1 - Brier score / that of Kaplan-Meier")
    return tuple(f"{kind} {place}, IPCW, {_FOLDS}-fold cross-fitted" for kind in kinds for place in places)


def _arranged(
    found: list[Estimate], horizons: tuple[float, ...], limit: float, curves: Float64[np.ndarray, "line time"]
) -> PredictionError:
    """Put the numbers in their places."""
    k = len(horizons) + 1
    model, null, scaled = (tuple(found[i * k : (i + 1) * k]) for i in range(3))
    line = [tuple(line.tolist()) for line in curves]
    return PredictionError(
        months=horizons,
        model=model[:-1],
        null=null[:-1],
        scaled=scaled[:-1],
        integrated=model[-1],
        integrated_null=null[-1],
        integrated_scaled=scaled[-1],
        curve_months=line[0],
        curve_model=line[1],
        curve_null=line[2],
        limit=limit,
    )
