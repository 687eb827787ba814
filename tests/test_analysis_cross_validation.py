"""Widened intervals: the factor by hand, who is concerned, what stays as it is, and a small simulation."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.inference.cross_validation import Folds, folds_of, honest, widened
from analysis.metrics import Metric
from triher.estimate import Estimate, not_estimable

UNIT = (0.0, 1.0)


def predictions(n=60, *, folds=5, repeats=2, split="oof", seed=0):
    rng = np.random.default_rng(seed)
    frames = []
    for repeat in range(repeats):
        frame = pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(n)], "split": split, "repeat": repeat})
        frame["cohort"] = np.where(np.arange(n) < n // 2, "A", "B")
        frame["site"] = np.where(np.arange(n) % 3 == 0, "s", "t")
        frame["fold"] = rng.permutation(np.arange(n) % folds)
        frame["y"] = (np.arange(n) % 3).astype(float)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize(("k", "factor"), [(2, math.sqrt(3)), (5, 1.5), (10, math.sqrt(19 / 9))])
def test_the_factor_is_that_of_nadeau_and_bengio_for_k_folds(k, factor):
    wide = widened(Estimate(0.7, 0.66, 0.75, 300, "AUC, DeLong"), Folds(k), bounds=UNIT)
    assert wide.low == pytest.approx(0.7 - factor * 0.04)
    assert wide.high == pytest.approx(0.7 + factor * 0.05)
    # The same from the paper's formula: (1/J + n2/n1) S^2 in place of S^2 / J, for J folds of n2 = n/k patients.
    n = 300
    assert factor**2 == pytest.approx((1 / k + (n / k) / (n - n / k)) / (1 / k))
    assert f"widened by {factor:.2f} for {k} folds (Nadeau & Bengio 2003)" in wide.method


def test_a_part_of_the_patients_is_widened_less():
    plain = Estimate(0.7, 0.6, 0.8, 60, "AUC")
    wide = widened(plain, Folds(5, 0.2), bounds=UNIT)
    assert wide.high - 0.7 == pytest.approx(0.1 * math.sqrt(1 + 0.2 * 5 / 4))
    assert plain.low > wide.low > widened(plain, Folds(5), bounds=UNIT).low


def test_limits_stay_within_the_scale_and_value_and_n_stay_as_they_are():
    wide = widened(Estimate(0.95, 0.85, 1.0, 20, "AUC"), Folds(5), bounds=UNIT)
    assert (wide.value, wide.high, wide.n) == (0.95, 1.0, 20)
    difference = widened(Estimate(0.1, -0.9, 0.9, 20, "difference"), Folds(2), bounds=(-1.0, 1.0))
    assert (difference.low, difference.high) == (-1.0, 1.0)


@pytest.mark.parametrize(
    "estimate",
    [not_estimable("0 HER2-positive", n=9, method="AUC"), Estimate(0.8, math.nan, math.nan, 9, "AUC", "x")],
)
def test_without_an_interval_there_is_nothing_to_widen(estimate):
    assert widened(estimate, Folds(5), bounds=UNIT) is estimate


def test_folds_are_counted_within_a_repeat_and_shares_among_labeled_patients():
    frame = predictions(repeats=3)
    assert folds_of(frame, "oof") == Folds(5, 1.0)
    assert folds_of(frame, "oof", cohort="B") == Folds(5, 0.5)
    assert folds_of(frame, "oof", cohort="A", site="s") == Folds(5, 1 / 6)
    frame.loc[frame["cohort"] == "A", "y"] = np.nan
    assert folds_of(frame, "oof", cohort="B") == Folds(5, 1.0)
    assert folds_of(frame, "oof", cohort="A") is None
    assert folds_of(frame, "test") is None


def test_patients_whom_one_model_predicted_are_not_concerned():
    assert folds_of(predictions(folds=1, split="test", repeats=3), "test") is None
    left_out_in_turn = predictions(split="test").assign(fold=lambda t: (t["cohort"] == "B").astype(int))
    assert folds_of(left_out_in_turn, "test") == Folds(2, 1.0)
    assert folds_of(left_out_in_turn, "test", cohort="A") is None


def test_only_aucs_are_widened_in_any_order_of_rows():
    frame = predictions()
    plain = Estimate(0.7, 0.6, 0.8, 60, "x")
    names = ("auc_macro", "auc_micro", "auc", "auc_zero_vs_rest", "accuracy", "sensitivity")
    rows = [Metric("discrimination", "oof", name, plain) for name in names]
    rows.append(Metric("discrimination", "test", "auc_macro", plain))
    found = honest(rows, frame)
    assert [m.estimate.low < 0.6 for m in found] == [True] * 4 + [False] * 3
    assert [(m.split, m.quantity) for m in found] == [(m.split, m.quantity) for m in rows]
    assert honest(rows, frame.sample(frac=1, random_state=0)) == found


def test_where_nothing_can_be_learned_plain_intervals_fail_and_widened_ones_hold():
    path = Path(__file__).parents[1] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_of_intervals", path)
    coverage = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(coverage)
    held = {"plain": 0, "corrected": 0}
    for seed in range(30):
        rng = np.random.default_rng(seed)
        X, y, _ = coverage.clouds(100, 20, 0.0, rng)
        p = np.zeros((len(y), 3))
        for test, model in coverage.models_of_folds(X, y, 5, rng):
            p[test] = model.predict(X[test])
        found = coverage.by_rule(coverage.zero_vs_rest(y, p), "auc_zero_vs_rest", 5, 1)
        for rule in held:
            held[rule] += found[rule].low <= 0.5 <= found[rule].high
    assert held["plain"] < held["corrected"]
    assert held["corrected"] >= 26  # 95 % of 30, less two standard errors


@pytest.mark.parametrize("quantity", ["auc_hand_till", "auc_partial", "auc_macro"])
def test_every_kind_of_auc_is_widened(quantity):
    [found] = honest([Metric("discrimination", "oof", quantity, Estimate(0.7, 0.6, 0.8, 60, "AUC"))], predictions())
    assert found.estimate.low == pytest.approx(0.55)
