"""The phantom's lesion: its place, its outline, and how much contrast agent it takes up where."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8
from numpy.random import Generator
from scipy.ndimage import binary_dilation, gaussian_filter, label
from scipy.special import expit

from extract.phantom.anatomy import FAT, GLAND, Body, Grid
from extract.phantom.physics import Tissue
from triher.types import Mask

MIN_LESION_SLICES = 5
_PLACINGS = 200  # the largest and roughest of 2,400 lesions needed 30
_GRAIN_MM = 3.0  # SD of the smoothing that gives the lesion's Ktrans its texture
_BOX = 2.5  # no lesion reaches further than this many radii
_N_WAVES = 10
_ROUGHNESS = 3.5  # waves around the lesion's circumference, about
_CORE_EDGE = (0.62, 0.07)  # the core ends at this part of the radius, over this width


@dataclass(frozen=True)
class Lesion:
    """Where the lesion is, and each voxel's distance from its center as a part of the radius there."""

    mask: Mask
    depth: Float[np.ndarray, "slice row col"]


def grow_lesion(
    body: Body, irregularity: float, tissue: UInt8[np.ndarray, "slice row col"], grid: Grid, rng: Generator
) -> Lesion:
    """Place a star-shaped lesion wholly inside the breast, in at least `MIN_LESION_SLICES` slices.

    The radius in direction ``u`` is that of a random ellipsoid times ``1 + irregularity f(u)``, with ``f`` a smooth
    random function of unit variance, scaled to the volume of the sphere. Places and shapes are drawn until it fits.
    """
    inside = np.isin(tissue, (FAT, GLAND))
    for attempt in range(_PLACINGS):
        center = _lesion_center(body, rng, spread=1 - attempt / _PLACINGS)
        depth = _lesion_depth(body.diameter_mm / 2, irregularity, center, grid, rng)
        mask = depth < 1
        if _fits(mask, inside):
            return Lesion(mask, depth)
    raise ValueError(f"a lesion of {body.diameter_mm:.1f} mm does not fit into the volume of shape {tissue.shape}")


def _fits(mask: Mask, inside: Mask) -> bool:
    """Whether the lesion is in one piece, in enough slices, with a rim of breast all around it."""
    n_slices = int(mask.any(axis=(1, 2)).sum())
    if n_slices < MIN_LESION_SLICES or mask[[0, -1]].any() or not inside[binary_dilation(mask)].all():
        return False
    return int(label(mask)[1]) == 1


def _lesion_center(body: Body, rng: Generator, spread: float) -> tuple[float, float, float]:
    """A place (slice, row, col) in mm; with less spread nearer to the middle of the breast."""
    z, y, x = spread * rng.uniform(-1, 1, 3)
    middle = body.wall_mm + 0.42 * body.depth_mm
    return 14 * z, middle + 0.25 * body.depth_mm * y, 0.45 * body.half_width_mm * x


def _lesion_depth(
    radius_mm: float, irregularity: float, center: tuple[float, float, float], grid: Grid, rng: Generator
) -> Float[np.ndarray, "slice row col"]:
    """Distance from the center as a part of the lesion's radius in that direction; 2 far away."""
    far = _BOX * radius_mm
    apart = [axis.ravel() - middle for axis, middle in zip((grid.z, grid.y, grid.x), center, strict=True)]
    box = tuple(slice(*np.searchsorted(mm, (-far, far))) for mm in apart)
    offset = np.stack(np.meshgrid(*(mm[part] for mm, part in zip(apart, box, strict=True)), indexing="ij"), axis=-1)
    length = np.linalg.norm(offset, axis=-1)
    reach = np.maximum(1 + irregularity * _roughness(offset / np.maximum(length, 1e-3)[..., None], rng), 0.4)
    reach /= np.cbrt((reach[length < radius_mm] ** 3).mean())  # the volume does not depend on the irregularity
    depth = np.full([mm.size for mm in apart], 2.0, np.float32)
    depth[box] = np.linalg.norm(offset @ _stretch(rng), axis=-1) / (radius_mm * reach)
    return depth


def _roughness(direction: Float[np.ndarray, "*any 3"], rng: Generator) -> Float[np.ndarray, "*any"]:
    """A smooth random function of the direction with mean 0 and variance 1: a sum of plane waves on the sphere."""
    waves, phases = _ROUGHNESS * rng.standard_normal((_N_WAVES, 3)), rng.uniform(0, 2 * np.pi, _N_WAVES)
    return math.sqrt(2 / _N_WAVES) * np.cos(direction @ waves.T + phases).sum(axis=-1)


def _stretch(rng: Generator) -> Float[np.ndarray, "3 3"]:
    """A matrix that turns a random ellipsoid of unit volume into the unit sphere."""
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    ratio = np.exp(0.1 * rng.standard_normal(3))
    return rotation / (ratio / np.cbrt(ratio.prod()))


def implant(
    tissue: Tissue,
    lesion: Lesion,
    traits: Mapping[str, float],
    spacing_mm: tuple[float, float, float],
    rng: Generator,
) -> Tissue:
    """Let the lesion's voxels take up contrast agent like a tumor.

    Ktrans is ``ktrans_per_min`` in the rim, reduced by ``rim_fraction`` in the core, times the exponential of a
    smooth field with SD ``heterogeneity_log_sd``.

    Args:
        tissue: of the breast, with parenchyma where the lesion is, since the T1 of tumors is in the same range.
        lesion: where it is.
        traits: values of `extract.phantom.truth.TRAITS` by name.
        spacing_mm: distance of the voxels along slice, row and col.
        rng: draws the texture.
    """
    ktrans, ve = tissue.ktrans_per_min.copy(), tissue.ve.copy()
    ktrans[lesion.mask] = _ktrans(lesion, traits, spacing_mm, rng)
    ve[lesion.mask] = traits["ve_fraction"]
    return replace(tissue, ktrans_per_min=ktrans, ve=ve)


def _ktrans(
    lesion: Lesion, traits: Mapping[str, float], spacing_mm: tuple[float, float, float], rng: Generator
) -> Float[np.ndarray, " voxel"]:
    """Ktrans per minute of the lesion's voxels, in the order of the mask."""
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(lesion.mask))
    grain = rng.standard_normal(lesion.mask[box].shape, np.float32)
    grain = gaussian_filter(grain, [_GRAIN_MM / step for step in spacing_mm], mode="wrap")
    grain = grain[lesion.mask[box]]
    grain = (grain - grain.mean()) / grain.std()
    edge, width = _CORE_EDGE
    core = expit((edge - lesion.depth[lesion.mask]) / width)
    rim = 1 - traits["rim_fraction"] * core
    return (traits["ktrans_per_min"] * rim * np.exp(traits["heterogeneity_log_sd"] * grain)).astype(np.float32)
