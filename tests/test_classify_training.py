import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from classify.calibration import log_loss
from classify.cases import Cases
from classify.heads import HEADS
from classify.inputs import Inputs
from classify.training import fit_model
from triher.errors import StopRun
from triher.folds import stratified_folds
from triher.settings import ClassifyConfig


def cases(n=60, p=150, effect=0.0, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3)
    X = rng.normal(size=(n, p)).astype(np.float32)
    for label in range(3):
        X[y == label, 10 * label : 10 * label + 10] += effect
    cohort = np.array(["A"] * n, dtype=object)
    indptr, names = np.arange(n + 1), tuple(f"rgb/mean/{i}" for i in range(p))
    inputs = Inputs(X, indptr, names, np.zeros((n, 0)), (), np.array(["here"] * n, dtype=object))
    return Cases(inputs, y, cohort, np.arange(n), ("zero", "low", "positive"))


QUICK = sorted(
    name for name, head in HEADS.items() if head.lockable and not (head.takes_bags or head.takes_probabilities)
)
"""Heads of bags have tests of their own, which take their time; so has the one that needs a trained encoder."""


def quick(head):
    """Few trials."""
    return ClassifyConfig(head=head, trials=4, folds=3)


def out_of_fold_auc(data, config, seed):
    p = np.zeros((len(data.y), 3))
    for split in stratified_folds(data.y, data.cohort, data.group, folds=3, n_classes=3, seed=seed):
        p[split.test] = fit_model(data.take(split.train), config, seed).predict(data.inputs.take(split.test))
    return roc_auc_score(data.y, p, multi_class="ovo")


@pytest.mark.fault("E8")
@pytest.mark.parametrize(("head", "n_seeds", "width"), [("logistic", 10, 0.05), ("xgboost", 4, 0.08)])
def test_random_labels_give_an_auc_of_one_half(head, n_seeds, width):
    config = ClassifyConfig(head=head, trials=3, folds=3)
    found = [out_of_fold_auc(cases(seed=seed), config, seed) for seed in range(n_seeds)]
    assert np.mean(found) == pytest.approx(0.5, abs=width)


@pytest.mark.parametrize("head", sorted({*QUICK, "knn"} - {"majority"}))
def test_a_planted_signal_is_found(head):
    assert out_of_fold_auc(cases(effect=1.5), quick(head), 0) > 0.9


@pytest.mark.fault("E15")
@pytest.mark.parametrize("head", QUICK)
def test_the_same_seed_gives_the_same_model(head):
    config = quick(head)
    first, second = (fit_model(cases(effect=1.0), config, 7) for _ in range(2))
    assert first.fitted.to_bytes() == second.fitted.to_bytes()
    assert (first.params, first.temperature, first.conformal) == (second.params, second.temperature, second.conformal)
    other = fit_model(cases(effect=1.0), config, 8)
    assert head == "majority" or other.log_loss != first.log_loss


@pytest.mark.fault("E9", "E10")
def test_features_in_another_order_or_not_finite_are_refused():
    data = cases(p=40)
    model = fit_model(data, ClassifyConfig(trials=1, folds=2), 0)
    turned = dataclasses.replace(data.inputs, rows=data.inputs.rows[:, ::-1], names=data.inputs.names[::-1])
    with pytest.raises(StopRun) as caught:
        model.predict(turned)
    assert caught.value.code == "feature_order"
    data.inputs.rows[3, 0] = np.nan
    with pytest.raises(StopRun, match="first: position 3") as caught:
        model.predict(data.inputs)
    assert caught.value.code == "embedding_nonfinite"


@pytest.mark.fault("E1")
def test_a_class_with_one_patient_stops_and_with_two_reduces_the_folds():
    data = cases(n=30)
    for left, folds in ((1, None), (2, 2)):
        keep = np.concatenate([np.flatnonzero(data.y < 2), np.flatnonzero(data.y == 2)[:left]])
        small = data.take(keep)
        if folds is None:
            with pytest.raises(StopRun) as caught:
                fit_model(small, ClassifyConfig(trials=1), 0)
            assert caught.value.code == "class_too_small"
        else:
            model = fit_model(small, ClassifyConfig(trials=1), 0)
            assert model.search["inner_folds"] == folds
            assert model.predict(small.inputs).shape == (22, 3)


@pytest.mark.fault("E17")
def test_the_calibration_sees_only_patients_whom_the_predicting_model_did_not_see():
    data = cases(p=300)
    model = fit_model(data, ClassifyConfig(head="xgboost", trials=1, folds=3), 0)
    p = model.predict(data.inputs)
    assert (p.argmax(axis=1) == data.y).mean() > 0.9, "the trees know their own training patients by heart"
    assert model.temperature > 1, "which must not make the model sure of itself"
    fresh = cases(p=300, seed=1)
    prior = np.log(3)
    assert log_loss(model.predict(fresh.inputs), fresh.y) < 1.3 * prior
