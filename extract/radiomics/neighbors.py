"""Who neighbors whom in a lesion: gray levels, directions and the matrices that texture features are computed from.

Distances are 1 in the Chebyshev norm, and nothing outside the lesion counts as a neighbor. The definitions are those
of the image biomarker standardisation initiative (IBSI), Zwanenburg et al., arXiv 1612.07003v11, chapter 3.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float64, Int, Int64
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Counts = Int64[np.ndarray, "level _"]
"""How many runs, zones or voxels there are of each level (row) and size (column), both counted from 1."""


@dataclass(frozen=True)
class Lesion:
    """The gray levels of a lesion in an order in which each neighbor lies a fixed step away."""

    flat: Int64[np.ndarray, " padded"]
    """Levels from 1, 0 outside the lesion; a border of zeros surrounds it."""
    inside: Int64[np.ndarray, " voxel"]
    """Positions of the lesion's voxels."""
    steps: tuple[int, ...]
    """One for each of the 13 directions in space, or of the 4 in the plane."""

    @property
    def n_levels(self) -> int:
        """The highest gray level."""
        return int(self.flat.max())

    def has_neighbors(self) -> bool:
        """Whether any two voxels touch."""
        return any(self.flat[self.inside + step].any() for step in self.steps)


def lay_out(levels: Int[np.ndarray, "slice row col"], dimensions: int) -> Lesion:
    """Put levels (0 outside the lesion) in order; with 2 dimensions slices do not touch each other."""
    padded = np.pad(levels.astype(np.int64), 1)
    strides = (padded.shape[1] * padded.shape[2], padded.shape[2], 1)
    half = [d for d in product((-1, 0, 1), repeat=3) if d > (0, 0, 0) and (dimensions == 3 or d[0] == 0)]
    steps = tuple(sum(a * b for a, b in zip(d, strides, strict=True)) for d in half)
    flat = padded.reshape(-1)
    return Lesion(flat, np.flatnonzero(flat), steps)


def cooccurrences(lesion: Lesion) -> list[Int64[np.ndarray, "level level"]]:
    """Symmetric co-occurrence matrices (GLCM), one for each direction in which any two voxels touch."""
    n = lesion.n_levels
    here = lesion.flat[lesion.inside]
    found = []
    for step in lesion.steps:
        there = lesion.flat[lesion.inside + step]
        pairs = ((here - 1) * n + there - 1)[there > 0]
        if len(pairs):
            matrix = np.bincount(pairs, minlength=n * n).reshape(n, n)
            found.append(matrix + matrix.T)
    return found


def runs(lesion: Lesion) -> list[Counts]:
    """Run length matrices (GLRLM), one for each direction."""
    return [_count(*_runs_along(lesion, step), lesion.n_levels) for step in lesion.steps]


def _runs_along(lesion: Lesion, step: int) -> tuple[Int64[np.ndarray, " run"], Int64[np.ndarray, " run"]]:
    """Level and length of every run: all runs grow together, and those that end are written down."""
    here = lesion.flat[lesion.inside]
    start = lesion.inside[lesion.flat[lesion.inside - step] != here]
    levels, lengths = [], []
    length = 1
    while len(start):
        goes_on = lesion.flat[start + length * step] == lesion.flat[start]
        ended = lesion.flat[start[~goes_on]]
        levels.append(ended)
        lengths.append(np.full(len(ended), length))
        start = start[goes_on]
        length += 1
    return np.concatenate(levels), np.concatenate(lengths)


def zones(lesion: Lesion) -> Counts:
    """Size zone matrix (GLSZM): connected voxels of one level."""
    position = np.zeros(len(lesion.flat), np.int64)
    position[lesion.inside] = np.arange(len(lesion.inside))
    here = lesion.flat[lesion.inside]
    links = []
    for step in lesion.steps:
        alike = np.flatnonzero(lesion.flat[lesion.inside + step] == here)
        links.append(np.stack([alike, position[lesion.inside[alike] + step]]))
    rows, cols = np.concatenate(links, axis=1)
    n = len(here)
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, cols)), shape=(n, n))
    n_zones, zone = connected_components(graph, directed=False)
    level = np.zeros(n_zones, np.int64)
    level[zone] = here
    return _count(level, np.bincount(zone), lesion.n_levels)


def dependences(lesion: Lesion) -> Counts:
    """Neighboring gray level dependence matrix (NGLDM) with coarseness 0: 1 plus the neighbors of equal level."""
    here = lesion.flat[lesion.inside]
    alike = sum((lesion.flat[lesion.inside + step] == here).astype(np.int64) for step in _all_steps(lesion))
    return _count(here, 1 + np.asarray(alike), lesion.n_levels)


def tone_differences(lesion: Lesion) -> tuple[Float64[np.ndarray, " level"], Float64[np.ndarray, " level"]]:
    """Neighborhood gray tone difference matrix (NGTDM).

    Returns:
        Of each level, the number of voxels that have a neighbor, and the sum of their absolute differences from the
        mean of their neighbors.
    """
    here = lesion.flat[lesion.inside]
    total, n_neighbors = np.zeros(len(here)), np.zeros(len(here))
    for step in _all_steps(lesion):
        there = lesion.flat[lesion.inside + step]
        total += there
        n_neighbors += there > 0
    has_any = n_neighbors > 0
    level = here[has_any]
    difference = np.abs(level - total[has_any] / n_neighbors[has_any])
    n = lesion.n_levels + 1
    return np.bincount(level, minlength=n)[1:].astype(np.float64), np.bincount(level, difference, minlength=n)[1:]


def _all_steps(lesion: Lesion) -> tuple[int, ...]:
    """Every direction, there and back."""
    return lesion.steps + tuple(-step for step in lesion.steps)


def _count(level: Int64[np.ndarray, " item"], size: Int64[np.ndarray, " item"], n_levels: int) -> Counts:
    """Count the pairs of level and size."""
    n_sizes = int(size.max())
    table = np.bincount((level - 1) * n_sizes + size - 1, minlength=n_levels * n_sizes)
    return table.reshape(n_levels, n_sizes).astype(np.int64)
