"""Calibration against R's numbers, statsmodels and scikit-learn, and in worlds whose calibration is known."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from analysis.calibration.brier import brier_and_log_loss, decompose_brier, scaled_brier
from analysis.calibration.curves import (
    calibration_errors,
    error_estimates,
    loess_curve,
    lowess_curve,
    reliability,
    smooth_reliability,
    smoother,
)
from analysis.calibration.ece import ece, ece_estimates
from analysis.calibration.logistic_model import binary_design, class_design, fit_logistic, logit, one_hot, two_classes
from analysis.calibration.multinomial import multinomial_recalibration
from analysis.calibration.slopes import logistic_recalibration, spiegelhalter
from analysis.calibration.val_prob import VAL_PROB, val_prob
from analysis.inference.intervals import Z95

CLASSES = ("zero", "low", "positive")


def calibrated_world(n, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([1.5, 1.5, 1], n)
    y = (rng.random((n, 1)) > np.cumsum(probabilities, axis=1)[:, :2]).sum(axis=1)
    return y, probabilities


@pytest.fixture
def binary(golden_folder):
    frame = pd.read_csv(golden_folder / "binary_calibration.csv")
    return frame["y"].to_numpy() == 1, frame["p"].to_numpy(float)


@pytest.fixture
def three_classes(golden_folder):
    frame = pd.read_csv(golden_folder / "threeclass.csv")
    return frame["y"].to_numpy(), frame[["a0", "a1", "a2"]].to_numpy(float)


def error_of(estimate):
    return (estimate.high - estimate.low) / (2 * Z95)


@pytest.mark.golden("calibration_slope_intercept")
def test_logistic_recalibration_equals_r(binary, golden):
    expected = golden("calibration_slope_intercept")
    found = logistic_recalibration(*binary, "positive")
    assert found.slope.value == pytest.approx(expected["slope"], rel=1e-6)
    assert error_of(found.slope) == pytest.approx(expected["slope_se"], rel=1e-6)
    assert found.intercept.value == pytest.approx(expected["intercept_free"], rel=1e-6)
    assert error_of(found.intercept) == pytest.approx(expected["intercept_free_se"], rel=1e-6)
    assert found.in_the_large.value == pytest.approx(expected["citl"], rel=1e-6)
    assert error_of(found.in_the_large) == pytest.approx(expected["citl_se"], rel=1e-6)
    assert found.unreliability_chi2 == pytest.approx(expected["unreliability_chi2"], rel=1e-6)
    assert found.unreliability_p.value == pytest.approx(expected["unreliability_p"], rel=1e-6)


@pytest.mark.golden("val_prob")
def test_val_prob_equals_rms(binary, golden):
    expected, found = golden("val_prob"), val_prob(*binary)
    assert tuple(found) == VAL_PROB == tuple(expected)
    for name in set(expected) - {"Dxy", "C (ROC)"}:
        assert found[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-9), name
    assert found["C (ROC)"] == pytest.approx(roc_auc_score(*binary), abs=1e-12)
    # rms counts the pairs after it has put the recalibrated predictions into 5,000 intervals; ours stay apart.
    y, p = binary
    intervals = np.floor(5000 * expit(found["Intercept"] + found["Slope"] * logit(p)))
    assert roc_auc_score(y, intervals) == pytest.approx(expected["C (ROC)"], rel=1e-12)
    assert 2 * roc_auc_score(y, intervals) - 1 == pytest.approx(expected["Dxy"], rel=1e-12)


@pytest.mark.golden("ici_loess")
def test_distances_to_loess_equal_r(binary, golden):
    y, p = binary
    curve = loess_curve(y, p)
    errors, expected = calibration_errors(p, curve), golden("ici_loess")
    assert errors.ici == pytest.approx(expected["ICI"], rel=1e-6)
    assert errors.e50 == pytest.approx(expected["E50"], rel=1e-6)
    assert errors.e90 == pytest.approx(expected["E90"], rel=1e-6)
    assert errors.emax == pytest.approx(expected["Emax"], rel=1e-6)
    assert smoother(p) @ y == pytest.approx(curve, abs=1e-12)


@pytest.mark.golden("ici_lowess")
def test_distances_to_lowess_equal_r(binary, golden):
    y, p = binary
    errors, expected = calibration_errors(p, lowess_curve(y, p)), golden("ici_lowess")
    found = {"ICI": errors.ici, "E50": errors.e50, "E90": errors.e90, "Emax": errors.emax}
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.golden("ece_edge")
def test_bins_are_closed_on_the_left_or_on_the_right(golden_folder, golden):
    frame, expected = pd.read_csv(golden_folder / "binary_edge.csv"), golden("ece_edge")
    p, y = frame["p"].to_numpy(float), frame["y"].to_numpy() == 1
    assert ece(p, y) == pytest.approx(expected["left_closed"], rel=1e-10)
    assert ece(p, y, closed="right") == pytest.approx(expected["right_closed"], rel=1e-10)
    assert decompose_brier(y, p).total == pytest.approx(expected["brier"], rel=1e-10)


@pytest.mark.golden("brier_decomposition")
def test_the_parts_of_the_brier_score_equal_r_and_sum_up(binary, golden):
    y, p = binary
    parts, expected = decompose_brier(y, p), golden("brier_decomposition")
    assert parts.reliability == pytest.approx(expected["reliability"], rel=1e-9)
    assert parts.resolution == pytest.approx(expected["resolution"], rel=1e-9)
    assert parts.uncertainty == pytest.approx(expected["uncertainty"], rel=1e-9)
    assert parts.within_variance == pytest.approx(expected["within_var"], rel=1e-9)
    assert parts.within_covariance == pytest.approx(expected["within_cov"], rel=1e-9)
    assert parts.total == pytest.approx(expected["sum"], rel=1e-9)
    assert parts.total == pytest.approx(brier_score_loss(y, p), rel=1e-12)


@pytest.mark.golden("multiclass_calibration_a")
def test_multiclass_scores_equal_the_reference(three_classes, golden):
    y, probabilities = three_classes
    expected = golden("multiclass_calibration_a")
    brier, loss = brier_and_log_loss(y, probabilities, resamples=100, seed=0)
    assert brier.value == pytest.approx(expected["brier"], rel=1e-9)
    assert loss.value == pytest.approx(expected["logloss"], rel=1e-9)
    found = ece_estimates(y, probabilities, seed=0)
    assert found["ece_top_label"].value == pytest.approx(expected["ece_top10"], rel=1e-9)
    assert found["ece_classwise"].value == pytest.approx(expected["ece_classwise10"], rel=1e-9)
    hit, top = probabilities.argmax(axis=1) == y, probabilities.max(axis=1)
    assert ece(top, hit, 15) == pytest.approx(expected["ece_top15"], rel=1e-9)
    assert ece(top, hit, closed="right") == pytest.approx(expected["ece_top10_right"], rel=1e-9)
    for c in range(3):
        p = probabilities[:, c].copy()
        assert ece(p, y == c) == pytest.approx(expected["ece_class10"][c], rel=1e-9)
        assert ece(p, y == c, closed="right") == pytest.approx(expected["ece_class10_right"][c], rel=1e-9)


@pytest.mark.golden("multinomial_recalibration_a", "multinomial_citl_a")
def test_multinomial_recalibration_equals_nnet(three_classes, golden):
    found = multinomial_recalibration(*three_classes, CLASSES)
    expected = golden("multinomial_recalibration_a")
    assert [e.value for e in found.intercepts] == pytest.approx(expected["intercept"], rel=1e-3)
    assert [error_of(e) for e in found.intercepts] == pytest.approx(expected["se_intercept"], rel=1e-3)
    for row, wanted in zip(found.slopes, expected["slopes"], strict=True):
        assert [e.value for e in row] == pytest.approx(wanted, rel=1e-3)
    assert -2 * found.free.log_likelihood == pytest.approx(expected["deviance"], rel=1e-9)
    fixed = golden("multinomial_citl_a")
    assert [e.value for e in found.fixed_intercepts] == pytest.approx([fixed["a1"], fixed["a2"]], rel=1e-4)
    assert -found.fixed.log_likelihood == pytest.approx(fixed["nll"], rel=1e-6)


def test_logistic_models_agree_with_statsmodels():
    from statsmodels.discrete.discrete_model import MNLogit
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM

    y, probabilities = calibrated_world(150, seed=3)
    x = np.column_stack([np.ones(150), np.log(probabilities[:, 1:] / probabilities[:, :1])])
    ours = fit_logistic(class_design(x, 3), one_hot(y, 3), np.zeros((150, 3)))
    theirs = MNLogit(y, x).fit(method="newton", disp=0, tol=1e-12)
    assert ours.coefficients == pytest.approx(theirs.params.T.ravel(), abs=1e-9)
    assert ours.standard_errors == pytest.approx(theirs.bse.T.ravel(), abs=1e-9)
    assert ours.log_likelihood == pytest.approx(theirs.llf, abs=1e-9)
    offset, positive = logit(probabilities[:, 2].copy()), y == 2
    ours = fit_logistic(
        binary_design(np.ones((150, 1))), two_classes(positive), np.column_stack([np.zeros(150), offset])
    )
    theirs = GLM(positive.astype(float), np.ones((150, 1)), family=Binomial(), offset=offset).fit(tol=1e-12)
    assert ours.coefficients == pytest.approx(theirs.params, abs=1e-9)
    assert ours.standard_errors == pytest.approx(theirs.bse, abs=1e-9)


def test_a_penalty_makes_separated_classes_estimable():
    y = np.repeat([True, False], 10)
    x = np.where(y, 1.0, -1.0)[:, None]
    design, targets, zeros = binary_design(x), two_classes(y), np.zeros((20, 2))
    assert (
        fit_logistic(design, targets, zeros) is None or fit_logistic(design, targets, zeros).standard_errors[0] > 10
    )
    ridge = fit_logistic(design, targets, zeros, penalty=np.ones(1))
    b = float(ridge.coefficients[0])
    assert 20 * (1 - expit(b)) == pytest.approx(b, abs=1e-8)


def test_scores_agree_with_scikit_learn():
    y, probabilities = calibrated_world(80)
    brier, loss = brier_and_log_loss(y, probabilities, resamples=100, seed=0)
    assert brier.value == pytest.approx(brier_score_loss(y, probabilities, scale_by_half=False), abs=1e-12)
    assert loss.value == pytest.approx(log_loss(y, probabilities), abs=1e-12)
    assert brier.low < brier.value < brier.high


def test_the_scaled_brier_score_is_0_for_the_class_shares_and_1_for_certainty():
    y = np.arange(60) % 3
    for probabilities, wanted in ((np.full((60, 3), 1 / 3), 0.0), (np.eye(3)[y], 1.0)):
        brier, _ = brier_and_log_loss(y, probabilities, resamples=100, seed=0)
        assert scaled_brier(y, 3, brier).value == pytest.approx(wanted, abs=1e-12)
    y, probabilities = calibrated_world(80)
    brier, _ = brier_and_log_loss(y, probabilities, resamples=100, seed=0)
    found = scaled_brier(y, 3, brier)
    assert found.low < found.value < found.high
    assert scaled_brier(np.zeros(80, int), 3, brier).reason == "all patients are of one class"


def test_a_calibrated_world_looks_calibrated():
    y, probabilities = calibrated_world(900)
    for c in range(3):
        p = probabilities[:, c].copy()
        found = logistic_recalibration(y == c, p, "low")
        assert found.slope.low < 1 < found.slope.high
        assert found.in_the_large.low < 0 < found.in_the_large.high
        assert found.unreliability_p.value > 0.01
        errors = error_estimates(y == c, p, "", draws=200, seed=0)
        for name in ("ici", "e50", "e90", "emax"):
            chance = errors[f"{name}_if_calibrated"]
            assert chance.low / 2 < errors[name].value < 1.5 * chance.high
    found = ece_estimates(y, probabilities, seed=1)
    small = ece_estimates(*calibrated_world(60), seed=1)
    for name in ("ece_top_label", "ece_classwise", "ece_top_label_equal_mass", "ece_classwise_equal_mass"):
        chance = found[f"{name}_if_calibrated"]
        assert chance.low <= found[name].value <= chance.high
        assert small[f"{name}_if_calibrated"].value > 3 * chance.value
    assert multinomial_recalibration(y, probabilities, CLASSES).calibrated_p.value > 0.01


def test_coverage_and_size_where_the_predictions_are_right():
    """400 worlds of 250 patients: 95 % of intervals should hold the truth, give or take 3 standard errors (3.3 %)."""
    rng = np.random.default_rng(11)
    p = rng.beta(1.5, 2.5, 250)
    slopes, covered, rejected = [], np.zeros(3), 0
    for _ in range(400):
        found = logistic_recalibration(rng.random(250) < p, p, "low")
        slopes.append(found.slope.value)
        truths = ((found.slope, 1.0), (found.intercept, 0.0), (found.in_the_large, 0.0))
        covered += [estimate.low <= truth <= estimate.high for estimate, truth in truths]
        rejected += found.unreliability_p.value < 0.05
    assert np.mean(slopes) == pytest.approx(1.0, abs=0.04)
    assert (covered / 400 > 0.95 - 0.033).all()
    assert (covered / 400 < 0.95 + 0.033).all()
    assert rejected / 400 == pytest.approx(0.05, abs=0.033)


def test_a_world_of_known_slope_is_found():
    rng = np.random.default_rng(5)
    p = rng.beta(2, 2, 400)
    q = expit(0.5 * logit(p) + 0.7)
    design = binary_design(np.column_stack([logit(p), np.ones(400)]))
    found = fit_logistic(design, np.column_stack([1 - q, q]), np.zeros((400, 2)))
    assert found.coefficients == pytest.approx([0.5, 0.7], abs=1e-9)


def test_impossible_slopes_are_refused():
    y = np.repeat([True, False], 20)
    separated = np.where(y, 0.9, 0.1) + np.linspace(-0.05, 0.05, 40)
    found = logistic_recalibration(y, separated, "positive")
    assert math.isnan(found.slope.value)
    assert "separation" in found.slope.reason
    assert "separation" in found.unreliability_p.reason
    found = logistic_recalibration(np.arange(40) < 2, np.full(40, 0.1), "positive")
    assert found.slope.reason == found.in_the_large.reason == found.unreliability_p.reason == "only 2 HER2-positive"
    found = logistic_recalibration(y, np.full(40, 0.3), "positive")
    assert math.isnan(found.slope.value)
    assert found.in_the_large.value == pytest.approx(math.log(0.7 / 0.3))
    assert all(math.isnan(v) for v in spiegelhalter(y, np.full(40, 0.5)))


def test_probabilities_of_zero_and_one_are_clipped():
    y = np.arange(40) % 2 == 0
    p = np.where(np.arange(40) < 30, np.where(y, 1.0, 0.0), np.where(y, 0.0, 1.0))
    found = logistic_recalibration(y, p, "positive")
    assert math.isfinite(found.slope.value)
    assert "clipped" in found.slope.method


def test_reliability_bins_hold_everybody_and_keep_equals_together():
    y, probabilities = calibrated_world(95)
    p = probabilities[:, 0].round(1)
    curve = reliability(y == 0, p, "zero")
    assert sum(e.n for e in curve.observed) == 95
    assert list(curve.predicted) == sorted(curve.predicted)
    constant = reliability(y == 0, np.full(95, 0.4), "zero")
    assert len(constant.predicted) == 1
    assert reliability(np.zeros(0, bool), np.zeros(0), "zero").predicted == ()


def test_the_band_holds_the_curve_and_the_order_of_patients_changes_nothing():
    y, probabilities = calibrated_world(120, seed=2)
    condition, p = y == 0, probabilities[:, 0].copy()
    smooth = smooth_reliability(condition, p, resamples=100, seed=0)
    assert np.mean(np.array(smooth.low) <= np.array(smooth.observed)) == 1
    assert np.mean(np.array(smooth.high) >= np.array(smooth.observed)) == 1
    order = np.random.default_rng(0).permutation(120)
    again = smooth_reliability(condition[order], p[order], resamples=20, seed=0)
    assert again.observed == pytest.approx(smooth.observed, abs=1e-10)
    assert decompose_brier(condition[order], p[order]).total == pytest.approx(decompose_brier(condition, p).total)
    found, moved = (multinomial_recalibration(y[o], probabilities[o], CLASSES) for o in (np.arange(120), order))
    assert moved.calibrated_p.value == pytest.approx(found.calibrated_p.value, abs=1e-9)


@pytest.mark.parametrize(
    "p", [np.full(60, 0.3), np.tile([0.1, 0.3, 0.6], 20), np.r_[np.full(50, 0.2), np.linspace(0, 1, 10)]]
)
def test_predictions_that_are_much_alike_have_no_smooth_curve(p):
    y = np.arange(60) % 2 == 0
    assert smooth_reliability(y, p, resamples=20, seed=0) is None
    found = error_estimates(y, p, "", draws=20, seed=0)
    assert "too much alike" in found["ici"].reason
    assert "too much alike" in found["ici_if_calibrated"].reason


def test_nobody_gives_a_reason():
    found = ece_estimates(np.zeros(0, int), np.zeros((0, 3)), seed=0)
    assert found["ece_top_label"].reason == "0 labeled patients"
    brier, _ = brier_and_log_loss(np.zeros(0, int), np.zeros((0, 3)), resamples=100, seed=0)
    assert brier.reason == "0 labeled patients"
    assert scaled_brier(np.zeros(0, int), 3, brier).reason == "0 labeled patients"
    missing = multinomial_recalibration(np.arange(20) % 2, calibrated_world(20)[1], CLASSES)
    assert missing.calibrated_p.reason == missing.slopes[0][0].reason == "0 HER2-positive"
