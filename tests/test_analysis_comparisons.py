"""DeLong's tests, McNemar, kappa, corrected p values and thresholds: against R, statsmodels and simulations."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, norm, rankdata
from scipy.stats import t as student
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa

from analysis.decisions.operating import at_threshold
from analysis.discrimination.agreement import kappa, mcnemar_test, quadratic_kappa
from analysis.discrimination.auc_kernel import areas, rank
from analysis.discrimination.auc_tests import against_half, paired_test, unpaired_test
from analysis.discrimination.aucs import auc
from analysis.discrimination.delong import delong, delong_covariance
from analysis.inference.bootstrap import multiplicities
from analysis.inference.corrected_p import corrected
from analysis.inference.multiplicity import correct, corrected_metrics
from analysis.metrics import Metric
from classify.thresholds import youden
from triher.estimate import Estimate, not_estimable

NAMES = ("poor", "good")


def asah(folder):
    frame = pd.read_csv(folder / "asah.csv")
    return frame["poor"].to_numpy() == 1, frame["s100b"].to_numpy(float), frame["wfns"].to_numpy(float)


def table_of(truth, named):
    counts = np.zeros((3, 3), np.int64)
    np.add.at(counts, (truth, named), 1)
    return counts


# DeLong


@pytest.mark.golden("delong_paired_s100b_wfns", "delong_cov_s100b_wfns")
def test_paired_delong_equals_proc(golden, golden_folder):
    sick, first, second = asah(golden_folder)
    expected = golden("delong_paired_s100b_wfns")
    found = paired_test(sick, first, second, names=NAMES)
    assert found.statistic == pytest.approx(expected["z"], rel=1e-9)
    assert found.p.value == pytest.approx(expected["p"], rel=1e-9)
    values, covariance = delong_covariance(sick, np.stack([first, second]))
    assert values.tolist() == pytest.approx([expected["auc1"], expected["auc2"]], rel=1e-9)
    assert covariance[0, 1] == pytest.approx(golden("delong_cov_s100b_wfns"), rel=1e-9)
    assert covariance[0, 0] == pytest.approx(delong(first[sick], first[~sick])[1], rel=1e-12)
    assert found.difference.value == pytest.approx(expected["auc1"] - expected["auc2"], rel=1e-9)
    assert found.difference.low < found.difference.value < found.difference.high < 0


@pytest.mark.golden("delong_degenerate")
@pytest.mark.fault("E3", "E4")
def test_scores_without_variance_are_said_and_not_tested(golden):
    sick = np.arange(20) < 8
    perfect, constant, noise = -np.arange(20.0), np.zeros(20), np.random.default_rng(0).normal(size=20)
    expected = golden("delong_degenerate")
    assert delong(perfect[sick], perfect[~sick]) == (expected["perfect"]["auc"], expected["perfect"]["var"])
    assert delong(constant[sick], constant[~sick]) == (expected["constant"]["auc"], expected["constant"]["var"])
    assert auc(sick, perfect, names=NAMES).reason == "the scores separate perfectly"
    assert "all scores are equal" in auc(sick, constant, names=NAMES).reason
    assert str(against_half(sick, constant, names=NAMES)) == "not estimable (all scores are equal)"
    assert against_half(sick, perfect, names=NAMES).value == pytest.approx(2 / math.comb(20, 8))
    same = paired_test(sick, noise, noise * 2 + 1, names=NAMES)
    assert same.difference.value == 0
    assert same.p.reason == same.difference.reason == "the difference has no variance"
    assert math.isnan(same.statistic)
    apart = unpaired_test((sick, perfect), (sick, noise), names=NAMES)
    assert apart.p.reason == "an AUC has no variance"
    assert apart.difference.value == pytest.approx(1 - delong(noise[sick], noise[~sick])[0])


@pytest.mark.fault("E2", "E5")
def test_few_patients_on_a_side_are_named():
    sick, score = np.arange(20) < 4, np.random.default_rng(0).normal(size=20)
    assert paired_test(sick, score, -score, names=NAMES).p.reason == "only 4 poor"
    assert against_half(sick, score, names=NAMES).reason == "only 4 poor"
    enough = np.arange(20) < 9
    assert unpaired_test((enough, score), (sick, score), names=NAMES).p.reason == "in one of both only 4 poor"
    assert unpaired_test((enough, score), (enough[:9], score[:9]), names=NAMES).p.reason == "in one of both 0 good"


def test_unpaired_delong_is_the_t_test_of_proc():
    rng = np.random.default_rng(5)
    groups = []
    for n, shift in [(40, 1.0), (70, 0.4)]:
        sick = np.arange(n) < n // 3
        groups.append((sick, rng.normal(size=n) + shift * sick))
    found = unpaired_test(*groups, names=NAMES)
    # pROC's delong.unpaired.test, written out from its placement values
    (one, v_one), (two, v_two) = (naive_delong(*group) for group in groups)
    t = (one - two) / math.sqrt(v_one + v_two)
    df = (v_one + v_two) ** 2 / (v_one**2 / 39 + v_two**2 / 69)
    assert found.statistic == pytest.approx(t, rel=1e-12)
    assert found.p.value == pytest.approx(2 * student.sf(abs(t), df), rel=1e-10)
    half = student.ppf(0.975, df) * math.sqrt(v_one + v_two)
    assert (found.difference.low, found.difference.high) == pytest.approx((one - two - half, one - two + half))
    turned = unpaired_test(*groups[::-1], names=NAMES)
    assert (turned.statistic, turned.p.value) == pytest.approx((-found.statistic, found.p.value))


def naive_delong(sick, score):
    """By all pairs, as in the paper of 1988."""
    x, y = score[sick][:, None], score[~sick][None]
    psi = (x > y) + 0.5 * (x == y)
    variance = psi.mean(axis=1).var(ddof=1) / len(x) + psi.mean(axis=0).var(ddof=1) / y.size
    return psi.mean(), variance


def test_the_fast_form_is_that_of_all_pairs_with_ties_and_in_any_order():
    rng = np.random.default_rng(1)
    sick, scores = np.arange(50) < 20, rng.normal(size=(3, 50)).round(1)
    values, covariance = delong_covariance(sick, scores)
    for i in range(3):
        assert (values[i], covariance[i, i]) == pytest.approx(naive_delong(sick, scores[i]), rel=1e-12)
    order = rng.permutation(50)
    moved = delong_covariance(sick[order], scores[:, order])
    assert moved[0].tolist() == pytest.approx(values.tolist(), rel=1e-12)
    assert moved[1].ravel().tolist() == pytest.approx(covariance.ravel().tolist(), rel=1e-10)


# Simulations: the truth is known


def simulated(runs, n_sick, n_well, shift, seed):
    rng = np.random.default_rng(seed)
    sick = np.arange(n_sick + n_well) < n_sick
    shared = rng.normal(size=(runs, 1, n_sick + n_well))
    return sick, shared + rng.normal(size=(runs, 2, n_sick + n_well)) + shift * sick


def delong_of_all(sick, scores):
    """AUCs and covariance of two scores in each run, vectorized over the runs."""
    m, n = sick.sum(), (~sick).sum()
    ranks = rankdata(scores, axis=-1)
    with_it = (ranks[..., sick] - rankdata(scores[..., sick], axis=-1)) / n
    without = 1 - (ranks[..., ~sick] - rankdata(scores[..., ~sick], axis=-1)) / m
    values = with_it.mean(axis=-1)
    covariance = sum(
        np.einsum("rip,rjp->rij", c, c) / (size * (size - 1))
        for side, size in ((with_it, m), (without, n))
        for c in [side - side.mean(axis=-1, keepdims=True)]
    )
    return values, covariance


def test_intervals_of_delong_and_bootstrap_cover_the_truth():
    sick, scores = simulated(2000, 60, 90, 1.0, seed=11)
    truth = norm.cdf(1.0 / 2)
    values, covariance = delong_of_all(sick, scores)
    one = auc(sick, scores[0, 0], names=NAMES)
    half = norm.ppf(0.975) * np.sqrt(covariance[:, 0, 0])
    assert (one.value, one.low) == pytest.approx((values[0, 0], values[0, 0] - half[0]))
    assert 0.93 <= np.mean(np.abs(values[:, 0] - truth) <= half) <= 0.97
    weights = multiplicities(sick.astype(int), 400, np.random.default_rng(12))
    draws = np.array([areas(rank(sick, score), weights) for score in scores[:, 0]])
    low, high = np.quantile(draws, [0.025, 0.975], axis=1)
    assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.97


def test_p_values_are_uniform_where_there_is_no_difference():
    sick, scores = simulated(2000, 60, 90, 1.0, seed=13)
    values, covariance = delong_of_all(sick, scores)
    variance = covariance[:, 0, 0] + covariance[:, 1, 1] - 2 * covariance[:, 0, 1]
    p = 2 * norm.sf(np.abs(values[:, 0] - values[:, 1]) / np.sqrt(variance))
    assert paired_test(sick, *scores[0], names=NAMES).p.value == pytest.approx(p[0], rel=1e-9)
    assert kstest(p, "uniform").pvalue > 0.01
    assert 0.04 <= np.mean(p < 0.05) <= 0.065


def test_small_p_values_are_as_rare_as_they_say_where_a_score_tells_nothing():
    sick = np.arange(66) < 6
    scores = np.random.default_rng(14).normal(size=(1000, 66))
    p = np.array([against_half(sick, score, names=NAMES).value for score in scores])
    assert 0.035 <= np.mean(p < 0.05) <= 0.065
    assert np.mean(p < 0.001) <= 0.004, "a z from DeLong's variance has 0.027"


def test_equal_scores_share_their_ranks():
    sick, score = np.arange(60) < 25, np.random.default_rng(3).integers(0, 4, 60).astype(float)
    ranks = rankdata(score)
    ties = np.unique(score, return_counts=True)[1]
    variance = 25 * 35 / 12 * (61 - np.sum(ties**3 - ties) / (60 * 59))
    distance = abs(ranks[sick].sum() - 25 * 61 / 2) - 0.5
    assert against_half(sick, score, names=NAMES).value == pytest.approx(2 * norm.sf(distance / math.sqrt(variance)))


# Agreement


@pytest.mark.golden("kappa")
def test_kappa_equals_psych_and_its_interval_but_for_a_slip_of_psych(golden, golden_folder):
    frame = pd.read_csv(golden_folder / "agreement.csv")
    counts, expected = table_of(frame["truth"], frame["pred"]), golden("kappa")
    for weights in (None, "linear", "quadratic"):
        value, _ = kappa(counts, weights)
        assert value == pytest.approx(expected[weights or "unweighted"], rel=1e-8)
        assert value == pytest.approx(cohen_kappa_score(frame["truth"], frame["pred"], weights=weights), rel=1e-9)
    value, error = kappa(counts, None)
    z = norm.ppf(0.975)
    assert [value - z * error, value + z * error] == pytest.approx(expected["ci_unweighted"], rel=1e-8)
    found = quadratic_kappa(counts)
    assert found.value == pytest.approx(expected["quadratic"], rel=1e-8)
    assert (found.high - found.value) / z == pytest.approx(delta_error(counts), rel=1e-5)
    # psych 2.2.9 takes row sums of w * p_i. where Fleiss, Cohen & Everitt take sums over i: its interval follows from
    # that to the last digit, is too short, and depends on which of the two judgments comes first.
    theirs, swapped = psych_error(counts, slip=True), psych_error(counts.T, slip=True)
    limits = [expected["quadratic"] - z * theirs, expected["quadratic"] + z * theirs]
    assert limits == pytest.approx(expected["ci_quadratic"], rel=1e-8)
    assert swapped != pytest.approx(theirs, rel=1e-3)
    assert psych_error(counts, slip=False) == pytest.approx((found.high - found.value) / z, rel=1e-8)


def psych_error(counts, *, slip):
    """The weighted standard error as psych writes it, with its slip in the row weights or without."""
    n, p, (i, j) = counts.sum(), counts / counts.sum(), np.indices((3, 3))
    w, rows, columns = 1 - (i - j) ** 2 / 4, p.sum(axis=1), p.sum(axis=0)
    observed, expected = (w * p).sum(), (w * np.outer(rows, columns)).sum()
    of_columns, of_rows = (w * columns[:, None]).sum(axis=0), (w * rows[:, None]).sum(axis=1 if slip else 0)
    spread = w * (1 - expected) - np.add.outer(of_columns, of_rows) * (1 - observed)
    rest = (observed * expected - 2 * expected + observed) ** 2
    return math.sqrt(((p * spread**2).sum() - rest) / n) / (1 - expected) ** 2


def delta_error(counts):
    """The standard error of the weighted kappa by numerical derivatives."""
    n, p = counts.sum(), counts / counts.sum()
    slopes = np.zeros((3, 3))
    for cell in np.ndindex(3, 3):
        moved = [p.copy(), p.copy()]
        moved[0][cell] += 1e-6
        moved[1][cell] -= 1e-6
        slopes[cell] = np.subtract(*[cohens_kappa(m / m.sum(), wt="quadratic").kappa for m in moved]) / 2e-6
    return math.sqrt(((p * slopes**2).sum() - (p * slopes).sum() ** 2) / n)


def test_kappa_says_when_it_cannot_be_had():
    assert quadratic_kappa(np.zeros((3, 3), int)).reason == "0 labeled patients"
    assert (
        quadratic_kappa(np.array([[5, 4, 0], [0, 0, 0], [0, 0, 0]])).reason == "all labeled patients are of one class"
    )
    perfect = quadratic_kappa(np.diag([9, 9, 9]))
    assert perfect.value == 1
    assert perfect.reason == "no disagreement, so the variance is 0"
    one_answer = quadratic_kappa(np.array([[9, 0, 0], [9, 0, 0], [9, 0, 0]]))
    assert str(one_answer) == "not estimable (one class is predicted for all)"
    assert quadratic_kappa(np.array([[1, 1], [1, 1]])).reason == "only 4 labeled patients"


@pytest.mark.golden("mcnemar")
def test_mcnemar_equals_r(golden, golden_folder):
    frame, expected = pd.read_csv(golden_folder / "agreement.csv"), golden("mcnemar")
    right = [(frame[column] == frame["truth"]).to_numpy() for column in ("pred", "pred2")]
    found = mcnemar_test(*right)
    assert {found.only_first, found.only_second} == {expected["b"], expected["c"]}
    assert found.exact_p.value == pytest.approx(expected["p_exact"], rel=1e-6)
    assert found.corrected_chi2 == pytest.approx(expected["chi2_cc"], rel=1e-6)
    assert found.corrected_p == pytest.approx(expected["p_cc"], rel=1e-6)
    assert mcnemar_test(right[0], right[0]).exact_p.reason == "both are right on the same patients"
    even = mcnemar_test(np.array([True, False, True]), np.array([False, True, True]))
    assert even.exact_p.value == 1


# Corrected p values


@pytest.mark.golden("p_adjust")
def test_corrected_p_values_equal_r(golden, golden_folder):
    p, expected = pd.read_csv(golden_folder / "pvalues.csv")["p"].tolist(), golden("p_adjust")
    names = {"bonferroni": "bonferroni", "holm": "holm", "hochberg": "simes-hochberg", "BH": "fdr_bh", "BY": "fdr_by"}
    for name, method in names.items():
        assert corrected(p, method).tolist() == pytest.approx(expected[name], rel=1e-10)
    assert corrected([], "holm").tolist() == []


def p_metric(quantity, p, part="comparisons"):
    estimate = not_estimable("0 HER2-low", n=9, method="x") if p is None else Estimate(p, math.nan, math.nan, 9, "x")
    return Metric(part, "test", quantity, estimate)


def test_families_are_kept_apart_and_a_planned_test_counts_even_without_a_p_value():
    primary = [p_metric("auc_zero_vs_rest_p", 0.02), p_metric("auc_low_vs_positive_p", None)]
    others = [p_metric("a_p", 0.01), p_metric("b_p", 0.04), p_metric("c_p", None), p_metric("auc", 0.9)]
    found = correct(primary, others)
    assert [one.metric.quantity for one in found] == ["auc_zero_vs_rest_p", "auc_low_vs_positive_p", "a_p", "b_p"]
    assert [one.corrected for one in found] == pytest.approx([0.04, math.nan, 0.02, 0.04], nan_ok=True)
    rows = corrected_metrics(found)
    assert [row.quantity for row in rows] == [
        "auc_zero_vs_rest_p_holm",
        "auc_low_vs_positive_p_holm",
        "a_p_bh",
        "b_p_bh",
    ]
    assert rows[0].estimate.method == "x, Holm among 2"
    assert rows[1].estimate.reason == "0 HER2-low"
    assert correct([], []) == ()


# Thresholds


@pytest.mark.golden("youden_s100b")
def test_measures_at_a_threshold_equal_proc(golden, golden_folder):
    sick, score, _ = asah(golden_folder)
    expected = golden("youden_s100b")
    chosen = youden(score, sick, "example")
    assert chosen.threshold == pytest.approx(expected["threshold"], rel=1e-9)
    found = at_threshold(sick, score, chosen.threshold)
    for name in ("sensitivity", "specificity", "ppv", "npv"):
        assert found[name].value == pytest.approx(expected[name], rel=1e-9)
        assert found[name].low < found[name].value < found[name].high
    hits = found["sensitivity"].value * sick.sum() + found["specificity"].value * (~sick).sum()
    assert hits / len(sick) == pytest.approx(expected["accuracy"], rel=1e-9)


def test_measures_without_patients_say_so():
    found = at_threshold(np.zeros(6, bool), np.linspace(0, 1, 6), 2.0)
    assert found["sensitivity"].reason == "0 with the condition"
    assert found["ppv"].reason == "0 at or above the threshold"
    assert found["specificity"].value == found["npv"].value == 1


def test_what_only_looks_like_a_p_value_by_its_name_is_refused():
    slope = Metric("calibrators", "test", "slope_of_log_p", Estimate(1.4, 1.1, 1.7, 40, "slope"))
    with pytest.raises(ValueError, match="but named as one: slope_of_log_p"):
        correct([], [slope])
