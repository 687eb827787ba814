"""The lesion on the grid and in the gray levels that its radiomics features are computed from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.ndimage import affine_transform, find_objects, gaussian_laplace

from extract.radiomics.settings import MAX_LEVELS, RadiomicsSettings, sigma_mm
from triher.errors import SkipPatient
from triher.types import Mask, Volume

_ROUNDING = 1e-6  # of a voxel
_HALF = 0.5 - _ROUNDING  # share of a new voxel that lesion must fill (IBSI section 2.4)


@dataclass(frozen=True)
class Region:
    """A lesion cut out, with what the filters need around it."""

    voxels: Float64[np.ndarray, "slice row col"]
    mask: Mask
    spacing_mm: tuple[float, float, float]


def prepare(
    voxels: Volume, mask: Mask, spacing_mm: tuple[float, float, float], settings: RadiomicsSettings
) -> Region:
    """Cut the lesion out and resample it.

    The new grid has its center in that of the lesion's box, so it moves with the lesion. Interpolation is linear; a
    new voxel is lesion where at least half of it is. Voxels outside the lesion matter only where they are mixed
    with its outermost ones, and in filters; beyond its edge the volume goes on as it ends there.

    Raises:
        SkipPatient: ``mask_empty``, or ``radiomics_undefined`` when nothing is left of the lesion on the new grid.
    """
    if not mask.any():
        raise SkipPatient("mask_empty", "the mask holds no voxel")
    box = find_objects(mask.astype(np.int8))[0]
    new_mm = _new_spacing(spacing_mm, settings)
    steps = np.array(new_mm) / np.array(spacing_mm)
    reach = settings.reach_mm()
    shape = tuple(
        int(np.ceil((part.stop - part.start) / step - _ROUNDING)) + 2 * int(np.ceil(reach / mm))
        for part, step, mm in zip(box, steps, new_mm, strict=True)
    )
    center = np.array([(part.start + part.stop - 1) / 2 for part in box])
    offset = center - steps * (np.array(shape) - 1) / 2
    inside = affine_transform(mask.astype(np.float64), np.diag(steps), offset, shape, order=1, mode="grid-constant")
    if not (inside >= _HALF).any():
        message = f"nothing is left of the lesion's {int(mask.sum())} voxels at {settings.resample_mm:g} mm"
        raise SkipPatient("radiomics_undefined", message, remedy="resample to smaller voxels, or not at all")
    signal = affine_transform(voxels.astype(np.float64), np.diag(steps), offset, shape, order=1, mode="nearest")
    return Region(signal, inside >= _HALF, new_mm)


def _new_spacing(spacing_mm: tuple[float, float, float], settings: RadiomicsSettings) -> tuple[float, float, float]:
    """The spacing of (slice, row, col) after resampling."""
    side = settings.resample_mm
    if side is None:
        return spacing_mm
    return (side if settings.dimensions == 3 else spacing_mm[0], side, side)


def filtered(region: Region, name: str, settings: RadiomicsSettings) -> Float64[np.ndarray, "slice row col"]:
    """The region as one of the filters of `RadiomicsSettings` shows it; bright spots come out negative."""
    sigma = sigma_mm(name)
    if sigma == 0:
        return region.voxels
    axes = (0, 1, 2)[3 - settings.dimensions :]
    in_voxels = [sigma / region.spacing_mm[axis] for axis in axes]
    # A kernel that ends lets a little of a constant through, so the constant goes first.
    contrast = region.voxels - region.voxels[region.mask].mean()
    return gaussian_laplace(contrast, in_voxels, mode="nearest", axes=axes)


def discretize(values: Float64[np.ndarray, " voxel"], settings: RadiomicsSettings) -> Int64[np.ndarray, " voxel"]:
    """Gray levels from 1 (IBSI section 2.7); equal values are all of level 1.

    >>> discretize(np.array([0.0, 5.0, 10.0]), RadiomicsSettings(bin_count=4)).tolist()
    [1, 3, 4]

    Raises:
        SkipPatient: ``embedding_nonfinite`` for NaN or infinity, ``radiomics_undefined`` for too many levels.
    """
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(values).all():
        raise SkipPatient("embedding_nonfinite", "radiomics: the lesion's intensities hold NaN or infinity")
    if settings.bin_count is not None:
        width = (high - low) / settings.bin_count or 1.0
        return np.minimum(np.floor((values - low) / width) + 1, settings.bin_count).astype(np.int64)
    width = settings.bin_width or 1.0
    if (high - low) / width >= MAX_LEVELS:
        message = f"radiomics.bin_width: {width:g} makes more than {MAX_LEVELS} gray levels of {low:g} to {high:g}"
        raise SkipPatient("radiomics_undefined", message, remedy="choose a larger bin_width, or a bin_count")
    return (np.floor((values - low) / width) + 1).astype(np.int64)
