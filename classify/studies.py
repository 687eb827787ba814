"""The study of a search, kept by Optuna, shared and resumed.

A trial's proposal depends on the seed, on its place in the study, and on the trials known when it was asked for. So a
study that was killed and resumed proposes what an undisturbed one does, and no process repeats another's start-up
trials (optuna#3255). The place is the trial's number without the trials of dead processes before it.

A trial that a dead process left running becomes FAIL, is not counted, and its parameters are tried anew. A trial that
failed by itself has the reason as its ``error`` and counts.

Processes that share a study get another one than a single process would, as each sees what the other has finished by
then (optuna#4412).
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from classify.heads import Params, Range
from classify.study_storage import Place, open_storage, readable
from classify.trials import NO_NUMBER, Result
from triher.owners import Owner, this_process
from triher.seeds import derived_seed

START_UP_TRIALS = 10
_OWNER, _ERROR, _DIAL = "owner", "error", "dial"
_UNOWNED = timedelta(seconds=30)  # from a trial's start to the note of its owner are milliseconds
_ELSEWHERE = timedelta(hours=1)  # nobody can see whether a process of another machine lives
_WAIT_S = 0.2


@dataclass(frozen=True)
class Asked:
    """A trial to be worked on."""

    trial: optuna.Trial
    params: Params
    place: int


@dataclass(frozen=True)
class Counts:
    """How the trials of a study ended."""

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    running: int = 0
    """Of living processes."""

    @property
    def done(self) -> int:
        """Trials that need not be tried again."""
        return self.complete + self.pruned + self.failed


class Proposals(BaseSampler):
    """The starting point first, then the proposals of TPE, each from a random state of its own."""

    def __init__(self, seed: int, start: Mapping[str, int | float]) -> None:
        """Take the search's seed and the head's starting point."""
        self._seed = seed
        self._start = dict(start)
        self._place = 0
        self._tpe = TPESampler(n_startup_trials=START_UP_TRIALS)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Seed by the trial's place."""
        self._place = place_of(trial, study.get_trials(deepcopy=False))
        self._tpe = TPESampler(seed=derived_seed(self._seed, 1, self._place), n_startup_trials=START_UP_TRIALS)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As TPE."""
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As TPE."""
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:  # noqa: ANN401 - as in the base class
        """The starting point in the first place; else as TPE."""
        if self._place == 0:
            return self._start[param_name]
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As TPE."""
        self._tpe.after_trial(study, trial, state, values)


def open_study(where: Place, seed: int, space: Mapping[str, Range]) -> optuna.Study:
    """Create the study, or find it.

    Raises:
        StopRun: ``study_unreadable`` naming the storage.
    """
    with readable(where):
        return optuna.create_study(
            storage=open_storage(where.storage),
            study_name=where.name or None,
            sampler=Proposals(seed, {name: found.start for name, found in space.items()}),
            pruner=optuna.pruners.NopPruner(),
            direction="minimize",
            load_if_exists=True,
        )


def ask(study: optuna.Study, space: Mapping[str, Range], n: int) -> list[Asked]:
    """Take trials to work on, those first that dead processes left."""
    distributions = {name: _distribution(found) for name, found in space.items()}
    owner = asdict(this_process())
    asked = []
    for _ in range(n):
        trial = study.ask(distributions)
        trial.set_user_attr(_OWNER, owner)
        known = study.get_trials(deepcopy=False)
        asked.append(Asked(trial, dict(trial.params), place_of(known[trial.number], known)))
    return asked


def tell(study: optuna.Study, asked: Asked, result: Result, dial: int | float) -> None:
    """Record how a trial ended; one that another process has given up meanwhile stays as it is."""
    try:
        _tell(study, asked.trial, result, dial)
    except optuna.exceptions.UpdateFinishedTrialError:
        return


def _tell(study: optuna.Study, trial: optuna.Trial, result: Result, dial: int | float) -> None:
    """Record how a trial ended."""
    if result.error:
        trial.set_user_attr(_ERROR, result.error)
        study.tell(trial, state=TrialState.FAIL)
        return
    for step, loss in result.by_fold.items():
        trial.report(loss, step)
    if result.loss is None:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        trial.set_user_attr(_DIAL, dial)
        study.tell(trial, result.loss)


def add_finished(study: optuna.Study, name: str, losses: Mapping[int | float, Sequence[float]]) -> None:
    """Record values of the dial of a head that has nothing else, unless they are there.

    Args:
        study: where to.
        name: of the dial.
        losses: loss of each fold at each value.
    """
    known = {trial.params.get(name) for trial in study.get_trials(deepcopy=False)}
    distribution = _of_dial(list(losses))
    for value, by_fold in losses.items():
        if value not in known:
            study.add_trial(
                optuna.trial.create_trial(
                    params={name: value},
                    distributions={name: distribution},
                    value=sum(by_fold) / len(by_fold),
                    intermediate_values=dict(enumerate(by_fold)),
                )
            )


def reap(study: optuna.Study, n_params: int) -> None:
    """End the trials whose process is dead, and put their parameters in line again.

    A trial of this very process is one that an interrupted search left.
    """
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if not _is_abandoned(trial):
            continue
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
            continue  # another process was faster, and puts it in line
        if len(trial.params) == n_params:
            study.enqueue_trial(trial.params)


def count(study: optuna.Study) -> Counts:
    """How the trials of a study ended."""
    trials = study.get_trials(deepcopy=False)
    states = [trial.state for trial in trials]
    return Counts(
        complete=states.count(TrialState.COMPLETE),
        pruned=states.count(TrialState.PRUNED),
        failed=sum(trial.state == TrialState.FAIL and _ERROR in trial.user_attrs for trial in trials),
        running=states.count(TrialState.RUNNING),
    )


def best_before(study: optuna.Study, place: int) -> dict[int, float]:
    """Losses by fold of the best trial among those before a place in the study; empty when there is none."""
    trials = study.get_trials(deepcopy=False)
    earlier = [trial for trial in trials if trial.state == TrialState.COMPLETE and place_of(trial, trials) < place]
    return dict(min(earlier, key=_rank).intermediate_values) if earlier else {}


def best_params(study: optuna.Study, n: int) -> list[tuple[Params, int | float]]:
    """Parameters of the best complete trials with the dial's value of each, the best first."""
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    distinct: list[tuple[Params, int | float]] = []
    for trial in sorted(complete, key=_rank):
        if all(trial.params != params for params, _ in distinct):
            distinct.append((dict(trial.params), trial.user_attrs[_DIAL]))
    return distinct[:n]


def first_error(study: optuna.Study) -> str:
    """Why the first trial failed that did."""
    errors = (trial.user_attrs.get(_ERROR) for trial in study.get_trials(deepcopy=False))
    return next((error for error in errors if error), NO_NUMBER)


def wait() -> None:
    """Give other processes time to finish their trials."""
    time.sleep(_WAIT_S)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's log for the block."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def place_of(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int:
    """The trial's number, not counting the trials before it that died with their process."""
    return trial.number - sum(
        other.state == TrialState.FAIL and _ERROR not in other.user_attrs for other in trials[: trial.number]
    )


def _rank(trial: FrozenTrial) -> tuple[float, int]:
    """Order by value; the earlier of equal ones first."""
    return (trial.value, trial.number)


def _is_abandoned(trial: FrozenTrial) -> bool:
    """Whether nobody works on a running trial any more, as far as that can be seen from here."""
    age = datetime.now() - (trial.datetime_start or datetime.now())
    if _OWNER not in trial.user_attrs:
        return age > _UNOWNED
    owner, here = Owner(**trial.user_attrs[_OWNER]), this_process()
    return owner == here or owner.is_dead() or (owner.place != here.place and age > _ELSEWHERE)


def _distribution(found: Range) -> BaseDistribution:
    """Where Optuna draws a parameter from."""
    if found.whole:
        return IntDistribution(int(found.low), int(found.high), log=found.log)
    return FloatDistribution(float(found.low), float(found.high), log=found.log)


def _of_dial(values: Sequence[int | float]) -> BaseDistribution:
    """A distribution that holds the values of a dial."""
    low, high = min(values), max(values)
    log = low > 0 and high >= 100 * low
    if all(isinstance(value, int) for value in values):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)
