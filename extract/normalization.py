"""From scanner units to 8 bits: the table of intensity normalizations, all computed from the slab cache.

All but one map an interval [low, high] of scanner units to 0..255 and clip outside. Which statistic gives the
interval is the method; over which voxels it is taken is the scope. Per-volume upper clipping is the recipe of
Fridman & Goldstein 2025 (arXiv 2510.13897); the scopes that join the phases keep enhancement comparable between
them. ``zscore-joint`` is the z-score with mean and deviation of all phases. ``clahe`` takes the interval of
``percentile995`` and equalizes each slice of the region by itself afterwards. ``nyul`` is in `extract.landmarks`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int, UInt8

from extract.cache import Slab
from extract.histograms import Histogram, count, merge
from extract.landmarks import StandardScale, standardize
from extract.scaling import scale
from triher.errors import StopRun, unknown_name

Method = Literal["minmax", "clip", "percentile", "zscore", "clahe", "nyul"]
Scope = Literal["slice", "volume", "joint", "pre", "mask", "mask-joint"]
Bytes = UInt8[np.ndarray, "phase chosen row col"]


@dataclass(frozen=True)
class Normalization:
    """How the interval is found: ``clip`` is minimum to quantile, ``percentile`` two quantiles, ``zscore`` 3 SD.

    Scopes: one source ``slice``, one phase's ``volume``, the volumes of all phases (``joint``), the volume of the
    first phase for all (``pre``), the lesion in one phase (``mask``) or in all (``mask-joint``).
    """

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
    "percentile995": ("percentile", 0.995),
    "zscore": ("zscore", 1.0),
    "clahe": ("clahe", 0.995),
}
_SCOPES: tuple[Scope, ...] = ("slice", "volume", "joint", "pre", "mask", "mask-joint")
NORMALIZATIONS: dict[str, Normalization] = {
    f"{name}-{scope}": Normalization(method, scope, q) for name, (method, q) in _METHODS.items() for scope in _SCOPES
} | {"nyul-volume": Normalization("nyul", "volume")}


def find_normalization(name: str) -> Normalization:
    """Look a normalization up.

    Raises:
        StopRun: ``unknown_name``.
    """
    if name not in NORMALIZATIONS:
        raise unknown_name("normalization", name, NORMALIZATIONS)
    return NORMALIZATIONS[name]


def normalize(
    slab: Slab, how: Normalization, chosen: Int[np.ndarray, " chosen"], standard: StandardScale | None = None
) -> Bytes:
    """Bring slices of a slab to 8 bits.

    Args:
        slab: in scanner units.
        how: an entry of `NORMALIZATIONS`.
        chosen: positions of slices in the slab.
        standard: of the training patients, for ``nyul-volume``.

    Raises:
        StopRun: ``scale_missing`` when Nyul's normalization has no standard scale.
    """
    if how.method == "nyul":
        if standard is None:
            raise StopRun("scale_missing", "the normalization nyul-volume has no standard scale to map volumes to")
        phases = zip(slab.voxels[:, chosen], slab.volume_histograms, strict=True)
        return np.stack([standardize(phase, histogram, standard) for phase, histogram in phases])
    scaled = scale(slab.voxels, chosen, limits(slab, how, chosen))
    return _equalize(scaled) if how.method == "clahe" else scaled


def limits(
    slab: Slab, how: Normalization, chosen: Int[np.ndarray, " chosen"]
) -> Float64[np.ndarray, "phase chosen 2"]:
    """The interval that becomes 0..255, for every phase and chosen slice of the slab."""
    groups = _groups(slab, how.scope, chosen)
    found = np.array([[_interval(group, how) for group in of_phase] for of_phase in groups])
    return np.array(np.broadcast_to(found, (len(slab.voxels), len(chosen), 2)))


def _groups(slab: Slab, scope: Scope, chosen: Int[np.ndarray, " chosen"]) -> list[list[Histogram]]:
    """The voxels that intervals are taken over, [phase][slice]; one stands for all where it is the only one."""
    if scope == "slice":
        return [[of_phase[index] for index in chosen.tolist()] for of_phase in slab.slice_histograms]
    if scope in ("mask", "mask-joint"):
        volumes = [count(lesion) for lesion in slab.lesion()]
    else:
        volumes = list(slab.volume_histograms)
    if scope in ("joint", "mask-joint"):
        return [[merge(volumes)]]
    return [[volumes[0]]] if scope == "pre" else [[volume] for volume in volumes]


def _interval(histogram: Histogram, how: Normalization) -> tuple[float, float]:
    """Low and high of one group of voxels."""
    low, high = float(histogram.values[0]), float(histogram.values[-1])
    if how.method == "clip":
        high = histogram.quantile(how.q)
    elif how.method in ("percentile", "clahe"):
        low, high = histogram.quantile(1 - how.q), histogram.quantile(how.q)
    elif how.method == "zscore":
        mean, deviation = histogram.moments()
        low, high = mean - 3 * deviation, mean + 3 * deviation
    return low, high


def _equalize(scaled: Bytes) -> Bytes:
    """Contrast limited adaptive histogram equalization of each slice, with the library's own settings."""
    from skimage.exposure import equalize_adapthist

    out = scaled.copy()
    for picture in out.reshape(-1, *scaled.shape[2:]):
        if np.ptp(picture) > 0:
            picture[:] = np.rint(255 * equalize_adapthist(picture))
    return out
