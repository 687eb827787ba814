import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from classify import neighbors
from classify.design import one_row_each
from classify.heads import find_head
from triher.errors import StopRun


def data(n=60, p=12, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3)
    X = rng.normal(size=(n, p))
    X[:, 0] += y
    return X.astype(np.float32), y


def prepare(X, y, weights=None, blocks=()):
    return neighbors.prepare(one_row_each(X, blocks), y, 3, weights=weights, exact=True)


def test_three_neighbors_by_hand():
    """Of the 3 nearest two have class 0 and one class 1: (2 + 1, 1 + 1, 0 + 1) / (3 + 3)."""
    X = np.array([[2, 0], [2, 0.5], [2, -1], [-2, 0.1], [-2, 0.4], [-2, 0]], np.float32)
    fitted = prepare(X, np.array([0, 0, 1, 1, 2, 2])).fit({"k": 3}, 0)
    np.testing.assert_allclose(fitted.probabilities(one_row_each(X[:1] * 3)), [[3 / 6, 2 / 6, 1 / 6]])


@pytest.mark.parametrize("k", [1, 5, 20])
def test_scikit_learn_finds_the_same_neighbors(k):
    X, y = data()
    test = data(seed=1)[0]
    mean, std = X.mean(axis=0, dtype=float), X.std(axis=0, dtype=float)
    theirs = KNeighborsClassifier(k, metric="cosine").fit((X - mean) / std, y).predict_proba((test - mean) / std)
    ours = prepare(X, y).fit({"k": k}, 0).probabilities(one_row_each(test))
    np.testing.assert_allclose(ours, (theirs * k + 1) / (k + 3))


def test_more_neighbors_than_patients_give_the_smoothed_shares_of_all():
    X, y = data(6)
    p = prepare(X, y).fit({"k": 50}, 0).probabilities(one_row_each(X))
    np.testing.assert_allclose(p, 1 / 3)


def test_weights_count_as_so_many_votes():
    X, y = data(6)
    weights = np.array([1.0, 2, 3, 4, 5, 6])
    p = prepare(X, y, weights).fit({"k": 6}, 0).probabilities(one_row_each(X[:1]))
    votes = np.bincount(y, weights) + 1
    np.testing.assert_allclose(p[0], votes / votes.sum())


def test_a_wide_block_does_not_drown_a_narrow_one():
    """One informative covariate beside a hundred columns of noise rules half of the likeness."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = np.column_stack([rng.normal(size=(90, 100)), 10.0 * (y == 2)]).astype(np.float32)
    hits = []
    for blocks in ((101,), (100, 1)):
        p = prepare(X[:60], y[:60], blocks=blocks).fit({"k": 5}, 0).probabilities(one_row_each(X[60:], blocks))
        hits.append(((p.argmax(axis=1) == 2) == (y[60:] == 2)).mean())
    assert hits[1] == 1.0
    assert hits[1] > hits[0]


@pytest.mark.fault("E6")
def test_a_patient_at_the_mean_of_features_that_do_not_vary_is_no_error():
    X, y = np.full((6, 2), 4.0, np.float32), np.arange(6) % 3
    p = prepare(X, y).fit({"k": 3}, 0).probabilities(one_row_each(X))
    np.testing.assert_allclose(p, 1 / 3)


def test_its_vectors_leave_in_no_file():
    X, y = data()
    head = find_head("knn")
    assert not head.lockable
    with pytest.raises(StopRun, match="no bundle may carry") as caught:
        prepare(X, y).fit({"k": 3}, 0).to_bytes()
    assert caught.value.code == "head_unlockable"
    with pytest.raises(StopRun) as caught:
        head.load(b"", n_features=12, n_classes=3)
    assert caught.value.code == "bundle_corrupt"
