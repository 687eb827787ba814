"""A volume in canonical axes, whatever file it came from.

Any of the 48 axis orders and flips of a volume gives the same array: the slice axis is the coarsest one, and
the in-plane axes point as on a viewing station (axial: columns to the patient's left, rows to posterior).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float64, Real
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from triher.errors import SkipPatient
from triher.types import Phases, Volume

_MAX_VOXELS = 1_000_000_000  # 1024 x 1024 x 1000, ten times a large breast MRI
_SPACING_MM = (0.1, 10.0)
_ISOTROPIC = 1.05  # spacings closer than this have no coarsest axis: slices are axial then
_ORTHOGONAL = 1e-3
_TILE = 16  # of 8, 16, 32 and 64 voxels the fastest

Affine = Float64[np.ndarray, "4 4"]
Stored = Real[np.ndarray, "i j k"]  # axes in the order of the file

# Slice axis in the patient -> direction of (slice, row, col); L = to the left, P = posterior, S = superior.
_CANONICAL = {"S": ("S", "P", "L"), "L": ("L", "I", "P"), "P": ("P", "I", "L")}


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a volume lie, as stored: axes (i, j, k) in the order of the file."""

    shape: tuple[int, int, int]
    affine: Affine
    """(i, j, k) to RAS millimeters."""

    def without_voxels(self) -> "Image":
        """An image of this extent whose voxels are all 0 and take no memory."""
        return Image(np.broadcast_to(np.int16(0), self.shape), self.affine, "")


@dataclass(frozen=True)
class Image:
    """A volume in canonical axes."""

    voxels: Volume
    """[slice, row, col], in the smallest of int16, int32 and float32 that holds the values exactly; a view of the
    file's own order."""
    affine: Affine
    """(slice, row, col) to RAS millimeters."""
    plane: str
    """``axial``, ``sagittal`` or ``coronal``."""
    remarks: tuple[tuple[str, str], ...] = ()
    """Code and text of what was done to the values."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel spacing along (slice, row, col)."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(lengths[0]), float(lengths[1]), float(lengths[2]))

    def sha256(self) -> str:
        """Hash of values and shape; equal for every way of storing the same volume."""
        return voxels_sha256(self.voxels)


_DIRECTIONS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


@dataclass(frozen=True)
class Assumed:
    """Geometry that the user states because headers do not, or state it wrong."""

    orientation: str
    """Where each axis points as stored, such as ``RAS``."""
    spacing_mm: tuple[float, ...] = ()
    """Along each axis as stored; the header's when empty."""

    def affine(self, header_spacing_mm: Sequence[float]) -> Affine:
        """(i, j, k) to RAS millimeters, with the first voxel at the origin.

        >>> Assumed("SPL", (2.0, 0.5, 0.5)).affine([1.0, 1.0, 1.0])[2].tolist()
        [2.0, 0.0, 0.0, 0.0]
        """
        affine = np.eye(4)
        spacing = self.spacing_mm or header_spacing_mm
        for axis, (letter, length) in enumerate(zip(self.orientation, spacing, strict=True)):
            affine[:3, axis] = np.array(_DIRECTIONS[letter]) * length
        return affine


def check_grid(shape: tuple[int, ...], affine: Affine, where: str) -> Grid:
    """Refuse a shape or an affine that cannot be those of a breast MRI.

    Args:
        shape: as stored.
        affine: (i, j, k) to RAS millimeters.
        where: file or folder, for the message.

    Raises:
        SkipPatient: ``image_not_3d``, ``image_too_large``, ``affine_invalid``, ``spacing_implausible`` or
            ``affine_sheared``.
    """
    if len(shape) != 3 or min(shape) < 2:
        raise SkipPatient("image_not_3d", f"{where} has the shape {list(shape)}; a volume was expected")
    if np.prod(shape, dtype=float) > _MAX_VOXELS:
        raise SkipPatient("image_too_large", f"{where}: the header claims {list(shape)} voxels")
    if not np.isfinite(affine).all():
        raise SkipPatient("affine_invalid", f"{where}: the affine holds NaN or infinity")
    axes = affine[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    if spacing.min() < _SPACING_MM[0] or spacing.max() > _SPACING_MM[1]:
        listed = " x ".join(f"{s:.4g}" for s in spacing)
        raise SkipPatient("spacing_implausible", f"{where}: spacing {listed} mm; expected 0.1 to 10")
    cosines = (axes / spacing).T @ (axes / spacing)
    if np.abs(cosines - np.eye(3)).max() > _ORTHOGONAL:
        raise SkipPatient("affine_sheared", f"{where}: the axes are not at right angles")
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def canonical_image(
    stored: Stored,
    affine: Affine,
    where: str,
    remarks: tuple[tuple[str, str], ...] = (),
    *,
    zero_nonfinite: bool = False,
) -> Image:
    """Turn a volume as stored into an `Image`.

    Args:
        stored: axes in the order of the file.
        affine: (i, j, k) to RAS millimeters.
        where: the file, for messages.
        remarks: code and text of what was done to the values so far.
        zero_nonfinite: put 0 in place of NaN and infinity, with a remark.

    Raises:
        SkipPatient: ``image_nonfinite``.
    """
    if not _is_finite(stored):
        finite = np.isfinite(stored)
        text = f"{where}: {np.count_nonzero(~finite)} voxels are NaN or infinite"
        if not zero_nonfinite:
            remedy = "export the image again, or set cohort.nonfinite to zero"
            raise SkipPatient("image_nonfinite", text, remedy=remedy)
        remarks = (*remarks, ("image_nonfinite", f"{text}; taken as 0"))
        stored = np.where(finite, stored, 0)
    voxels, turned, plane = _canonical_axes(_exact_values(stored), affine)
    return Image(voxels, turned, plane, remarks)


def _is_finite(stored: Stored) -> bool:
    """Whether no voxel is NaN or infinite."""
    return stored.dtype.kind != "f" or bool(np.isfinite(stored.min()) and np.isfinite(stored.max()))


def _exact_values(stored: Stored) -> Stored:
    """The values in the smallest type that holds them."""
    if stored.dtype == np.int16:
        return stored
    low, high = float(stored.min()), float(stored.max())
    for dtype in (np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            whole = stored.astype(dtype, copy=False)
            if stored.dtype.kind != "f" or np.array_equal(whole, stored):
                return whole
            break
    return stored.astype(np.float32, copy=False)


def _canonical_axes(values: Stored, affine: Affine) -> tuple[Volume, Affine, str]:
    """Turn and flip the axes to [slice, row, col]."""
    present = io_orientation(affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    coarse = int(np.argmax(spacing))
    others = np.delete(spacing, coarse)
    world = int(present[coarse, 0]) if spacing[coarse] > _ISOTROPIC * others.max() else 2
    direction = "LPS"[world]
    wanted = axcodes2ornt(_CANONICAL[direction])
    change = ornt_transform(present, wanted)
    turned = apply_orientation(values, change)
    plane = {"S": "axial", "L": "sagittal", "P": "coronal"}[direction]
    return turned, affine @ inv_ornt_aff(change, values.shape), plane


def voxels_sha256(voxels: Volume) -> str:
    """Hash of values and shape."""
    digest = hashlib.sha256(f"{voxels.dtype.str}{voxels.shape}".encode())
    digest.update(np.ascontiguousarray(voxels).data)
    return digest.hexdigest()


def stack(volumes: Sequence[Volume]) -> Phases:
    """Volumes of one shape in one contiguous array, of a type that holds them all.

    Where rows run across the axis that is slowest as stored, a plain copy misses the cache at every voxel; columns
    of tiles halve the time.
    """
    common = np.result_type(*[volume.dtype for volume in volumes])
    stacked = np.empty((len(volumes), *volumes[0].shape), common)
    for volume, copy in zip(volumes, stacked, strict=True):
        fastest, slowest = (int(pick(np.abs(volume.strides))) for pick in (np.argmin, np.argmax))
        if slowest != 2:
            copy[:] = volume
            continue
        tile = [slice(None)] * 3
        for i, k in product(range(0, volume.shape[fastest], _TILE), range(0, volume.shape[2], _TILE)):
            tile[fastest], tile[2] = slice(i, i + _TILE), slice(k, k + _TILE)
            copy[tuple(tile)] = volume[tuple(tile)]
    return stacked
