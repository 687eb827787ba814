"""From scanner units to 8 bits: the table of intensity normalizations, all computed from the slab cache.

Each one maps an interval [low, high] of scanner units to 0..255 and clips outside. Which statistic gives the
interval is the method; over which voxels it is taken is the scope. Per-volume upper clipping is the recipe of
Fridman & Goldstein 2025 (arXiv 2510.13897); the joint scope keeps enhancement comparable between phases.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Shaped, UInt8

from extract.cache import Slab
from extract.histograms import Histogram, merge
from triher.errors import unknown_name
from triher.types import Phases

Method = Literal["minmax", "clip", "percentile", "zscore"]
Scope = Literal["slice", "volume", "joint"]
_MAX_TABLE = 1 << 20


@dataclass(frozen=True)
class Normalization:
    """How the interval is found: ``clip`` is minimum to quantile, ``percentile`` two quantiles, ``zscore`` 3 SD."""

    method: Method
    scope: Scope
    q: float = 1.0


_METHODS: dict[str, tuple[Method, float]] = {
    "minmax": ("minmax", 1.0),
    "clip95": ("clip", 0.95),
    "clip98": ("clip", 0.98),
    "clip99": ("clip", 0.99),
    "clip995": ("clip", 0.995),
    "percentile99": ("percentile", 0.99),
    "zscore": ("zscore", 1.0),
}
_SCOPES: tuple[Scope, ...] = ("slice", "volume", "joint")
NORMALIZATIONS: dict[str, Normalization] = {
    f"{name}-{scope}": Normalization(method, scope, q) for name, (method, q) in _METHODS.items() for scope in _SCOPES
}


def find_normalization(name: str) -> Normalization:
    """Look a normalization up.

    Raises:
        StopRun: ``unknown_name``.
    """
    if name not in NORMALIZATIONS:
        raise unknown_name("normalization", name, NORMALIZATIONS)
    return NORMALIZATIONS[name]


def limits(slab: Slab, how: Normalization) -> Float64[np.ndarray, "phase slice 2"]:
    """The interval that becomes 0..255, for every phase and slice of the slab."""
    n_phases, n_slices = slab.voxels.shape[:2]
    found = np.empty((n_phases, n_slices, 2))
    if how.scope == "slice":
        found[:] = [[_interval(h, how) for h in phase] for phase in slab.slice_histograms]
    elif how.scope == "volume":
        found[:] = np.array([_interval(h, how) for h in slab.volume_histograms])[:, None]
    else:
        found[:] = _interval(merge(list(slab.volume_histograms)), how)
    return found


def _interval(histogram: Histogram, how: Normalization) -> tuple[float, float]:
    """Low and high of one group of voxels."""
    low, high = float(histogram.values[0]), float(histogram.values[-1])
    if how.method == "clip":
        high = histogram.quantile(how.q)
    elif how.method == "percentile":
        low, high = histogram.quantile(1 - how.q), histogram.quantile(how.q)
    elif how.method == "zscore":
        mean, deviation = histogram.moments()
        low, high = mean - 3 * deviation, mean + 3 * deviation
    return low, high


def to_bytes(
    voxels: Phases, intervals: Float64[np.ndarray, "phase slice 2"]
) -> UInt8[np.ndarray, "phase slice row col"]:
    """Map every voxel to ``round(255 * clip((v - low) / (high - low), 0, 1))``; an empty interval gives 0.

    Integers go through a look-up table of their range, which gives the same bytes.
    """
    out = np.empty(voxels.shape, np.uint8)
    for phase, slices in enumerate(intervals):
        for index, (low, high) in enumerate(slices):
            out[phase, index] = _map_slice(voxels[phase, index], float(low), float(high))
    return out


def _map_slice(voxels: Shaped[np.ndarray, "row col"], low: float, high: float) -> UInt8[np.ndarray, "row col"]:
    """One slice to bytes."""
    first, last = voxels.min(), voxels.max()
    if voxels.dtype.kind == "f" or int(last) - int(first) > min(_MAX_TABLE, voxels.size):
        return _scale(voxels.astype(np.float64), low, high)
    table = _scale(np.arange(int(first), int(last) + 1, dtype=np.float64), low, high)
    return table[voxels.astype(np.intp) - int(first)]


def _scale(values: Float64[np.ndarray, "..."], low: float, high: float) -> UInt8[np.ndarray, "..."]:
    """The formula itself."""
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    return np.rint(255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)
