import numpy as np
import pytest
import safetensors.numpy
from sklearn.linear_model import LogisticRegression

from classify.design import one_row_each
from classify.heads import find_head
from classify.thresholds import nested_score
from triher.errors import StopRun


def data(n=90, p=10, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    X = rng.normal(size=(n, p))
    X[:, 0] += y
    return X.astype(np.float32), y


def fit(X, y, n_classes=3, weights=None, C=1.0):
    part = find_head("hierarchical-logistic").prepare(one_row_each(X), y, n_classes, weights=weights, exact=True)
    return part.fit({"C": C}, 0)


def binary(X, passed, weights, C):
    Z = X.astype(float) - X.mean(axis=0, dtype=float)
    scale = Z.std(axis=0) * np.sqrt(X.shape[1])
    solver = LogisticRegression(C=C, max_iter=20_000, tol=1e-10).fit(Z / scale, passed, weights)
    return lambda rows: solver.predict_proba((rows - X.mean(axis=0, dtype=float)) / scale)[:, 1]


@pytest.mark.parametrize("C", [0.1, 100.0])
def test_it_is_two_scikit_learn_fits_multiplied_out(C):
    X, y = data()
    weights = np.random.default_rng(1).uniform(0.5, 2, len(y))
    above = y >= 1
    q1 = binary(X, y > 0, weights, C)(X)
    q2 = binary(X[above], y[above] > 1, weights[above], C)(X)
    p = fit(X, y, weights=weights, C=C).probabilities(one_row_each(X))
    np.testing.assert_allclose(p, np.column_stack([1 - q1, q1 * (1 - q2), q1 * q2]), atol=1e-4)
    np.testing.assert_allclose(nested_score(p, 0), q1, atol=1e-4)
    np.testing.assert_allclose(nested_score(p, 1), q2, atol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_every_boundary_is_asked_of_those_at_or_above_it(n_classes):
    X, y = data(n_classes=n_classes)
    fitted = fit(X, y, n_classes)
    assert len(fitted.levels) == n_classes - 1
    p = fitted.probabilities(one_row_each(X))
    for level, model in enumerate(fitted.levels):
        alone = find_head("logistic").prepare(
            one_row_each(X[y >= level]), (y[y >= level] > level).astype(int), 2, weights=None, exact=True
        )
        q = alone.fit({"C": 1.0}, 0).probabilities(one_row_each(X))[:, 1]
        np.testing.assert_array_equal(model.probabilities(one_row_each(X))[:, 1], q)
        np.testing.assert_allclose(nested_score(p, level), q, atol=1e-12)


def test_files_with_a_level_too_few_or_too_many_or_damaged_are_refused():
    X, y = data()
    content = fit(X, y).to_bytes()
    levels = safetensors.numpy.load(content)
    one, other = levels["level-0"], levels["level-1"]
    bad = [
        safetensors.numpy.save({"level-0": one}),
        safetensors.numpy.save({**levels, "level-2": one}),
        safetensors.numpy.save({"level-0": one, "level-1": other[:-9]}),
        safetensors.numpy.save({"level-0": one, "level-1": np.zeros((2, 3), np.float32)}),
        content[:50],
        b"",
    ]
    for damaged in bad:
        with pytest.raises(StopRun) as caught:
            find_head("hierarchical-logistic").load(damaged, n_features=10, n_classes=3)
        assert caught.value.code == "bundle_corrupt"
