"""Pooled predictions of folds: random labels must not rank against the truth."""

import numpy as np

from classify.prior import align_prior


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
