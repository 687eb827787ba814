"""From a slab to the pictures that go before the encoder."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int32, UInt8
from torch.nn.functional import interpolate

from extract.cache import Slab
from extract.fusion import Fusion, fuse
from extract.normalization import Normalization, normalize
from extract.slices import choose_slices


@dataclass(frozen=True)
class PictureRecipe:
    """Everything between the slab and the picture."""

    normalization: Normalization
    fusions: tuple[Fusion, ...]
    slice_policy: str
    n_slices: int
    side: int
    """Of the square picture, in pixels."""


@dataclass(frozen=True)
class ChosenSlices:
    """Which slices of a patient were chosen, and facts about the source images."""

    index: Int32[np.ndarray, " chosen"]
    """Positions in the source volume."""
    area_mm2: Float64[np.ndarray, " chosen"]
    acquisition: dict[str, float]


@dataclass(frozen=True)
class Prepared:
    """The pictures of one patient."""

    slices: ChosenSlices
    views: dict[str, UInt8[torch.Tensor, "chosen 3 row col"]]


def prepare(slab: Slab, recipe: PictureRecipe) -> Prepared:
    """Choose slices, normalize, fuse and resize.

    Normalizing and fusing happen at the resolution of the source; resizing is antialiased and bicubic, on bytes.
    """
    areas = slab.area_mm2()
    chosen = choose_slices(areas, recipe.slice_policy, recipe.n_slices)
    scaled = normalize(slab, recipe.normalization, chosen)
    views = {
        fusion.name: _resize(fuse(fusion, slab.phases, scaled), slab.spacing_mm, recipe.side)
        for fusion in recipe.fusions
    }
    index = (chosen + slab.first_slice).astype(np.int32)
    return Prepared(ChosenSlices(index, areas[chosen].astype(np.float64), slab.acquisition()), views)


def _resize(
    pictures: UInt8[np.ndarray, "chosen 3 row col"], spacing_mm: tuple[float, float, float], side: int
) -> UInt8[torch.Tensor, "chosen 3 side side"]:
    """Bring the pictures to square size with square pixels; what the region lacks to a square stays black."""
    height, width = pictures.shape[2] * spacing_mm[1], pictures.shape[3] * spacing_mm[2]
    longest = max(height, width)
    size = tuple(max(1, round(side * length / longest)) for length in (height, width))
    source = torch.from_numpy(np.ascontiguousarray(pictures)).contiguous(memory_format=torch.channels_last)
    resized = interpolate(source, size, mode="bicubic", antialias=True)
    if size == (side, side):
        return resized
    canvas = resized.new_zeros((len(resized), 3, side, side))
    top, left = (side - size[0]) // 2, (side - size[1]) // 2
    canvas[:, :, top : top + size[0], left : left + size[1]] = resized
    return canvas
