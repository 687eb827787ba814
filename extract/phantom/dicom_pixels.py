"""How the voxels of a synthetic exam become stored values, and these the bytes of a DICOM file."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from pydicom.valuerep import DSfloat

from extract.phantom.dicom_vendors import Vendor
from triher.errors import StopRun, unknown_name
from triher.files import replacing

# Name -> UID and pydicom's encoding plugin. RLE has pure Python, so it needs no further package.
TRANSFER_SYNTAXES: dict[str, tuple[UID, str]] = {
    "explicit": (ExplicitVRLittleEndian, ""),
    "implicit": (ImplicitVRLittleEndian, ""),
    "big-endian": (ExplicitVRBigEndian, ""),
    "rle": (RLELossless, "pydicom"),
    "jpeg2000": (JPEG2000Lossless, "pylibjpeg"),
    "jpeg-ls": (JPEGLSLossless, "pyjpegls"),
}
_SLOPES = (1.0, 0.5, 0.25)  # powers of two: stored * slope is exact
_N_INTERCEPTS = 3

Stored = Integer[np.ndarray, "row col"]


def find_encoding(name: str) -> tuple[UID, str]:
    """The UID of a transfer syntax and the plugin that encodes it, if that is installed.

    Raises:
        StopRun: ``unknown_name``, or ``extra_missing`` with what the plugin needs.
    """
    if name not in TRANSFER_SYNTAXES:
        raise unknown_name("transfer syntax", name, TRANSFER_SYNTAXES)
    uid, plugin = TRANSFER_SYNTAXES[name]
    if plugin and plugin not in get_encoder(uid).available_plugins:
        needs = "; ".join(line for line in get_encoder(uid).missing_dependencies if line.startswith(plugin))
        raise StopRun(
            "extra_missing", f"nothing that is installed writes {uid.name}: {needs}", remedy=f"install {needs}"
        )
    return uid, plugin


def store(voxels: Stored, habits: Vendor, *, turn: int) -> tuple[Stored, dict[str, Any]]:
    """Stored values of a slice and the attributes that rescale them to exactly the voxels.

    Args:
        voxels: whole numbers.
        habits: where these rescale, slope and intercept change with the turn.
        turn: number of the slice plus number of the phase.

    Raises:
        ValueError: the voxels do not fit the vendor's bits.
    """
    lowest, highest = int(voxels.min()), int(voxels.max())
    top = 2 ** (habits.bits_stored - habits.is_signed) - 1
    bottom = -top - 1 if habits.is_signed else 0
    intercept = lowest - turn % _N_INTERCEPTS if habits.is_rescaled else 0
    if lowest - intercept < bottom or highest - intercept > top:
        where = (
            f"the {habits.bits_stored} {'signed' if habits.is_signed else 'unsigned'} bits of {habits.manufacturer}"
        )
        raise ValueError(f"voxels from {lowest} to {highest} do not fit {where}")
    dtype = np.int16 if habits.is_signed else np.uint16
    if not habits.is_rescaled:
        return voxels.astype(dtype), {}
    fitting = [slope for slope in _SLOPES if (highest - intercept) / slope <= top]
    slope = fitting[turn % len(fitting)]
    stored = (voxels.astype(np.int64) - intercept) * round(1 / slope)
    return stored.astype(dtype), {"RescaleIntercept": intercept, "RescaleSlope": DSfloat(slope), "RescaleType": "US"}


def write_file(path: Path, header: Dataset, stored: Stored, encoding: tuple[UID, str]) -> None:
    """Encode the stored values and write the file, which appears under its name when it is complete.

    Args:
        path: of the file.
        header: gets the pixel data.
        stored: of the frames one below the other.
        encoding: from `find_encoding`.

    Raises:
        ValueError: the plugin cannot encode these values.
    """
    syntax, plugin = encoding
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = header.SOPClassUID
    meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if plugin else syntax
    header.file_meta = meta
    header.PixelData = stored.astype(stored.dtype.newbyteorder("<" if syntax.is_little_endian else ">")).tobytes()
    header["PixelData"].VR = "OW"
    if plugin:
        try:
            header.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
        except RuntimeError as error:  # OpenJPEG wants at least 32 x 32 pixels for its six resolutions
            raise ValueError(f"{plugin} cannot write {stored.shape} as {syntax.name}: {error}") from error
    content = io.BytesIO()
    dcmwrite(content, header, enforce_file_format=True)
    with replacing(path) as part:
        part.write_bytes(content.getvalue())
