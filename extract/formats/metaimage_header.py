"""Read the header of a MetaImage file (.mha, .mhd).

Format: https://itk.org/Wiki/ITK/MetaIO/Documentation. Coordinates are LPS, as ITK takes them; a row of
``TransformMatrix`` is the direction of one axis. Text fields, which may name the patient, are not kept.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from extract.formats.itk_header import AT_END, ItkHeader, arrange, not_readable
from extract.formats.voxel_bytes import Layout
from extract.image import Affine

_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_LAST = re.compile(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]*)(\r?\n|$)", re.MULTILINE)
_DIRECTION = ("TransformMatrix", "Rotation", "Orientation")
_ORIGIN = ("Offset", "Position", "Origin")


def parse_metaimage(start: bytes, path: Path) -> ItkHeader:
    """Parse the first bytes of a file, which must hold the whole header.

    Raises:
        SkipPatient: ``image_unreadable`` or ``image_4d``.
    """
    last = _LAST.search(start)
    if last is None:
        quoted = "" if b"=" in start[:16] else f": it starts with {start[:16]!r}"
        raise not_readable(path, f"it is not MetaImage, or ends inside its header{quoted}")
    fields = _fields(start[: last.end()])
    try:
        dtype = np.dtype(_TYPES[fields["ElementType"]])
        sizes = [int(n) for n in fields["DimSize"].split()]
        header_size = int(fields.get("HeaderSize", 0))
        n_values = int(fields.get("ElementNumberOfChannels", 1))
        affine, spacing_mm = _geometry(fields, len(sizes))
    except (ValueError, LookupError) as error:
        raise not_readable(path, f"its header cannot be used ({type(error).__name__})") from error
    if n_values != 1 or not _is_true(fields, "BinaryData", default=True):
        raise not_readable(path, "it holds text or several values a voxel; one binary number was expected")
    is_big = _is_true(fields, "BinaryDataByteOrderMSB") or _is_true(fields, "ElementByteOrderMSB")
    shape, time_axis = arrange(sizes, range(3, len(sizes)), path)
    name = fields["ElementDataFile"]
    is_local = name.casefold() == "local"
    return ItkHeader(
        Layout(dtype.newbyteorder(">" if is_big else "<"), shape, time_axis),
        "zlib" if _is_true(fields, "CompressedData") else "raw",
        "" if is_local else name,
        last.end() if is_local else max(header_size, AT_END),
        affine,
        spacing_mm,
        was_squeezed=len(shape) < len(sizes),
    )


def _fields(text: bytes) -> dict[str, str]:
    """The lines ``key = value``."""
    lines = (line.partition("=") for line in text.decode("latin-1").splitlines())
    return {key.strip(): value.strip() for key, found, value in lines if found}


def _is_true(fields: Mapping[str, str], key: str, *, default: bool = False) -> bool:
    """A field that is True or False."""
    return fields.get(key, str(default)).casefold() in ("true", "1")


def _geometry(fields: Mapping[str, str], n_axes: int) -> tuple[Affine | None, tuple[float, ...]]:
    """The affine, where the header states directions and spacing, and the spacing."""
    spacing = _numbers(fields, ("ElementSpacing", "ElementSize"), n_axes)[:3]
    direction = _numbers(fields, _DIRECTION, n_axes * n_axes)
    if not len(direction) or len(spacing) != 3:
        return None, tuple(spacing.tolist())
    origin = _numbers(fields, _ORIGIN, n_axes)
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS[:, None] * direction.reshape(n_axes, n_axes)[:3, :3].T * spacing
    affine[:3, 3] = _LPS_TO_RAS * (origin[:3] if len(origin) else np.zeros(3))
    return affine, tuple(np.abs(spacing).tolist())


def _numbers(fields: Mapping[str, str], keys: tuple[str, ...], n: int) -> np.ndarray:
    """The numbers of the first of these fields that is there; empty where none is."""
    for key in keys:
        if key in fields:
            found = np.array(fields[key].split(), np.float64)
            if len(found) != n:
                raise ValueError(f"{key} has {len(found)} numbers; {n} were expected")
            return found
    return np.empty(0)
