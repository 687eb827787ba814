"""Read the values of DICOM images: natively stored ones straight from the file, compressed ones through pydicom."""

import struct
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Num
from pydicom.errors import BytesLengthException, InvalidDicomError

from extract.dicom.elements import DEFLATED, EXPLICIT_BIG, NATIVE, are_elements, deflated_part
from extract.dicom.frames import Frame, Storage
from triher.errors import SkipPatient

# Transfer syntax -> pydicom's name of the decoder, and the packages that it needs. Others that decode the same are
# not tried: on damaged data pylibjpeg-rle panics, and GDCM aborts at JPEG 2000, which ends the process.
_JPEG_LS = ("pyjpegls", "pyjpegls")
_JPEG_2000 = ("pylibjpeg", "pylibjpeg pylibjpeg-openjpeg")
_DECODERS = {
    "1.2.840.10008.1.2.5": ("pydicom", "pydicom"),  # RLE
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
}
_OTHERS = ("gdcm", "python-gdcm")
_ALLOCATED = (8, 16, 32)
_QUOTED = 300  # characters of what a decoder says
DAMAGE = (
    *(BytesLengthException, InvalidDicomError, struct.error),
    *(ValueError, RuntimeError, AttributeError, LookupError, TypeError, EOFError),
)
"""What pydicom and its plugins raise on damaged files."""

Stored = Num[np.ndarray, "row col"]


def check_storage(storage: Storage) -> None:
    """Refuse, from the header, what cannot be read.

    Raises:
        SkipPatient: ``pixeldata_short``; ``image_size``; ``transfer_syntax`` when no decoder is installed;
            ``image_unreadable``.
    """
    if storage.bits_allocated not in _ALLOCATED or not 1 <= storage.bits_stored <= storage.bits_allocated:
        found = f"{storage.bits_stored} of {storage.bits_allocated} bits a pixel"
        raise SkipPatient("image_unreadable", f"{storage.path}: {found}; 8, 16 or 32 were expected")
    if storage.syntax in NATIVE:
        needed = storage.n_frames * frame_bytes(storage)
        if storage.n_bytes < needed or not needed:
            message = f"{storage.path} holds {max(storage.n_bytes, 0)} of the {needed} bytes of its pixels"
            raise SkipPatient("pixeldata_short", message)
        if storage.n_bytes > needed + needed % 2:  # an even number is written: PS3.5 section 7.1.1
            message = f"{storage.path} holds {storage.n_bytes} bytes of pixels, and its header speaks of {needed}"
            raise SkipPatient("image_size", message)
    else:
        _require_decoder(storage)


def decoding_plugin(syntax: str) -> str:
    """Which decoder is used for a transfer syntax, in pydicom's words; any if empty."""
    return "" if syntax in NATIVE else _DECODERS.get(syntax, _OTHERS)[0]


def frame_bytes(storage: Storage) -> int:
    """How many bytes the values of a frame take, uncompressed."""
    return storage.rows * storage.cols * storage.bits_allocated // 8


def _require_decoder(storage: Storage) -> None:
    """Refuse a compression for which nothing is installed."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID, UID_dictionary

    if storage.syntax not in UID_dictionary:  # which may be text of a damaged header
        raise SkipPatient("transfer_syntax", f"{storage.path} is stored in a way that DICOM does not know")
    uid = UID(storage.syntax)
    plugin, packages = _DECODERS.get(storage.syntax, _OTHERS)
    needed = f"pip install {packages}"
    try:
        if plugin in get_decoder(uid).available_plugins:
            return
    except NotImplementedError:
        needed = "export the images uncompressed"
    message = f"{storage.path} is stored as {uid.name} ({storage.syntax}), for which no decoder is installed"
    raise SkipPatient("transfer_syntax", message, remedy=needed)


def read_stored(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Stored]]:
    """The stored values of some images, file after file, each opened once.

    Raises:
        SkipPatient: ``file_unreadable``, ``pixeldata_short`` or ``image_corrupt``.
    """
    ordered = sorted(frames, key=lambda frame: (frame.storage.path, frame.index))
    for _, group in groupby(ordered, key=lambda frame: frame.storage.path):
        members = list(group)
        storage = members[0].storage
        try:
            arrays = _native(storage, members) if _is_plain(storage) else _decoded(storage, members)
            yield from zip(members, arrays, strict=True)
        except OSError as error:
            raise SkipPatient("file_unreadable", f"cannot read {storage.path}: {error.strerror}") from error


def _is_plain(storage: Storage) -> bool:
    """Whether the values are bytes as they are, the lowest bits used."""
    return storage.syntax in NATIVE and storage.high_bit == storage.bits_stored - 1


def _native(storage: Storage, members: list[Frame]) -> Iterator[Stored]:
    """Values from their place in the file."""
    size = frame_bytes(storage)
    kind, order = "i" if storage.is_signed else "u", ">" if storage.syntax == EXPLICIT_BIG else "<"
    dtype = np.dtype(f"{order}{kind}{storage.bits_allocated // 8}")
    if storage.syntax == DEFLATED:
        data = deflated_part(storage.path.read_bytes())
        for frame in members:
            start = storage.offset + frame.index * size
            yield _unpacked(data[start : start + size], dtype, storage)
        _require_elements(data[storage.offset + storage.n_bytes :], storage)
        return
    with storage.path.open("rb", buffering=0) as file:
        for frame in members:
            file.seek(storage.offset + frame.index * size)
            yield _unpacked(file.read(size), dtype, storage)
        file.seek(storage.offset + storage.n_bytes)
        _require_elements(file.read(), storage)


def _require_elements(rest: bytes, storage: Storage) -> None:
    """Refuse what is no DICOM behind the pixels: something was put in before."""
    if not are_elements(rest, storage.syntax):
        message = f"{storage.path}: {len(rest)} bytes behind the pixels are no elements"
        raise SkipPatient("image_corrupt", message, remedy="copy the image again from its origin, or export it again")


def _unpacked(data: bytes, dtype: np.dtype, storage: Storage) -> Stored:
    """The values in bytes; bits that are not used may hold anything (PS3.5 section 8.1.1)."""
    if len(data) < frame_bytes(storage):
        raise SkipPatient("pixeldata_short", f"{storage.path} became shorter while it was read")
    values = np.frombuffer(data, dtype).reshape(storage.rows, storage.cols)
    unused = storage.bits_allocated - storage.bits_stored
    return (values << unused) >> unused if unused else values


def _decoded(storage: Storage, members: list[Frame]) -> Iterator[Stored]:
    """Values through pydicom and whichever plugin is installed."""
    from pydicom.pixels.utils import iter_pixels

    indices, plugin = [frame.index for frame in members], decoding_plugin(storage.syntax)
    arrays: Iterator[Any] = iter_pixels(storage.path, indices=indices, raw=True, decoding_plugin=plugin)
    try:
        for array in arrays:
            yield np.asarray(array).reshape(storage.rows, storage.cols)
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:_QUOTED]
        raise SkipPatient("image_corrupt", f"{storage.path}: its pixels cannot be decoded: {reason}") from error
