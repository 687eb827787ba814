"""Exact histograms of volumes, and the statistics that every normalization is computed from.

A histogram holds every value that occurs and how often, so quantiles, extremes and moments are those of the
voxels themselves, at a fraction of the cost of sorting them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
from jaxtyping import Int64, Real, UInt32

from extract.tally import tally, tally_16_bits

_MANY = 1 << 20  # voxels, from which on a table of all values of 16 bits costs nothing
_MAX_RANGE = 1 << 20  # integer ranges up to this are counted in a table


@dataclass(frozen=True)
class Histogram:
    """The distinct values of some voxels, ascending, and their counts."""

    values: Real[np.ndarray, " value"]
    counts: Int64[np.ndarray, " value"]

    @cached_property
    def _ends(self) -> Int64[np.ndarray, " value"]:
        """How many voxels are at most each value."""
        return np.cumsum(self.counts)

    def quantile(self, q: float) -> float:
        """The quantile of the voxels with linear interpolation, equal to `numpy.quantile`.

        >>> count(np.array([1, 2, 2, 10], np.int16)).quantile(0.5)
        2.0
        """
        ends = self._ends
        position = q * (int(ends[-1]) - 1)
        below = math.floor(position)
        a = float(self.values[ends.searchsorted(below, side="right")])
        b = float(self.values[min(int(ends.searchsorted(below + 1, side="right")), len(ends) - 1)])
        t = position - below
        return a + (b - a) * t if t < 0.5 else b - (b - a) * (1 - t)

    def moments(self) -> tuple[float, float]:
        """Mean and population standard deviation of the voxels."""
        values = self.values.astype(np.float64)
        n = self.counts.sum()
        mean = float((values * self.counts).sum() / n)
        return mean, float(np.sqrt((self.counts * (values - mean) ** 2).sum() / n))


@dataclass(frozen=True)
class PackedHistograms(Sequence[Histogram]):
    """Several histograms one behind the other, each made when it is asked for: most are never used."""

    values: Real[np.ndarray, " value"]
    counts: UInt32[np.ndarray, " value"]
    bounds: Int64[np.ndarray, " bound"]
    """Where each begins, and where the last one ends."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self.bounds) - 1

    @overload
    def __getitem__(self, index: int) -> Histogram: ...
    @overload
    def __getitem__(self, index: slice) -> "PackedHistograms": ...
    def __getitem__(self, index: int | slice) -> "Histogram | PackedHistograms":
        """One of them, or neighbors."""
        if isinstance(index, slice):
            first, last, _ = index.indices(len(self))
            return PackedHistograms(self.values, self.counts, self.bounds[first : last + 1])
        start, stop = self.bounds[:-1][index], self.bounds[1:][index]
        return Histogram(self.values[start:stop], self.counts[start:stop].astype(np.int64))


def count(voxels: Real[np.ndarray, "..."]) -> Histogram:
    """Count the values of an array of any shape."""
    flat = _in_memory_order(voxels)
    if flat.dtype in (np.int16, np.uint16) and flat.size >= _MANY:
        return _from_table(tally_16_bits(flat), int(np.iinfo(flat.dtype).min), flat.dtype)
    low, high = flat.min(), flat.max()
    if flat.dtype.kind == "f" or int(high) - int(low) >= _MAX_RANGE:
        values, counts = np.unique(flat, return_counts=True)
        return Histogram(values, counts.astype(np.int64))
    return _from_table(tally(flat, int(low), int(high)), int(low), flat.dtype)


def _in_memory_order(voxels: Real[np.ndarray, "..."]) -> Real[np.ndarray, " voxel"]:
    """The values as they lie in memory, without a copy where no value between them is left out."""
    forward = voxels[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in voxels.strides)]
    return forward.transpose(np.argsort([-stride for stride in forward.strides], kind="stable")).reshape(-1)


def _from_table(table: Int64[np.ndarray, " value"], low: int, dtype: np.dtype) -> Histogram:
    """The values that occur."""
    found = np.flatnonzero(table)
    return Histogram((found + low).astype(dtype), table[found])


def merge(histograms: "list[Histogram]") -> Histogram:
    """The histogram of all voxels together."""
    low, high = min(h.values[0] for h in histograms), max(h.values[-1] for h in histograms)
    dtype = np.result_type(*[h.values for h in histograms])
    if dtype.kind != "f" and int(high) - int(low) < _MAX_RANGE:
        table = np.zeros(int(high) - int(low) + 1, np.int64)
        for h in histograms:
            table[h.values.astype(np.intp) - int(low)] += h.counts
        return _from_table(table, int(low), dtype)
    values, where = np.unique(np.concatenate([h.values for h in histograms]), return_inverse=True)
    counts = np.zeros(len(values), np.int64)
    np.add.at(counts, where, np.concatenate([h.counts for h in histograms]))
    return Histogram(values, counts)
