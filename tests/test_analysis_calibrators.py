"""Recalibrations against R, the library and a definition, and what they do in known worlds."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import isotonic_regression
from scipy.special import softmax

from analysis.calibration.brier import patient_losses
from analysis.calibration.calibrators import (
    CALIBRATORS,
    cross_fitted,
    find_calibrator,
    fit_one_temperature,
    folds_of,
    platt,
)
from analysis.calibration.comparison import compare_calibrators, slope_of_logs
from analysis.calibration.slopes import logistic_recalibration
from analysis.calibration.stepwise import fit_venn_abers, inductive_venn_abers, isotonic
from analysis.part import Material
from analysis.patients.samples import Sample
from analysis.sections.calibrators import calibrators_part
from triher.cohort import Cohort
from triher.errors import StopRun
from triher.settings import AnalysisConfig, CohortConfig, Config

CLASSES = ("zero", "low", "positive")


def too_sure(n, seed=0, factor=2.5):
    """Classes drawn from probabilities, and those probabilities made too extreme."""
    rng = np.random.default_rng(seed)
    logs = rng.normal(size=(n, 3))
    p = softmax(logs, axis=1)
    y = (rng.random((n, 1)) > np.cumsum(p, axis=1)[:, :2]).sum(axis=1)
    return y, softmax(factor * logs, axis=1)


def material_of(samples, **analysis):
    settings = AnalysisConfig(**{"resamples": 100, **analysis})
    config = Config(cohort=CohortConfig(table="t.csv"), analysis=settings)
    return Material(pd.DataFrame(), None, tuple(samples), {}, Cohort((), (), frozenset()), config, {})


def sample_of(y, p, split="test"):
    ids = tuple(f"P{i:04d}" for i in range(len(y)))
    return Sample(split, "", "", ids, y, p, 0, np.zeros(len(y), int))


@pytest.mark.golden("platt")
def test_platt_equals_r(golden_folder, golden):
    frame = pd.read_csv(golden_folder / "binary_calibration.csv")
    y, p, expected = frame["y"].to_numpy() == 1, frame["p"].to_numpy(float), golden("platt")
    assert platt(y, p) == pytest.approx((expected["a"], expected["b"]), rel=1e-4)
    plain = logistic_recalibration(y, p, "positive")
    assert plain.slope.value == pytest.approx(expected["a_unsmoothed"], rel=1e-4)
    assert plain.intercept.value == pytest.approx(expected["b_unsmoothed"], rel=1e-4)


@pytest.mark.golden("isotonic_fit")
def test_isotonic_equals_r(golden_folder, golden):
    frame = pd.read_csv(golden_folder / "binary_calibration.csv")
    y, p, expected = frame["y"].to_numpy() == 1, frame["p"].to_numpy(float), golden("isotonic_fit")
    fitted = isotonic(y, p).at(p)
    assert fitted.sum() == pytest.approx(expected["sum"], rel=1e-9)
    assert (fitted.min(), fitted.max()) == (expected["min"], expected["max"])
    assert len(np.unique(fitted.round(12))) == expected["levels"]
    assert fitted @ p == pytest.approx(expected["dot"], rel=1e-9)


@pytest.mark.golden("temperature_multiclass_a")
def test_temperature_equals_r(golden_folder, golden):
    frame = pd.read_csv(golden_folder / "threeclass.csv")
    y, p, expected = (
        frame["y"].to_numpy(),
        frame[["a0", "a1", "a2"]].to_numpy(float),
        golden("temperature_multiclass_a"),
    )
    found = fit_one_temperature(p, y, 0)
    assert found.temperature == pytest.approx(expected["T"], rel=1e-5)
    assert patient_losses(y, found.apply(p))[:, 1].mean() == pytest.approx(expected["nll"], rel=1e-9)
    assert slope_of_logs(y, p).value == pytest.approx(1 / expected["T"], rel=1e-5)


@pytest.mark.parametrize("decimals", [1, 9])
def test_venn_abers_is_two_isotonic_fits_with_the_patient_added(decimals):
    rng = np.random.default_rng(3)
    score = rng.random(50).round(decimals)
    y = rng.random(50) < score
    new = np.r_[rng.random(20).round(decimals), score[:5]]
    found = inductive_venn_abers(y, score).interval(new)
    for row, value in zip(found, new, strict=True):
        for label, p in enumerate(row):
            values, place, counts = np.unique(np.r_[score, value], return_inverse=True, return_counts=True)
            means = np.bincount(place, np.r_[y, label]) / counts
            assert p == pytest.approx(isotonic_regression(means, weights=counts).x[place[-1]], abs=1e-12)
            assert value in values


def test_venn_abers_couples_pairs_as_the_library_does_and_leaves_numpy_alone():
    y, p = too_sure(120)
    before = np.geterr()
    found = fit_venn_abers(p, y).apply(p[:30])
    assert np.geterr() == before
    with np.errstate(all="ignore"):
        from venn_abers.venn_abers import predict_proba_prefitted_va

        theirs, _ = predict_proba_prefitted_va(p, y, p[:30])
    assert found == pytest.approx(theirs, abs=1e-12)


@pytest.mark.fault("E17")
@pytest.mark.parametrize("name", CALIBRATORS)
def test_every_method_mends_what_is_too_sure_on_patients_it_did_not_see(name):
    y, p = too_sure(200)
    after = cross_fitted(name, p, y, 0)
    assert after.sum(axis=1) == pytest.approx(np.ones(200))
    assert after.min() >= 0
    if name != "isotonic":
        assert patient_losses(y, after)[:, 1].mean() < patient_losses(y, p)[:, 1].mean() - 0.1
        assert slope_of_logs(y, after).value == pytest.approx(1, abs=0.25)
    if name == "temperature":
        assert (after.argmax(axis=1) == p.argmax(axis=1)).all()
    learn, rest = folds_of(y, 5, 0)[0]
    assert not set(learn) & set(rest)
    learned = CALIBRATORS[name].fit(p[learn], y[learn], 0).apply(p[rest])
    assert after[rest] == pytest.approx(learned, abs=1e-12)


def test_what_is_right_already_is_left_nearly_alone():
    y, p = too_sure(300, seed=4, factor=1.0)
    for name in ("temperature", "vector", "dirichlet"):
        change = patient_losses(y, cross_fitted(name, p, y, 0))[:, 1].mean() - patient_losses(y, p)[:, 1].mean()
        assert abs(change) < 0.03


@pytest.mark.fault("G14")
def test_an_unknown_method_is_named_with_those_that_are_known():
    with pytest.raises(StopRun, match=r"unknown calibrator 'temprature'; did you mean 'temperature'\?") as caught:
        find_calibrator("temprature")
    assert caught.value.code == "unknown_name"


@pytest.mark.fault("E18")
def test_isotonic_zeros_are_clipped_and_told():
    y, p = too_sure(90)
    part = calibrators_part(material_of([sample_of(y, p)], calibrators=("temperature", "isotonic")))
    [note] = part.notes
    assert note.code == "calibrator_zero"
    assert "counts as 1e-15 in the log loss" in note.text
    losses = {m.class_name: m.estimate.value for m in part.metrics if m.quantity == "log_loss"}
    assert np.isfinite(losses["isotonic"])
    assert losses["isotonic"] > losses["temperature"]
    texts = [block.text for block in part.section.blocks if hasattr(block, "text")]
    assert any("fewer than about 1000 patients; here are 90" in text for text in texts)


def test_the_table_pairs_before_and_after_and_a_small_class_is_told():
    y, p = too_sure(120)
    found = compare_calibrators(sample_of(y, p), CLASSES, material_of([], calibrators=("temperature",)).config)
    rows = {(m.quantity, m.class_name): m.estimate for m in found.metrics}
    change = rows["log_loss_change", "temperature"]
    after, before = rows["log_loss", "temperature"].value, rows["log_loss", "as predicted"].value
    assert change.value == pytest.approx(after - before)
    assert change.low < change.value < change.high < 0
    assert rows["likeliest_class_changed", "temperature"].value == 0
    assert abs(rows["auc_macro_change", "temperature"].value) < 0.05
    keep = np.flatnonzero((y != 2) | (np.cumsum(y == 2) <= 9))
    part = calibrators_part(material_of([sample_of(y[keep], p[keep])]))
    assert {m.estimate.reason for m in part.metrics} == {"only 9 HER2-positive"}
    assert calibrators_part(material_of([sample_of(y, p)], calibrators=())).section is None


def test_no_quantity_but_a_p_value_ends_like_one():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 60)
    sample = Sample("test", "", "", tuple(map(str, range(60))), np.arange(60) % 3, p, 0, np.zeros(60, np.int64))
    config = Config(
        cohort=CohortConfig(table="cohort.csv"), analysis=AnalysisConfig(resamples=100, calibrators=("temperature",))
    )
    found = compare_calibrators(sample, ("zero", "low", "positive"), config)
    assert not [m.quantity for m in found.metrics if m.quantity.endswith("_p")]
