import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from classify import elastic_net
from classify.design import one_row_each
from classify.elastic_net import SHARES


def data(n=80, p=40, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    X = rng.normal(size=(n, p)) + 0.8 * rng.normal(size=(n, 1))
    X[:, :4] += 0.9 * y[:, None]
    return X.astype(np.float32), y


def part_of(X, y, n_classes=3, weights=None):
    return elastic_net.prepare(one_row_each(X), y, n_classes, weights=weights, exact=True)


def slopes_at(part, fitted):
    """Of the weighted loss by the coefficients of the classes that have some, and those coefficients."""
    scores = part.rows @ fitted.coef.T + fitted.intercept
    p = np.exp(log_softmax(scores, axis=1))
    return ((p - part.hits.T) * part.weights[:, None]).T @ part.rows


def penalty_of(part, share, l1_ratio):
    """The absolute penalty that a share stands for, from the class shares."""
    shares = part.hits @ part.weights / part.weights.sum()
    slopes = ((shares[:, None] - part.hits) * part.weights) @ part.rows
    return share * np.abs(slopes).max() / l1_ratio


def objective(part, coef, intercept, penalty, l1_ratio):
    logs = log_softmax(part.rows @ coef.T + intercept, axis=1)
    loss = -(part.weights[:, None] * part.hits.T * logs).sum()
    return (loss + penalty * (l1_ratio * np.abs(coef).sum() + (1 - l1_ratio) / 2 * (coef**2).sum())) / len(logs)


@pytest.mark.parametrize(("n_classes", "l1_ratio", "share"), [(3, 0.3, 0.1), (3, 1.0, 0.2), (2, 0.5, 0.1)])
def test_the_objective_is_that_of_scikit_learn(n_classes, l1_ratio, share):
    X, y = data(n_classes=n_classes)
    weights = np.random.default_rng(1).uniform(0.5, 2.0, len(y))
    part = part_of(X, y, n_classes, weights)
    penalty = penalty_of(part, share, l1_ratio)
    solver = LogisticRegression(C=1 / penalty, l1_ratio=l1_ratio, solver="saga", max_iter=20_000, tol=1e-5)
    solver.fit(part.rows, y, weights)
    coef, intercept = solver.coef_, solver.intercept_
    if n_classes == 2:
        coef, intercept = np.vstack([np.zeros_like(coef), coef]), np.append(0.0, intercept)
    ours = part.fit({"l1_ratio": l1_ratio, "share": share}, 0)
    theirs = objective(part, coef, intercept, penalty, l1_ratio)
    assert objective(part, ours.coef, ours.intercept, penalty, l1_ratio) == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("l1_ratio", [0.1, 1.0])
def test_the_conditions_of_the_optimum_hold(l1_ratio):
    X, y = data(40, 90)
    part = part_of(X, y)
    for share in (0.5, 0.1):
        fitted = part.fit({"l1_ratio": l1_ratio, "share": share}, 0)
        penalty = penalty_of(part, share, l1_ratio)
        l1, l2 = penalty * l1_ratio, penalty * (1 - l1_ratio)
        slopes = slopes_at(part, fitted) + l2 * fitted.coef
        used = fitted.coef != 0
        np.testing.assert_allclose(slopes[used], -l1 * np.sign(fitted.coef[used]), atol=2e-3 * l1)
        assert (np.abs(slopes[~used]) <= l1 * (1 + 2e-3)).all()


def test_the_path_runs_from_the_class_shares_to_ever_more_features():
    X, y = data()
    part = part_of(X, y)
    first = next(part.along({"l1_ratio": 0.9}, 0, one_row_each(X)))
    np.testing.assert_allclose(first, np.tile(part.hits.mean(axis=1), (80, 1)), atol=1e-3)
    counts = [int(part.fit({"l1_ratio": 0.9, "share": share}, 0).coef.any(axis=0).sum()) for share in SHARES[:7:2]]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert 0 < counts[1] < counts[-1] < 40


@pytest.mark.fault("E6")
def test_constant_features_get_nothing():
    X, y = data()
    X[:, 7] = 3.0
    fitted = part_of(X, y).fit({"l1_ratio": 0.05, "share": 0.1}, 0)
    assert not fitted.coef[:, 7].any()
    still = part_of(np.ones_like(X), y)
    for p in still.along({"l1_ratio": 0.5}, 0, one_row_each(X)):
        np.testing.assert_allclose(p[0], still.hits.mean(axis=1), atol=1e-6)


def test_it_is_lazy():
    X, y = data()
    path = part_of(X, y).along({"l1_ratio": 0.5}, 0, one_row_each(X))
    assert next(path).shape == (80, 3)
    path.close()
