from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xgboost

from classify import boosting
from classify.boosting_blocks import COUNTS, Columns, boost
from classify.design import one_row_each

PARAMS = {"max_depth": 2, "eta": 0.3, "subsample": 0.7, "colsample_bytree": 0.3}


def part_and_design(seed=0, exact=True):
    rng = np.random.default_rng(seed)
    y = np.arange(45) % 3
    X = rng.normal(size=(45, 6)).astype(np.float32)
    X[:, 0] += y
    design = one_row_each(X)
    return boosting.prepare(design, y, 3, weights=None, exact=exact), design


@pytest.mark.parametrize("exact", [True, False])
def test_a_path_is_the_same_whatever_its_thread_does_between_the_rounds(exact):
    part, design = part_and_design(exact=exact)
    alone = list(part.along(PARAMS, 1, design))
    first, second = part.along(PARAMS, 1, design), part.along({**PARAMS, "eta": 0.1}, 5, design)
    interleaved = []
    for p in first:
        interleaved.append(p)
        next(second, None)
    np.testing.assert_array_equal(alone, interleaved)


@pytest.mark.parametrize("exact", [True, False])
def test_a_path_is_the_same_when_another_thread_goes_on_with_it(exact):
    part, design = part_and_design(exact=exact)
    alone = list(part.along(PARAMS, 1, design))
    path = part.along(PARAMS, 1, design)
    with ThreadPoolExecutor(1) as pool:
        begun = [next(path) for _ in range(3)]
        rest = pool.submit(list, path).result()
    np.testing.assert_array_equal(alone, [*begun, *rest])


# ---- the screen


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "params",
    [
        {"max_depth": 2, "eta": 0.3, "subsample": 1.0, "min_child_weight": 1.0, "reg_lambda": 1.0},
        {"max_depth": 3, "eta": 0.1, "subsample": 0.6, "min_child_weight": 6.0, "reg_lambda": 0.1},
    ],
)
def test_with_one_block_the_screen_is_xgboost(n_classes, weighted, params):
    rng = np.random.default_rng(0)
    y = np.concatenate(
        [
            np.arange(n_classes),
            rng.choice(n_classes, 200 - n_classes, p=[0.3, *[0.7 / (n_classes - 1)] * (n_classes - 1)]),
        ]
    )
    X, test = rng.normal(size=(200, 12)).astype(np.float32), rng.normal(size=(50, 12)).astype(np.float32)
    X[:, 0] += y
    weights = rng.uniform(0.5, 2, 200) if weighted else None
    settings = {
        **params, "objective": "multi:softprob", "tree_method": "hist", "num_class": n_classes, "max_bin": 32,
        "nthread": 1, "seed": 3, "seed_per_iteration": True, "colsample_bytree": 1.0,
    }  # fmt: skip
    matrix = xgboost.QuantileDMatrix(X, y, weight=weights, max_bin=32, nthread=1)
    booster = xgboost.train(settings, matrix, num_boost_round=40)
    columns = Columns(X, y, weights, n_classes, 32)
    for stop, p in zip((1, 15, 40), boost(columns, settings, 3, test, (1, 15, 40)), strict=True):
        expected = booster.inplace_predict(test, iteration_range=(0, stop))
        np.testing.assert_allclose(p, expected, atol=1e-5)
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)


def test_blocks_partition_the_columns_and_are_binned_once():
    X = np.random.default_rng(0).normal(size=(20, 103)).astype(np.float32)
    columns = Columns(X, np.arange(20) % 2, None, 2, 32)
    for share in (1.0, 0.25, 0.1, 0.02):
        blocks = columns.blocks(share, 0)
        assert len(blocks) == round(1 / share)
        assert len(blocks) in COUNTS
        np.testing.assert_array_equal(np.sort(np.concatenate([b.columns for b in blocks])), np.arange(103))
        assert {len(b.columns) for b in blocks} <= {103 // len(blocks), 103 // len(blocks) + 1}
        assert [b.matrix.num_col() for b in blocks] == [len(b.columns) for b in blocks]
    assert columns.blocks(0.097, 0) is columns.blocks(0.105, 0)
    assert not np.array_equal(columns.blocks(0.1, 0)[0].columns, columns.blocks(0.1, 1)[0].columns)
    narrow = Columns(X[:, :3], columns.y, None, 2, 32)
    assert [len(b.columns) for b in narrow.blocks(0.02, 0)] == [1, 1, 1]


def test_every_block_has_its_turn_before_one_has_its_second():
    # The first predictions are after 5 rounds: by then each of 4 blocks has its trees.
    part, design = part_and_design(exact=False)
    blocks = part.columns.blocks(0.25, 1)
    after_5 = next(
        part.along({**PARAMS, "colsample_bytree": 0.25, "subsample": 1.0, "min_child_weight": 0.0}, 1, design)
    )
    for block in blocks:
        moved = design.vectors.copy()
        moved[:, block.columns] = -5.0
        other = next(
            part.along(
                {**PARAMS, "colsample_bytree": 0.25, "subsample": 1.0, "min_child_weight": 0.0},
                1,
                one_row_each(moved),
            )
        )
        assert np.abs(other - after_5).max() > 1e-4


def test_the_screen_fits_xgboost_itself():
    (screen, _), (exact, _) = part_and_design(exact=False), part_and_design()
    params = {**PARAMS, "rounds": 10}
    assert screen.fit(params, 1).to_bytes() == exact.fit(params, 1).to_bytes()
