"""Reject options: by hand, against a plain loop, and as properties."""

import math

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from analysis.decisions.reject import SHARES, area, confidence, judge_option, kept_error, risk_coverage, surest

CLASSES = ("zero", "low", "positive")
DRAWS = {"resamples": 200, "seed": 0}


def patients(n=90, seed=0, strength=1.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    logits = strength * np.eye(3)[y] + rng.normal(size=(n, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y, probabilities


def test_worked_example():
    # Surest first: right, right, wrong, right, wrong. Errors of the 1..5 surest: 0, 0, 1/3, 1/4, 2/5.
    wrong, sure = np.array([False, False, True, False, True]), np.array([0.95, 0.9, 0.8, 0.6, 0.4])
    once = np.ones((1, 5), int)
    shares = np.array([0.0, 0.2, 0.4, 0.6, 0.8])
    assert kept_error(wrong, sure, once, shares)[0].tolist() == pytest.approx([2 / 5, 1 / 4, 1 / 3, 0, 0])
    assert area(wrong, sure, once)[0] == pytest.approx((1 / 3 + 1 / 4 + 2 / 5) / 5)


def test_agrees_with_a_plain_loop_over_random_orders_of_equals():
    rng = np.random.default_rng(1)
    wrong, sure = rng.random(30) < 0.4, rng.integers(0, 12, 30) / 12
    counts = rng.multinomial(30, np.full(30, 1 / 30), 3)
    shares = np.array([0.0, 0.1, 0.5, 0.9])
    risks, areas = kept_error(wrong, sure, counts, shares), area(wrong, sure, counts)
    for b in range(3):
        rows = np.repeat(np.arange(30), counts[b])
        curves = []
        for _ in range(4000):
            shuffled = rng.permutation(rows)
            ordered = shuffled[np.argsort(-sure[shuffled], kind="stable")]
            curves.append(np.cumsum(wrong[ordered]) / np.arange(1, 31))
        mean = np.mean(curves, axis=0)
        assert risks[b].tolist() == pytest.approx(mean[[29, 26, 14, 2]].tolist(), abs=0.02)
        assert areas[b] == pytest.approx(mean.mean(), abs=0.005)


def test_curve_lies_between_the_best_order_and_chance():
    y, probabilities = patients(150, strength=2)
    curve = risk_coverage(y, probabilities, **DRAWS)
    error = np.mean(probabilities.argmax(axis=1) != y)
    assert curve.at_best < curve.aurc.value < curve.at_random == pytest.approx(error)
    assert curve.aurc.low < curve.aurc.value < curve.aurc.high
    assert curve.error[0].value == pytest.approx(error)
    assert curve.gain[0].value == 0
    assert curve.gain[0].reason == "no variation between resamples"
    half = SHARES.index(0.5)
    assert curve.gain[half].value == pytest.approx(error - curve.error[half].value)
    kept = surest(probabilities, 0.5)
    assert curve.error[half].value == pytest.approx(np.mean(probabilities[kept].argmax(axis=1) != y[kept]))


def test_best_area_by_hand():
    # 2 wrong of 5, sent away first: the errors of the 1 to 5 kept are 0, 0, 0, 1/4, 2/5.
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.55, 0.45]])
    curve = risk_coverage(np.array([0, 1, 0, 1, 0]), probabilities, **DRAWS)
    assert curve.at_best == pytest.approx((0 + 0 + 0 + 1 / 4 + 2 / 5) / 5)


def test_order_of_patients_changes_nothing():
    y, probabilities = patients(60)
    turned = np.random.default_rng(3).permutation(60)
    first, second = (
        risk_coverage(a, b, **DRAWS) for a, b in ((y, probabilities), (y[turned], probabilities[turned]))
    )
    assert [e.value for e in first.error] == pytest.approx([e.value for e in second.error], abs=1e-12)
    assert first.aurc.value == pytest.approx(second.aurc.value, abs=1e-12)
    assert surest(probabilities, 0.3)[turned].tolist() == surest(probabilities[turned], 0.3).tolist()


def test_an_option_is_judged_on_those_it_keeps():
    y, probabilities = patients(120)
    kept = surest(probabilities, 0.3)
    assert kept.sum() == 84
    assert confidence(probabilities)[kept].min() > confidence(probabilities)[~kept].max()
    option = judge_option("share_30", "30 % sent away", kept, y, probabilities, CLASSES, **DRAWS)
    answers = probabilities[kept].argmax(axis=1)
    assert (option.kept, option.sent.value) == (84, 0.3)
    assert option.accuracy.value == pytest.approx(np.mean(answers == y[kept]))
    assert option.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(y[kept], answers))
    auc = roc_auc_score(y[kept], probabilities[kept], multi_class="ovr")
    assert option.auc_macro.value == pytest.approx(auc)
    assert [e.value for e in option.sent_by_class] == pytest.approx([np.mean(~kept[y == c]) for c in range(3)])
    assert sum(e.value for e in option.mix_sent) == pytest.approx(1)
    assert sum(e.value for e in option.mix_kept) == pytest.approx(1)


@pytest.mark.fault("E2", "E3")
def test_what_cannot_be_estimated_says_why():
    y, probabilities = patients(30)
    flat = risk_coverage(y, np.full((30, 3), 1 / 3), **DRAWS)
    assert flat.aurc.reason == "all patients have the same largest probability"
    assert math.isnan(flat.error[3].value)
    assert risk_coverage(y[:0], probabilities[:0], **DRAWS).aurc.reason == "0 labeled patients"
    assert risk_coverage(y[:3], probabilities[:3], **DRAWS).aurc.reason == "only 3 labeled patients"
    only = judge_option("inside", "inside", y == 0, y, probabilities, CLASSES, **DRAWS)
    assert only.auc_macro.reason == "0 HER2-low, 0 HER2-positive"
    assert only.balanced_accuracy.reason == "0 HER2-low, 0 HER2-positive"
    nobody = judge_option("inside", "inside", y < 0, y, probabilities, CLASSES, **DRAWS)
    assert nobody.accuracy.reason == "0 labeled patients"
    assert nobody.mix_kept[0].reason == "0 patients kept"
