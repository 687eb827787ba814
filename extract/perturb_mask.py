"""A lesion outlined more generously, more tightly, or beside its place; each slice by itself, in millimeters."""

import math

import numpy as np
from scipy.ndimage import distance_transform_edt

from extract.regions import bounding_box
from triher.types import Mask

Spacing = tuple[float, float, float]
_SAME_MM = 1e-3  # headers round the spacing, and what is as far as was asked for belongs to it


def dilate(mask: Mask, spacing_mm: Spacing, by_mm: float) -> Mask:
    """The mask with every voxel whose center is at most so far from the center of one of its own in the same slice.

    Args:
        mask: [slice, row, col] with at least one voxel set.
        spacing_mm: of (slice, row, col).
        by_mm: above 0; less than a voxel's width changes nothing.
    """
    index = _around(mask, spacing_mm, by_mm)
    found = mask.copy()
    found[index] = [_near(plane, spacing_mm, by_mm) for plane in mask[index]]
    return found


def erode(mask: Mask, spacing_mm: Spacing, by_mm: float) -> Mask:
    """The mask without the voxels that a dilation of what surrounds it would reach.

    What lies outside the image counts as unknown: a lesion that is cut off at the border is not eroded from there.

    Args:
        mask: [slice, row, col] with at least one voxel set.
        spacing_mm: of (slice, row, col).
        by_mm: above 0; less than a voxel's width changes nothing.

    Returns:
        The mask, which may be empty.
    """
    index = _around(mask, spacing_mm, by_mm)
    found = np.zeros_like(mask)
    found[index] = [~_near(~plane, spacing_mm, by_mm) for plane in mask[index]]
    return found


def move(mask: Mask, spacing_mm: Spacing, by_mm: float, rng: np.random.Generator) -> Mask:
    """The mask by whole voxels in a direction of the plane that is drawn, the same for all slices.

    Args:
        mask: [slice, row, col].
        spacing_mm: of (slice, row, col).
        by_mm: as far as whole voxels allow.
        rng: draws the direction, all of them alike.

    Returns:
        The mask without what moved out of the image; it may be empty.
    """
    angle = rng.uniform(0, 2 * math.pi)
    steps = (round(by_mm * math.sin(angle) / spacing_mm[1]), round(by_mm * math.cos(angle) / spacing_mm[2]))
    found = np.zeros_like(mask)
    spans = [_overlap(size, step) for size, step in zip(mask.shape[1:], steps, strict=True)]
    (rows_from, rows_to), (cols_from, cols_to) = spans
    found[:, rows_to, cols_to] = mask[:, rows_from, cols_from]
    return found


def _near(plane: np.ndarray, spacing_mm: Spacing, by_mm: float) -> np.ndarray:
    """What is set in a plane, and what lies at most so far from it."""
    if not plane.any():  # the distance to nothing is not defined
        return plane
    return np.asarray(distance_transform_edt(~plane, sampling=spacing_mm[1:]) <= by_mm + _SAME_MM)


def _around(mask: Mask, spacing_mm: Spacing, by_mm: float) -> tuple[slice, slice, slice]:
    """The slices with lesion, and of their planes what is so near to it that it counts."""
    box = bounding_box(mask)
    rows, cols = (
        slice(max(0, low - math.ceil(by_mm / size_mm) - 1), high + math.ceil(by_mm / size_mm) + 1)
        for (low, high), size_mm in zip((box.rows, box.cols), spacing_mm[1:], strict=True)
    )
    return slice(*box.slices), rows, cols


def _overlap(size: int, step: int) -> tuple[slice, slice]:
    """What of an axis stays inside when it moves: where it was, and where it is then."""
    step = max(-size, min(size, step))
    return slice(max(0, -step), size - max(0, step)), slice(max(0, step), size - max(0, -step))
