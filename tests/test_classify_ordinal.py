import numpy as np
import pytest
import safetensors.numpy
from scipy.optimize import minimize
from scipy.special import expit

from classify import logistic, ordinal
from classify.design import one_row_each
from triher.errors import StopRun


def data(n=90, p=8, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    X = rng.normal(size=(n, p))
    X[:, 0] += 0.8 * y
    return X.astype(np.float32), y


def fit(X, y, n_classes, C, weights=None, head=ordinal):
    return head.prepare(one_row_each(X), y, n_classes, weights=weights, exact=True).fit({"C": C}, 0)


def test_a_table_with_one_odds_ratio_at_every_boundary_is_met_exactly():
    """Cumulative odds 1 and 3 in one group, a third of them in the other: counts 2:1:1 and 1:1:2 (by hand)."""
    X, y = np.repeat(np.array([[0.0], [1.0]], np.float32), 3, axis=0), np.tile([0, 1, 2], 2)
    counts = 1e4 * np.array([2.0, 1, 1, 1, 1, 2])
    fitted = fit(X, y, 3, 1000.0, counts)
    np.testing.assert_allclose(
        fitted.probabilities(one_row_each(X[2:4])), [[2, 1, 1], [1, 1, 2]] / np.float64(4), atol=1e-5
    )
    assert (fitted.coef / fitted.scale)[0] == pytest.approx(np.log(3), abs=1e-4)
    at_zero = fitted.thresholds + fitted.coef * fitted.mean / fitted.scale
    np.testing.assert_allclose(at_zero, [np.log(1), np.log(3)], atol=1e-4)


@pytest.mark.parametrize("n_classes", [3, 4])
@pytest.mark.parametrize("C", [0.1, 10.0])
def test_an_optimizer_on_the_textbook_likelihood_finds_the_same(n_classes, C):
    X, y = data(n_classes=n_classes)
    weights = np.random.default_rng(1).uniform(0.5, 2.0, len(y))
    Z = X.astype(float) - X.mean(axis=0, dtype=float)
    Z /= Z.std(axis=0) * np.sqrt(X.shape[1])

    def probabilities(parameters):
        coef, thresholds = parameters[:8], parameters[8:]
        below = expit(thresholds - (Z @ coef)[:, None])
        return np.diff(np.column_stack([np.zeros(len(Z)), below, np.ones(len(Z))]), axis=1)

    def loss(parameters):
        p = np.maximum(probabilities(parameters)[np.arange(len(y)), y], 1e-300)
        return -(weights * np.log(p)).sum() + (parameters[:8] ** 2).sum() / (2 * C)

    start = np.concatenate([np.zeros(8), np.linspace(-1, 1, n_classes - 1)])
    theirs = minimize(loss, start, method="BFGS", options={"gtol": 1e-6})
    ours = fit(X, y, n_classes, C, weights)
    np.testing.assert_allclose(ours.probabilities(one_row_each(X)), probabilities(theirs.x), atol=1e-4)
    np.testing.assert_allclose(ours.coef, theirs.x[:8], atol=1e-3)


def test_derivatives_are_those_that_differences_give():
    rng = np.random.default_rng(0)
    y = np.arange(16) % 4
    likelihood = ordinal.ProportionalOdds(y, rng.uniform(1, 2, 16), np.zeros(3))
    scores, offsets = rng.normal(size=(2, 1, 16)), rng.normal(size=(2, 3))
    slopes = likelihood.slopes(scores, offsets)
    for place in range(16):
        ahead = np.zeros_like(scores)
        ahead[:, 0, place] = 1e-6
        change = likelihood.slopes(scores + ahead, offsets).loss - likelihood.slopes(scores - ahead, offsets).loss
        np.testing.assert_allclose(slopes.by_score[:, 0, place], change / 2e-6, atol=1e-7)
    for place in range(3):
        ahead = 1e-6 * (np.arange(3) == place)
        change = likelihood.slopes(scores, offsets + ahead).loss - likelihood.slopes(scores, offsets - ahead).loss
        np.testing.assert_allclose(slopes.by_offset[:, place], change / 2e-6, atol=1e-6)


def test_of_two_classes_it_is_the_logistic_head():
    X, y = data(n_classes=2)
    for C in (0.01, 1.0, 100.0):
        one, other = (fit(X, y, 2, C, head=head).probabilities(one_row_each(X)) for head in (ordinal, logistic))
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_turning_the_order_of_classes_turns_the_columns():
    X, y = data(n_classes=4)
    p = fit(X, y, 4, 1.0).probabilities(one_row_each(X))
    turned = fit(X, 3 - y, 4, 1.0).probabilities(one_row_each(X))
    np.testing.assert_allclose(turned[:, ::-1], p, atol=1e-5)


@pytest.mark.fault("E6")
def test_features_that_do_not_vary_leave_the_class_shares():
    X, y = np.full((9, 4), 2.5, np.float32), np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
    part = ordinal.prepare(one_row_each(X), y, 3, weights=None, exact=True)
    for p in part.along({}, 0, one_row_each(np.zeros((2, 4), np.float32))):
        np.testing.assert_allclose(p, [[4 / 9, 3 / 9, 2 / 9]] * 2, atol=1e-6)


def test_thresholds_rise_even_where_a_class_has_one_patient_among_many():
    X, y = data(60)
    y[y == 1] = 2
    y[7] = 1
    for C in (1e-3, 1e3):
        fitted = fit(X, y, 3, C)
        assert (np.diff(fitted.thresholds) > 0).all()
        p = fitted.probabilities(one_row_each(X * 1000))
        assert np.isfinite(p).all()
        np.testing.assert_allclose(p.sum(axis=1), 1)


def test_a_file_with_falling_thresholds_or_another_shape_is_refused():
    X, y = data()
    content = fit(X, y, 3, 1.0).to_bytes()
    arrays = safetensors.numpy.load(content)
    falling = safetensors.numpy.save({**arrays, "thresholds": arrays["thresholds"][::-1].copy()})
    for bad, n_features in ((falling, 8), (content, 9), (content[:40], 8), (b"", 8)):
        with pytest.raises(StopRun) as caught:
            ordinal.load(bad, n_features=n_features, n_classes=3)
        assert caught.value.code == "bundle_corrupt"
