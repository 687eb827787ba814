import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from classify.calibration import apply_temperature, fit_temperature, log_loss


def test_temperature_equals_the_referee(golden_folder):
    check = json.loads((golden_folder / "expected.json").read_text())["checks"]["temperature_multiclass_a"]
    table = pd.read_csv(golden_folder / "threeclass.csv")
    p, y = table[["a0", "a1", "a2"]].to_numpy(float), table["y"].to_numpy(int)
    temperature = fit_temperature(p, y)
    assert temperature == pytest.approx(check["value"]["T"], rel=check["rtol"])
    loss = log_loss(apply_temperature(p, temperature), y)
    assert loss == pytest.approx(check["value"]["nll"], rel=check["rtol"])


def test_overconfidence_by_a_known_factor_is_undone():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 3))
    truth = softmax(logits, axis=1)
    y = (rng.random((20_000, 1)) > truth.cumsum(axis=1)).sum(axis=1)
    assert fit_temperature(softmax(3 * logits, axis=1), y) == pytest.approx(3, rel=0.05)


def test_the_order_of_the_classes_is_kept_and_rows_sum_to_one():
    p = np.random.default_rng(1).dirichlet(np.ones(3), size=50)
    warm = apply_temperature(p, 2.5)
    np.testing.assert_array_equal(warm.argsort(axis=1), p.argsort(axis=1))
    np.testing.assert_allclose(warm.sum(axis=1), 1, atol=1e-12)


@pytest.mark.fault("E18")
def test_probabilities_of_zero_and_one_stay_finite():
    p, y = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), np.array([0, 1, 1])
    temperature = fit_temperature(p, y)
    assert 0.04 < temperature < 21
    assert np.isfinite(log_loss(apply_temperature(p, temperature), y))


def test_smoothing_keeps_faultless_predictions_from_certainty():
    y = np.arange(60) % 3
    p = np.full((60, 3), 0.2)
    p[np.arange(60), y] = 0.6
    sure = apply_temperature(p, fit_temperature(p, y))
    humble = apply_temperature(p, fit_temperature(p, y, smoothing=1 / 62))
    assert sure.max() > 1 - 1e-6
    assert humble.max() == pytest.approx(1 - 1 / 62 * 2 / 3, abs=1e-4)
