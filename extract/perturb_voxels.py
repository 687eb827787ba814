"""A phase as a scanner with other coils or a weaker signal would have given it."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64

from triher.types import Volume

_ORDER = 3  # half waves, over the three axes together


@dataclass(frozen=True)
class BiasField:
    """A smooth field that voxels are multiplied by, kept as its waves; a volume of it would fill the memory."""

    coefficients: Float64[np.ndarray, "order order order"]
    slices: Float64[np.ndarray, "order slice"]
    rows: Float64[np.ndarray, "order row"]
    cols: Float64[np.ndarray, "order col"]

    def plane(self, index: int) -> Float32[np.ndarray, "row col"]:
        """The field in one slice; about 1."""
        return np.float32(1) + self.deviation(index).astype(np.float32)

    def deviation(self, index: int) -> Float64[np.ndarray, "row col"]:
        """How far the field is from 1 in one slice."""
        # Not by matrix products, whose rounding and time depend on the library's threads.
        across = np.einsum("a,abc,br->rc", self.slices[:, index], self.coefficients, self.rows)
        return np.einsum("rc,cq->rq", across, self.cols)


def draw_field(shape: tuple[int, ...], share: float, rng: np.random.Generator) -> BiasField:
    """A sum of cosines of at most three half waves along the volume, which bias fields are modeled by in SPM.

    The weights are normal and independent; the cosines are those of Ashburner and Friston 2005 (doi
    10.1016/j.neuroimage.2005.02.018). The mean of the field over the volume is 1, and at its extreme it is
    1 + `share` or 1 - `share`.

    Args:
        shape: of the volume.
        share: above 0 and below 1.
        rng: draws the weights.
    """
    weights = rng.standard_normal((_ORDER + 1,) * 3)
    order = np.indices(weights.shape).sum(axis=0)
    weights[(order == 0) | (order > _ORDER)] = 0
    drawn = BiasField(weights, *(_waves(n) for n in shape))
    largest = max(float(np.abs(drawn.deviation(index)).max()) for index in range(shape[0]))
    return replace(drawn, coefficients=weights * (share / largest))


def _waves(n: int) -> Float64[np.ndarray, "order position"]:
    """Cosines of 0, 1, ... half waves over n voxels, all but the constant one with the mean 0."""
    found = np.cos(np.pi * np.arange(_ORDER + 1)[:, None] * (np.arange(n) + 0.5) / n)
    found[1:] -= found[1:].mean(axis=1, keepdims=True)
    return found


def redraw(phase: Volume, field: BiasField | None, deviation: float, rng: np.random.Generator, out: Volume) -> None:
    """Multiply a phase by a field, then add noise; the coils weigh the signal, and noise comes behind them.

    The noise is Gaussian, as that of magnitude images is where the signal exceeds three standard deviations
    (Gudbjartsson and Patz 1995, doi 10.1002/mrm.1910340618). A phase without negative values stays so, as a magnitude
    has none, whatever type it is stored in.

    Args:
        phase: [slice, row, col], in scanner units.
        field: for all phases of an exam the same.
        deviation: standard deviation of the noise in scanner units; 0 for none.
        rng: draws the noise.
        out: gets the voxels, in their own type; integers are rounded, and clipped to what the type holds.
    """
    number = np.result_type(phase.dtype, np.float32)
    lowest, highest = _limits(phase)
    for index, plane in enumerate(phase):
        signal = plane.astype(number)
        if field is not None:
            signal *= field.plane(index)
        if deviation:
            signal += np.float32(deviation) * rng.standard_normal(plane.shape, dtype=np.float32)
        if phase.dtype.kind != "f":
            signal = np.rint(signal)
        out[index] = np.clip(signal, lowest, highest)


def _limits(phase: Volume) -> tuple[float, float]:
    """The least and the largest value that a phase may take."""
    limits = np.finfo(phase.dtype) if phase.dtype.kind == "f" else np.iinfo(phase.dtype)
    return (0.0 if phase.min() >= 0 else float(limits.min)), float(limits.max)
