"""The search for a head's parameters, inside one training part.

The objective is the mean log loss over inner folds: a proper score (Gneiting & Raftery, JASA 2007;102:359), so that
it rewards calibrated probabilities, which the AUC does not see.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import xgboost
from optuna.samplers import TPESampler

from classify.calibration import log_loss
from classify.cases import Cases
from classify.heads import Head, Params, Part
from classify.splits import Split, derived_seed, stratified_folds
from triher.errors import StopRun
from triher.types import Probabilities

_FAILURES = (np.linalg.LinAlgError, FloatingPointError, xgboost.core.XGBoostError)
_START_UP_TRIALS = 10


@dataclass(frozen=True)
class Tuned:
    """The best parameters, and the predictions for held-out patients that they gave."""

    params: Params
    log_loss: float
    """Mean over the inner folds, before calibration."""
    held_out: Probabilities
    """One row a patient, from the inner fold that did not train on this patient."""
    search: dict[str, Any]
    """Settings of the search, for the record."""


def tune(head: Head, cases: Cases, *, folds: int, trials: int, seed: int) -> Tuned:
    """Search the head's parameters by cross-validation within the cases.

    One process, one seeded sampler: the same seed gives the same study.

    Args:
        head: what to tune.
        cases: the training part.
        folds: inner folds; fewer when the smallest class is smaller.
        trials: parameter sets to try; the first is the head's starting point.
        seed: seed of folds, sampler and fits.

    Raises:
        StopRun: ``class_too_small``, or ``tuning_failed`` with the first error when no trial ends well.
    """
    splits = stratified_folds(
        cases.y,
        cases.cohort,
        cases.group,
        folds=folds,
        n_classes=len(cases.classes),
        seed=derived_seed(seed, 0),
    )
    parts = [_prepare(head, cases.take(split.train)) for split in splits]
    tried: dict[int, Probabilities] = {}
    errors: list[str] = []

    def objective(trial: optuna.Trial) -> float:
        params = _suggest(trial, head)
        try:
            tried[trial.number] = _predict_held_out(parts, splits, cases, params, seed)
        except _FAILURES as error:
            errors.append(str(error))
            raise
        return float(np.mean([log_loss(tried[trial.number][s.test], cases.y[s.test]) for s in splits]))

    with _quiet():
        sampler = TPESampler(seed=derived_seed(seed, 1), n_startup_trials=_START_UP_TRIALS)
        study = optuna.create_study(direction="minimize", sampler=sampler)
        study.enqueue_trial({name: where.start for name, where in head.space.items()})
        study.optimize(objective, n_trials=trials, catch=_FAILURES)
    if not study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE]):
        first = errors[0] if errors else "the log loss is not a number"
        raise StopRun("tuning_failed", f"none of {trials} trials of the head '{head.name}' ended well: {first}")
    best = study.best_trial
    return Tuned(dict(best.params), best.values[0], tried[best.number], _search(trials, len(splits)))


def _prepare(head: Head, cases: Cases) -> Part:
    """Prepare an inner training part, once for all trials."""
    return head.prepare(cases.pooled.vectors, cases.y, len(cases.classes), exact=False)


def _suggest(trial: optuna.Trial, head: Head) -> Params:
    """Draw a parameter set from the head's space."""
    return {
        name: trial.suggest_int(name, int(where.low), int(where.high), log=where.log)
        if where.whole
        else trial.suggest_float(name, where.low, where.high, log=where.log)
        for name, where in head.space.items()
    }


def _predict_held_out(
    parts: list[Part], splits: list[Split], cases: Cases, params: Params, seed: int
) -> Probabilities:
    """Predict each inner fold by the model of the others."""
    held_out = np.zeros((len(cases.y), len(cases.classes)))
    for part, split in zip(parts, splits, strict=True):
        held_out[split.test] = part.fit(params, seed).probabilities(cases.pooled.vectors[split.test])
    return held_out


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna's log for the block."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _search(trials: int, n_folds: int) -> dict[str, Any]:
    """What decided the search, beside the seed."""
    return {
        "sampler": "TPESampler",
        "n_startup_trials": _START_UP_TRIALS,
        "other_settings": f"defaults of optuna {optuna.__version__}",
        "objective": "mean log loss of the inner folds",
        "trials": trials,
        "inner_folds": n_folds,
    }
