"""Count whole numbers in compiled code; other threads go on meanwhile."""

from typing import no_type_check

import numpy as np
from jaxtyping import Int64, Integer
from numba import njit

_HALVES = 16  # bits of the numbers that are counted four at a time
_MANY = 1 << 20  # numbers from which on that pays for its larger tables


def tally(flat: Integer[np.ndarray, " voxel"], low: int, high: int) -> Int64[np.ndarray, " value"]:
    """How often each whole number from `low` to `high` occurs.

    Args:
        flat: numbers in that range, one behind the other in memory.
        low: the least number that occurs.
        high: the largest.
    """
    if flat.dtype.itemsize * 8 != _HALVES or flat.size < _MANY:
        table = np.zeros(high - low + 1, np.int64)
        _add_each(flat, low, table)
        return table
    tables = np.zeros((4, 1 << _HALVES), np.uint32)
    n_words = flat.size // 4
    _add_four(flat[: 4 * n_words].view(np.uint64), tables)
    table = tables.sum(axis=0, dtype=np.int64)
    np.add.at(table, flat[4 * n_words :].view(np.uint16), 1)
    # Negative numbers stand in the upper half, as their bits do.
    return np.roll(table, -low)[: high - low + 1]


@njit(nogil=True)
@no_type_check  # numba reads the function's own code, not a wrapper that checks shapes
def _add_each(flat, low, table):  # noqa: ANN001, ANN202
    """Add 1 to ``table[value - low]`` for every value."""
    for value in flat:
        table[value - low] += 1


@njit(nogil=True)
@no_type_check
def _add_four(words, tables):  # noqa: ANN001, ANN202
    """Count the four numbers in each word, each place in a table of its own: equal neighbors do not wait."""
    for word in words:
        tables[0, word & 0xFFFF] += 1
        tables[1, (word >> 16) & 0xFFFF] += 1
        tables[2, (word >> 32) & 0xFFFF] += 1
        tables[3, word >> 48] += 1
