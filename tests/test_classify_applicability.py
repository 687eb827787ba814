import numpy as np
import pytest

from classify.applicability import fit_range, outside

RNG = np.random.default_rng(0)


def cloud(n, p=100, seed=0):
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(99).normal(size=(5, p))
    return (rng.normal(size=(n, 5)) @ basis + rng.normal(size=(n, p)) + 3).astype(np.float32)


@pytest.mark.parametrize("p", [10, 100, 600])
def test_patients_like_those_of_the_training_are_seldom_flagged_and_shifted_ones_always(p):
    train, alike = cloud(120, p), cloud(400, p, seed=1)
    seen = fit_range({}, train)
    flagged = [bool(reasons) for reasons in outside(seen, {}, alike)]
    assert np.mean(flagged) < 0.06
    shifted = outside(seen, {}, alike[:20] * 5 + 10)
    assert all(reasons[0].startswith("embedding distance") for reasons in shifted)


def test_distances_are_about_one_within_the_training():
    seen = fit_range({}, cloud(200))
    assert np.median(seen.subspace.distances(cloud(200, seed=2))) == pytest.approx(1, abs=0.15)


def test_acquisition_reasons_name_field_value_and_range():
    train = cloud(30)
    seen = fit_range({"spacing_row_mm": np.linspace(1.2, 1.5, 30), "empty": np.full(30, np.nan)}, train)
    assert list(seen.acquisition) == ["spacing_row_mm"], "a fact that nobody has sets no range"
    values = np.array([0.86, 1.2 - 1e-6, 1.51, 1.7, np.nan])
    reasons = outside(seen, {"spacing_row_mm": values}, train[:5])
    assert reasons[0] == ["spacing_row_mm 0.86 below the training range 1.2 to 1.5"]
    assert reasons[1] == []
    assert reasons[2] == []
    assert reasons[3] == ["spacing_row_mm 1.7 above the training range 1.2 to 1.5"]
    assert reasons[4] == ["spacing_row_mm is not known"]
    assert outside(seen, {}, train[:1]) == [["spacing_row_mm is not known"]]


def test_constant_features_and_few_patients_do_no_harm():
    train = cloud(5)
    train[:, :3] = 2.5
    seen = fit_range({}, train)
    assert np.isfinite(seen.threshold)
    assert np.isfinite(seen.subspace.distances(cloud(3, seed=4))).all()
