"""The winner corrected for having been chosen: a plain loop, and cells that are all alike."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import norm

from analysis.ablation.material import Arena, StudyMaterial
from analysis.ablation.measures import resample
from analysis.ablation.selection import correct_winner, leaves_every_class
from triher.settings import Config
from triher.study import BASE

Y, TWO = np.arange(90) % 3, ("negative", "positive")


def predict(signal, seed, y=Y):
    return softmax(signal * np.eye(3)[y] + np.random.default_rng(seed).normal(size=(len(y), 3)), axis=1)


def area(y, score):
    """The AUC from all pairs."""
    with_it, without = score[y == 1][:, None], score[y == 0]
    return ((with_it > without) + 0.5 * (with_it == without)).mean()


def study_of(cells, y=Y, *, resamples=200, scheme="triple", classes=("zero", "low", "positive"), **ablation):
    names, where = (BASE, *(f"c{i}" for i in range(1, len(cells)))), np.full(len(y), "A")
    ids, own = tuple(f"P{i:03d}" for i in range(len(y))), dict.fromkeys(names, len(y))
    arena = Arena("test", classes, ids, y, y, where, where, names, np.array(cells)[:, None], None, own)
    tree = {"cohort": {"table": "c.csv"}, "analysis": {"resamples": resamples}, "scheme": scheme}
    return StudyMaterial(Config.model_validate(tree | {"ablation": ablation}), {}, "list", (), (arena,))


def winner_of(*cells, **more):
    material = study_of(cells, **more)
    return correct_winner(material.arenas[0], material)


def test_the_correction_is_that_of_a_plain_loop():
    y = np.arange(80) % 2
    cells = [p[:, :2] / p[:, :2].sum(axis=1, keepdims=True) for p in (predict(0.5, seed, y) for seed in range(5))]
    material = study_of(cells, y, resamples=100, scheme="binary", classes=TWO, metric="auc:positive")
    weights, reached, chosen = resample(material.arenas[0], material.config), [], []
    for times in weights:
        inside, outside = np.repeat(np.arange(len(y)), times), np.flatnonzero(times == 0)
        areas = [area(y[inside], p[inside, 1]) for p in cells]
        best = int(np.argmax(areas))
        chosen.append(best)
        reached.append(area(y[outside], cells[best][outside, 1]))
    found = correct_winner(material.arenas[0], material)
    assert found.corrected.value == pytest.approx(np.mean(reached))
    low, high = np.quantile(reached, [0.025, 0.975])
    assert (found.corrected.low, found.corrected.high) == pytest.approx((low, high))
    assert found.chosen == pytest.approx(
        {material.arenas[0].names[c]: np.mean(np.array(chosen) == c) for c in range(5)}
    )
    assert list(found.chosen.values()) == sorted(found.chosen.values(), reverse=True)
    plain = [area(y, p[:, 1]) for p in cells]
    assert found.cell == material.arenas[0].names[int(np.argmax(plain))]
    assert found.naive.value == pytest.approx(max(plain))


def test_among_cells_that_are_alike_the_naive_winner_is_too_good_and_the_corrected_one_is_not():
    """20 cells of the binormal AUC 0.64, 30 times: the truth of any choice is known."""
    separation, n_cells, rng = 0.5, 20, np.random.default_rng(1)
    truth = float(norm.cdf(separation / np.sqrt(2)))
    y = np.arange(120) % 2
    naive, corrected, held = [], [], 0
    for _ in range(30):
        score = rng.normal(size=(n_cells, len(y))) + separation * y
        p = 1 / (1 + np.exp(-score))
        cells = np.stack([1 - p, p], axis=2)
        more = {"scheme": "binary", "classes": TWO, "metric": "auc:positive"}
        found = winner_of(*cells, y=y, resamples=100, **more)
        naive.append(found.naive.value)
        corrected.append(found.corrected.value)
        held += found.corrected.low <= truth <= found.corrected.high
    assert np.mean(naive) - truth > 0.06
    assert abs(np.mean(corrected) - truth) < 0.02
    assert held >= 27


def test_one_good_cell_is_worth_what_it_shows():
    found = winner_of(predict(0.2, 1), predict(3.0, 2), predict(0.1, 3))
    assert found.cell == "c1"
    assert found.chosen["c1"] == 1
    assert found.corrected.value == pytest.approx(found.naive.value, abs=0.01)


def test_losses_are_chosen_the_other_way_and_equal_cells_share_the_choice():
    p = predict(1.0, 4)
    found = winner_of(p, p, predict(0.0, 5), metric="log_loss")
    assert found.chosen == pytest.approx({BASE: 0.5, "c1": 0.5, "c2": 0.0})
    assert found.corrected.value == pytest.approx(found.naive.value, rel=0.03)


@pytest.mark.fault("E5")
def test_small_classes_leave_resamples_unused_or_the_winner_out():
    y = np.array([0] * 30 + [1] * 30 + [2] * 5)
    cells = [predict(1.0, seed, y) for seed in (6, 7)]
    material = study_of(cells, y)
    usable = leaves_every_class(y, resample(material.arenas[0], material.config))
    assert 0 < int((~usable).sum()) < 30
    found = correct_winner(material.arenas[0], material)
    assert f"{int((~usable).sum())} not used: nobody of a class was left out" in found.corrected.method
    fewer = y[:-1]
    assert winner_of(*(predict(1.0, seed, fewer) for seed in (6, 7)), y=fewer) is None
    assert winner_of(predict(1.0, 6)) is None
