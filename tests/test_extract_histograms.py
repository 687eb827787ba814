"""Histograms hold what counting with NumPy gives, whatever the type, the order in memory and the size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extract.histograms import count, merge

RANGES = {
    np.int16: (-(2**15), 2**15 - 1),
    np.uint16: (0, 2**16 - 1),
    np.int32: (-100_000, 2_000_000),
    np.uint8: (0, 255),
    np.float32: (-3, 7),
}
LAYOUTS = {
    "as it is": lambda array: array,
    "flipped": lambda array: array[::-1, :, ::-1],
    "transposed": lambda array: array.transpose(2, 0, 1)[:, ::-1],
    "every other": lambda array: array[:, ::2],
    "in the order of Fortran": np.asfortranarray,
}


def assert_counted(array: np.ndarray) -> None:
    found = count(array)
    values, counts = np.unique(array, return_counts=True)
    assert np.array_equal(found.values, values)
    assert np.array_equal(found.counts, counts)
    assert found.values.dtype == array.dtype


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("shape", [(3, 4, 5), (110, 99, 97)])
def test_counts_are_those_of_numpy(dtype, layout, shape):
    low, high = RANGES[dtype]
    array = np.random.default_rng(0).integers(low, high, shape, endpoint=True).astype(dtype)
    assert_counted(LAYOUTS[layout](array))


@pytest.mark.parametrize("value", [-(2**15), -1, 0, 2**15 - 1])
def test_one_value_alone(value):
    assert_counted(np.full((101, 103, 107), value, np.int16))


@settings(max_examples=60, deadline=None)
@given(arrays(np.int16, st.integers(1, 60)), st.floats(0, 1))
def test_quantiles_are_those_of_numpy(array, q):
    assert count(array).quantile(q) == pytest.approx(np.quantile(array.astype(float), q), abs=1e-9)
    mean, deviation = count(array).moments()
    assert mean == pytest.approx(array.mean(), abs=1e-9)
    assert deviation == pytest.approx(array.std(), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(arrays(np.int16, st.integers(1, 60)), min_size=1, max_size=4), st.floats(0, 1))
def test_merged_groups_are_those_of_all_voxels(groups, q):
    together = np.concatenate(groups)
    merged = merge([count(group) for group in groups])
    assert np.array_equal(merged.values, count(together).values)
    assert np.array_equal(merged.counts, count(together).counts)
    assert merged.quantile(q) == count(together).quantile(q)


def test_merged_groups_of_floats_and_of_a_wide_range():
    rng = np.random.default_rng(1)
    for low, high in ((0.0, 1.0), (-(2**30), 2**30)):
        groups = [rng.uniform(low, high, 50).astype(np.float32 if high == 1 else np.int32) for _ in range(3)]
        merged = merge([count(group) for group in groups])
        assert merged.quantile(0.98) == pytest.approx(np.quantile(np.concatenate(groups).astype(float), 0.98))


def test_quantiles_of_floats():
    values = np.random.default_rng(1).normal(size=500).astype(np.float32)
    assert count(values).quantile(0.37) == pytest.approx(np.quantile(values.astype(float), 0.37), abs=1e-12)
