"""From a slab to the cubes of voxels that encoders of volumes take, in scanner units brought to mean 0 and SD 1.

``tight`` is the crop of FM-BCMRI and BL4AS: the lesion's bounding box, stretched to a cube whatever its shape, by the
area interpolation of MONAI (torch's). ``isotropic`` keeps proportions: a cube in millimeters around the lesion.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from torch.nn.functional import interpolate

from extract.cache import Slab
from extract.fusion import Fusion
from extract.regions import Box, bounding_box
from triher.errors import unknown_name
from triher.types import Mask, Volume

_TINY = 1e-8  # beside the deviation, as in FM-BCMRI: a constant crop becomes 0
Spacing = tuple[float, float, float]
Cube: TypeAlias = Float32[np.ndarray, "side side side"]
Inside: TypeAlias = Bool[np.ndarray, "side side side"]


@dataclass(frozen=True)
class CropRecipe:
    """How a cube is cut."""

    mode: str
    """A name of `CROPS`."""
    side: int
    """In voxels."""
    margin_mm: float = 0.0
    """Around the lesion's bounding box, on each side."""


def volumes(
    slab: Slab, fusion: Fusion, recipe: CropRecipe, shown: Mask | None = None
) -> Float32[torch.Tensor, "channel side side side"]:
    """One cube a channel, each with mean 0 and SD 1; one channel where all three are the same.

    Differences of phases are taken in scanner units, before anything else, as in FM-BCMRI's ``C2-C0``.

    Args:
        slab: the more of the lesion's surroundings it holds (`RegionConfig.depth_mm`), the less of an isotropic cube
            lies outside.
        fusion: as for pictures.
        recipe: how to cut.
        shown: voxels that keep their value, the others become 0 (FM-BCMRI's ``roi_only``); all of them when None.

    Raises:
        StopRun: ``unknown_name`` for a mode that is not in `CROPS`.
    """
    box = bounding_box(slab.mask)
    channels = fusion.channels[:1] if len(set(fusion.channels)) == 1 else fusion.channels
    cubes = []
    for phase, subtracted in channels:
        voxels = slab.voxels[slab.phases.index(phase)].astype(np.float32)
        if subtracted:
            voxels -= slab.voxels[slab.phases.index(subtracted)]
        if shown is not None:
            voxels *= shown
        cubes.append(crop(voxels, box, slab.spacing_mm, recipe))
    return torch.from_numpy(np.stack(cubes))


def lesion_cube(mask: Mask, spacing_mm: Spacing, recipe: CropRecipe) -> Float32[np.ndarray, "side side side"]:
    """The lesion's share of every voxel of the cube, 0..1.

    Args:
        mask: the lesion.
        spacing_mm: of (slice, row, col).
        recipe: how to cut.

    Raises:
        StopRun: ``unknown_name`` for a mode that is not in `CROPS`.
    """
    return _cut(mask.astype(np.float32), bounding_box(mask), spacing_mm, recipe)[0]


def crop(volume: Volume, box: Box, spacing_mm: Spacing, recipe: CropRecipe) -> Cube:
    """Cut a cube around a box, and bring what it holds of the volume to mean 0 and SD 1; what lies outside is 0.

    Args:
        volume: scanner units or bytes.
        box: the lesion's bounding box.
        spacing_mm: of (slice, row, col).
        recipe: how to cut.

    Raises:
        StopRun: ``unknown_name`` for a mode that is not in `CROPS`.
    """
    cube, inside = _cut(volume, box, spacing_mm, recipe)
    values = cube[inside].astype(np.float64)
    scaled = (cube - values.mean()) / (values.std() + _TINY)
    return np.where(inside, scaled, 0).astype(np.float32)


def extents(shape: tuple[int, ...], box: Box, spacing_mm: Spacing, recipe: CropRecipe) -> list[tuple[float, float]]:
    """Where the cube begins and ends along each axis of the volume, in voxels; beyond the volume for ``isotropic``.

    Args:
        shape: of the volume.
        box: the lesion's bounding box.
        spacing_mm: of (slice, row, col).
        recipe: how to cut.
    """
    bounds = (box.slices, box.rows, box.cols)
    if recipe.mode == "tight":
        margins = [int(np.ceil(recipe.margin_mm / size_mm - 1e-9)) for size_mm in spacing_mm]
        axes = zip(bounds, margins, shape, strict=True)
        return [(float(max(0, low - margin)), float(min(size, high + margin))) for (low, high), margin, size in axes]
    lengths_mm = [(high - low) * size_mm for (low, high), size_mm in zip(bounds, spacing_mm, strict=True)]
    half_mm = max(lengths_mm) / 2 + recipe.margin_mm
    return [
        ((low + high) / 2 - half_mm / size_mm, (low + high) / 2 + half_mm / size_mm)
        for (low, high), size_mm in zip(bounds, spacing_mm, strict=True)
    ]


def _cut(volume: Volume, box: Box, spacing_mm: Spacing, recipe: CropRecipe) -> tuple[Cube, Inside]:
    """The cube, and where it lies inside the volume."""
    if recipe.mode not in CROPS:
        raise unknown_name("crop", recipe.mode, CROPS)
    return CROPS[recipe.mode](volume, box, spacing_mm, recipe)


def _tight(volume: Volume, box: Box, spacing_mm: Spacing, recipe: CropRecipe) -> tuple[Cube, Inside]:
    """The box stretched to a cube."""
    bounds = tuple(slice(round(low), round(high)) for low, high in extents(volume.shape, box, spacing_mm, recipe))
    part = torch.from_numpy(volume[bounds].astype(np.float32))
    cube = interpolate(part[None, None], (recipe.side,) * 3, mode="area")[0, 0].numpy()
    return cube, np.ones(cube.shape, bool)


def _isotropic(volume: Volume, box: Box, spacing_mm: Spacing, recipe: CropRecipe) -> tuple[Cube, Inside]:
    """A cube in millimeters on the middle of the box, as long as the box's longest side and the margins."""
    spans = extents(volume.shape, box, spacing_mm, recipe)
    weights = [
        _overlaps(np.linspace(low, high, recipe.side + 1), size)
        for (low, high), size in zip(spans, volume.shape, strict=True)
    ]
    met = [np.flatnonzero(weight.any(axis=0)) for weight in weights]
    part = volume[tuple(slice(voxels[0], voxels[-1] + 1) for voxels in met)].astype(np.float32)
    slices, rows, cols = (w[:, voxels].astype(np.float32) for w, voxels in zip(weights, met, strict=True))
    planes = rows @ part @ cols.T
    cube = (slices @ planes.reshape(len(planes), -1)).reshape(-1, *planes.shape[1:])
    a, b, c = (np.asarray(weight.any(axis=1)) for weight in weights)
    return cube, a[:, None, None] & b[:, None] & c


def _overlaps(edges: Float64[np.ndarray, " edge"], size: int) -> Float64[np.ndarray, "side size"]:
    """For each interval between edges, in voxels, the share of every voxel in its mean; 0 where none meets it."""
    edges = edges.round(6)  # edges on a border of the volume must not meet it by their rounding
    first = np.arange(size)
    shared = np.minimum(edges[1:, None], first + 1) - np.maximum(edges[:-1, None], first)
    shared = np.clip(shared, 0, None)
    total = shared.sum(axis=1, keepdims=True)
    return np.divide(shared, total, out=np.zeros_like(shared), where=total > 0)


CROPS: dict[str, Callable[[Volume, Box, Spacing, CropRecipe], tuple[Cube, Inside]]] = {
    "tight": _tight,
    "isotropic": _isotropic,
}
