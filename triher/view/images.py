"""The images of one patient as a page can draw them: 16-bit grays of every phase, the mask, and what is around.

The lesion's slab is read as it lies in the cache, by the name that the feature store keeps of it; no source is opened
and nothing is written.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Real, UInt16

from extract.sealed import read_sealed
from triher.types import Mask, Phases
from triher.window import window_of

_TOP = 65535


@dataclass(frozen=True)
class Images:
    """The lesion slab of one patient."""

    phases: tuple[str, ...]
    voxels: Phases
    mask: Mask
    first_slice: int
    """Position of the slab's first slice in the source volume."""
    spacing_mm: tuple[float, float, float]
    plane: str
    """``axial``, ``sagittal`` or ``coronal``."""


def read_images(path: Path) -> Images:
    """Read a slab of the cache.

    Raises:
        OSError: when there is none.
        ValueError: when it is damaged.
    """
    arrays, facts = read_sealed(path)
    return Images(
        tuple(facts["phases"]),
        arrays["voxels"],
        arrays["mask"],
        int(facts["first_slice"]),
        tuple(facts["spacing_mm"]),
        str(facts["plane"]),
    )


@dataclass(frozen=True)
class Grays:
    """Voxels scaled to 16 bits, one scale for all phases, and the window to show first."""

    values: UInt16[np.ndarray, "..."]
    window: tuple[float, float]
    """Darkest and brightest value to tell apart, in the scale of `values`."""
    range: tuple[float, float]
    """Scanner units of 0 and 65535."""


def grays(voxels: Real[np.ndarray, "..."]) -> Grays:
    """Scale voxels of any type to 16 bits between their extremes."""
    low, high = float(voxels.min()), float(voxels.max())
    factor = _TOP / (high - low) if high > low else 0.0
    scaled = (voxels.astype(np.float32) - np.float32(low)) * np.float32(factor) + np.float32(0.5)
    dark, bright = window_of(voxels)
    window = ((dark - low) * factor, (bright - low) * factor)
    return Grays(np.clip(scaled, 0, _TOP).astype(np.uint16), window, (low, high))


def largest_slice(mask: Mask) -> int:
    """The slice with most lesion, the first of equals."""
    return int(np.argmax(mask.sum(axis=(1, 2))))


@dataclass(frozen=True)
class Uptake:
    """Enhancement of the lesion in each phase, as a percentage of its mean signal before contrast."""

    mean: Float64[np.ndarray, " phase"]
    lower: Float64[np.ndarray, " phase"]
    """First quartile over the voxels."""
    upper: Float64[np.ndarray, " phase"]
    """Third quartile over the voxels."""


def uptake_of(images: Images) -> Uptake | None:
    """What each voxel of the lesion gained over its own signal in the first phase.

    The gain is divided by the lesion's mean signal in that phase, not by the voxel's own, which noise may bring near
    0; so the mean is the relative enhancement of the region's mean signal, 100 (S - S0) / S0, as it is read off a
    workstation (ACR BI-RADS Atlas, 5th edition, 2013, breast MRI, kinetic curve assessment).

    Returns:
        None with fewer than two phases, without lesion, or where the mean signal before contrast is not above 0.
    """
    lesion = images.voxels[:, images.mask].astype(np.float64)
    if len(lesion) < 2 or not lesion.shape[1] or lesion[0].mean() <= 0:
        return None
    gain = 100 * (lesion - lesion[0]) / lesion[0].mean()
    lower, upper = np.percentile(gain, (25, 75), axis=1)
    return Uptake(gain.mean(axis=1), lower, upper)
