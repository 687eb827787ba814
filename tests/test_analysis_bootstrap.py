"""The bootstrap against scikit-learn's weighted AUC, and whether its intervals cover the truth."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from analysis.bootstrap import (
    macro_auc_difference,
    macro_micro_auc,
    mean_losses,
    multiplicities,
    resampled,
    weighted_auc,
)
from analysis.confusion import balanced_accuracy, confusion_matrix

GOLDEN = Path(__file__).parents[2] / "shared" / "golden"
CLASSES = ("zero", "low", "positive")
DRAWS = {"resamples": 300, "seed": 0}


def patients(n=90, seed=0, strength=1.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    logits = strength * np.eye(3)[y] + rng.normal(size=(n, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y, probabilities


def test_every_resample_keeps_the_classes():
    y, _ = patients(40)
    counts = multiplicities(y, 50, np.random.default_rng(1))
    for label in range(3):
        assert (counts[:, y == label].sum(axis=1) == (y == label).sum()).all()


def test_weighted_auc_agrees_with_scikit_learn():
    y, probabilities = patients(30)
    score = probabilities[:, 0].round(1)
    weights = multiplicities(y, 20, np.random.default_rng(2))
    found = weighted_auc(y == 0, score, weights)
    expected = [roc_auc_score(y == 0, score, sample_weight=row) for row in weights]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_macro_and_micro_agree_with_scikit_learn():
    y, probabilities = patients()
    macro, micro = macro_micro_auc(y, probabilities, CLASSES, **DRAWS)
    expected = roc_auc_score(y, probabilities, multi_class="ovr", average="macro")
    assert macro.value == pytest.approx(expected, abs=1e-12)
    assert micro.value == pytest.approx(roc_auc_score(np.eye(3)[y].ravel(), probabilities.ravel()), abs=1e-12)
    assert macro.low < macro.value < macro.high
    assert (macro, micro) == macro_micro_auc(y, probabilities, CLASSES, **DRAWS)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the reference values are not beside this checkout")
def test_macro_equals_proc():
    frame = pd.read_csv(GOLDEN / "threeclass.csv")
    expected = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))["checks"]["ovr_a"]["value"]
    probabilities = frame[["a0", "a1", "a2"]].to_numpy(float)
    macro, _ = macro_micro_auc(frame["y"].to_numpy(), probabilities, CLASSES, **DRAWS)
    assert macro.value == pytest.approx(expected["macro"], rel=1e-9)


def test_portions_do_not_change_the_number_of_resamples(monkeypatch):
    y, _ = patients(30)
    monkeypatch.setattr("analysis.bootstrap._CELLS", 30 * 7)
    draws = resampled(y, lambda weights: weights[:, :1].astype(float), resamples=20, seed=0)
    assert draws.shape == (20, 1)


@pytest.mark.fault("E2")
def test_a_missing_class_is_never_averaged_in():
    y, probabilities = patients(30)
    y = np.where(y == 2, 1, y)
    macro, micro = macro_micro_auc(y, probabilities, CLASSES, **DRAWS)
    assert macro.reason == micro.reason == "0 HER2-positive"
    assert math.isnan(macro.value)


@pytest.mark.fault("E5")
def test_a_rare_class_gives_a_value_without_interval():
    y, probabilities = patients(30)
    y[np.flatnonzero(y == 2)[3:]] = 0
    macro, _ = macro_micro_auc(y, probabilities, CLASSES, **DRAWS)
    assert 0 < macro.value < 1
    assert macro.reason == "only 3 HER2-positive"


@pytest.mark.fault("E4")
def test_perfect_separation_has_limits_of_pairs_that_share_nobody():
    y, _ = patients(30)
    macro, micro = macro_micro_auc(y, np.eye(3)[y] * 0.9 + 0.1 / 3, CLASSES, **DRAWS)
    assert (macro.value, macro.low, macro.high) == (1, pytest.approx(0.025 ** (1 / 10)), 1)
    assert macro.reason == "the scores separate perfectly"
    assert micro.value == 1
    assert math.isnan(micro.low)


@pytest.mark.fault("E3")
def test_equal_scores_have_no_interval():
    y, _ = patients(30)
    macro, _ = macro_micro_auc(y, np.full((30, 3), 1 / 3), CLASSES, **DRAWS)
    assert macro.value == 0.5
    assert math.isnan(macro.low)
    assert macro.reason == "all scores are equal"


def test_a_model_is_not_behind_itself():
    y, probabilities = patients()
    best, behind = macro_auc_difference(y, probabilities, probabilities, CLASSES, **DRAWS)
    assert behind.value == 0
    better = 0.5 * probabilities + 0.5 * np.eye(3)[y]
    best, behind = macro_auc_difference(y, better, probabilities, CLASSES, **DRAWS)
    assert best.value == 1
    assert behind.low > 0


def test_balanced_accuracy_agrees_with_scikit_learn_and_with_resampling():
    y, probabilities = patients()
    found = balanced_accuracy(confusion_matrix(y, probabilities), CLASSES, resamples=4000, seed=0)
    hit = (probabilities.argmax(axis=1) == y).astype(float)
    expected = balanced_accuracy_score(y, probabilities.argmax(axis=1))
    assert found.value == pytest.approx(expected, abs=1e-12)
    [resampled_hits] = mean_losses(y, hit[:, None], ("equal classes",), resamples=4000, seed=1)
    assert (found.low, found.high) == pytest.approx((resampled_hits.low, resampled_hits.high), abs=0.02)


def test_intervals_cover_the_truth():
    truth = macro_micro_auc(*patients(6000, seed=99), CLASSES, resamples=100, seed=0)[0].value
    found = [macro_micro_auc(*patients(90, seed=s), CLASSES, resamples=200, seed=s)[0] for s in range(150)]
    covered = np.mean([e.low <= truth <= e.high for e in found])
    assert 0.88 <= covered <= 0.99
