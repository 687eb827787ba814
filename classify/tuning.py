"""The search for a head's parameters, inside one training part.

The objective is the mean log loss over inner folds: a proper score (Gneiting & Raftery, JASA 2007;102:359), so that
it rewards calibrated probabilities, which the AUC does not see.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import xgboost
from jaxtyping import Float64, Int
from optuna.samplers import TPESampler

from classify.calibration import log_loss
from classify.design import Design
from classify.heads import Head, Params, Part
from classify.splits import derived_seed
from triher.errors import StopRun
from triher.types import Probabilities

_FAILURES = (np.linalg.LinAlgError, FloatingPointError, xgboost.core.XGBoostError)
_START_UP_TRIALS = 10


@dataclass(frozen=True)
class InnerFold:
    """One division of a training part, prepared by what its own training side taught."""

    train: Design
    y: Int[np.ndarray, " train"]
    """Of the training side."""
    weights: Float64[np.ndarray, " train"] | None
    """Of the training side; all alike when None."""
    test: Design
    y_test: Int[np.ndarray, " held_out"]
    rows: Int[np.ndarray, " held_out"]
    """Positions of the test side in the training part."""


@dataclass(frozen=True)
class Search:
    """How to search."""

    trials: int
    """Parameter sets to try; the first is the head's starting point."""
    seed: int


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


def tune(head: Head, folds: Sequence[InnerFold], *, n_classes: int, search: Search) -> Tuned:
    """Search the head's parameters by cross-validation.

    Args:
        head: what to tune.
        folds: every patient of the training part is on the test side of one of them.
        n_classes: classes of the scheme.
        search: trials and seed; the same seed gives the same study.

    Raises:
        StopRun: ``tuning_failed`` with the first error when no trial ends well.
    """
    parts = [head.prepare(f.train, f.y, n_classes, weights=f.weights, exact=False) for f in folds]
    tried: dict[int, tuple[float, Params, Probabilities]] = {}
    errors: list[str] = []

    def objective(trial: optuna.Trial) -> float:
        try:
            tried[trial.number] = _try(head, parts, folds, _suggest(trial, head), n_classes, search.seed)
        except _FAILURES as error:
            errors.append(str(error))
            raise
        return tried[trial.number][0]

    with _quiet():
        sampler = TPESampler(seed=derived_seed(search.seed, 1), n_startup_trials=_START_UP_TRIALS)
        study = optuna.create_study(direction="minimize", sampler=sampler)
        study.enqueue_trial({name: where.start for name, where in head.space.items()})
        study.optimize(objective, n_trials=search.trials if head.space else 1, catch=_FAILURES)
    if not study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE]):
        first = errors[0] if errors else "the log loss is not a number"
        raise StopRun(
            "tuning_failed", f"none of {search.trials} trials of the head '{head.name}' ended well: {first}"
        )
    loss, params, held_out = tried[study.best_trial.number]
    return Tuned(params, loss, held_out, _record(search.trials, len(folds)))


def _suggest(trial: optuna.Trial, head: Head) -> Params:
    """Draw a parameter set from the head's space."""
    return {
        name: trial.suggest_int(name, int(where.low), int(where.high), log=where.log)
        if where.whole
        else trial.suggest_float(name, where.low, where.high, log=where.log)
        for name, where in head.space.items()
    }


def _try(
    head: Head, parts: Sequence[Part], folds: Sequence[InnerFold], params: Params, n_classes: int, seed: int
) -> tuple[float, Params, Probabilities]:
    """Loss, parameters and held-out predictions at the best common value of the dial."""
    paths = [list(part.along(params, seed, fold.test)) for part, fold in zip(parts, folds, strict=True)]
    losses = [[log_loss(p, fold.y_test) for p in path] for path, fold in zip(paths, folds, strict=True)]
    means = np.mean(losses, axis=0)
    best = int(np.argmin(means))
    held_out = np.zeros((sum(len(fold.rows) for fold in folds), n_classes))
    for path, fold in zip(paths, folds, strict=True):
        held_out[fold.rows] = path[best]
    return float(means[best]), {**params, head.dial.name: head.dial.values[best]}, held_out


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna's log for the block."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _record(trials: int, n_folds: int) -> dict[str, Any]:
    """What decided the search, beside the seed."""
    return {
        "sampler": "TPESampler",
        "n_startup_trials": _START_UP_TRIALS,
        "other_settings": f"defaults of optuna {optuna.__version__}",
        "objective": "mean log loss of the inner folds",
        "trials": trials,
        "inner_folds": n_folds,
    }
