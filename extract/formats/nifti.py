"""Read NIfTI-1 and NIfTI-2 files of one volume or of several in the order of time.

The header is nibabel's, inflation and checks are ours; ITK, which reads a truncated file as zeros, is not used.
Fields and units: nifti1.h, https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Float64
from nibabel.spatialimages import HeaderDataError

from extract.formats.voxel_bytes import (
    GZIP_MARK,
    Layout,
    Packing,
    inflate_start,
    read_volumes,
    require_size,
    unreadable,
)
from extract.image import Affine, Assumed, Grid, Image, Stored, canonical_image, check_grid
from triher.errors import SkipPatient
from triher.phases import times_after_injection

_HEADER_BYTES = 348  # NIfTI-1
_HEADER_BYTES_2 = 540  # NIfTI-2
_START_BYTES = 1 << 16  # of a compressed file; more than enough for a header
_AGREE = 0.5  # voxels by which two statements of one geometry may lie apart; quaternions near half a turn lose 0.3 mm
_TIME_UNITS_S = {"sec": 1.0, "msec": 1e-3}
# Between two volumes of a breast DCE-MRI. Ultrafast protocols take 2 to 7 s a volume (Kataoka et al., Magn Reson Med
# Sci 2022;21:83), full ones one to two minutes; 0, 1 and the repetition time are common placeholders.
_PLAUSIBLE_S = (2.0, 600.0)


@dataclass(frozen=True)
class NiftiSource:
    """A NIfTI file, known from its header."""

    path: Path
    grid: Grid
    layout: Layout
    scaling: tuple[float, float] | None
    """Slope and intercept, where they change anything."""
    times_s: tuple[float, ...]
    notes: tuple[tuple[str, str], ...]
    zero_nonfinite: bool = False

    @property
    def n_volumes(self) -> int:
        """How many volumes there are."""
        return self.layout.n_volumes

    def read(self, volumes: Sequence[int]) -> list[Image]:
        """The volumes with these positions in time, the file opened once.

        Raises:
            SkipPatient: ``file_unreadable``, ``image_truncated``, ``image_corrupt`` or ``image_nonfinite``.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise unreadable(self.path, error) from error
        packing: Packing = "gzip" if data[:2] == GZIP_MARK else "raw"
        return [self._image(stored) for stored in read_volumes(data, self.layout, packing, volumes, str(self.path))]

    def _image(self, stored: Stored) -> Image:
        """Scale a volume and turn its axes."""
        remarks: tuple[tuple[str, str], ...] = ()
        if self.scaling is not None:
            slope, intercept = self.scaling
            stored = stored.astype(np.float64) * slope + intercept
            remarks = (("image_scaled", f"scaled by slope {slope:g} and intercept {intercept:g}"),)
        where, zero = str(self.path), self.zero_nonfinite
        return canonical_image(stored, self.grid.affine, where, remarks, zero_nonfinite=zero)


def open_nifti(path: Path, assumed: Assumed | None = None, *, zero_nonfinite: bool = False) -> NiftiSource:
    """Read the header of a NIfTI file, compressed or not.

    Args:
        path: the file.
        assumed: geometry that replaces that of the header.
        zero_nonfinite: put 0 in place of NaN and infinity, with a remark.

    Raises:
        SkipPatient: ``file_unreadable``, ``image_unreadable``, ``image_truncated``, ``image_corrupt``,
            ``image_size``, ``orientation_unknown``, ``affine_invalid``, and those of `extract.image.check_grid`.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_START_BYTES)
            n_bytes = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise unreadable(path, error) from error
    header = _parse_header(start, path)
    layout, notes = _layout(header, path)
    if assumed is not None:
        notes = (*notes, ("geometry_assumed", f"{path}: the axes are taken to point to {assumed.orientation}"))
    grid = check_grid(layout.shape[:3], _affine(header, assumed, path), str(path))
    if assumed is None:
        _require_one_geometry(header, grid, path)
    if start[:2] != GZIP_MARK:
        require_size(n_bytes, layout, str(path))
    return NiftiSource(
        path,
        grid,
        layout,
        _scaling(header, path),
        () if layout.time_axis is None else _times_s(header, layout.shape[layout.time_axis]),
        notes,
        zero_nonfinite,
    )


def read_volume(path: Path) -> Image:
    """Read a NIfTI file of one volume.

    Raises:
        SkipPatient: as `open_nifti` and `NiftiSource.read`; ``image_4d`` when it holds several volumes.
    """
    source = open_nifti(path)
    if source.n_volumes > 1:
        raise SkipPatient("image_4d", f"{path} holds {source.n_volumes} volumes; one was expected")
    return source.read([0])[0]


def _parse_header(start: bytes, path: Path) -> nib.Nifti1Header:
    """Parse the first bytes of a file, inflating no more than the header needs."""
    is_compressed = start[:2] == GZIP_MARK
    if is_compressed:
        start = inflate_start(start, _HEADER_BYTES_2, str(path))
    if len(start) < _HEADER_BYTES:
        code = "image_truncated" if is_compressed else "image_unreadable"
        message = f"{path} ends inside its header, after {len(start)} bytes; it starts with {start[:12]!r}"
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


def _layout(header: nib.Nifti1Header, path: Path) -> tuple[Layout, tuple[tuple[str, str], ...]]:
    """Where the voxels lie, without axes of length 1 behind the third, and a note if there were any."""
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise SkipPatient("image_unreadable", f"{path} holds voxels of type {dtype}; numbers were expected")
    stored = tuple(int(n) for n in header.get_data_shape())
    offset = float(header["vox_offset"])
    if min(stored, default=0) < 1 or not _HEADER_BYTES <= offset < np.inf:
        raise SkipPatient("image_unreadable", f"{path}: the header claims {list(stored)} voxels from byte {offset:g}")
    further = tuple(n for n in stored[3:] if n > 1)
    if len(further) > 1:
        raise SkipPatient("image_4d", f"{path} has the shape {list(stored)}; at most four axes were expected")
    notes = () if len(stored) <= 3 + len(further) else (("image_squeezed", f"{path} has the shape {list(stored)}"),)
    return Layout(dtype, stored[:3] + further, 3 if further else None, int(offset)), notes


def _affine(header: nib.Nifti1Header, assumed: Assumed | None, path: Path) -> Affine:
    """From voxel indices to RAS millimeters."""
    if assumed is not None:
        return assumed.affine([abs(float(length)) for length in header["pixdim"][1:4]])
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        raise SkipPatient("orientation_unknown", f"{path}: sform and qform codes are both 0")
    spacing = [float(length) for length in header["pixdim"][1:4]]
    if int(header["sform_code"]) == 0 and min(spacing) <= 0:
        raise SkipPatient("spacing_implausible", f"{path}: spacing {spacing} mm; expected 0.1 to 10")
    try:
        return np.asarray(header.get_best_affine(), np.float64)
    except (HeaderDataError, ValueError) as error:
        raise SkipPatient("affine_invalid", f"{path}: {error}") from error


def _require_one_geometry(header: nib.Nifti1Header, grid: Grid, path: Path) -> None:
    """Refuse a sform that contradicts the lengths of the axes in pixdim, or a qform of the same code."""
    if int(header["sform_code"]) == 0:
        return
    last = np.array(grid.shape) - 1
    spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
    apart_mm = np.abs(spacing - np.abs(header["pixdim"][1:4].astype(np.float64))) * last
    if int(header["sform_code"]) == int(header["qform_code"]):
        apart_mm = np.append(apart_mm, _corners_apart(_qform(header, path) - grid.affine, last))
    if not apart_mm.max() <= _AGREE * spacing.min():
        message = f"{path}: sform, qform and pixdim of the header differ by {apart_mm.max():.2g} mm within the volume"
        raise SkipPatient("affine_invalid", message, remedy="correct the header, or state cohort.geometry")


def _corners_apart(difference: Affine, last: np.ndarray) -> Float64[np.ndarray, "4"]:
    """How far two affines set the first voxel, and the last one along each axis from it, apart."""
    return np.append(np.linalg.norm(difference[:3, :3] * last, axis=0), np.linalg.norm(difference[:3, 3]))


def _qform(header: nib.Nifti1Header, path: Path) -> Affine:
    """The affine of the quaternion."""
    try:
        return np.asarray(header.get_qform(), np.float64)
    except (HeaderDataError, ValueError) as error:
        raise SkipPatient("affine_invalid", f"{path}: {error}") from error


def _scaling(header: nib.Nifti1Header, path: Path) -> tuple[float, float] | None:
    """Slope and intercept; none where the header has none, or a slope of 0 or NaN, which means the same."""
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise SkipPatient("image_nonfinite", f"{path}: {error}") from error
    if slope is None or (slope, intercept) == (1.0, 0.0):
        return None
    return float(slope), float(intercept)


def _times_s(header: nib.Nifti1Header, n_volumes: int) -> tuple[float, ...]:
    """Seconds from injection to each volume, where the header states a plausible time between them."""
    step_s = float(header["pixdim"][4]) * _TIME_UNITS_S.get(header.get_xyzt_units()[1], np.nan)
    if not _PLAUSIBLE_S[0] <= step_s <= _PLAUSIBLE_S[1]:
        return ()
    return times_after_injection([k * step_s for k in range(n_volumes)])
