import numpy as np
import pytest
import xgboost

from classify.booster_calls import boost_once, margins

SETTINGS = {
    "objective": "multi:softprob", "tree_method": "hist", "nthread": 1, "verbosity": 0, "seed_per_iteration": True,
    "base_score": 0.0, "seed": 3, "max_depth": 2, "subsample": 0.7, "max_bin": 32,
}  # fmt: skip


def parts(n_classes):
    rng = np.random.default_rng(n_classes)
    rows = rng.normal(size=(80, 9)).astype(np.float32)
    train = xgboost.QuantileDMatrix(rows[:60], max_bin=32, nthread=1)
    test = xgboost.DMatrix(rows[60:], nthread=1)
    grad = rng.normal(size=(5, 60, n_classes)).astype(np.float32)
    return train, test, grad, np.abs(grad) + np.float32(0.1)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_trees_and_margins_are_those_of_the_python_package(n_classes):
    train, test, grad, hess = parts(n_classes)
    settings = SETTINGS | {"num_class": n_classes}
    ours, theirs = (xgboost.Booster(settings, [train, test]) for _ in range(2))
    assert not margins(ours, test).any()
    for iteration in range(5):
        boost_once(ours, train, iteration, grad[iteration], hess[iteration])
        theirs.boost(train, iteration, grad=grad[iteration], hess=hess[iteration])
        for matrix in (train, test):
            np.testing.assert_array_equal(margins(ours, matrix), theirs.predict(matrix, output_margin=True))
    assert ours.save_raw("json") == theirs.save_raw("json")


def test_margins_stay_as_they_were_when_trees_are_added():
    train, test, grad, hess = parts(3)
    booster = xgboost.Booster(SETTINGS | {"num_class": 3}, [train, test])
    before = margins(booster, train)
    boost_once(booster, train, 0, np.asfortranarray(grad[0]), hess[0])
    assert not before.any()
    assert margins(booster, train).any()


def test_what_xgboost_refuses_is_its_own_error():
    train, test, grad, hess = parts(3)
    booster = xgboost.Booster(SETTINGS | {"num_class": 3}, [train, test])
    margins(booster, test)
    with pytest.raises(xgboost.core.XGBoostError, match=r"\w"):
        boost_once(booster, train, 0, grad[0][:7], hess[0][:7])
