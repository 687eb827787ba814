"""The search for a head's parameters, inside one training part.

Trials are asked for in batches of a fixed size, evaluated by threads, and recorded in order; what prunes them is
known before the batch. So the same seed gives the same study on any number of threads. It does so on one class of
machine: with other libraries or processors sums round differently, and scores agree to about 1e-3. Processes that
share a study do not repeat each other's trials, but see different trials when they ask, so that studies differ.

Heads whose trials are cheaper than their fits are screened so; the best few by the screen are scored again as the
final fit will be, and these scores decide (see `classify.finalists`). A head that has only its dial needs no trials:
its path is the search.
"""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import optuna
from jaxtyping import Float64, Int
from threadpoolctl import threadpool_limits

from classify import studies
from classify.design import Design
from classify.finalists import Candidate, last_position, score
from classify.heads import Head, Params
from classify.objectives import find_objective
from classify.studies import Asked, Counts
from classify.study_storage import Place, readable
from classify.trials import FAILURES, P_PRUNED, Fold, Path, Problem, Result, try_params
from triher import __version__
from triher.errors import StopRun
from triher.files import sha256_of_json
from triher.types import Probabilities

BATCH = 4
_FINALISTS = 5
_TRIALS_A_FINALIST = 20  # a score of a finalist costs as much as some ten trials that are pruned


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
    objective: str = "log-loss"
    """``log-loss``, or ``auc``: the mean AUC of each class against the rest."""
    workers: int = 0
    """Threads; 0 for as many as there are cores."""
    storage: str = ""
    """Where the study is kept: empty for memory, a file ending in .log or .journal, or the address of a database."""
    study: str = ""
    """Begins the study's name; a hash of what is searched ends it, so that no study goes on as another."""
    prune: bool = True
    """End trials that do worse than the best one in the first folds."""


@dataclass(frozen=True)
class Tuned:
    """The best parameters, and the predictions for held-out patients that they gave."""

    params: Params
    """The dial's value among them."""
    log_loss: float
    """Mean over the inner folds, before calibration."""
    held_out: Probabilities
    """One row a patient, from the inner fold that did not train on this patient."""
    search: dict[str, Any]
    """Settings of the search, for the record."""
    loss: float
    """Of the objective, mean over the inner folds; for ``auc`` 1 minus the AUC."""
    counts: Counts
    """Trials by how they ended; for a head that has only its dial, one a value."""


def tune(head: Head, folds: Sequence[InnerFold], *, n_classes: int, search: Search) -> Tuned:
    """Search the head's parameters by cross-validation.

    Args:
        head: what to tune.
        folds: every patient of the training part is on the test side of one of them.
        n_classes: classes of the scheme.
        search: trials, seed, objective, threads and storage. A study that is in the storage already goes on until
            it has the trials that are asked for, together with other processes that work on it.

    Raises:
        StopRun: ``tuning_failed`` with the first error when no trial ends well, ``study_unreadable`` when the storage
            cannot be used, ``unknown_name`` for an unknown objective.
    """
    find_objective(search.objective)
    where = _place(head, folds, search)
    with threadpool_limits(limits=1), studies.quiet(), ThreadPoolExecutor(_threads(search)) as pool:
        study = studies.open_study(where, search.seed, head.space)
        candidates: list[Candidate] = [Candidate({}, None)]
        if head.space:
            screened = _problem(head, folds, search, n_classes, pool, exact=False)
            _run_trials(study, where, head, screened, search, pool)
            with readable(where):
                found = studies.best_params(study, _n_finalists(search.trials))
                error = studies.first_error(study)
            if not found:
                raise _failed(head, search, error)
            candidates = [Candidate(params, last_position(head.dial, value)) for params, value in found]
        problem = _problem(head, folds, search, n_classes, pool, exact=True)
        try:
            best, paths = score(problem, candidates, pool, prune=search.prune)
        except FAILURES as failure:
            raise _failed(head, search, str(failure)) from failure
        if not head.space:
            with readable(where):
                studies.add_finished(study, head.dial.name, _by_value(problem, paths))
        with readable(where):
            counts = studies.count(study)
    return Tuned(best.params, best.log_loss, best.held_out, _record(search, folds, counts), best.loss, counts)


def _threads(search: Search) -> int:
    """How many threads work."""
    if search.workers:
        return search.workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _n_finalists(trials: int) -> int:
    """How many of the best trials are scored exactly."""
    return min(_FINALISTS, 1 + trials // _TRIALS_A_FINALIST)


def _failed(head: Head, search: Search, error: str) -> StopRun:
    """That nothing could be fitted."""
    message = f"none of {search.trials} trials of the head '{head.name}' ended well: {error}"
    return StopRun("tuning_failed", message)


def _problem(
    head: Head,
    folds: Sequence[InnerFold],
    search: Search,
    n_classes: int,
    pool: ThreadPoolExecutor,
    *,
    exact: bool,
) -> Problem:
    """Prepare the folds."""

    def prepare(fold: InnerFold) -> Fold:
        part = head.prepare(fold.train, fold.y, n_classes, weights=fold.weights, exact=exact)
        return Fold(part, fold.test, fold.y_test, fold.rows)

    return Problem(tuple(pool.map(prepare, folds)), head.dial, find_objective(search.objective), search.seed)


def _run_trials(
    study: optuna.Study, where: Place, head: Head, problem: Problem, search: Search, pool: ThreadPoolExecutor
) -> None:
    """Try parameter sets until the study has as many as were asked for."""
    while True:
        with readable(where):
            studies.reap(study, len(head.space))
            counts = studies.count(study)
            taken = counts.done + counts.running
            batch = studies.ask(study, head.space, min(BATCH - taken % BATCH, max(search.trials - taken, 0)))
            first = batch[0].place - batch[0].place % BATCH if batch else 0
            best = studies.best_before(study, first) if search.prune else {}
        if not batch and not counts.running:
            return
        if not batch:
            studies.wait()
        work = partial(_try, problem, best)
        for asked, result in zip(batch, list(pool.map(work, batch)), strict=True):
            with readable(where):
                studies.tell(study, asked, result, problem.dial.values[result.position])


def _try(problem: Problem, best: dict[int, float], asked: Asked) -> Result:
    """Score a trial, beginning with a fold of its own."""
    return try_params(problem, asked.params, turn=asked.place % len(problem.folds), best=best)


def _by_value(problem: Problem, paths: Sequence[Path]) -> dict[int | float, list[float]]:
    """Losses of the folds at each value of the dial that all of them reached."""
    at_value = zip(problem.dial.values, zip(*(path.losses for path in paths), strict=False), strict=False)
    return {value: list(losses) for value, losses in at_value if np.isfinite(losses).all()}


def _place(head: Head, folds: Sequence[InnerFold], search: Search) -> Place:
    """Storage and name of the study: equal for equal questions, whatever the number of trials and threads."""
    if not search.storage:
        return Place("", "")
    question = {
        "triher": __version__,
        "head": head.name,
        "space": {name: asdict(found) for name, found in head.space.items()},
        "dial": asdict(head.dial),
        "objective": search.objective,
        "seed": search.seed,
        "prune": search.prune,
        "folds": [_digest(fold) for fold in folds],
    }
    return Place(search.storage, f"{search.study or head.name}-{sha256_of_json(question)[:12]}")


def _digest(fold: InnerFold) -> str:
    """A hash of all that a fold holds."""
    found = hashlib.sha256()
    arrays = (fold.train.rows, fold.train.indptr, fold.y, fold.weights, fold.test.rows, fold.test.indptr)
    for array in (*arrays, fold.y_test, fold.rows):
        kept = np.ascontiguousarray([] if array is None else array)
        found.update(f"{kept.shape}{kept.dtype}{fold.train.blocks}".encode())
        found.update(kept.tobytes())
    return found.hexdigest()


def _record(search: Search, folds: Sequence[InnerFold], counts: Counts) -> dict[str, Any]:
    """What decided the search, beside the seed, and how its trials ended."""
    return {
        "sampler": "TPESampler, seeded for each trial",
        "n_startup_trials": studies.START_UP_TRIALS,
        "batch": BATCH,
        "pruner": f"signed-rank test between folds, p < {P_PRUNED}" if search.prune else "none",
        "other_settings": f"defaults of optuna {optuna.__version__}",
        "objective": f"mean {search.objective} of the inner folds",
        "trials": search.trials,
        "complete": counts.complete,
        "pruned": counts.pruned,
        "failed": counts.failed,
        "inner_folds": len(folds),
    }
