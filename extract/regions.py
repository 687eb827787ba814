"""The part of a volume that is kept: slices that hold lesion, and a square around it."""

from dataclasses import dataclass

import numpy as np

from triher.types import Mask


@dataclass(frozen=True)
class Box:
    """Half-open bounds in voxels."""

    slices: tuple[int, int]
    rows: tuple[int, int]
    cols: tuple[int, int]

    def index(self) -> tuple[slice, slice, slice]:
        """For indexing a [slice, row, col] array."""
        return (slice(*self.slices), slice(*self.rows), slice(*self.cols))


def lesion_box(mask: Mask, spacing_mm: tuple[float, float, float], margin_mm: float) -> Box:
    """The slices with lesion, and the smallest square (in mm) around lesion and margin.

    The square is shifted to stay inside the volume, and cut where the volume is smaller.

    Args:
        mask: [slice, row, col] with at least one voxel set.
        spacing_mm: of (slice, row, col).
        margin_mm: added on each side in the plane.
    """
    slices, rows, cols = (_extent(mask, axis) for axis in range(3))
    height, width = (rows[1] - rows[0]) * spacing_mm[1], (cols[1] - cols[0]) * spacing_mm[2]
    side_mm = max(height, width) + 2 * margin_mm
    return Box(
        slices,
        _span(rows, side_mm / spacing_mm[1], mask.shape[1]),
        _span(cols, side_mm / spacing_mm[2], mask.shape[2]),
    )


def _extent(mask: Mask, axis: int) -> tuple[int, int]:
    """Where the mask begins and ends along an axis, half open."""
    others = tuple(a for a in range(3) if a != axis)
    found = np.flatnonzero(mask.any(axis=others))
    return int(found[0]), int(found[-1]) + 1


def _span(extent: tuple[int, int], length: float, size: int) -> tuple[int, int]:
    """A span of about the length around the extent, inside 0..size."""
    whole = min(int(np.ceil(length - 1e-9)), size)
    low = int(np.clip(round((sum(extent) - whole) / 2), 0, size - whole))
    return low, low + whole
