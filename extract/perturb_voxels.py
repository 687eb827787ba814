"""A phase as a scanner with other coils or a weaker signal would have given it."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64
from numpy.polynomial.legendre import legvander

from triher.types import Volume

_ORDER = 3


@dataclass(frozen=True)
class BiasField:
    """A smooth field that voxels are multiplied by, kept as a polynomial; a volume of it would fill the memory."""

    coefficients: Float64[np.ndarray, "order order order"]
    slices: Float64[np.ndarray, "order slice"]
    rows: Float64[np.ndarray, "order row"]
    cols: Float64[np.ndarray, "order col"]

    def plane(self, index: int) -> Float32[np.ndarray, "row col"]:
        """The field in one slice; about 1."""
        return np.float32(1) + self.deviation(index).astype(np.float32)

    def deviation(self, index: int) -> Float64[np.ndarray, "row col"]:
        """How far the field is from 1 in one slice."""
        across = np.tensordot(self.slices[:, index], self.coefficients, 1)
        return np.asarray(self.rows.T @ across @ self.cols)


def draw_field(shape: tuple[int, ...], share: float, rng: np.random.Generator) -> BiasField:
    """A polynomial of third order over the volume, as bias fields are modeled by (Van Leemput et al. 1999).

    The weights of Legendre polynomials are normal and independent (doi 10.1109/42.811268 for polynomials as such).
    The mean of the field over the volume is 1, and at its extreme it is 1 + `share` or 1 - `share`.

    Args:
        shape: of the volume.
        share: above 0 and below 1.
        rng: draws the weights.
    """
    weights = rng.standard_normal((_ORDER + 1,) * 3)
    order = np.indices(weights.shape).sum(axis=0)
    weights[(order == 0) | (order > _ORDER)] = 0
    drawn = BiasField(weights, *(_polynomials(n) for n in shape))
    largest = max(float(np.abs(drawn.deviation(index)).max()) for index in range(shape[0]))
    return replace(drawn, coefficients=weights * (share / largest))


def _polynomials(n: int) -> Float64[np.ndarray, "order position"]:
    """Legendre polynomials over n voxels, all but the constant one with the mean 0."""
    found = legvander(np.linspace(-1, 1, n), _ORDER).T
    found[1:] -= found[1:].mean(axis=1, keepdims=True)
    return found


def redraw(phase: Volume, field: BiasField | None, deviation: float, rng: np.random.Generator, out: Volume) -> None:
    """Multiply a phase by a field, then add noise; the coils weigh the signal, and noise comes behind them.

    The noise is Gaussian, which that of magnitude images is where the signal exceeds three standard deviations
    (Gudbjartsson and Patz 1995, doi 10.1002/mrm.1910340618); in air it is not.

    Args:
        phase: [slice, row, col], in scanner units.
        field: for all phases of an exam the same.
        deviation: standard deviation of the noise in scanner units; 0 for none.
        rng: draws the noise.
        out: gets the voxels, in their own type; integers are rounded and clipped to it.
    """
    number = np.result_type(phase.dtype, np.float32)
    for index, plane in enumerate(phase):
        signal = plane.astype(number)
        if field is not None:
            signal *= field.plane(index)
        if deviation:
            signal += np.float32(deviation) * rng.standard_normal(plane.shape, dtype=np.float32)
        if out.dtype.kind != "f":
            limits = np.iinfo(out.dtype)
            signal = np.clip(np.rint(signal), limits.min, limits.max)
        out[index] = signal
