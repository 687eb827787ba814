"""The bootstrap against scikit-learn's weighted AUC, and whether its intervals cover the truth."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, matthews_corrcoef, roc_auc_score

from analysis.discrimination.auc_kernel import among, areas, concordance, rank
from analysis.discrimination.confusion import balanced_accuracy, confusion_matrix, matthews
from analysis.discrimination.hand_till import hand_till
from analysis.discrimination.partial_auc import partial_auc, weighted_partial_auc
from analysis.inference.bootstrap import (
    macro_auc_lead,
    macro_micro_auc,
    macro_rankings,
    mean_area,
    mean_losses,
    multiplicities,
    percentile,
    resampled,
)
from analysis.inference.compiled import compiled
from analysis.inference.strata import class_and_cohort

CLASSES = ("zero", "low", "positive")
DRAWS = {"resamples": 300, "seed": 0}


def patients(n=90, seed=0, strength=1.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    logits = strength * np.eye(3)[y] + rng.normal(size=(n, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y, probabilities


def test_every_resample_keeps_the_classes():
    y, _ = patients(40)
    counts = multiplicities(y, 50, np.random.default_rng(1))
    for label in range(3):
        assert (counts[:, y == label].sum(axis=1) == (y == label).sum()).all()


def test_weighted_auc_agrees_with_scikit_learn():
    y, probabilities = patients(30)
    score = probabilities[:, 0].round(1)
    weights = multiplicities(y, 20, np.random.default_rng(2))
    found = areas(rank(y == 0, score), weights)
    expected = [roc_auc_score(y == 0, score, sample_weight=row) for row in weights]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 40), st.sampled_from([0, 1, 3]))
def test_the_walk_agrees_with_scikit_learn_in_every_resample(seed, n, digits):
    rng = np.random.default_rng(seed)
    condition = np.arange(n) < max(1, n // 3)
    score = rng.random(n).round(digits)
    weights = multiplicities(condition.astype(int), 6, rng)
    found = areas(rank(condition, score), weights)
    expected = [roc_auc_score(np.repeat(condition, row), np.repeat(score, row)) for row in weights]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)
    plain = np.ascontiguousarray(weights.astype(np.int64))
    assert (areas(rank(condition, score), plain) == found).all()
    concordant, pairs = concordance(rank(condition, score), weights)
    assert (concordant * 2 == np.round(concordant * 2)).all()
    assert (pairs == condition.sum() * (n - condition.sum())).all()


def test_compiling_needs_no_folder_to_keep_the_code_in():
    found = {}
    exec("def add(values):\n    values[0] += 1", found)  # noqa: S102 - code without a file cannot be kept
    values = np.zeros(1)
    compiled(found["add"])(values)
    assert values[0] == 1


def test_a_ranking_of_some_patients_reads_their_own_multiplicities():
    y, probabilities = patients(60)
    weights = multiplicities(y, 10, np.random.default_rng(3))
    members = np.flatnonzero(y > 0)
    found = areas(among(rank(y[members] == 2, probabilities[members, 2]), members), weights)
    score = probabilities[members, 2]
    expected = [roc_auc_score(y[members] == 2, score, sample_weight=row[members]) for row in weights]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_macro_in_resamples_agrees_with_scikit_learn():
    y, probabilities = patients(60)
    weights = multiplicities(y, 10, np.random.default_rng(4))
    rows = [np.repeat(np.arange(60), row) for row in weights]
    expected = [roc_auc_score(y[row], probabilities[row], multi_class="ovr") for row in rows]
    assert mean_area(macro_rankings(y, probabilities), weights).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.fault("E2", "E4", "E5")
def test_hand_and_till_agree_with_scikit_learn_and_say_when_they_cannot():
    y, probabilities = patients()
    found = hand_till(y, probabilities, CLASSES, **DRAWS)
    assert found.value == pytest.approx(roc_auc_score(y, probabilities, multi_class="ovo"), abs=1e-12)
    assert found.low < found.value < found.high
    missing = hand_till(np.where(y == 2, 1, y), probabilities, CLASSES, **DRAWS)
    assert str(missing) == "not estimable (0 HER2-positive)"
    perfect = hand_till(y, np.eye(3)[y], CLASSES, **DRAWS)
    assert (perfect.value, perfect.low, perfect.high) == (1, pytest.approx(0.025 ** (1 / 30)), 1)
    y[np.flatnonzero(y == 2)[3:]] = 0
    assert hand_till(y, probabilities, CLASSES, **DRAWS).reason == "only 3 HER2-positive"


@pytest.mark.golden("partial_auc_spec90_mcclish")
def test_partial_auc_equals_proc(golden, golden_folder):
    frame = pd.read_csv(golden_folder / "asah.csv")
    found = partial_auc(frame["poor"].to_numpy() == 1, frame["s100b"].to_numpy(float), names=("a", "b"), **DRAWS)
    assert found.value == pytest.approx(golden("partial_auc_spec90_mcclish"), rel=1e-9)
    assert found.low < found.value < found.high


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 60), st.sampled_from([0, 1, 3]))
def test_partial_auc_agrees_with_scikit_learn_in_every_resample(seed, n, digits):
    rng = np.random.default_rng(seed)
    condition = np.arange(n) < max(1, n // 3)
    score = rng.random(n).round(digits)
    weights = multiplicities(condition.astype(int), 5, rng)
    found = weighted_partial_auc(rank(condition, score), weights)
    rows = [np.repeat(np.arange(n), row) for row in weights]
    expected = [roc_auc_score(condition[row], score[row], max_fpr=0.1) for row in rows]
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.fault("E2", "E4", "E5")
def test_partial_auc_says_what_it_cannot_tell():
    sick, score = np.arange(30) < 10, -np.arange(30.0)
    perfect = partial_auc(sick, score, names=("sick", "well"), **DRAWS)
    assert (perfect.value, perfect.reason) == (1, "the scores separate perfectly")
    assert math.isnan(perfect.low)
    assert partial_auc(sick[:10], score[:10], names=("sick", "well"), **DRAWS).reason == "0 well"
    assert partial_auc(sick[6:], score[6:], names=("sick", "well"), **DRAWS).reason == "only 4 sick"


def test_cohorts_keep_their_classes_unless_they_have_few():
    y = np.tile([0, 1, 2], 40)
    cohort = np.repeat([0, 1], [60, 60])  # 20 of each class in each
    counts = multiplicities(class_and_cohort(y, cohort), 20, np.random.default_rng(0))
    for cell in range(6):
        here = (y == cell % 3) & (cohort == cell // 3)
        assert (counts[:, here].sum(axis=1) == here.sum()).all()
    cohort[:] = 0
    cohort[[0, 3, 1]] = 1  # two patients of class 0, one of class 1, none of class 2
    assert len(np.unique(class_and_cohort(y, cohort))) == 3


def pooled_cohorts(rng, scale=1):
    """Three cohorts that differ in level and in how well the score tells."""
    sizes = scale * np.array([[30, 30, 40], [20, 25, 30]])
    y = np.repeat([0, 1], sizes.sum(axis=1))
    cohort = np.concatenate([np.repeat([0, 1, 2], row) for row in sizes])
    level, shift = np.array([0, 1, -1])[cohort], np.array([0.3, 1.0, 1.8])[cohort]
    return y, cohort, rng.normal(size=len(y)) + level + y * shift


def test_intervals_of_pooled_cohorts_cover_the_truth_and_are_shorter_than_those_by_class_alone():
    y, _, score = pooled_cohorts(np.random.default_rng(1), scale=1000)
    truth = areas(rank(y == 1, score), np.ones((1, len(y)), np.int32))[0]
    rng, covered, widths = np.random.default_rng(2), [], []
    for _ in range(400):
        y, cohort, score = pooled_cohorts(rng)
        ranking = rank(y == 1, score)
        draws = [areas(ranking, multiplicities(strata, 200, rng)) for strata in (class_and_cohort(y, cohort), y)]
        low, high = np.quantile(draws, [0.025, 0.975], axis=1)
        covered.append(low[0] <= truth <= high[0])
        widths.append(high - low)
    assert 0.90 <= np.mean(covered) <= 0.97
    by_cohort, by_class = np.mean(widths, axis=0)
    assert by_cohort < 0.9 * by_class


def test_resamples_without_a_value_are_counted():
    found = percentile(0.5, np.array([0.4, np.nan, 0.6, 0.5]), n=9, method="AUC")
    assert found.method == "AUC, 1 of them without a value and left out"
    assert 0.4 < found.low < found.high < 0.6
    assert math.isnan(percentile(0.5, np.full(4, np.nan), n=9, method="AUC").low)


def test_matthews_correlation_agrees_with_scikit_learn():
    y, probabilities = patients()
    counts = confusion_matrix(y, probabilities)
    found = matthews(counts, CLASSES, **DRAWS)
    assert found.value == pytest.approx(matthews_corrcoef(y, probabilities.argmax(axis=1)), abs=1e-12)
    same = matthews(confusion_matrix(y, np.tile([0.5, 0.3, 0.2], (90, 1))), CLASSES, **DRAWS)
    assert str(same) == "not estimable (one class is predicted for all)"
    assert matthews(counts[:, :] * [[1], [1], [0]], CLASSES, **DRAWS).reason == "0 HER2-positive"


def test_macro_and_micro_agree_with_scikit_learn():
    y, probabilities = patients()
    macro, micro = macro_micro_auc(y, probabilities, CLASSES, **DRAWS)
    expected = roc_auc_score(y, probabilities, multi_class="ovr", average="macro")
    assert macro.value == pytest.approx(expected, abs=1e-12)
    assert micro.value == pytest.approx(roc_auc_score(np.eye(3)[y].ravel(), probabilities.ravel()), abs=1e-12)
    assert macro.low < macro.value < macro.high
    assert (macro, micro) == macro_micro_auc(y, probabilities, CLASSES, **DRAWS)


@pytest.mark.golden("ovr_a", "hand_till_a")
def test_means_of_aucs_equal_proc(golden, golden_folder):
    frame = pd.read_csv(golden_folder / "threeclass.csv")
    y, probabilities = frame["y"].to_numpy(), frame[["a0", "a1", "a2"]].to_numpy(float)
    macro, _ = macro_micro_auc(y, probabilities, CLASSES, **DRAWS)
    assert macro.value == pytest.approx(golden("ovr_a")["macro"], rel=1e-9)
    assert hand_till(y, probabilities, CLASSES, **DRAWS).value == pytest.approx(golden("hand_till_a"), rel=1e-9)


def test_portions_do_not_change_the_number_of_resamples(monkeypatch):
    y, _ = patients(30)
    monkeypatch.setattr("analysis.inference.bootstrap._CELLS", 30 * 7)
    draws = resampled(y, lambda weights: weights[:, :1].astype(float), resamples=20, seed=0)
    assert draws.shape == (20, 1)


@pytest.mark.fault("E2")
def test_a_missing_class_is_never_averaged_in():
    y, probabilities = patients(30)
    y = np.where(y == 2, 1, y)
    macro, micro = macro_micro_auc(y, probabilities, CLASSES, **DRAWS)
    assert macro.reason == micro.reason == "0 HER2-positive"
    assert math.isnan(macro.value)


@pytest.mark.fault("E5")
def test_a_rare_class_gives_a_value_without_interval():
    y, probabilities = patients(30)
    y[np.flatnonzero(y == 2)[3:]] = 0
    macro, _ = macro_micro_auc(y, probabilities, CLASSES, **DRAWS)
    assert 0 < macro.value < 1
    assert macro.reason == "only 3 HER2-positive"


@pytest.mark.fault("E4")
def test_perfect_separation_has_limits_of_pairs_that_share_nobody():
    y, _ = patients(30)
    macro, micro = macro_micro_auc(y, np.eye(3)[y] * 0.9 + 0.1 / 3, CLASSES, **DRAWS)
    assert (macro.value, macro.low, macro.high) == (1, pytest.approx(0.025 ** (1 / 10)), 1)
    assert macro.reason == "the scores separate perfectly"
    assert micro.value == 1
    assert math.isnan(micro.low)


@pytest.mark.fault("E3")
def test_equal_scores_have_no_interval():
    y, _ = patients(30)
    macro, _ = macro_micro_auc(y, np.full((30, 3), 1 / 3), CLASSES, **DRAWS)
    assert macro.value == 0.5
    assert math.isnan(macro.low)
    assert macro.reason == "all scores are equal"


def test_a_model_is_not_ahead_of_itself():
    y, probabilities = patients()
    _, ahead = macro_auc_lead(y, probabilities, probabilities, CLASSES, **DRAWS)
    assert ahead.value == 0
    better = 0.5 * probabilities + 0.5 * np.eye(3)[y]
    best, ahead = macro_auc_lead(y, probabilities, better, CLASSES, **DRAWS)
    assert best.value == 1
    assert ahead.high < 0


def test_balanced_accuracy_agrees_with_scikit_learn_and_with_resampling():
    y, probabilities = patients()
    found = balanced_accuracy(confusion_matrix(y, probabilities), CLASSES, resamples=4000, seed=0)
    hit = (probabilities.argmax(axis=1) == y).astype(float)
    expected = balanced_accuracy_score(y, probabilities.argmax(axis=1))
    assert found.value == pytest.approx(expected, abs=1e-12)
    [resampled_hits] = mean_losses(y, hit[:, None], ("equal classes",), resamples=4000, seed=1)
    assert (found.low, found.high) == pytest.approx((resampled_hits.low, resampled_hits.high), abs=0.02)


def test_intervals_cover_the_truth():
    truth = macro_micro_auc(*patients(6000, seed=99), CLASSES, resamples=100, seed=0)[0].value
    found = [macro_micro_auc(*patients(90, seed=s), CLASSES, resamples=200, seed=s)[0] for s in range(150)]
    covered = np.mean([e.low <= truth <= e.high for e in found])
    assert 0.88 <= covered <= 0.99
