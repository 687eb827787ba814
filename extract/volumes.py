"""Read one NIfTI volume into canonical axes, and refuse what is not a whole, plausible volume.

Voxels come from nibabel's header and our own inflation, never from ITK, which reads a truncated file as zeros.
Any of the 48 axis orders and flips of a volume gives the same array: the slice axis is the coarsest one, and
the in-plane axes point as on a viewing station (axial: columns to the patient's left, rows to posterior).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from isal.isal_zlib import IsalError, decompressobj
from jaxtyping import Float64, Real
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from nibabel.spatialimages import HeaderDataError

from triher.errors import SkipPatient
from triher.types import Volume

_HEADER_BYTES = 348  # NIfTI-1
_HEADER_BYTES_2 = 540  # NIfTI-2
_HEADER_FILE_BYTES = 1 << 16  # of a compressed file; more than enough for a header
_GZIP = b"\x1f\x8b"
_MAX_VOXELS = 1_000_000_000  # 1024 x 1024 x 1000, ten times a large breast MRI
_SPACING_MM = (0.1, 10.0)
_ISOTROPIC = 1.05  # spacings closer than this have no coarsest axis: slices are axial then
_ORTHOGONAL = 1e-3

Affine = Float64[np.ndarray, "4 4"]
Stored = Real[np.ndarray, "i j k"]  # axes in the order of the file

# Slice axis in the patient -> direction of (slice, row, col); L = to the left, P = posterior, S = superior.
_CANONICAL = {"S": ("S", "P", "L"), "L": ("L", "I", "P"), "P": ("P", "I", "L")}


@dataclass(frozen=True)
class Image:
    """A volume in canonical axes."""

    voxels: Volume
    """[slice, row, col], in the smallest of int16, int32 and float32 that holds the values exactly."""
    affine: Affine
    """(slice, row, col) to RAS millimeters."""
    plane: str
    """``axial``, ``sagittal`` or ``coronal``."""
    remarks: tuple[str, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel spacing along (slice, row, col)."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(lengths[0]), float(lengths[1]), float(lengths[2]))

    def sha256(self) -> str:
        """Hash of values and shape; equal for every way of storing the same volume."""
        digest = hashlib.sha256(f"{self.voxels.dtype.str}{self.voxels.shape}".encode())
        digest.update(np.ascontiguousarray(self.voxels).data)
        return digest.hexdigest()


def read_volume(path: Path) -> Image:
    """Read a NIfTI-1 or NIfTI-2 file, compressed or not.

    The file is opened once. Values are scaled by the header's slope and intercept.

    Raises:
        SkipPatient: ``file_unreadable``, ``image_unreadable``, ``image_truncated``, ``image_corrupt``,
            ``image_too_large``, ``image_4d``, ``image_not_3d``, ``image_nonfinite``, ``affine_invalid``,
            ``affine_sheared``, ``orientation_unknown`` or ``spacing_implausible``.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SkipPatient("file_unreadable", f"cannot read {path}: {error.strerror}") from error
    header = _read_header(data, path)
    shape = _volume_shape(header, path)
    stored = _stored_voxels(data, header, shape, path)
    affine = _checked_affine(header, path)
    values, remarks = _scaled(stored, header, path)
    voxels, canonical, plane = _canonical_axes(values, affine)
    return Image(voxels, canonical, plane, remarks)


def check_header(path: Path) -> tuple[int, int, int]:
    """The shape of a volume, from the first bytes of its file, after the checks that need no voxel.

    Raises:
        SkipPatient: as `read_volume`, for what the header shows.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER_FILE_BYTES)
    except OSError as error:
        raise SkipPatient("file_unreadable", f"cannot read {path}: {error.strerror}") from error
    header = _read_header(start, path)
    _checked_affine(header, path)
    return _volume_shape(header, path)


def _read_header(data: bytes, path: Path) -> nib.Nifti1Header:
    """Parse the header, inflating no more than it needs."""
    start = data[:_HEADER_BYTES_2]
    is_compressed = data[:2] == _GZIP
    if is_compressed:
        try:
            start = decompressobj(wbits=31).decompress(data, _HEADER_BYTES_2)
        except IsalError as error:  # type: ignore[misc]  # its stub declares an instance
            raise SkipPatient("image_corrupt", f"{path}: {error}") from error
    if len(start) < _HEADER_BYTES:
        code = "image_truncated" if is_compressed else "image_unreadable"
        message = f"{path} ends inside its header, after {len(start)} bytes; it starts with {data[:12]!r}"
        raise SkipPatient(code, message)
    is_second = _HEADER_BYTES_2 in (int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))
    kind, length = (nib.Nifti2Header, _HEADER_BYTES_2) if is_second else (nib.Nifti1Header, _HEADER_BYTES)
    not_nifti = SkipPatient("image_unreadable", f"{path} is not NIfTI: it starts with {start[:16]!r}")
    try:
        header: nib.Nifti1Header = kind(start[:length], check=False)
        header.get_data_dtype()
    except (HeaderDataError, ValueError, KeyError) as error:
        raise not_nifti from error
    if bytes(header["magic"])[:3] not in (b"n+1", b"n+2"):
        raise not_nifti
    return header


def _volume_shape(header: nib.Nifti1Header, path: Path) -> tuple[int, int, int]:
    """The three dimensions, after dropping trailing ones."""
    shape = [int(n) for n in header.get_data_shape()]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) == 4:
        raise SkipPatient("image_4d", f"{path} holds {shape[3]} volumes of {shape[:3]}; one was expected")
    if len(shape) != 3 or min(shape) < 2:
        raise SkipPatient("image_not_3d", f"{path} has the shape {shape}; a volume was expected")
    if np.prod(shape, dtype=float) > _MAX_VOXELS:
        raise SkipPatient("image_too_large", f"{path}: the header claims {shape} voxels")
    return (shape[0], shape[1], shape[2])


def _checked_affine(header: nib.Nifti1Header, path: Path) -> Affine:
    """The affine, if it says where the voxels lie and is plausible."""
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        raise SkipPatient("orientation_unknown", f"{path}: sform and qform codes are both 0")
    try:
        affine = np.asarray(header.get_best_affine(), np.float64)
    except (HeaderDataError, ValueError) as error:
        raise SkipPatient("affine_invalid", f"{path}: {error}") from error
    axes = affine[:3, :3]
    if not np.isfinite(affine).all():
        raise SkipPatient("affine_invalid", f"{path}: the affine holds NaN or infinity")
    spacing = np.linalg.norm(axes, axis=0)
    if spacing.min() < _SPACING_MM[0] or spacing.max() > _SPACING_MM[1]:
        listed = " x ".join(f"{s:.4g}" for s in spacing)
        raise SkipPatient("spacing_implausible", f"{path}: spacing {listed} mm; expected 0.1 to 10")
    cosines = (axes / spacing).T @ (axes / spacing)
    if np.abs(cosines - np.eye(3)).max() > _ORTHOGONAL:
        raise SkipPatient("affine_sheared", f"{path}: the axes are not at right angles")
    return affine


def _stored_voxels(data: bytes, header: nib.Nifti1Header, shape: tuple[int, int, int], path: Path) -> Stored:
    """The voxels as they are stored, in file order (first axis fastest)."""
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise SkipPatient("image_unreadable", f"{path} holds voxels of type {dtype}; numbers were expected")
    start = int(header["vox_offset"])
    count = int(np.prod(shape))
    end = start + count * dtype.itemsize
    if data[:2] == _GZIP:
        data = _inflate(data, end, path)
    if len(data) < end:
        raise SkipPatient("image_truncated", f"{path} holds {len(data)} of the {end} bytes that its header announces")
    return np.frombuffer(data, dtype, count, start).reshape(shape, order="F")


def _inflate(data: bytes, size: int, path: Path) -> bytes:
    """Inflate up to `size` bytes, and read to the end so that the checksum is verified."""
    inflater = decompressobj(wbits=31)
    try:
        voxels = inflater.decompress(data, size)
        while not inflater.eof and inflater.unconsumed_tail:
            if not inflater.decompress(inflater.unconsumed_tail, 1 << 16):
                break
    except IsalError as error:  # type: ignore[misc]  # its stub declares an instance
        raise SkipPatient("image_corrupt", f"{path}: {error}") from error
    if not inflater.eof:
        raise SkipPatient("image_truncated", f"{path}: the compressed data end early")
    return bytes(voxels)


def _scaled(stored: Stored, header: nib.Nifti1Header, path: Path) -> tuple[Stored, tuple[str, ...]]:
    """Apply slope and intercept, and keep integers wherever the values are whole numbers."""
    slope, intercept = header.get_slope_inter()
    remarks: tuple[str, ...] = ()
    values = stored
    if slope is not None and (slope, intercept) != (1.0, 0.0):
        values = stored.astype(np.float64) * slope + intercept
        remarks = (f"scaled by slope {slope:g} and intercept {intercept:g}",)
    if values.dtype.kind == "f":
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            raise SkipPatient("image_nonfinite", f"{path}: {bad} voxels are NaN or infinite")
    low, high = values.min(), values.max()
    whole = values.dtype.kind != "f" or bool((np.rint(values) == values).all())
    return values.astype(_exact_dtype(float(low), float(high), whole=whole)), remarks


def _exact_dtype(low: float, high: float, *, whole: bool) -> np.dtype:
    """The smallest type that holds the range."""
    for dtype in (np.int16, np.int32):
        if whole and np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.float32)


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
    turned = np.ascontiguousarray(apply_orientation(values, change))
    plane = {"S": "axial", "L": "sagittal", "P": "coronal"}[direction]
    return turned, affine @ inv_ornt_aff(change, values.shape), plane
