"""The part of a volume that is kept: slices that hold lesion, and a rectangle in their plane."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label as connected

from extract.recipe import SlabRecipe
from triher.errors import SkipPatient
from triher.types import Mask

Spacing = tuple[float, float, float]
_NEIGHBORS = np.ones((3, 3, 3))  # voxels that share a corner are of one part


@dataclass(frozen=True)
class Box:
    """Half-open bounds in voxels."""

    slices: tuple[int, int]
    rows: tuple[int, int]
    cols: tuple[int, int]

    def index(self) -> tuple[slice, slice, slice]:
        """For indexing a [slice, row, col] array."""
        return (slice(*self.slices), slice(*self.rows), slice(*self.cols))


def largest_part(mask: Mask) -> Mask:
    """The largest connected part of the lesion; of several as large, the first one.

    >>> largest_part(np.array([[[True, False, True, True]]])).tolist()
    [[[False, False, True, True]]]
    """
    parts, n_parts = connected(mask, _NEIGHBORS)
    if n_parts < 2:
        return mask
    return np.asarray(parts == 1 + np.argmax(np.bincount(parts.ravel())[1:]))


def bounding_box(mask: Mask) -> Box:
    """The smallest box that holds the mask, which has at least one voxel."""
    bounds: list[tuple[int, int]] = []
    for axis in range(3):
        # What is cut off along one axis need not be looked at for the next.
        part = mask[tuple(slice(*bound) for bound in bounds)]
        found = np.flatnonzero(part.any(axis=tuple(a for a in range(3) if a != axis)))
        bounds.append((int(found[0]), int(found[-1]) + 1))
    return Box(*bounds)


def lesion_of(mask: Mask, recipe: SlabRecipe) -> Mask:
    """The part of a mask that the recipe calls the lesion."""
    return largest_part(mask) if recipe.largest_component else mask


def lesion_region(mask: Mask, spacing_mm: Spacing, recipe: SlabRecipe) -> Box:
    """The lesion's slices with the depth above and below, and the part of their plane that the recipe asks for.

    Args:
        mask: [slice, row, col] with at least one voxel set.
        spacing_mm: of (slice, row, col).
        recipe: for ``control``, the box whose equal is to be found elsewhere.

    Raises:
        SkipPatient: ``region_missing`` when a window in the middle between several lesions holds none of them.
    """
    if recipe.region == "window":
        box = lesion_window(mask, spacing_mm, recipe.window_mm)
    else:
        box = lesion_box(mask, spacing_mm, recipe.margin_mm, recipe.margin_px)
    if recipe.region == "slice":
        box = Box(box.slices, (0, mask.shape[1]), (0, mask.shape[2]))
    n_more = math.ceil(recipe.depth_mm / spacing_mm[0] - 1e-9)
    return Box((max(0, box.slices[0] - n_more), min(mask.shape[0], box.slices[1] + n_more)), box.rows, box.cols)


def lesion_box(mask: Mask, spacing_mm: Spacing, margin_mm: float, margin_px: int = 0) -> Box:
    """The slices with lesion, and the smallest square (in mm) around lesion and margin.

    The square is shifted to stay inside the volume, and cut where the volume is smaller.

    Args:
        mask: [slice, row, col] with at least one voxel set.
        spacing_mm: of (slice, row, col).
        margin_mm: added on each side in the plane, at least.
        margin_px: added on each side in the plane, at least.
    """
    tight = bounding_box(mask)
    lengths = [
        (high - low) * size_mm + 2 * max(margin_mm, margin_px * size_mm)
        for (low, high), size_mm in zip((tight.rows, tight.cols), spacing_mm[1:], strict=True)
    ]
    return _square(tight, max(lengths), spacing_mm, mask)


def lesion_window(mask: Mask, spacing_mm: Spacing, side_mm: float) -> Box:
    """The slices with lesion, and a square of fixed side on the middle of the lesion's bounding box.

    The square is shifted to stay inside the volume, and cut where the volume is smaller. A larger lesion is cut.

    Args:
        mask: [slice, row, col] with at least one voxel set.
        spacing_mm: of (slice, row, col).
        side_mm: of the square.

    Raises:
        SkipPatient: ``region_missing`` when no lesion lies in the square.
    """
    box = _square(bounding_box(mask), side_mm, spacing_mm, mask)
    if not mask[box.index()].any():
        message = f"the window of {side_mm:g} mm in the middle between the parts of the lesion holds none of them"
        remedy = "set extract.region.largest_component to true, or take another region"
        raise SkipPatient("region_missing", message, remedy=remedy)
    return box


def _square(tight: Box, side_mm: float, spacing_mm: Spacing, mask: Mask) -> Box:
    """A square in the plane around the middle of a box."""
    rows, cols = (
        _span(extent, side_mm / size_mm, size)
        for extent, size_mm, size in zip((tight.rows, tight.cols), spacing_mm[1:], mask.shape[1:], strict=True)
    )
    return Box(tight.slices, rows, cols)


def _span(extent: tuple[int, int], length: float, size: int) -> tuple[int, int]:
    """A span of about the length around the extent, inside 0..size."""
    whole = min(int(np.ceil(length - 1e-9)), size)
    low = int(np.clip(round((sum(extent) - whole) / 2), 0, size - whole))
    return low, low + whole
