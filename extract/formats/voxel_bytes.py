"""Turn the bytes behind an image header into volumes, and refuse files that hold others than the header announces.

Compressed data are inflated no further than asked for, then read to their end in small pieces, so that the checksum
is verified and no header can make a small file fill the memory.
"""

import bz2
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from deflate import DeflateError, gzip_decompress
from isal.igzip_lib import DECOMP_GZIP, DECOMP_ZLIB, IgzipDecompressor, IsalError

from extract.image import Stored
from triher.errors import SkipPatient

Packing = Literal["raw", "gzip", "zlib", "bzip2"]

GZIP_MARK = b"\x1f\x8b"  # RFC 1952, section 2.3.1
_PIECE_BYTES = 1 << 16
_SIZE_BYTES = 4
_MOST_INFLATED = 1032  # bytes that a byte of deflate can hold: zlib's technical details


@dataclass(frozen=True)
class Layout:
    """How volumes lie in the bytes of a file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    """Of all that is stored, the axis that runs fastest first."""
    time_axis: int | None = None
    """Which axis counts the volumes; none where there is one volume."""
    offset: int = 0
    """Bytes before the first voxel, after inflation."""

    @property
    def n_volumes(self) -> int:
        """How many volumes there are."""
        return 1 if self.time_axis is None else self.shape[self.time_axis]

    @property
    def end(self) -> int:
        """Bytes up to the last voxel."""
        return self.offset + int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    def end_of(self, volumes: Sequence[int]) -> int:
        """Bytes up to the last voxel of these volumes."""
        if self.time_axis != len(self.shape) - 1:
            return self.end
        return self.offset + (self.end - self.offset) // self.shape[-1] * (max(volumes) + 1)


@runtime_checkable
class _Inflater(Protocol):
    """What the decompressors of gzip, zlib and bzip2 have in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream has come to its end, its checksum verified."""

    @property
    def needs_input(self) -> bool:
        """Whether all input is used up."""

    @property
    def unused_data(self) -> bytes:
        """What follows the end of the stream."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Inflate up to so many bytes, keeping the rest of the input."""


def unreadable(path: Path, error: OSError) -> SkipPatient:
    """A file that cannot be opened or read."""
    return SkipPatient("file_unreadable", f"cannot read {path}: {error.strerror}")


def read_volumes(data: bytes, layout: Layout, packing: Packing, volumes: Sequence[int], where: str) -> list[Stored]:
    """The volumes with these positions in time, axes as stored.

    Args:
        data: the file, from the place that the layout's offset (or the compressed stream) counts from.
        layout: what the header announces.
        packing: how the data are compressed.
        volumes: positions in time.
        where: the file, for messages.

    Raises:
        SkipPatient: ``image_truncated``, ``image_corrupt`` or ``image_size``.
    """
    end = layout.end_of(volumes)
    found, n_bytes = (data, len(data)) if packing == "raw" else inflate(data, end, packing, where)
    require_size(n_bytes, layout, where)
    n_voxels = (end - layout.offset) // layout.dtype.itemsize
    flat = np.frombuffer(found, layout.dtype, n_voxels, layout.offset)
    if layout.time_axis is None:
        return [flat.reshape(layout.shape, order="F")]
    shape = list(layout.shape)
    shape[layout.time_axis] = -1
    stored = np.moveaxis(flat.reshape(shape, order="F"), layout.time_axis, -1)
    return [stored[..., k] for k in volumes]


def require_size(n_bytes: int, layout: Layout, where: str) -> None:
    """Refuse a file that holds fewer or more bytes than its header announces: one of the two is damaged.

    Raises:
        SkipPatient: ``image_truncated`` or ``image_size``.
    """
    if n_bytes < layout.end:
        message = f"{where} holds {n_bytes} of the {layout.end} bytes that its header announces"
        raise SkipPatient("image_truncated", message)
    if n_bytes > layout.end:
        message = f"{where} holds {n_bytes} bytes, and its header announces {layout.end}"
        raise SkipPatient("image_size", message)


def inflate(data: bytes, size: int, packing: Packing, where: str) -> tuple[bytes | bytearray, int]:
    """Inflate the first bytes, and count all that there are.

    Args:
        data: one or more compressed streams; what follows the last one is ignored.
        size: bytes that are kept.
        packing: how the data are compressed.
        where: the file, for messages.

    Returns:
        At most `size` bytes, and how many the streams hold.

    Raises:
        SkipPatient: ``image_truncated`` where a stream has no end, ``image_corrupt`` where its checksum differs.
    """
    whole = _inflate_at_once(data, size) if packing == "gzip" else None
    if whole is not None:
        return whole, len(whole)
    parts: list[bytes] = []
    n_bytes, rest, mark = 0, data, data[:2]
    while n_bytes < size and rest and rest.startswith(mark):
        inflater = _inflater(packing)
        try:
            parts.append(inflater.decompress(rest, size - n_bytes))
            n_bytes += len(parts[-1])
            while not inflater.eof and not inflater.needs_input:
                n_bytes += len(inflater.decompress(b"", _PIECE_BYTES))
        except (IsalError, OSError) as error:  # type: ignore[misc]  # the stub declares an instance
            raise SkipPatient("image_corrupt", f"{where}: {error}") from error
        if not inflater.eof:
            raise SkipPatient("image_truncated", f"{where}: the compressed data end early, after {n_bytes} bytes")
        rest = inflater.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts), n_bytes


def _inflate_at_once(data: bytes, size: int) -> bytearray | None:
    """All of a stream that says at its end that it holds just so many bytes; none where it is not whole.

    The size is the last field of a member (RFC 1952, section 2.3.1), so memory for it can be had beforehand, and a
    quarter of the time is saved. Streams of several members, and those that are cut off or damaged, go the long way.
    """
    stated = int.from_bytes(data[-_SIZE_BYTES:], "little")
    if stated != size % (1 << 8 * _SIZE_BYTES) or size > _MOST_INFLATED * len(data):
        return None
    try:
        whole = gzip_decompress(data, size)
    except DeflateError:
        return None
    return whole if len(whole) == size else None


def inflate_start(data: bytes, size: int, where: str) -> bytes:
    """The first bytes of a gzip stream whose end may be missing.

    Raises:
        SkipPatient: ``image_corrupt``.
    """
    try:
        return bytes(_inflater("gzip").decompress(data, size))
    except IsalError as error:  # type: ignore[misc]  # the stub declares an instance
        raise SkipPatient("image_corrupt", f"{where}: {error}") from error


def _inflater(packing: Packing) -> _Inflater:
    """A decompressor that verifies checksums."""
    if packing == "bzip2":
        return bz2.BZ2Decompressor()
    return IgzipDecompressor(DECOMP_GZIP if packing == "gzip" else DECOMP_ZLIB)
