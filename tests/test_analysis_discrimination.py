"""AUC and DeLong against pROC's numbers, scikit-learn, and the edges where nothing can be said."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score, roc_curve
from statsmodels.stats.proportion import proportion_confint

from analysis.discrimination.aucs import (
    auc,
    conditional_positive,
    low_vs_positive,
    one_vs_rest,
    roc_points,
    shortage,
    zero_vs_rest,
)
from analysis.discrimination.confusion import (
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    matthews,
    predictive_values,
    sensitivities,
    specificities,
)
from analysis.discrimination.delong import delong
from analysis.inference.intervals import clopper_pearson, pairs_agree_limit, wilson

CLASSES = ("zero", "low", "positive")
NAMES = ("HER2-positive", "others")


def three_classes(folder):
    frame = pd.read_csv(folder / "threeclass.csv")
    return frame["y"].to_numpy(), frame[["a0", "a1", "a2"]].to_numpy(float), frame["cohort"].to_numpy()


@pytest.mark.golden("auc_delong_s100b", "auc_delong_wfns")
@pytest.mark.parametrize("score", ["s100b", "wfns"])
def test_delong_equals_proc(golden, golden_folder, score):
    frame = pd.read_csv(golden_folder / "asah.csv").dropna(subset=[score])
    sick, values = frame["poor"].to_numpy() == 1, frame[score].to_numpy(float)
    expected = golden(f"auc_delong_{score}")
    assert delong(values[sick], values[~sick]) == pytest.approx((expected["auc"], expected["var"]), rel=1e-9)
    found = auc(sick, values, names=NAMES)
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected["auc"], expected["lo"], expected["hi"]), rel=1e-9
    )


@pytest.mark.golden("ovr_a")
def test_one_vs_rest_equals_proc(golden, golden_folder):
    y, probabilities, _ = three_classes(golden_folder)
    expected = golden("ovr_a")
    found = one_vs_rest(y, probabilities, CLASSES)
    assert [e.value for e in found] == pytest.approx(expected["auc"], rel=1e-9)
    assert [e.low for e in found] == pytest.approx(expected["lo"], rel=1e-9)
    assert [e.high for e in found] == pytest.approx(expected["hi"], rel=1e-9)


@pytest.mark.golden(
    "nested1_zero_vs_lowpos_a",
    "nested2_low_vs_pos_conditional_a",
    "nested1_cohort_A",
    "nested1_cohort_B",
    "nested2_low_vs_pos_raw_p2_a",
)
def test_nested_tasks_equal_proc_and_use_the_conditional_score(golden, golden_folder):
    y, probabilities, cohort = three_classes(golden_folder)
    for found, name in [
        (zero_vs_rest(y, probabilities), "nested1_zero_vs_lowpos_a"),
        (low_vs_positive(y, probabilities), "nested2_low_vs_pos_conditional_a"),
        (zero_vs_rest(y[cohort == "A"], probabilities[cohort == "A"]), "nested1_cohort_A"),
        (zero_vs_rest(y[cohort == "B"], probabilities[cohort == "B"]), "nested1_cohort_B"),
    ]:
        expected = golden(name)
        wanted = (expected["auc"], expected["lo"], expected["hi"])
        assert (found.value, found.low, found.high) == pytest.approx(wanted, rel=1e-9)
    among = y >= 1
    plain = delong(probabilities[among & (y == 2), 2], probabilities[among & (y == 1), 2])[0]
    assert plain == pytest.approx(golden("nested2_low_vs_pos_raw_p2_a"), rel=1e-9)
    assert plain != pytest.approx(low_vs_positive(y, probabilities).value, abs=0.01)


@pytest.mark.golden("confusion_a")
def test_confusion_equals_the_reference(golden, golden_folder):
    y, probabilities, _ = three_classes(golden_folder)
    expected = golden("confusion_a")
    counts = confusion_matrix(y, probabilities)
    assert counts.tolist() == expected["matrix"]
    assert accuracy(counts).value == pytest.approx(expected["accuracy"], rel=1e-9)
    assert [e.value for e in sensitivities(counts, CLASSES)] == pytest.approx(expected["sensitivity"], rel=1e-9)
    assert [e.value for e in specificities(counts, CLASSES)] == pytest.approx(expected["specificity"], rel=1e-9)
    predictive = [e.value for e in predictive_values(counts, CLASSES)]
    assert predictive == pytest.approx(expected["ppv"], rel=1e-9)
    f1 = [2 * p * s / (p + s) for p, s in zip(predictive, expected["sensitivity"], strict=True)]
    assert f1 == pytest.approx(expected["f1"], rel=1e-9)
    draws = {"resamples": 500, "seed": 0}
    balanced = balanced_accuracy(counts, CLASSES, **draws)
    assert balanced.value == pytest.approx(expected["balanced_accuracy"], rel=1e-9)
    correlation = matthews(counts, CLASSES, **draws)
    assert correlation.value == pytest.approx(expected["mcc"], rel=1e-9)
    assert correlation.low < correlation.value < correlation.high


@pytest.mark.golden("proportion_ci_87_101")
def test_limits_of_a_proportion_equal_the_reference_and_statsmodels(golden):
    found = wilson(87, 101, of_what="patients")
    expected = golden("proportion_ci_87_101")
    assert [found.low, found.high] == pytest.approx(expected["wilson"], rel=1e-9)
    assert clopper_pearson(87, 101) == pytest.approx(tuple(expected["clopper_pearson"]), rel=1e-9)
    for hits, n in [(87, 101), (0, 7), (7, 7), (1, 30)]:
        found = wilson(hits, n, of_what="patients")
        assert (found.low, found.high) == pytest.approx(proportion_confint(hits, n, method="wilson"), abs=1e-12)
        assert clopper_pearson(hits, n) == pytest.approx(proportion_confint(hits, n, method="beta"), abs=1e-12)


def test_wilson_at_the_ends_stays_on_the_scale():
    assert wilson(0, 7, of_what="patients").low == 0
    assert wilson(7, 7, of_what="patients").high == 1
    assert str(wilson(0, 0, of_what="HER2-low")) == "not estimable (0 HER2-low)"


@pytest.mark.fault("E3", "E4")
def test_perfect_scores_have_exact_limits_and_constant_ones_none():
    sick = np.arange(20) < 8
    assert delong(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == (1.0, 0.0)
    perfect = auc(sick, -np.arange(20.0), names=NAMES)
    assert perfect.value == 1
    assert (perfect.low, perfect.high) == (pytest.approx(0.025 ** (1 / 8)), 1)
    assert perfect.reason == "the scores separate perfectly"
    wrong = auc(sick, np.arange(20.0), names=NAMES)
    assert (wrong.value, wrong.low, wrong.high) == (0, 0, pytest.approx(1 - 0.025 ** (1 / 8)))
    constant = auc(sick, np.full(20, 0.3), names=NAMES)
    assert constant.value == 0.5
    assert math.isnan(constant.high)
    assert "all scores are equal" in constant.reason


@pytest.mark.fault("E2", "E5")
def test_missing_and_rare_classes_are_named():
    y = np.repeat([0, 1], 10)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    positive = one_vs_rest(y, probabilities, CLASSES)[2]
    assert math.isnan(positive.value)
    assert positive.reason == "0 HER2-positive"
    assert low_vs_positive(y, probabilities).reason == "0 HER2-positive"
    y[:3] = 2
    positive = one_vs_rest(y, probabilities, CLASSES)[2]
    assert 0 <= positive.value <= 1
    assert math.isnan(positive.low)
    assert positive.reason == "only 3 HER2-positive"
    assert shortage({"a": 0, "b": 2, "c": 9}, fewest=5) == "0 a, only 2 b"


def test_conditional_probability_without_information_is_one_half():
    assert conditional_positive(np.array([[1.0, 0, 0], [0.2, 0.2, 0.6]])).tolist() == pytest.approx([0.5, 0.75])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=4, max_size=40))
def test_auc_agrees_with_scikit_learn_and_mirrors(rows):
    sick = np.array([row[0] for row in rows])
    score = np.array([row[1] for row in rows], dtype=float)
    if sick.all() or not sick.any():
        return
    value = delong(score[sick], score[~sick])[0]
    assert value == pytest.approx(roc_auc_score(sick, score), abs=1e-12)
    assert delong(-score[sick], -score[~sick])[0] == pytest.approx(1 - value, abs=1e-12)
    false_rate, true_rate, _ = roc_curve(sick, score, drop_intermediate=False)
    found = roc_points(sick, score)
    assert found[0].tolist() == pytest.approx(false_rate.tolist())
    assert found[1].tolist() == pytest.approx(true_rate.tolist())


def test_limits_of_perfect_separation_equal_clopper_and_pearson_and_cover():
    for n in (5, 8, 40):
        assert pairs_agree_limit(n) == pytest.approx(binomtest(n, n).proportion_ci(method="exact").low, abs=1e-9)
    rng = np.random.default_rng(0)
    truth = norm.cdf(2.2 / 2**0.5)
    too_high = 0
    for _ in range(400):
        sick = np.arange(18) < 6
        found = auc(sick, rng.normal(size=18) + 2.2 * sick, names=NAMES)
        too_high += found.value == 1 and found.low > truth
    assert too_high == 0
