import numpy as np
import pytest

from classify.conformal import fit_conformal, name_sets, order_statistic, prediction_sets


@pytest.mark.parametrize(
    ("n", "alpha", "rank"), [(9, 0.1, 9), (19, 0.05, 19), (99, 0.1, 90), (10, 0.1, 10), (4, 0.5, 3)]
)
def test_order_statistic_is_the_published_one(n, alpha, rank):
    assert order_statistic(n, alpha) == rank


def test_quantiles_by_hand():
    p0 = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.3])
    p = np.column_stack([p0, 1 - p0])
    y = np.array([0] * 9 + [1])
    found = fit_conformal(p, y, alpha=0.1)
    assert found.counts == (9, 1)
    assert found.quantiles[0] == pytest.approx(0.9), "9 patients at alpha 0.1: the largest score"
    assert found.quantiles[1] == 1.0, "one patient: always included"
    assert prediction_sets(np.array([[0.05, 0.95], [0.1, 0.9]]), found).tolist() == [[False, True], [True, True]]


def test_coverage_holds_within_each_class():
    rng = np.random.default_rng(0)
    prior = np.array([0.6, 0.3, 0.1])

    def draw(n):
        y = rng.choice(3, n, p=prior)
        p = np.exp(rng.normal(size=(n, 3)) + 1.0 * np.eye(3)[y]) * prior
        return p / p.sum(axis=1, keepdims=True), y

    covered = []
    for _ in range(200):
        p, y = draw(200)
        new, truth = draw(200)
        members = prediction_sets(new, fit_conformal(p, y, alpha=0.2))
        inside = members[np.arange(200), truth]
        covered.append([inside[truth == c].mean() for c in range(3)])
    coverage = np.mean(covered, axis=0)
    assert (coverage > 0.79).all()
    assert (coverage < 0.87).all(), "an order statistic overshoots by at most 1 / (n + 1)"


def test_an_empty_set_is_an_empty_text():
    assert name_sets(np.array([[False, False], [True, False]]), ["negative", "positive"]) == ["", "negative"]
