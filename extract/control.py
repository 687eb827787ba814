"""The negative control: a region of equal size in tissue without lesion.

A model that tells HER2 as well from such regions as from the lesion has learned from something else.
"""

import numpy as np
from jaxtyping import Bool, Int
from skimage.filters import threshold_otsu

from extract.histograms import Histogram
from extract.regions import Box
from triher.errors import SkipPatient
from triher.types import Mask, Volume

_TISSUE = 0.5  # share of a region that must be foreground: more tissue than air


def control_box(
    first_phase: Volume, histogram: Histogram, mask: Mask, box: Box, gap_px: tuple[int, int], *, mirrored: bool
) -> Box:
    """The place of a region of the same size in the same slices, without lesion.

    The mirror image of the box on the other side of the volume's middle is taken where it is tissue; else the place
    with most tissue, of several the first in the order of rows. Tissue is what lies above Otsu's threshold
    (1979, doi 10.1109/TSMC.1979.4310076) of the first phase's volume.

    Args:
        first_phase: voxels in scanner units.
        histogram: of all these voxels.
        mask: of all parts of the lesion.
        box: around the lesion.
        gap_px: rows and columns that stay free between the two boxes.
        mirrored: whether columns run from one side of the patient to the other.

    Raises:
        SkipPatient: ``region_missing`` when there is no such place.
    """
    height, width = (high - low for low, high in (box.rows, box.cols))
    threshold = threshold_otsu(hist=(histogram.counts, histogram.values))
    tissue = _sums((first_phase[slice(*box.slices)] > threshold).sum(axis=0), height, width)
    n_voxels = height * width * (box.slices[1] - box.slices[0])
    is_free = (tissue >= _TISSUE * n_voxels) & _is_away(tissue.shape, box, gap_px)
    is_free &= _sums(mask[slice(*box.slices)].sum(axis=0), height, width) == 0
    if not is_free.any():
        message = f"there is no tissue without lesion of {height} x {width} voxels in the lesion's slices"
        raise SkipPatient("region_missing", message)
    top, left = box.rows[0], mask.shape[2] - box.cols[1]
    if not mirrored or not is_free[top, left]:
        top, left = (int(i) for i in np.unravel_index(np.argmax(np.where(is_free, tissue, -1)), tissue.shape))
    return Box(box.slices, (top, top + height), (left, left + width))


def _sums(plane: Int[np.ndarray, "row col"], height: int, width: int) -> Int[np.ndarray, "top left"]:
    """The sum over every rectangle of that size, by its first row and column."""
    corners = np.pad(plane.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    across = corners[:, width:] - corners[:, :-width]
    return across[height:] - across[:-height]


def _is_away(shape: tuple[int, ...], box: Box, gap_px: tuple[int, int]) -> Bool[np.ndarray, "top left"]:
    """Whether a region that begins there is outside the box and the gap around it."""
    apart = []
    for (low, high), gap, n_positions in zip((box.rows, box.cols), gap_px, shape, strict=True):
        first = np.arange(n_positions)
        apart.append((first + (high - low) <= low - gap) | (first >= high + gap))
    return np.asarray(apart[0][:, None] | apart[1][None])
