"""Ranks over resamples: worked examples, ties, direction."""

import numpy as np
import pytest
from scipy.special import softmax

from analysis.ablation.material import Arena, StudyMaterial
from analysis.ablation.measures import MEASURES, draw, resample
from analysis.ablation.ranks import rank_cells, shares_of_best
from triher.settings import Config
from triher.study import BASE

Y = np.arange(120) % 3


def predict(signal, seed, y=Y):
    return softmax(signal * np.eye(3)[y] + np.random.default_rng(seed).normal(size=(len(y), 3)), axis=1)


def ranks_of(cells, y=Y, **ablation):
    """The ranks, and the study that they are of."""
    names, where = (BASE, *(f"c{i}" for i in range(1, len(cells)))), np.full(len(y), "A")
    ids, own = tuple(f"P{i:03d}" for i in range(len(y))), dict.fromkeys(names, len(y))
    stacked = np.array(cells)[:, None]
    arena = Arena("test", ("zero", "low", "positive"), ids, y, y, where, where, names, stacked, None, own)
    tree = {"cohort": {"table": "c.csv"}, "analysis": {"resamples": 200}, "ablation": ablation}
    material = StudyMaterial(Config.model_validate(tree), {}, "list", (), (arena,))
    return rank_cells(arena, material), material


def test_a_cell_that_is_far_ahead_is_always_first():
    found, _ = ranks_of([predict(0.5, 0), predict(5.0, 1), predict(0.0, 2)])
    assert [one.cell for one in found] == [BASE, "c1", "c2"]
    assert (found[1].mean, found[1].low, found[1].high, found[1].share_best) == (1, 1, 1, 1)
    assert found[0].mean < found[2].mean
    assert sum(one.mean for one in found) == pytest.approx(6)


def test_ties_share_ranks_and_the_first_place():
    p = predict(1.0, 3)
    found, _ = ranks_of([p, p, p])
    assert {(one.mean, one.low, one.high) for one in found} == {(2.0, 2.0, 2.0)}
    assert [one.share_best for one in found] == pytest.approx([1 / 3] * 3)


def test_losses_are_ranked_the_other_way_and_slopes_by_their_distance_from_one():
    good, bad = predict(3.0, 4), predict(0.1, 5)
    assert ranks_of([good, bad], metric="brier")[0][0].share_best == 1
    good, sharper = predict(1.0, 4), predict(1.0, 4) ** 3
    sharper = sharper / sharper.sum(axis=1, keepdims=True)
    found, material = ranks_of([good, sharper], metric="slope:positive")
    slopes = draw(material.arenas[0], MEASURES["slope:positive"], resample(material.arenas[0], material.config))
    apart = np.abs(slopes - 1)[:, ~np.isnan(slopes).any(axis=0)]
    assert 0 < found[0].share_best < 1
    assert found[0].share_best == pytest.approx((apart[0] < apart[1]).mean())


def test_ranks_are_those_of_a_loop():
    found, material = ranks_of([predict(0.6, seed) for seed in range(6, 10)])
    arena = material.arenas[0]
    areas = draw(arena, MEASURES["auc_macro"], resample(arena, material.config))
    places = [
        [sum(other > own for other in column) + (column.count(own) + 1) / 2 for own in column]
        for column in areas.T.tolist()
    ]
    assert [one.mean for one in found] == pytest.approx(np.mean(places, axis=0))
    low, high = np.quantile(places, [0.025, 0.975], axis=0)
    assert [(one.low, one.high) for one in found] == list(zip(low, high, strict=True))


@pytest.mark.fault("E5")
def test_with_few_patients_of_a_class_nothing_is_ranked():
    y = np.array([0] * 30 + [1] * 30 + [2] * 4)
    assert ranks_of([predict(1.0, 0, y), predict(1.0, 1, y)], y)[0] == ()


def test_a_tie_is_divided():
    assert shares_of_best(np.array([[1.0], [1.0], [0.0], [1.0]])).ravel() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
