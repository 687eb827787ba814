"""Arrays of a bundle as safetensors: to bytes, and back."""

from collections.abc import Mapping

import numpy as np
import safetensors
import safetensors.numpy

from triher.errors import StopRun

HEAD = "head.safetensors"
"""Name in the bundle of a head that is arrays."""


def save(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as safetensors."""
    return safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def load(data: bytes, name: str) -> dict[str, np.ndarray]:
    """The arrays of a file.

    Raises:
        StopRun: ``bundle_corrupt`` naming the file.
    """
    try:
        return dict(safetensors.numpy.load(data))
    except safetensors.SafetensorError as error:
        raise StopRun("bundle_corrupt", f"{name}: {error}") from error


def are_sound(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the arrays have these very names and shapes, and are finite in double precision."""
    return shapes_of(arrays) == dict(shapes) and all(
        array.dtype == np.float64 and np.isfinite(array).all() for array in arrays.values()
    )


def shapes_of(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Name -> shape, for checks and messages."""
    return {name: array.shape for name, array in arrays.items()}
