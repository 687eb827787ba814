import dataclasses
import datetime as dt
import json
import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial
from scipy.stats import wilcoxon
from sklearn.metrics import roc_auc_score

from classify import studies, study_storage
from classify.design import one_row_each
from classify.finalists import Candidate, score
from classify.heads import Dial, Head, Range, find_head
from classify.objectives import OBJECTIVES, find_objective, macro_auc
from classify.trials import Fold, Problem, _signed_rank_p, is_hopeless, settle, try_params, walk
from classify.trials import Path as Walked
from classify.tuning import InnerFold, Search, tune
from triher.errors import StopRun
from triher.folds import stratified_folds
from triher.owners import this_process


def data(n=60, p=30, effect=1.0, seed=0, k=3):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % k)
    X = rng.normal(size=(n, p)).astype(np.float32)
    X[:, 0] += effect * y
    return X, y


def inner_folds(X, y, folds=5):
    cohort = np.array(["A"] * len(y), dtype=object)
    splits = stratified_folds(y, cohort, np.arange(len(y)), folds=folds, n_classes=int(y.max()) + 1, seed=0)
    return [
        InnerFold(one_row_each(X[s.train]), y[s.train], None, one_row_each(X[s.test]), y[s.test], s.test)
        for s in splits
    ]


@dataclass(frozen=True)
class ToyPart:
    """Answers from a formula: best at a = 0.3 and b = 0.02, and at the dial's third value."""

    shift: float

    def along(self, params, seed, test):
        for step in (3, 1, 0, 1, 2, 3):
            far = abs(params["a"] - 0.3) + abs(np.log10(params["b"] / 0.02)) + 0.1 * step
            margin = 2.0 - far + 0.2 * np.sin(50 * params["a"] + self.shift)
            yield softened(test.vectors[:, 0], margin)

    def fit(self, params, seed):
        raise AssertionError("tuning fits along the dial only")


def softened(labels, margin):
    """Probabilities of patients whose first feature is their class."""
    logits = np.eye(3)[labels.astype(int)] * margin
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True)


def toy_prepare(design, y, n_classes, *, weights, exact):
    return ToyPart(float(design.vectors[:, 1].sum()))


TOY = Head(
    "toy",
    {"a": Range(0.0, 1.0, 0.9), "b": Range(0.001, 1.0, 0.5, log=True)},
    Dial("step", (10, 20, 30, 40, 50, 60), patience=2),
    toy_prepare,
    lambda *_, **__: None,
    "toy.json",
)


def toy_folds(n=60):
    X, y = data(n)
    X[:, 0] = y
    return inner_folds(X, y)


def table(study_name=None, storage="", study=None):
    """What a study holds, without times and owners."""
    if study is None:
        study = optuna.load_study(study_name=study_name, storage=study_storage.open_storage(storage))
    return [
        (t.state.name, t.params, t.value, t.intermediate_values, t.user_attrs.get("dial"))
        for t in study.get_trials(deepcopy=False)
        if t.state in (TrialState.COMPLETE, TrialState.PRUNED)
    ]


def only_study(storage):
    backend = study_storage.open_storage(str(storage))
    (name,) = optuna.get_all_study_names(backend)
    return optuna.load_study(study_name=name, storage=backend)


# ---- objectives


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_macro_auc_is_that_of_scikit_learn_also_with_ties(k):
    rng = np.random.default_rng(0)
    for _ in range(5):
        y = np.concatenate([np.arange(k), rng.integers(0, k, 30)])
        p = np.round(rng.dirichlet(np.ones(k), len(y)), 1) + 1e-9
        p /= p.sum(axis=1, keepdims=True)
        expected = np.mean([roc_auc_score(y == c, p[:, c]) for c in range(k)])
        assert macro_auc(p, y) == pytest.approx(expected, abs=1e-12)
        assert OBJECTIVES["auc"](p, y) == pytest.approx(1 - expected, abs=1e-12)


def test_the_macro_auc_leaves_out_classes_that_cannot_be_ranked():
    p = np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    assert macro_auc(p, np.array([0, 1, 0])) == 1.0
    assert np.isnan(macro_auc(p, np.array([1, 1, 1])))
    assert np.isnan(macro_auc(np.full((3, 3), np.nan), np.array([0, 1, 2])))


def test_an_unknown_objective_names_the_known_ones():
    with pytest.raises(StopRun, match="did you mean 'auc'") as caught:
        tune(TOY, toy_folds(), n_classes=3, search=Search(1, 0, "aucc"))
    assert caught.value.code == "unknown_name"
    assert find_objective("log-loss") is OBJECTIVES["log-loss"]


# ---- one trial


def one_fold(losses, y=(0, 1)):
    """A fold whose log losses along the dial are given."""

    @dataclass(frozen=True)
    class Given:
        taken: list = dataclasses.field(default_factory=list)

        def along(self, params, seed, test):
            for loss in losses:
                self.taken.append(loss)
                right = np.exp(-loss)
                yield np.array([[right, 1 - right], [1 - right, right]])

        def fit(self, params, seed):
            raise AssertionError

    return Fold(Given(), one_row_each(np.zeros((2, 1), np.float32)), np.array(y), np.arange(2))


def problem(*folds, patience=2, n_values=6):
    placed = tuple(dataclasses.replace(fold, rows=fold.rows + 2 * i) for i, fold in enumerate(folds))
    return Problem(placed, Dial("d", tuple(range(n_values)), patience), OBJECTIVES["log-loss"], 0)


def test_a_path_stops_after_its_patience_and_carries_its_last_loss_forward():
    first, second = one_fold([0.9, 0.5, 0.6, 0.7, 0.1, 0.1]), one_fold([0.9, 0.8, 0.7, 0.6, 0.5, 0.45])
    found = try_params(problem(first, second), {}, turn=0, best={})
    assert first.part.taken == [0.9, 0.5, 0.6, 0.7]
    assert found.by_fold == pytest.approx({0: 0.5, 1: 0.45})
    # 0.9, 0.65, 0.65, 0.65, (0.7 + 0.5) / 2, (0.7 + 0.45) / 2
    assert (found.loss, found.position) == (pytest.approx(0.575), 5)


def test_the_value_is_common_to_the_folds_and_its_predictions_are_real():
    first, second = one_fold([0.9, 0.5, 0.6, 0.7, 0.8, 0.85]), one_fold([0.9, 0.8, 0.7, 0.6, 0.2, 0.3])
    asked = problem(first, second)
    paths = [walk(asked, {}, i) for i in range(2)]
    assert len(paths[0].losses) == 4
    found = settle(asked, {"a": 1}, paths)
    assert found.params == {"a": 1, "d": 4}
    assert found.loss == pytest.approx((0.8 + 0.2) / 2)  # not the 0.7 that the stopped path carried forward
    assert found.log_loss == pytest.approx(found.loss)
    expected = [np.exp(-0.8), 1 - np.exp(-0.8), np.exp(-0.2), 1 - np.exp(-0.2)]
    np.testing.assert_allclose(found.held_out[:, 0], expected)


def test_a_trial_begins_with_its_own_fold_and_ends_when_it_is_hopeless():
    folds = [one_fold([0.6, 0.7, 0.8]) for _ in range(5)]
    found = try_params(problem(*folds), {}, turn=3, best=dict.fromkeys(range(5), 0.5))
    assert list(found.by_fold) == [3, 4]
    assert found.loss is None
    assert not found.error
    better = try_params(problem(*folds), {}, turn=3, best=dict.fromkeys(range(5), 0.7))
    assert list(better.by_fold) == [3, 4, 0, 1, 2]
    assert better.loss == pytest.approx(0.6)


def test_the_pruning_decision_is_that_of_optuna():
    rng = np.random.default_rng(0)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=0.3)
    decisions = []
    for _ in range(120):
        n_folds = int(rng.integers(2, 7))
        best = dict(enumerate(np.round(rng.normal(1, 0.2, n_folds), 1 if rng.random() < 0.5 else 6).tolist()))
        order = rng.permutation(n_folds)[: rng.integers(1, n_folds + 1)].tolist()
        losses = {i: round(best[i] + float(rng.choice([0.0, 0.1, 0.1, -0.1, 0.05 * rng.normal()])), 6) for i in order}
        study = optuna.create_study()
        study.add_trial(create_trial(value=sum(best.values()) / n_folds, intermediate_values=best))
        running = create_trial(state=TrialState.RUNNING, intermediate_values=losses)
        if not any(losses[i] != best[i] for i in losses):
            continue
        decisions.append((is_hopeless(losses, best), pruner.prune(study, running)))
    assert all(ours == theirs for ours, theirs in decisions)
    assert 10 < sum(ours for ours, _ in decisions) < len(decisions) - 10


@pytest.mark.parametrize("n", [2, 5, 8, 15])
def test_the_signed_rank_test_is_that_of_scipy(n):
    rng = np.random.default_rng(n)
    for decimals in (0, 6):
        differences = np.round(rng.normal(0.3, 1, n), decimals)
        expected = wilcoxon(differences, alternative="greater", zero_method="zsplit").pvalue
        assert _signed_rank_p(differences) == pytest.approx(expected, abs=1e-12)


def test_nothing_is_hopeless_without_a_best_trial_or_with_one_fold_or_without_numbers():
    assert not is_hopeless({0: 9.0, 1: 9.0, 2: 9.0}, {})
    assert not is_hopeless({0: 9.0}, {0: 1.0, 1: 1.0})
    assert not is_hopeless({0: 1.0, 1: 1.0}, {0: 1.0, 1: 1.0})
    assert not is_hopeless({0: np.inf, 1: 9.0}, {0: 1.0, 1: 1.0})


# ---- finalists


def finals(losses_by_candidate, last=None, prune=True, workers=1):
    """Score candidates whose losses along the dial in each of five folds are given; also how many were predicted."""
    taken = []

    @dataclass(frozen=True)
    class Given:
        def along(self, params, seed, test):
            for loss in losses_by_candidate[params["a"]]:
                taken.append(params["a"])
                right = np.exp(-loss)
                yield np.array([[right, 1 - right], [1 - right, right]])

        def fit(self, params, seed):
            raise AssertionError

    folds = [dataclasses.replace(one_fold([]), part=Given()) for _ in range(5)]
    candidates = [Candidate({"a": a}, last) for a in range(len(losses_by_candidate))]
    with ThreadPoolExecutor(workers) as pool:
        settled, _ = score(problem(*folds), candidates, pool, prune=prune)
    return settled, [taken.count(a) for a in range(len(candidates))]


def test_a_finalist_that_is_worse_than_the_first_is_given_up_and_a_better_one_wins():
    losses = [[0.6, 0.5, 0.7], [0.8, 0.7, 0.9], [0.5, 0.4, 0.6], [0.9, 0.8, 0.85]]
    settled, predicted = finals(losses)
    assert settled.params == {"a": 2, "d": 1}
    assert settled.loss == pytest.approx(0.4)
    assert predicted == [15, 6, 15, 6]  # the signed-rank test of two folds ends what is worse in both
    whole, all_of_them = finals(losses, prune=False, workers=3)
    assert all_of_them == [15] * 4
    assert whole.params == settled.params


def test_a_finalist_goes_no_further_than_its_last_position():
    settled, predicted = finals([[0.9, 0.8, 0.7, 0.6, 0.5]], last=2)
    assert (settled.params["d"], settled.loss) == (2, pytest.approx(0.7))
    assert predicted == [15]


def test_a_first_finalist_without_a_number_leaves_the_others_alone():
    settled, predicted = finals([[np.nan, np.nan], [0.8, 0.7]])
    assert settled.params["a"] == 1
    assert predicted[1] == 10
    with pytest.raises(FloatingPointError, match="not a number"):
        finals([[np.nan], [np.nan]])


# ---- the search


def test_tuning_starts_at_the_starting_point_and_improves_on_it():
    start = tune(TOY, toy_folds(), n_classes=3, search=Search(1, 0))
    assert start.params == {"a": 0.9, "b": 0.5, "step": 30}
    more = tune(TOY, toy_folds(), n_classes=3, search=Search(40, 0))
    assert more.loss < start.loss
    assert more.params["b"] == pytest.approx(0.02, rel=2)
    assert more.counts.done == 40
    assert more.counts.pruned > 5
    assert more.log_loss == more.loss
    assert more.search["complete"] == more.counts.complete
    np.testing.assert_allclose(more.held_out.sum(axis=1), 1)


def test_the_objective_may_be_the_auc():
    X, y = data(90, effect=0.7)
    found = tune(find_head("xgboost"), inner_folds(X, y, 3), n_classes=3, search=Search(4, 0, "auc"))
    by_fold = [1 - macro_auc(found.held_out[f.rows], f.y_test) for f in inner_folds(X, y, 3)]
    assert found.loss == pytest.approx(np.mean(by_fold), abs=1e-12)
    assert found.log_loss != found.loss


def test_pruning_keeps_the_winner_and_can_be_turned_off():
    pruned, full = (tune(TOY, toy_folds(), n_classes=3, search=Search(20, 0, prune=prune)) for prune in (True, False))
    assert pruned.counts.pruned > 0
    assert full.counts.complete == 20
    assert pruned.loss <= full.loss + 0.02
    assert full.search["pruner"] == "none"


@pytest.mark.fault("E15")
@pytest.mark.parametrize("head", ["toy", "xgboost"])
def test_the_same_seed_gives_the_same_study_on_any_number_of_threads(head, tmp_path):
    chosen = TOY if head == "toy" else find_head("xgboost")
    folds = toy_folds() if head == "toy" else inner_folds(*data(45, 6), 3)
    tables, results = [], []
    for workers in (1, 2, 8) if head == "toy" else (1, 3, 2):
        path = tmp_path / f"{workers}.log"
        search = Search(14 if head == "toy" else 5, 5, workers=workers, storage=str(path))
        results.append(tune(chosen, folds, n_classes=3, search=search))
        tables.append(json.dumps(table(study=only_study(path))))
    assert tables[0] == tables[1] == tables[2]
    assert results[0].params == results[1].params == results[2].params
    assert results[0].held_out.tobytes() == results[1].held_out.tobytes() == results[2].held_out.tobytes()
    other = tune(chosen, folds, n_classes=3, search=Search(5, 6))
    assert other.loss != results[0].loss or head == "toy"


def test_two_threads_are_never_on_one_fold():
    X, y = data()
    busy, worst = {}, []

    @dataclass(frozen=True)
    class Watched:
        key: int

        def along(self, params, seed, test):
            busy[self.key] = busy.get(self.key, 0) + 1
            worst.append(busy[self.key])
            time.sleep(0.002)
            yield softened(np.zeros(len(test.vectors)), params["a"])
            busy[self.key] -= 1

        def fit(self, params, seed):
            raise AssertionError

    keys = iter(range(100))
    head = dataclasses.replace(
        TOY, prepare=lambda *_, **__: Watched(next(keys)), dial=Dial("step", (1,)), space={"a": Range(0.0, 1.0, 0.5)}
    )
    tune(head, inner_folds(X, y), n_classes=3, search=Search(16, 0, workers=4))
    assert set(worst) == {1}


# ---- heads that have only their dial


def test_a_head_without_a_space_takes_its_path_and_leaves_its_values_in_the_study(tmp_path):
    head, folds = find_head("logistic"), inner_folds(*data(36, 8, effect=2.0), 3)
    search = Search(50, 0, storage=str(tmp_path / "s.log"))
    found = tune(head, folds, n_classes=3, search=search)
    study = only_study(tmp_path / "s.log")
    assert [t.params["C"] for t in study.trials] == pytest.approx(list(head.dial.values))
    assert study.best_trial.params["C"] == pytest.approx(found.params["C"])
    assert study.best_value == pytest.approx(found.loss, rel=1e-12)
    assert found.counts.complete == len(head.dial.values)
    again = tune(head, folds, n_classes=3, search=search)
    assert len(only_study(tmp_path / "s.log").trials) == len(head.dial.values)
    assert again.params == found.params


# ---- resume


class Killed(BaseException):
    """As if the process had ended."""


def dying_head(after):
    """The toy, whose process ends during the given fit."""
    left = [after]

    def prepare(*args, **kwargs):
        part = toy_prepare(*args, **kwargs)

        @dataclass(frozen=True)
        class Dying:
            def along(self, params, seed, test):
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                yield from part.along(params, seed, test)

            def fit(self, params, seed):
                raise AssertionError

        return Dying()

    return dataclasses.replace(TOY, prepare=prepare)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A study of 20 trials, and what it found."""
    path = tmp_path_factory.mktemp("whole") / "s.log"
    found = tune(TOY, toy_folds(), n_classes=3, search=Search(20, 0, storage=str(path)))
    return table(study=only_study(path)), found


@pytest.mark.fault("E12")
@pytest.mark.parametrize("after", [0, 7, 33, 52])
def test_a_killed_study_goes_on_as_if_it_had_not_been(after, undisturbed, tmp_path):
    folds = toy_folds()
    expected, whole = undisturbed
    search = Search(20, 0, storage=str(tmp_path / "cut.log"), workers=1)
    with pytest.raises(Killed):
        tune(dying_head(after), folds, n_classes=3, search=search)
    assert any(t.state == TrialState.RUNNING for t in only_study(tmp_path / "cut.log").trials)
    resumed = tune(TOY, folds, n_classes=3, search=search)
    cut = only_study(tmp_path / "cut.log")
    assert table(study=cut) == expected
    assert {t.state for t in cut.trials} == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    assert resumed.counts == whole.counts
    assert (resumed.params, resumed.loss) == (whole.params, whole.loss)
    assert resumed.held_out.tobytes() == whole.held_out.tobytes()


@pytest.mark.fault("E12")
def test_more_trials_go_on_where_fewer_ended(undisturbed, tmp_path):
    for trials in (12, 20, 20):
        tune(TOY, toy_folds(), n_classes=3, search=Search(trials, 0, storage=str(tmp_path / "parts.log")))
    parts = only_study(tmp_path / "parts.log")
    assert table(study=parts) == undisturbed[0]
    assert len(parts.trials) == 20


def test_a_study_is_never_continued_with_other_data_or_settings(tmp_path):
    path = str(tmp_path / "s.log")
    for search in (Search(2, 0, storage=path), Search(2, 1, storage=path), Search(2, 0, "auc", storage=path)):
        tune(TOY, toy_folds(), n_classes=3, search=search)
    tune(TOY, toy_folds(57), n_classes=3, search=Search(2, 0, storage=path))
    tune(TOY, toy_folds(), n_classes=3, search=Search(2, 0, storage=path, study="outer-1"))
    names = optuna.get_all_study_names(study_storage.open_storage(path))
    assert len(names) == 5
    assert [name.rpartition("-")[0] for name in sorted(names)] == ["outer-1", "toy", "toy", "toy", "toy"]


def search_in_a_process(path, out):
    """Slow enough that two processes meet."""

    def prepare(*args, **kwargs):
        part = toy_prepare(*args, **kwargs)

        @dataclass(frozen=True)
        class Slow:
            def along(self, params, seed, test):
                time.sleep(0.01)
                yield from part.along(params, seed, test)

            def fit(self, params, seed):
                raise AssertionError

        return Slow()

    head = dataclasses.replace(TOY, prepare=prepare)
    found = tune(head, toy_folds(), n_classes=3, search=Search(24, 0, storage=path, workers=1))
    Path(out).write_text(json.dumps([found.params, found.loss, found.counts.done]), encoding="utf-8")


@pytest.mark.fault("E12")
def test_two_processes_share_a_study(tmp_path):
    path = tmp_path / "s.log"
    context = multiprocessing.get_context("fork")
    outs = [tmp_path / f"{i}.json" for i in range(2)]
    workers = [context.Process(target=search_in_a_process, args=(str(path), str(out))) for out in outs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    first, second = (json.loads(out.read_text(encoding="utf-8")) for out in outs)
    assert first[:2] == second[:2]
    trials = only_study(path).trials
    finished = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert 24 <= len(finished) <= 28
    assert len({t.user_attrs["owner"]["pid"] for t in finished}) == 2
    assert len({json.dumps(t.params) for t in finished}) == len(finished)  # nobody repeats another's start-up trials


def test_trials_of_living_processes_and_of_others_are_told_apart():
    def running(owner, hours=0.0):
        attrs = {} if owner is None else {"owner": dataclasses.asdict(owner)}
        trial = create_trial(state=TrialState.RUNNING, user_attrs=attrs)
        trial.datetime_start = dt.datetime.now() - dt.timedelta(hours=hours)
        return trial

    here = this_process()
    elsewhere = dataclasses.replace(here, host="elsewhere")
    assert studies._is_abandoned(running(here))  # an interrupted search of this process
    assert studies._is_abandoned(running(dataclasses.replace(here, pid=2**22 + 1)))
    parent = dataclasses.replace(here, pid=1, began=0)
    assert not studies._is_abandoned(running(parent))
    assert not studies._is_abandoned(running(elsewhere))
    assert studies._is_abandoned(running(elsewhere, hours=2))
    assert not studies._is_abandoned(running(None))
    assert studies._is_abandoned(running(None, hours=0.1))


# ---- failures


def failing(along):
    @dataclass(frozen=True)
    class Part:
        def along(self, params, seed, test):
            yield along(params, test)

        def fit(self, params, seed):
            raise AssertionError

    return dataclasses.replace(TOY, prepare=lambda *_, **__: Part(), dial=Dial("step", (1,)))


def raises(*_):
    raise np.linalg.LinAlgError("singular")


@pytest.mark.fault("E13")
@pytest.mark.parametrize("space", [TOY.space, {}])
def test_when_every_trial_fails_the_first_error_is_told(space):
    before = optuna.logging.get_verbosity()
    with pytest.raises(StopRun, match=r"none of 6 trials.*'toy'.*singular") as caught:
        tune(dataclasses.replace(failing(raises), space=space), toy_folds(), n_classes=3, search=Search(6, 0))
    assert caught.value.code == "tuning_failed"
    assert optuna.logging.get_verbosity() == before


@pytest.mark.fault("E13")
@pytest.mark.parametrize("space", [TOY.space, {}])
def test_a_score_that_is_no_number_fails_the_trial(space):
    empty = failing(lambda _, test: np.full((len(test.vectors), 3), np.nan))
    with pytest.raises(StopRun, match="not a number") as caught:
        tune(dataclasses.replace(empty, space=space), toy_folds(), n_classes=3, search=Search(2, 0))
    assert caught.value.code == "tuning_failed"


@pytest.mark.fault("E13")
def test_trials_that_fail_by_themselves_count_and_do_not_win():
    def half(params, test):
        if params["a"] > 0.5 and params["a"] != TOY.space["a"].start:
            raise FloatingPointError("overflow")
        return softened(test.vectors[:, 0], params["a"])

    found = tune(failing(half), toy_folds(), n_classes=3, search=Search(16, 0))
    assert found.counts.failed > 0
    assert found.counts.done == 16
    assert found.params["a"] == 0.9


@pytest.mark.fault("E14")
def test_a_torn_last_line_is_cut_off_and_the_study_goes_on(tmp_path):
    path = tmp_path / "s.log"
    whole = tune(TOY, toy_folds(), n_classes=3, search=Search(12, 0, storage=str(tmp_path / "whole.log")))
    tune(TOY, toy_folds(), n_classes=3, search=Search(8, 0, storage=str(path)))
    with path.open("ab") as file:
        file.write(b'{"op_code":5,"worker_id":"ec8e')
    resumed = tune(TOY, toy_folds(), n_classes=3, search=Search(12, 0, storage=str(path)))
    assert (resumed.params, resumed.loss, resumed.counts) == (whole.params, whole.loss, whole.counts)


@pytest.mark.fault("E14")
def test_a_broken_line_in_the_middle_stops_the_run_and_names_the_file(tmp_path):
    path = tmp_path / "s.log"
    search = Search(8, 0, storage=str(path))
    tune(TOY, toy_folds(), n_classes=3, search=search)
    lines = path.read_bytes().splitlines(keepends=True)
    for broken in (lines[9][:20] + b"\n", b"\x00" * 30 + b"\n", b'{"op_code": 99}\n', b"[]\n"):
        path.write_bytes(b"".join([*lines[:9], broken, *lines[10:]]))
        with pytest.raises(StopRun, match=r"s\.log.*local disk") as caught:
            tune(TOY, toy_folds(), n_classes=3, search=search)
        assert caught.value.code == "study_unreadable"


@pytest.mark.fault("E14")
def test_a_lock_that_a_dead_process_left_is_broken(tmp_path, monkeypatch):
    path = tmp_path / "s.log"
    tune(TOY, toy_folds(), n_classes=3, search=Search(2, 0, storage=str(path)))
    Path(f"{path}.lock").symlink_to(path)
    monkeypatch.setattr(study_storage, "_GRACE_S", 3)
    timer = threading.Timer(20, lambda: Path(f"{path}.lock").unlink(missing_ok=True))
    timer.start()
    started = time.monotonic()
    tune(TOY, toy_folds(), n_classes=3, search=Search(4, 0, storage=str(path)))
    timer.cancel()
    assert time.monotonic() - started < 20


@pytest.mark.fault("E14")
@pytest.mark.parametrize("storage", ["study.db", "nonsense://x", "sqlite:////nowhere/at/all.db", "{tmp}/folder.log"])
def test_a_storage_that_cannot_be_used_stops_the_run(storage, tmp_path):
    (tmp_path / "folder.log").mkdir()
    with pytest.raises(StopRun) as caught:
        tune(TOY, toy_folds(), n_classes=3, search=Search(2, 0, storage=storage.format(tmp=tmp_path)))
    assert caught.value.code == "study_unreadable"


def test_a_database_keeps_a_study_too(tmp_path):
    search = Search(3, 0, storage=f"sqlite:///{tmp_path}/s.db")
    first, second = (tune(TOY, toy_folds(), n_classes=3, search=search) for _ in range(2))
    in_memory = tune(TOY, toy_folds(), n_classes=3, search=Search(3, 0))
    assert first.params == second.params == in_memory.params
    assert second.counts.done == 3


@pytest.mark.fault("E15", "E16")
def test_the_metric_depends_on_other_libraries_less_than_a_thousandth():
    # As other libraries and processors do: the features rounded otherwise in their last bit.
    X, y = data(60, 6)
    nudged = np.nextafter(X, np.float32(np.inf))
    losses = [
        tune(find_head("logistic"), inner_folds(Z, y, 3), n_classes=3, search=Search(1, 0)).loss for Z in (X, nudged)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


def test_walked_paths_hold_what_was_seen():
    path = walk(problem(one_fold([0.5, 0.4, 0.3])), {}, 0)
    assert isinstance(path, Walked)
    assert path.losses == pytest.approx([0.5, 0.4, 0.3])
    assert len(path.predictions) == 3
