"""How much of a patient's map lies in the lesion and close around it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from extract.perturb_mask import dilate

AROUND_MM = 5.0
"""What is counted as the lesion's surroundings; as wide as the default margin of the box, and as the peritumoral
ring of `triher.settings.RegionConfig`."""


@dataclass(frozen=True)
class LesionShare:
    """Where what speaks for a class lies; shares from 0 to 1."""

    mass: float
    """Of what speaks for the class; NaN where nothing does."""
    area: float
    """Of the pixels, which is the share of mass that a map without any structure would have."""
    pointed: float
    """Slices whose highest pixel lies in it (the pointing game of Zhang et al., IJCV 2018), of those that speak for
    the class somewhere; NaN where none does."""


def lesion_share(
    heat: Float[np.ndarray, "slice row col"],
    mask: Bool[np.ndarray, "slice row col"],
    spacing_mm: tuple[float, float, float],
    around_mm: float = AROUND_MM,
) -> LesionShare:
    """Compare a map with the lesion, dilated within each slice.

    Args:
        heat: the map of one class.
        mask: the lesion in the same slices; at least a voxel.
        spacing_mm: of (slice, row, col).
        around_mm: how far the lesion is dilated.
    """
    near = dilate(mask, spacing_mm, around_mm) if around_mm else mask
    positive = np.clip(heat, 0, None).astype(np.float64)
    total = float(positive.sum())
    if total == 0:
        return LesionShare(float("nan"), float(near.mean()), float("nan"))
    speaking = np.flatnonzero(positive.any(axis=(1, 2)))
    hits = [near[i].ravel()[int(positive[i].argmax())] for i in speaking]
    return LesionShare(float(positive[near].sum()) / total, float(near.mean()), float(np.mean(hits)))
