"""Which voxels of a slab are shown, where the region is not a rectangle."""

import numpy as np
from jaxtyping import Bool, UInt8
from scipy.ndimage import distance_transform_edt

from extract.cache import Slab
from triher.settings import RegionConfig
from triher.types import Mask


def visible(slab: Slab, region: RegionConfig) -> Mask | None:
    """The voxels that stay: the lesion for ``mask``, its surroundings for ``ring``; None where all do.

    Args:
        slab: cut for this region by `extract.recipe.slab_recipe`.
        region: as configured.
    """
    if region.kind == "mask":
        return slab.mask
    if region.kind == "ring":
        return ring(slab.mask, slab.spacing_mm, region.ring_mm)
    return None


def ring(mask: Mask, spacing_mm: tuple[float, float, float], ring_mm: float) -> Mask:
    """Voxels outside the lesion whose center is at most so far from a lesion voxel's center in the same slice.

    Args:
        mask: the lesion.
        spacing_mm: of (slice, row, col).
        ring_mm: width of the ring.
    """
    around = np.zeros_like(mask)
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        distance_mm = distance_transform_edt(~mask[index], sampling=spacing_mm[1:])
        around[index] = (distance_mm > 0) & (distance_mm <= ring_mm)
    return around


def blacken(
    pictures: UInt8[np.ndarray, "chosen 3 row col"], shown: Bool[np.ndarray, "chosen row col"]
) -> UInt8[np.ndarray, "chosen 3 row col"]:
    """Pictures whose other pixels are 0 in all channels, also where 0 is not the gray of no difference."""
    return pictures * shown[:, None]
