"""Count whole numbers in compiled code; other threads go on meanwhile."""

from typing import no_type_check

import numpy as np
from jaxtyping import Int64, Integer
from numba import njit

_N_VALUES = 1 << 16


def tally(flat: Integer[np.ndarray, " voxel"], low: int, high: int) -> Int64[np.ndarray, " value"]:
    """How often each whole number from `low` to `high` occurs.

    Args:
        flat: numbers in that range.
        low: the least number that occurs.
        high: the largest.
    """
    table = np.zeros(high - low + 1, np.int64)
    _add_each(flat, low, table)
    return table


def tally_16_bits(flat: Integer[np.ndarray, " voxel"]) -> Int64[np.ndarray, " value"]:
    """How often each number that 16 bits can hold occurs, the least one first.

    Args:
        flat: int16 or uint16, one behind the other in memory; from about a million on, this is the faster way.
    """
    tables = np.zeros((4, _N_VALUES), np.uint32)
    n_words = flat.size // 4
    _add_four(flat[: 4 * n_words].view(np.uint64), tables)
    table = tables.sum(axis=0, dtype=np.int64)
    np.add.at(table, flat[4 * n_words :].view(np.uint16), 1)
    # As bits, negative numbers come after the others.
    return np.roll(table, -int(np.iinfo(flat.dtype).min))


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
