import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from classify import logistic
from classify.design import one_row_each
from classify.logistic import PENALTIES

EVERY_SIXTH = slice(None, None, 6)


def data(n=90, p=30, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    X = rng.normal(size=(n, p)) @ (rng.normal(size=(p, p)) / np.sqrt(np.arange(1, p + 1)))
    X[:, : p // 3] += 0.7 * y[:, None]
    return X.astype(np.float32), y


def part_of(X, y, n_classes=3, weights=None, blocks=()):
    return logistic.prepare(one_row_each(X, blocks), y, n_classes, weights=weights, exact=False)


def path_of(X, y, *, test=None, **options):
    return list(part_of(X, y, **options).along({}, 0, one_row_each(X if test is None else test)))


def scaled_rows(X, blocks):
    Z = X.astype(float) - X.mean(axis=0, dtype=float)
    return Z / Z.std(axis=0) / np.sqrt(np.repeat(np.array(blocks) * len(blocks), blocks))


def scikit_learn(X, y, C, weights=None, blocks=None):
    Z = scaled_rows(X, blocks or (X.shape[1],))
    return LogisticRegression(C=C, max_iter=20_000, tol=1e-10).fit(Z, y, weights).predict_proba(Z)


@pytest.mark.parametrize(("shape", "n_classes"), [((90, 30), 3), ((40, 120), 3), ((90, 30), 2), ((90, 30), 4)])
def test_the_path_equals_scikit_learn_one_penalty_at_a_time(shape, n_classes):
    X, y = data(*shape, n_classes=n_classes)
    path = path_of(X, y, n_classes=n_classes)
    assert len(path) == 25
    for C, p in list(zip(PENALTIES, path, strict=True))[EVERY_SIXTH]:
        np.testing.assert_allclose(p, scikit_learn(X, y, C), atol=1e-3)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_fit_solves_the_equations_of_the_optimum(n_classes):
    X, y = data(n_classes=n_classes)
    part, Z = part_of(X, y, n_classes), scaled_rows(X, (30,))
    for C in (0.01, 1.0, 100.0):
        fitted = part.fit({"C": C}, 0)
        excess = fitted.probabilities(one_row_each(X)) - (y[:, None] == np.arange(n_classes))
        first = n_classes == 2  # of two classes the first has no coefficients
        np.testing.assert_allclose((excess.T @ Z + fitted.coef / C)[first:], 0, atol=2e-5)
        np.testing.assert_allclose(excess.sum(axis=0), 0, atol=2e-5)


def test_weights_are_those_of_scikit_learn():
    X, y = data()
    weights = np.random.default_rng(1).uniform(0.2, 3.0, len(y))
    part = part_of(X, y, weights=weights)
    for C, p in list(zip(PENALTIES, part.along({}, 0, one_row_each(X)), strict=True))[EVERY_SIXTH]:
        theirs = scikit_learn(X, y, C, weights)
        np.testing.assert_allclose(p, theirs, atol=1e-3)
        if C < 10:
            fitted = part.fit({"C": C}, 0)
            np.testing.assert_allclose(fitted.probabilities(one_row_each(X)), theirs, atol=1e-4)


def test_blocks_weigh_alike_however_wide_they_are():
    X, y = data()
    for C, p in list(zip(PENALTIES, path_of(X, y, blocks=(27, 3)), strict=True))[EVERY_SIXTH]:
        np.testing.assert_allclose(p, scikit_learn(X, y, C, blocks=(27, 3)), atol=1e-3)


@pytest.mark.fault("E6")
def test_features_that_do_not_vary_leave_the_class_shares():
    X, y = np.full((9, 4), 2.5, np.float32), np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
    for p in path_of(X, y, test=np.zeros((2, 4), np.float32)):
        np.testing.assert_allclose(p, [[4 / 9, 3 / 9, 2 / 9]] * 2, atol=1e-6)


@pytest.mark.fault("E6")
def test_duplicated_features_share_what_one_has():
    X, y = data()
    twice = np.hstack([X, X])
    for one, two in zip(path_of(X, y), path_of(twice, y), strict=True):
        np.testing.assert_allclose(one, two, atol=5e-4)


def test_the_path_runs_from_the_class_shares_to_parting_the_patients():
    X, y = data()
    losses = [log_loss(y, p) for p in path_of(X, y)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(np.log(3), abs=0.02)
    assert losses[-1] < 0.1


def test_units_and_the_order_of_patients_do_not_matter():
    X, y = data()
    order = np.random.default_rng(2).permutation(len(y))
    for p, scaled, turned in zip(
        path_of(X, y), path_of(X * 1024, y), path_of(X[order], y[order], test=X), strict=True
    ):
        np.testing.assert_allclose(scaled, p, atol=5e-4)
        np.testing.assert_allclose(turned, p, atol=5e-4)


@pytest.mark.fault("E16")
def test_the_number_of_threads_changes_no_probability_by_a_thousandth():
    X, y = data(120, 200)
    with threadpool_limits(limits=1):
        alone = path_of(X, y)
    np.testing.assert_allclose(path_of(X, y), alone, atol=1e-3)


def test_the_softmax_has_the_derivatives_that_differences_give():
    rng = np.random.default_rng(0)
    for n_classes in (2, 3):
        y = np.arange(12) % n_classes
        likelihood = logistic.Softmax((y == np.arange(n_classes)[:, None]).astype(float), rng.uniform(1, 2, 12))
        scores = rng.normal(size=(2, likelihood.n_columns, 12))
        offsets = rng.normal(size=(2, likelihood.n_columns))
        slopes = likelihood.slopes(scores, offsets)
        for column in range(likelihood.n_columns):
            up, down = scores.copy(), scores.copy()
            up[:, column, 5] += 1e-6
            down[:, column, 5] -= 1e-6
            change = likelihood.slopes(up, offsets).loss - likelihood.slopes(down, offsets).loss
            np.testing.assert_allclose(slopes.by_score[:, column, 5], change / 2e-6, atol=1e-7)
        np.testing.assert_allclose(slopes.by_offset, slopes.by_score.sum(axis=2))


def test_a_score_of_a_thousand_overflows_nothing():
    hits = np.eye(3, dtype=np.float32)
    slopes = logistic.Softmax(hits, np.ones(3, np.float32)).slopes(hits[None] * 1000, np.zeros((1, 3), np.float32))
    assert slopes.loss == pytest.approx(0)
    np.testing.assert_allclose(softmax(hits[None] * 1000, axis=1) - hits, slopes.by_score, atol=1e-7)
