"""Calibration against R's numbers and scikit-learn, and a perfectly calibrated world."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from analysis.calibration import brier_and_log_loss, ece, ece_estimates, reliability, slope_and_intercept
from analysis.intervals import Z95

GOLDEN = Path(__file__).parents[2] / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the reference values are not beside this checkout")


def golden(name):
    return json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))["checks"][name]["value"]


def calibrated_world(n, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([1.5, 1.5, 1], n)
    y = (rng.random((n, 1)) > np.cumsum(probabilities, axis=1)[:, :2]).sum(axis=1)
    return y, probabilities


@needs_golden
def test_slope_and_intercept_equal_r():
    frame = pd.read_csv(GOLDEN / "binary_calibration.csv")
    slope, intercept = slope_and_intercept(frame["y"].to_numpy() == 1, frame["p"].to_numpy(), "positive")
    expected = golden("calibration_slope_intercept")
    assert slope.value == pytest.approx(expected["slope"], rel=1e-6)
    assert (slope.high - slope.low) / (2 * Z95) == pytest.approx(expected["slope_se"], rel=1e-6)
    assert intercept.value == pytest.approx(expected["citl"], rel=1e-6)
    assert (intercept.high - intercept.low) / (2 * Z95) == pytest.approx(expected["citl_se"], rel=1e-6)


@needs_golden
def test_multiclass_scores_equal_the_reference():
    frame = pd.read_csv(GOLDEN / "threeclass.csv")
    y, probabilities = frame["y"].to_numpy(), frame[["a0", "a1", "a2"]].to_numpy(float)
    expected = golden("multiclass_calibration_a")
    brier, loss = brier_and_log_loss(y, probabilities, resamples=100, seed=0)
    assert brier.value == pytest.approx(expected["brier"], rel=1e-9)
    assert loss.value == pytest.approx(expected["logloss"], rel=1e-9)
    found = ece_estimates(y, probabilities, seed=0)
    assert found["ece_top_label"].value == pytest.approx(expected["ece_top10"], rel=1e-9)
    assert found["ece_classwise"].value == pytest.approx(expected["ece_classwise10"], rel=1e-9)
    hit = probabilities.argmax(axis=1) == y
    assert ece(probabilities.max(axis=1), hit, 15) == pytest.approx(expected["ece_top15"], rel=1e-9)
    for c, value in enumerate(expected["ece_class10"]):
        assert ece(probabilities[:, c].copy(), y == c) == pytest.approx(value, rel=1e-9)


@needs_golden
def test_bins_are_closed_on_the_left():
    frame = pd.read_csv(GOLDEN / "binary_edge.csv")
    found = ece(frame["p"].to_numpy(float), frame["y"].to_numpy() == 1)
    assert found == pytest.approx(golden("ece_edge")["left_closed"], rel=1e-9)
    assert found != pytest.approx(golden("ece_edge")["right_closed"], abs=1e-3)


def test_scores_agree_with_scikit_learn():
    y, probabilities = calibrated_world(80)
    brier, loss = brier_and_log_loss(y, probabilities, resamples=100, seed=0)
    assert brier.value == pytest.approx(brier_score_loss(y, probabilities, scale_by_half=False), abs=1e-12)
    assert loss.value == pytest.approx(log_loss(y, probabilities), abs=1e-12)
    assert brier.low < brier.value < brier.high


def test_a_calibrated_world_looks_calibrated():
    y, probabilities = calibrated_world(4000)
    for c in range(3):
        slope, intercept = slope_and_intercept(y == c, probabilities[:, c].copy(), "low")
        assert slope.low < 1 < slope.high
        assert intercept.low < 0 < intercept.high
    found = ece_estimates(y, probabilities, seed=1)
    chance = found["ece_top_label_if_calibrated"]
    assert chance.low <= found["ece_top_label"].value <= chance.high
    small = ece_estimates(*calibrated_world(60), seed=1)["ece_top_label_if_calibrated"]
    assert small.value > 3 * chance.value


def test_impossible_slopes_are_refused():
    y = np.repeat([True, False], 20)
    separated = np.where(y, 0.9, 0.1) + np.linspace(-0.05, 0.05, 40)
    slope, _ = slope_and_intercept(y, separated, "positive")
    assert math.isnan(slope.value)
    assert "separation" in slope.reason
    slope, intercept = slope_and_intercept(np.arange(40) < 2, np.full(40, 0.1), "positive")
    assert slope.reason == intercept.reason == "only 2 HER2-positive"
    slope, intercept = slope_and_intercept(y, np.full(40, 0.3), "positive")
    assert math.isnan(slope.value)
    assert intercept.value == pytest.approx(math.log(0.7 / 0.3))


def test_probabilities_of_zero_and_one_are_clipped():
    y = np.arange(40) % 2 == 0
    p = np.where(np.arange(40) < 30, np.where(y, 1.0, 0.0), np.where(y, 0.0, 1.0))
    slope, _ = slope_and_intercept(y, p, "positive")
    assert math.isfinite(slope.value)
    assert "clipped" in slope.method


def test_reliability_bins_hold_everybody_and_keep_equals_together():
    y, probabilities = calibrated_world(95)
    p = probabilities[:, 0].round(1)
    curve = reliability(y == 0, p, "zero")
    assert sum(e.n for e in curve.observed) == 95
    assert list(curve.predicted) == sorted(curve.predicted)
    constant = reliability(y == 0, np.full(95, 0.4), "zero")
    assert len(constant.predicted) == 1
    assert reliability(np.zeros(0, bool), np.zeros(0), "zero").predicted == ()


def test_nobody_gives_a_reason():
    found = ece_estimates(np.zeros(0, int), np.zeros((0, 3)), seed=0)
    assert found["ece_top_label"].reason == "0 labeled patients"
    brier, _ = brier_and_log_loss(np.zeros(0, int), np.zeros((0, 3)), resamples=100, seed=0)
    assert brier.reason == "0 labeled patients"
