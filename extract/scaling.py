"""Map scanner units to 8 bits in compiled code; other threads go on meanwhile."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float64, Int, Integer, UInt8
from numba import njit

from triher.types import Phases


def scale(
    voxels: Phases, chosen: Int[np.ndarray, " chosen"], intervals: Float64[np.ndarray, "phase chosen 2"]
) -> UInt8[np.ndarray, "phase chosen row col"]:
    """Map every voxel of the chosen slices to ``round(255 * clip((v - low) / (high - low), 0, 1))``.

    Args:
        voxels: in scanner units.
        chosen: positions of slices.
        intervals: low and high for every phase and chosen slice; an empty one gives 0.
    """
    out = np.zeros((len(voxels), len(chosen), *voxels.shape[2:]), np.uint8)
    _scale_each(voxels, chosen, intervals, out)
    return out


def look_up(
    voxels: Integer[np.ndarray, "..."], low: int, table: UInt8[np.ndarray, " value"]
) -> UInt8[np.ndarray, "..."]:
    """``table[voxel - low]`` for every voxel.

    Args:
        voxels: whole numbers for each of which the table has an entry.
        low: the value that the table begins with.
        table: what becomes of each value.
    """
    flat = np.ascontiguousarray(voxels).reshape(-1)
    out = np.empty(flat.shape, np.uint8)
    _look_up_each(flat, low, table, out)
    return out.reshape(voxels.shape)


@njit(nogil=True)
@no_type_check  # numba reads the function's own code, not a wrapper that checks shapes
def _scale_each(voxels, chosen, intervals, out):  # noqa: ANN001, ANN202
    """The formula itself; the order of its steps is NumPy's, so the bytes are."""
    for phase in range(voxels.shape[0]):
        for position, index in enumerate(chosen):
            low, high = intervals[phase, position]
            if high <= low:
                continue
            source, target = voxels[phase, index], out[phase, position]
            for row in range(source.shape[0]):
                for col in range(source.shape[1]):
                    share = (np.float64(source[row, col]) - low) / (high - low)
                    target[row, col] = np.uint8(np.rint(255 * min(max(share, 0.0), 1.0)))


@njit(nogil=True)
@no_type_check
def _look_up_each(flat, low, table, out):  # noqa: ANN001, ANN202
    """The loop over all voxels."""
    for position, value in enumerate(flat):
        out[position] = table[value - low]
