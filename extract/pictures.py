"""From a slab to the pictures that go before the encoder."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int, Int32, Shaped, UInt8
from torch.nn.functional import interpolate

from extract.cache import Slab
from extract.fusion import Fusion, fuse
from extract.landmarks import StandardScale
from extract.normalization import Normalization, normalize
from extract.perturb import generator
from extract.slices import choose_slices, jitter
from extract.visible import blacken, visible
from triher.settings import RegionConfig


@dataclass(frozen=True)
class PictureRecipe:
    """Everything between the slab and the picture at the resolution of the source."""

    normalization: Normalization
    fusions: tuple[Fusion, ...]
    slice_policy: str
    n_slices: int
    region: RegionConfig = field(default_factory=RegionConfig)
    standard: StandardScale | None = None
    """Of Nyul's normalization."""
    jitter_slices: int = 0
    """How far the chosen slices are moved at most, to see what that does."""
    draw: int = 0
    """Which of the random draws moves them."""


@dataclass(frozen=True)
class ChosenSlices:
    """Which slices of a patient were chosen, and facts about the source images."""

    index: Int32[np.ndarray, " chosen"]
    """Positions in the source volume."""
    area_mm2: Float64[np.ndarray, " chosen"]
    acquisition: dict[str, float]


@dataclass(frozen=True)
class Prepared:
    """What goes into one encoder for one patient: rows of each view, in the order of the slices."""

    slices: ChosenSlices
    views: dict[str, Shaped[torch.Tensor, "chosen ..."]]
    masks: UInt8[torch.Tensor, "chosen ..."] | None = None
    """The lesion's share, 0..255, at the size of the pictures or cubes, for encoders that ask for it."""
    network: str = ""
    """Which network of an encoder embeds the patient, where it has several."""


@dataclass(frozen=True)
class Drawing:
    """One patient's pictures at the resolution of the source, drawn once for all encoders."""

    slab: Slab
    recipe: PictureRecipe

    @cached_property
    def chosen(self) -> Int[np.ndarray, " chosen"]:
        """Positions of the chosen slices in the slab."""
        recipe, area_mm2 = self.recipe, self.slab.area_mm2()
        chosen = choose_slices(area_mm2, recipe.slice_policy, recipe.n_slices)
        if not recipe.jitter_slices:
            return chosen
        return jitter(chosen, area_mm2, recipe.jitter_slices, generator("slices", self.slab.images, recipe.draw))

    @cached_property
    def slices(self) -> ChosenSlices:
        """The chosen slices as the store names them."""
        return self.slices_at(self.chosen)

    def slices_at(self, positions: Int[np.ndarray, " chosen"]) -> ChosenSlices:
        """Slices at some positions in the slab as the store names them."""
        index = (positions + self.slab.first_slice).astype(np.int32)
        return ChosenSlices(index, self.slab.area_mm2()[positions].astype(np.float64), self.slab.acquisition())

    @cached_property
    def views(self) -> dict[str, UInt8[np.ndarray, "chosen 3 row col"]]:
        """The fused pictures."""
        scaled = normalize(self.slab, self.recipe.normalization, self.chosen, self.recipe.standard)
        fused = {fusion.name: fuse(fusion, self.slab.phases, scaled) for fusion in self.recipe.fusions}
        seen = visible(self.slab, self.recipe.region)
        return fused if seen is None else {name: blacken(view, seen[self.chosen]) for name, view in fused.items()}

    @cached_property
    def mask(self) -> Bool[np.ndarray, "chosen row col"]:
        """Where the lesion is in the chosen slices."""
        return self.slab.mask[self.chosen]

    def pictures(self, side: int, *, masks: bool = False, mode: str = "bicubic") -> Prepared:
        """Resize to square pictures; normalizing and fusing happened before, at the resolution of the source.

        Args:
            side: of the pictures, in pixels.
            masks: whether the lesion's masks are wanted at the same size.
            mode: of the interpolation, ``bicubic`` or ``bilinear``.
        """
        views = {name: fit(picture, self.slab.spacing_mm, side, mode) for name, picture in self.views.items()}
        if not masks:
            return Prepared(self.slices, views)
        lesion = fit(255 * self.mask[:, None].astype(np.uint8), self.slab.spacing_mm, side, "bilinear")
        return Prepared(self.slices, views, lesion[:, 0])


def fit(
    pictures: UInt8[np.ndarray, "chosen channel row col"],
    spacing_mm: tuple[float, float, float],
    side: int,
    mode: str = "bicubic",
) -> UInt8[torch.Tensor, "chosen channel side side"]:
    """Bring pictures to square size with square pixels, antialiased.

    What the region lacks to a square stays black.

    Args:
        pictures: 8-bit, at the resolution of the source.
        spacing_mm: of (slice, row, col).
        side: of the result, in pixels.
        mode: of the interpolation, ``bicubic`` or ``bilinear``.
    """
    (top, height), (left, width) = on_canvas((pictures.shape[2], pictures.shape[3]), spacing_mm, side)
    source = torch.from_numpy(np.ascontiguousarray(pictures)).contiguous(memory_format=torch.channels_last)
    resized = interpolate(source, (height, width), mode=mode, antialias=True)
    if height == width == side:
        return resized
    canvas = resized.new_zeros((*resized.shape[:2], side, side))
    canvas[:, :, top : top + height, left : left + width] = resized
    return canvas


def on_canvas(
    shape: tuple[int, int], spacing_mm: tuple[float, float, float], side: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where on the square a picture comes to lie: along rows and along columns, the first pixel and how many.

    Args:
        shape: of the picture at the resolution of the source, in pixels.
        spacing_mm: of (slice, row, col).
        side: of the square, in pixels.

    >>> on_canvas((10, 40), (3.0, 1.0, 0.5), 64)
    ((16, 32), (0, 64))
    """
    lengths_mm = [n * size_mm for n, size_mm in zip(shape, spacing_mm[1:], strict=True)]
    height, width = (max(1, round(side * length / max(lengths_mm))) for length in lengths_mm)
    return ((side - height) // 2, height), ((side - width) // 2, width)
