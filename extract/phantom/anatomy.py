"""The phantom's body: where skin, fat, parenchyma, muscle and blood lie, and what they are made of.

The breast hangs as half an ellipsoid on a chest wall with the pectoral muscle; behind it lie lung and, as in most
left breasts, the heart, whose blood is the brightest thing in an enhanced picture. T1: fat and parenchyma from
Rakow-Penner et al., J Magn Reson Imaging 2006;23:87, muscle and blood from Stanisz et al., Magn Reson Med
2005;54:507; skin is given the T1 of muscle. What has no source is set by eye to look like a breast.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from numpy.random import Generator
from scipy.ndimage import gaussian_filter

from extract.phantom.physics import Tissue
from triher.types import Mask

_SKIN_MM = 2.2
_GLAND_GRAIN_MM = 3.4


@dataclass(frozen=True)
class Matter:
    """A tissue: T1 by field strength, and what it does with the agent."""

    t1_ms: Mapping[float, float]
    proton_density: float
    ktrans_per_min: float
    ve: float
    plasma: float = 0.0


AIR, FAT, SKIN, GLAND, MUSCLE, LUNG, BLOOD = range(7)
MATTER = (
    Matter({1.5: 1000.0, 3.0: 1000.0}, 0.0, 0.0, 0.1),  # AIR
    Matter({1.5: 296.0, 3.0: 367.0}, 0.90, 0.005, 0.05),  # FAT
    Matter({1.5: 1008.0, 3.0: 1412.0}, 0.70, 0.08, 0.25),  # SKIN
    Matter({1.5: 1266.0, 3.0: 1445.0}, 0.80, 0.02, 0.20),  # GLAND
    Matter({1.5: 1008.0, 3.0: 1412.0}, 0.80, 0.04, 0.10),  # MUSCLE
    Matter({1.5: 1200.0, 3.0: 1200.0}, 0.10, 0.05, 0.10),  # LUNG
    Matter({1.5: 1441.0, 3.0: 1932.0}, 0.90, 0.0, 0.1, plasma=1 - 0.42),  # BLOOD: all but the hematocrit
)
"""The tissues; the position is the label in `tissue_map`."""


@dataclass(frozen=True)
class Body:
    """A patient's anatomy, apart from the lesion's class-dependent traits."""

    half_width_mm: float
    depth_mm: float
    wall_mm: float
    """From the edge of the picture to the chest wall."""
    gland_fraction: float
    """Part of the breast that is parenchyma."""
    gland_ktrans_per_min: float
    """Background parenchymal enhancement."""
    diameter_mm: float
    """Of the sphere of the lesion's volume."""
    heart_side: int
    """-1 or 1: left or right in the picture."""


@dataclass(frozen=True)
class Grid:
    """The voxels' positions in mm: slice and col from the center, row from the back edge."""

    spacing_mm: tuple[float, float, float]
    z: Float[np.ndarray, "slice 1 1"]
    y: Float[np.ndarray, "row 1"]
    x: Float[np.ndarray, " col"]


def draw_body(rng: Generator) -> Body:
    """Draw a patient's anatomy; nothing of it depends on the class."""
    return Body(
        half_width_mm=rng.uniform(54, 62),
        depth_mm=rng.uniform(72, 84),
        wall_mm=rng.uniform(38, 44),
        gland_fraction=rng.uniform(0.10, 0.45),
        gland_ktrans_per_min=0.02 * math.exp(0.4 * rng.normal()),
        diameter_mm=float(np.clip(26 * math.exp(0.2 * rng.normal()), 17, 36)),
        heart_side=int(rng.choice([-1, 1])),
    )


def make_grid(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Grid:
    """Lay out the voxel centers."""
    z, y, x = ((np.arange(n, dtype=np.float32) + 0.5) * step for n, step in zip(shape, spacing_mm, strict=True))
    return Grid(spacing_mm, (z - z.mean())[:, None, None], y[:, None], x - x.mean())


def tissue_map(body: Body, grid: Grid, rng: Generator) -> UInt8[np.ndarray, "slice row col"]:
    """Label every voxel with its tissue, before the lesion grows."""
    wall = body.wall_mm - 0.004 * grid.x**2 - 0.003 * grid.z**2
    behind = grid.y - wall
    radius = _breast_radius(body, grid, wall, inset_mm=0.0)
    inner = _breast_radius(body, grid, wall, inset_mm=_SKIN_MM)
    shape = radius.shape
    tissue = np.full(shape, AIR, np.uint8)
    tissue[np.broadcast_to(behind < 12, shape) | (radius < 1)] = SKIN
    tissue[np.broadcast_to(behind < 12 - _SKIN_MM, shape) | (inner < 1)] = FAT
    tissue[(inner < 1) & (behind > 2) & _parenchyma(body, grid, inner, rng)] = GLAND
    tissue[np.broadcast_to(behind < 0, shape)] = MUSCLE
    tissue[np.broadcast_to(behind < -11, shape)] = LUNG
    tissue[_heart(body, grid) & (behind < -15)] = BLOOD
    return tissue


def _breast_radius(
    body: Body, grid: Grid, wall: Float[np.ndarray, "slice 1 col"], inset_mm: float
) -> Float[np.ndarray, "slice row col"]:
    """Ellipsoidal radius of each voxel around the middle of the breast's base; 1 on the surface."""
    across = (grid.x / (body.half_width_mm - inset_mm)) ** 2
    along = (grid.z / (body.half_width_mm + 4 - inset_mm)) ** 2
    forward = (np.maximum(grid.y - wall, 0) / (body.depth_mm - inset_mm)) ** 2
    return np.sqrt(across + along + forward).astype(np.float32)


def _parenchyma(body: Body, grid: Grid, radius: Float[np.ndarray, "slice row col"], rng: Generator) -> Mask:
    """The part of a smooth random field, high in the middle of the breast, that is above a threshold."""
    field = rng.standard_normal(radius.shape, np.float32)
    field = gaussian_filter(field, [_GLAND_GRAIN_MM / step for step in grid.spacing_mm], truncate=3.0)
    field = field / field.std() - 4.0 * np.maximum(radius - 0.45, 0)
    return field > np.quantile(field[radius < 1], 1 - body.gland_fraction)


def _heart(body: Body, grid: Grid) -> Mask:
    """An ellipsoid that the back edge of the picture cuts."""
    across = (grid.x - body.heart_side * 26) / 34
    return across**2 + ((grid.y - 4) / 28) ** 2 + ((grid.z + 20) / 60) ** 2 < 1


def properties(tissue: UInt8[np.ndarray, "slice row col"], body: Body, *, field_t: float, fat_left: float) -> Tissue:
    """Give every voxel its physical properties.

    Args:
        tissue: labels of `tissue_map`.
        body: gives the background parenchymal enhancement.
        field_t: field strength in tesla, 1.5 or 3.
        fat_left: part of the fat's signal that fat suppression leaves, 0 to 1.
    """
    rows = [(m.proton_density, m.t1_ms[field_t], m.ktrans_per_min, m.ve, m.plasma) for m in MATTER]
    table = np.array(rows, np.float32)
    table[FAT, 0] *= fat_left
    table[GLAND, 2] = body.gland_ktrans_per_min
    return Tissue(*(column[tissue] for column in table.T))
