"""Arrays and facts in one safetensors file with a checksum over all of it.

Written and read by hand, because the checksum covers the header too, and because the arrays are views of one buffer
instead of copies. Any other program that reads safetensors reads the arrays.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from isal.isal_zlib import crc32
from jaxtyping import Shaped, UInt8

from triher.files import replacing

_TYPES = {"BOOL": "?", "U8": "u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8", "F32": "<f4"}
_NAMES = {np.dtype(code): name for name, code in _TYPES.items()}
_LENGTH = 8  # bytes that hold the length of the header
_FACTS = "__metadata__"

Arrays = dict[str, Shaped[np.ndarray, "..."]]


def write_sealed(path: Path, arrays: Arrays, facts: dict[str, Any]) -> None:
    """Write a file that appears under its name only when it is complete.

    Args:
        path: of the file.
        arrays: of the types that a slab holds.
        facts: JSON values.
    """
    # The widest types first, so that each array begins at a multiple of its width.
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    table, end = {}, 0
    for name in order:
        start, end = end, end + arrays[name].nbytes
        kind = _NAMES[arrays[name].dtype]
        table[name] = {"dtype": kind, "shape": list(arrays[name].shape), "data_offsets": [start, end]}
    body = b"".join(np.ascontiguousarray(arrays[name]).tobytes() for name in order)
    sealed = {"facts": json.dumps(facts), "crc32": str(_checksum(table, json.dumps(facts), body))}
    header = json.dumps({_FACTS: sealed, **table}).encode()
    header += b" " * (-len(header) % _LENGTH)
    with replacing(path) as part:
        part.write_bytes(len(header).to_bytes(_LENGTH, "little") + header + body)


def _checksum(table: dict[str, Any], facts: str, body: "bytes | UInt8[np.ndarray, ' byte']") -> int:
    """CRC-32 of everything: every single bit changes it, and it is computed about as fast as memory is read."""
    return crc32(json.dumps([table, facts], sort_keys=True).encode(), crc32(body))


def read_sealed(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read a file of `write_sealed`: its arrays, as views of one buffer, and its facts.

    Raises:
        ValueError: when anything differs from what was written.
        OSError: when the file cannot be read.
    """
    data = np.fromfile(path, np.uint8)
    start = _LENGTH + int.from_bytes(data[:_LENGTH].tobytes(), "little")
    body = data[start:]
    try:
        table = json.loads(data[_LENGTH:start].tobytes())
        sealed = table.pop(_FACTS)
        is_whole = sealed["crc32"] == str(_checksum(table, sealed["facts"], body))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError("its header cannot be read") from error
    if not is_whole:
        raise ValueError("its content differs from its checksum")
    return {name: _view(body, **place) for name, place in table.items()}, json.loads(sealed["facts"])


def _view(
    body: UInt8[np.ndarray, " byte"], dtype: str, shape: list[int], data_offsets: list[int]
) -> Shaped[np.ndarray, "..."]:
    """One array."""
    kind = np.dtype(_TYPES[dtype])
    return np.frombuffer(body.data, kind, math.prod(shape), data_offsets[0]).reshape(shape)
