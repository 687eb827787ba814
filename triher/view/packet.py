"""Numbers for the page in one answer: a header in JSON, and arrays behind it.

Four bytes with the length of the header (little-endian), the header in UTF-8 with spaces up to a multiple of 4, and
the arrays one after the other, each at a multiple of 4. ``arrays`` in the header has their type, shape and place, in
bytes after the header.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Shaped

_NAMES = {"uint8": "Uint8", "int8": "Int8", "uint16": "Uint16"}
"""Type -> what it is called in a browser; these are little-endian on every machine that has one."""
_STEP = 4


def packet(facts: Mapping[str, Any], arrays: Mapping[str, Shaped[np.ndarray, "..."]]) -> bytes:
    r"""Put facts and arrays into one answer.

    >>> data = packet({"a": 1}, {"x": np.arange(3, dtype=np.uint8)})
    >>> data[4 : 4 + int.from_bytes(data[:4], "little")].rstrip().decode()
    '{"a": 1, "arrays": {"x": {"type": "Uint8", "shape": [3], "at": 0}}}'
    >>> len(data) % 4, data[-4:]
    (0, b'\x00\x01\x02\x00')
    """
    table, body, at = {}, [], 0
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).tobytes()
        table[name] = {"type": _NAMES[array.dtype.name], "shape": list(array.shape), "at": at}
        body.append(data + b"\0" * (-len(data) % _STEP))
        at += len(body[-1])
    header = json.dumps({**facts, "arrays": table}, allow_nan=False).encode()
    header += b" " * (-len(header) % _STEP)
    return len(header).to_bytes(_STEP, "little") + header + b"".join(body)
