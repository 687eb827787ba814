"""Pooled predictions of folds: random labels must not rank against the truth."""

import numpy as np

from classify.prior import align_prior
from classify.stage import classify
from triher.predictions import read_predictions


def test_a_model_that_only_knows_the_class_shares_gives_every_patient_the_same_probabilities():
    y = np.array([0] * 7 + [1] * 9 + [2] * 8)
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(4):
        train = np.concatenate([[0, 1, 2], rng.choice(y, 17)])
        constant = np.tile(np.bincount(train, minlength=3) / len(train), (5, 1))
        rows.append(align_prior(constant, train, y))
    pooled = np.concatenate(rows)
    np.testing.assert_allclose(pooled, np.tile(np.bincount(y) / len(y), (20, 1)), rtol=1e-12)


def test_the_order_within_a_fold_and_the_sum_stay():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(3), 50)
    train, y = rng.integers(0, 3, 60), rng.integers(0, 3, 90)
    shifted = align_prior(p, train, y)
    np.testing.assert_allclose(shifted.sum(axis=1), 1)
    odds, before = shifted[:, 2] / shifted[:, 0], p[:, 2] / p[:, 0]
    np.testing.assert_array_equal(np.argsort(odds), np.argsort(before))


def test_equal_shares_change_nothing():
    p = np.random.default_rng(2).dirichlet(np.ones(3), 10)
    y = np.array([0, 1, 1, 2])
    np.testing.assert_allclose(align_prior(p, np.tile(y, 3), y), p, rtol=1e-12)


def test_sets_are_made_of_probabilities_as_the_model_gave_them(make_study, monkeypatch):
    moved = {f"SUBJECT-{i:03d}": {"site": "site1"} for i in (0, 9, 18)}  # so that the shares of the sites differ
    tables = []
    for name in ("aligned", "given"):
        if name == "given":
            monkeypatch.setattr("classify.predicting.align_prior", lambda p, *_: p)
        study = make_study(name=name, effect=0.7, split={"kind": "leave-one-site-out"}, table=moved)
        classify(*study)
        tables.append(read_predictions(study.run.predictions_file, "triple"))
    aligned, given = tables
    assert not np.allclose(aligned["p_zero"], given["p_zero"])
    assert aligned["set"].tolist() == given["set"].tolist()
