"""Read the header of an NRRD file (.nrrd, .nhdr).

Format: https://teem.sourceforge.net/nrrd/format.html. Text fields, which may name the patient, are not kept.
"""

import re
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
from jaxtyping import Float64

from extract.formats.itk_header import AT_END, ItkHeader, arrange, not_readable
from extract.formats.voxel_bytes import Layout, Packing
from extract.image import Affine
from triher.errors import SkipPatient

_PACKINGS: dict[str, Packing] = {
    "raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2",
}  # fmt: skip
_KINDS_OF_TIME = ("list", "time")
_TO_RAS = {
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
}
_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("signed long long", "signed long long int"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}


def parse_nrrd(start: bytes, path: Path) -> ItkHeader:
    """Parse the first bytes of a file, which must hold the whole header.

    Raises:
        SkipPatient: ``image_unreadable``, ``image_truncated``, ``image_4d``.
    """
    if not start.startswith(b"NRRD"):
        raise not_readable(path, f"it is not NRRD: it starts with {start[:16]!r}")
    blank = re.search(rb"\r?\n\r?\n", start)
    text = start[: blank.end()] if blank else start
    try:
        fields: dict[str, Any] = nrrd.read_header(text.splitlines())
        sizes = [int(n) for n in fields["sizes"]]
        dtype, packing = _dtype(fields), _PACKINGS[fields["encoding"].casefold()]
        data_file = str(fields.get("data file", fields.get("datafile", "")))
    except (nrrd.NRRDError, ValueError, LookupError) as error:
        raise not_readable(path, f"its header cannot be used ({type(error).__name__})") from error
    if not data_file and blank is None:
        raise SkipPatient("image_truncated", f"{path} ends inside its header, after {len(start)} bytes")
    further = _further_axes(fields, len(sizes))
    shape, time_axis = arrange(sizes, further, path)
    skip = _skip(fields, packing, path)
    data_start = 0 if data_file or blank is None else blank.end()
    if packing == "raw":
        data_start, skip = AT_END if skip == AT_END else data_start + skip, 0
    return ItkHeader(
        Layout(dtype, shape, time_axis, skip),
        packing,
        data_file,
        data_start,
        *_geometry(fields, further, len(sizes)),
        was_squeezed=len(shape) < len(sizes),
    )


def _dtype(fields: dict[str, Any]) -> np.dtype:
    """The type of a voxel, with its order of bytes."""
    dtype = np.dtype(_TYPES[fields["type"].casefold()])
    if dtype.itemsize == 1:
        return dtype
    is_little = {"little": True, "big": False}[fields["endian"].casefold()]
    return dtype.newbyteorder("<" if is_little else ">")


def _skip(fields: dict[str, Any], packing: Packing, path: Path) -> int:
    """Bytes before the first voxel, counted after inflation."""
    skip = int(fields.get("byte skip", fields.get("byteskip", 0)))
    lines = int(fields.get("line skip", fields.get("lineskip", 0)))
    if lines or skip < AT_END or (skip == AT_END and packing != "raw"):
        raise not_readable(path, f"its header skips {lines} lines and {skip} bytes, which cannot be read")
    return skip


def _further_axes(fields: dict[str, Any], n_axes: int) -> list[int]:
    """The axes that are no axes of space."""
    directions = _directions(fields)
    kinds = [kind.casefold() for kind in fields.get("kinds", ())]
    further = [
        axis
        for axis in range(n_axes)
        if (len(directions) == n_axes and np.isnan(directions[axis]).all())
        or (len(kinds) == n_axes and kinds[axis] in _KINDS_OF_TIME)
    ]
    return further if further or n_axes <= 3 else list(range(3, n_axes))


def _directions(fields: dict[str, Any]) -> Float64[np.ndarray, "axis world"]:
    """One row an axis, NaN for axes that are none of space; empty where not stated."""
    return np.asarray(fields.get("space directions", np.empty((0, 3))), np.float64)


def _geometry(fields: dict[str, Any], further: list[int], n_axes: int) -> tuple[Affine | None, tuple[float, ...]]:
    """The affine, where the space is that of the patient, and the spacing along the axes of space."""
    directions = _directions(fields)
    axes = [axis for axis in range(n_axes) if axis not in further]
    if directions.shape != (n_axes, 3) or len(axes) != 3:
        spacings = [float(s) for s in fields.get("spacings", ())]
        return None, tuple(spacings[axis] for axis in axes) if len(spacings) == n_axes else ()
    spatial = directions[axes].T
    to_ras = _TO_RAS.get(str(fields.get("space", "")).casefold())
    spacing_mm = tuple(float(s) for s in np.linalg.norm(spatial, axis=0))
    if to_ras is None:
        return None, spacing_mm
    affine = np.eye(4)
    affine[:3, :3] = np.array(to_ras)[:, None] * spatial
    affine[:3, 3] = np.array(to_ras) * np.asarray(fields.get("space origin", np.zeros(3)), np.float64)
    return affine, spacing_mm
