"""Net benefit against hand-computed numbers, a plain loop and the published properties."""

import math

import numpy as np
import pytest

from analysis.decisions.actions import ACTIONS, benefit_score, who_benefits
from analysis.decisions.net_benefit import THRESHOLDS, class_weights, decision_curve, given_shares, net_benefit
from triher.errors import StopRun

CLASSES = ("zero", "low", "positive")
T_DXD, TRASTUZUMAB = ACTIONS["triple"]
DRAWS = {"resamples": 200, "seed": 0}


def patients(n=90, seed=0, strength=1.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    logits = strength * np.eye(3)[y] + rng.normal(size=(n, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y, probabilities


def test_worked_example():
    # 10 patients of whom 4 benefit. At 20 %: 4 rightly and 3 vainly treated, 0.4 - 0.3 / 4 = 0.325.
    # At 50 %: 2 and 1, 0.2 - 0.1 = 0.1. At 80 %: 1 and 0, 0.1.
    benefits = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], bool)
    score = np.array([0.85, 0.5, 0.4, 0.2, 0.7, 0.3, 0.25, 0.1, 0.1, 0.05])
    found = net_benefit(benefits, score, np.array([0.2, 0.5, 0.8]), np.ones((1, 10)))
    assert found[0].tolist() == pytest.approx([0.325, 0.1, 0.1], abs=1e-15)


def test_agrees_with_a_plain_loop_in_every_resample():
    y, probabilities = patients(40)
    benefits, score = y == 2, probabilities[:, 2]
    rng = np.random.default_rng(1)
    counts = rng.multinomial(40, np.full(40, 1 / 40), 5)
    found = net_benefit(benefits, score, THRESHOLDS, counts)
    for b in range(5):
        rows = np.repeat(np.arange(40), counts[b])
        for k, t in enumerate(THRESHOLDS):
            right = sum(score[i] >= t and benefits[i] for i in rows)
            vain = sum(score[i] >= t and not benefits[i] for i in rows)
            assert found[b, k] == pytest.approx(right / 40 - vain / 40 * t / (1 - t), abs=1e-12)


def test_treating_everybody_has_its_formula():
    y, probabilities = patients(31)
    for action in ACTIONS["triple"]:
        curve = decision_curve(y, probabilities, CLASSES, action, **DRAWS)
        share = who_benefits(y, CLASSES, action).mean()
        expected = share - (1 - share) * THRESHOLDS / (1 - THRESHOLDS)
        counted = net_benefit(who_benefits(y, CLASSES, action), np.ones(31), THRESHOLDS, np.ones((1, 31)))
        assert counted[0].tolist() == pytest.approx(expected.tolist(), abs=1e-12)
        assert [e.value for e in curve.quantities["net_benefit_all"]] == pytest.approx(expected.tolist(), abs=1e-12)
        assert curve.share == pytest.approx(share)


def test_quantities_follow_from_the_net_benefit():
    y, probabilities = patients(60)
    curve = decision_curve(y, probabilities, CLASSES, T_DXD, **DRAWS)
    for t in (0.1, 0.5, 0.8):
        model, everybody = curve.at("net_benefit", t).value, curve.at("net_benefit_all", t).value
        assert curve.at("net_benefit_lead", t).value == pytest.approx(model - max(everybody, 0))
        assert curve.at("standardized_net_benefit", t).value == pytest.approx(model / curve.share)
        assert curve.at("interventions_avoided", t).value == pytest.approx(100 * (model - everybody) * (1 - t) / t)
        estimate = curve.at("net_benefit", t)
        assert estimate.low <= estimate.value <= estimate.high


def test_a_model_that_knows_the_answer_is_worth_the_share_of_those_who_benefit():
    y, _ = patients(30)
    curve = decision_curve(y, np.eye(3)[y], CLASSES, TRASTUZUMAB, **DRAWS)
    assert {e.value for e in curve.quantities["standardized_net_benefit"]} == {1.0}


def test_the_two_actions_ask_different_questions():
    _, p = patients(12)
    assert benefit_score(p, CLASSES, T_DXD) == pytest.approx(p[:, 1] + p[:, 2])
    assert benefit_score(p, CLASSES, TRASTUZUMAB) == pytest.approx(p[:, 2])
    four = ("zero", "ultralow", "low", "positive")
    assert [action.benefits for action in ACTIONS["ultralow"]] == [four[1:], four[2:], four[3:]]
    assert [action.benefits for action in ACTIONS["binary"]] == [("positive",)]


def test_sums_of_probabilities_reach_a_threshold_that_they_equal():
    score = benefit_score(np.array([[0.7, 0.1, 0.2]]), CLASSES, T_DXD)
    assert 0.1 + 0.2 != 0.3
    assert (score >= THRESHOLDS[29]).all()
    assert THRESHOLDS[29] == 0.3


def test_order_of_patients_changes_nothing_but_the_draws():
    y, probabilities = patients(60)
    turned = np.random.default_rng(3).permutation(60)
    first = decision_curve(y, probabilities, CLASSES, T_DXD, **DRAWS)
    second = decision_curve(y[turned], probabilities[turned], CLASSES, T_DXD, **DRAWS)
    for name, estimates in first.quantities.items():
        other = second.quantities[name]
        assert [e.value for e in estimates] == pytest.approx([e.value for e in other], abs=1e-12)


def test_baseline_is_paired_with_the_model():
    y, probabilities = patients(60)
    curve = decision_curve(y, probabilities, CLASSES, T_DXD, baseline=probabilities, **DRAWS)
    assert {e.value for e in curve.quantities["net_benefit_ahead"]} == {0.0}
    assert {e.reason for e in curve.quantities["net_benefit_ahead"]} == {"no variation between resamples"}
    weak = np.full((60, 3), 1 / 3)
    ahead = decision_curve(y, probabilities, CLASSES, T_DXD, baseline=weak, **DRAWS)
    model, other = (ahead.at(q, 0.7).value for q in ("net_benefit", "net_benefit_baseline"))
    assert ahead.at("net_benefit_ahead", 0.7).value == pytest.approx(model - other)
    assert other == 0


@pytest.mark.fault("E2", "E5")
def test_a_side_without_patients_is_not_estimable_and_a_small_one_has_no_interval():
    y, probabilities = patients(30)
    none = decision_curve(np.where(y == 2, 1, y), probabilities, CLASSES, TRASTUZUMAB, **DRAWS)
    assert {e.reason for e in none.quantities["net_benefit"]} == {"0 HER2-positive"}
    assert math.isnan(none.at("net_benefit", 0.5).value)
    everybody = decision_curve(np.where(y == 0, 1, y), probabilities, CLASSES, T_DXD, **DRAWS)
    assert everybody.at("net_benefit", 0.5).reason == "0 other than HER2-low or -positive"
    few = decision_curve(y[:9], probabilities[:9], CLASSES, TRASTUZUMAB, **DRAWS)
    assert few.at("net_benefit", 0.2).reason == "only 3 HER2-positive"
    assert math.isfinite(few.at("net_benefit", 0.2).value)
    assert math.isnan(few.at("net_benefit", 0.2).low)
    nobody = decision_curve(y[:0], probabilities[:0], CLASSES, T_DXD, baseline=probabilities[:0], **DRAWS)
    assert nobody.at("net_benefit_ahead", 0.2).reason.startswith("0 HER2-low or -positive")


def test_threshold_0_is_treating_everybody_and_1_is_refused():
    y, probabilities = patients(30)
    found = net_benefit(y == 2, probabilities[:, 2], np.array([0.0]), np.ones((1, 30)))
    assert found[0, 0] == pytest.approx(1 / 3)
    for wrong in (1.0, -0.1):
        with pytest.raises(ValueError, match=r"thresholds must lie in \[0, 1\)"):
            net_benefit(y == 2, probabilities[:, 2], np.array([wrong]), np.ones((1, 30)))


def test_given_shares_reweigh_the_rates_within_the_classes():
    y, probabilities = patients(90)
    shares = np.array([0.5, 0.35, 0.15])
    curve = decision_curve(y, probabilities, CLASSES, T_DXD, shares=shares, **DRAWS)
    treated = probabilities[:, 1] + probabilities[:, 2] >= 0.6
    rates = [treated[y == c].mean() for c in range(3)]
    expected = 0.35 * rates[1] + 0.15 * rates[2] - 0.5 * rates[0] * 0.6 / 0.4
    assert curve.at("net_benefit", 0.6).value == pytest.approx(expected)
    assert curve.share == pytest.approx(0.5)
    assert curve.at("net_benefit_all", 0.6).reason == "no variation between resamples"
    same = decision_curve(y, probabilities, CLASSES, T_DXD, shares=np.full(3, 1 / 3), **DRAWS)
    free = decision_curve(y, probabilities, CLASSES, T_DXD, **DRAWS)
    assert same.at("net_benefit", 0.6).value == pytest.approx(free.at("net_benefit", 0.6).value)
    assert class_weights(y, shares).mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("prevalence", "text"),
    [
        ({"zero": 0.5, "low": 0.5}, "gives no share for positive"),
        ({"zero": 0.5, "low": 0.4, "positive": 0.3}, "sums to 1.2"),
        ({"zero": 0.5, "lou": 0.5}, "did you mean 'low'"),
    ],
)
def test_shares_must_be_complete(prevalence, text):
    with pytest.raises(StopRun, match=text):
        given_shares(prevalence, CLASSES)


def test_shares_come_in_the_order_of_the_scheme():
    assert given_shares({}, CLASSES) is None
    assert given_shares({"positive": 0.2, "zero": 0.5, "low": 0.3}, CLASSES).tolist() == [0.5, 0.3, 0.2]


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(5)
    inside = []
    y, p = _population(rng, 200_000)
    truth = net_benefit(y == 1, p, np.array([0.3]), np.ones((1, len(y))))[0, 0]
    binary = ACTIONS["binary"][0]
    for seed in range(120):
        y, p = _population(rng, 150)
        probabilities = np.column_stack([1 - p, p])
        curve = decision_curve(
            y, probabilities, ("negative", "positive"), binary, resamples=200, seed=seed, thresholds=np.array([0.3])
        )
        estimate = curve.at("net_benefit", 0.3)
        inside.append(estimate.low <= truth <= estimate.high)
    # 0.95 within 3.5 binomial standard errors of 120 cohorts, less the percentile interval's own lack at n = 150.
    assert 0.88 <= np.mean(inside) <= 0.99


def _population(rng, n):
    y = (rng.random(n) < 0.35).astype(int)
    return y, 1 / (1 + np.exp(-(rng.normal(size=n) + 1.5 * y - 1.3)))
