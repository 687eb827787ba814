from concurrent.futures import ThreadPoolExecutor

import numpy as np

from classify import boosting
from classify.design import one_row_each

PARAMS = {"max_depth": 2, "eta": 0.3, "subsample": 0.7, "colsample_bytree": 0.3}


def part_and_design(seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(45) % 3
    X = rng.normal(size=(45, 6)).astype(np.float32)
    X[:, 0] += y
    design = one_row_each(X)
    return boosting.prepare(design, y, 3, weights=None, exact=True), design


def test_a_path_is_the_same_whatever_its_thread_does_between_the_rounds():
    part, design = part_and_design()
    alone = list(part.along(PARAMS, 1, design))
    first, second = part.along(PARAMS, 1, design), part.along({**PARAMS, "eta": 0.1}, 5, design)
    interleaved = []
    for p in first:
        interleaved.append(p)
        next(second, None)
    np.testing.assert_array_equal(alone, interleaved)


def test_a_path_is_the_same_when_another_thread_goes_on_with_it():
    part, design = part_and_design()
    alone = list(part.along(PARAMS, 1, design))
    path = part.along(PARAMS, 1, design)
    with ThreadPoolExecutor(1) as pool:
        begun = [next(path) for _ in range(3)]
        rest = pool.submit(list, path).result()
    np.testing.assert_array_equal(alone, [*begun, *rest])
