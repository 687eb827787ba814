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
    bounds = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    side_mm = max((b[-1] + 1 - b[0]) * s for b, s in zip(bounds[1:], spacing_mm[1:], strict=True)) + 2 * margin_mm
    rows, cols = (
        _span(b[0], b[-1] + 1, side_mm / s, n)
        for b, s, n in zip(bounds[1:], spacing_mm[1:], mask.shape[1:], strict=True)
    )
    return Box((int(bounds[0][0]), int(bounds[0][-1]) + 1), rows, cols)


def _span(start: int, stop: int, length: float, size: int) -> tuple[int, int]:
    """A span of about the length around start..stop, inside 0..size."""
    whole = min(int(np.ceil(length - 1e-9)), size)
    low = int(np.clip(round((start + stop - whole) / 2), 0, size - whole))
    return low, low + whole
