"""From the grid of a network to the pixels of the slab: the way of `extract.pictures.fit` and `extract.crops` back.

Between the grid's positions values are interpolated linearly, and beyond the outermost ones they stay. A pixel gets
the integral over its area, with a position's area as the unit: pixels small or large, what a position holds is spread
over the pixels that it covers and its sum stays, apart from what lies on the canvas beyond the picture.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from extract.crops import extents
from extract.models import Encoder
from extract.pictures import Drawing, on_canvas
from extract.regions import bounding_box

Edges = Float64[np.ndarray, " edge"]


def place(
    charts: Float32[np.ndarray, "class input *grid"], encoder: Encoder, drawing: Drawing
) -> Float32[np.ndarray, "class slice row col"]:
    """Put maps of the network's inputs on the pixels of the slab's chosen slices.

    Args:
        charts: one a picture of a chosen slice, or one of the whole cube.
        encoder: says what its inputs are.
        drawing: the patient.
    """
    grid = charts.shape[2:]
    edges = _edges_of_cube(encoder, drawing) if len(grid) == 3 else _edges_of_picture(encoder, drawing)
    ways = [weights(share, n).astype(np.float32) for share, n in zip(edges, grid, strict=True)]
    if len(grid) == 2:
        return np.einsum("ysij,ri,cj->ysrc", charts, *ways, optimize=True)
    slices, rows, cols = ways
    return np.einsum("yhij,sh,ri,cj->ysrc", charts[:, 0], slices[drawing.chosen], rows, cols, optimize=True)


@dataclass(frozen=True)
class Axis:
    """One axis of a network's input."""

    first: int
    """Where the picture begins; before it and behind it the canvas is empty."""
    size: int
    """Pixels of the picture along it."""
    pixel_mm: float


def axes_of(encoder: Encoder, drawing: Drawing) -> list[Axis]:
    """How the input that is made of a patient lies in space, (row, col) of a picture or (slice, row, col) of a cube.

    Args:
        encoder: says what its inputs are.
        drawing: the patient.
    """
    slab, side = drawing.slab, encoder.spec.input_size
    if encoder.spec.dimensions == 3:
        spans = extents(slab.mask.shape, bounding_box(slab.mask), slab.spacing_mm, encoder.crop)
        pairs = zip(spans, slab.spacing_mm, strict=True)
        return [Axis(0, side, (high - low) * size_mm / side) for (low, high), size_mm in pairs]
    shape = slab.mask.shape[1:]
    trios = zip(on_canvas((shape[0], shape[1]), slab.spacing_mm, side), shape, slab.spacing_mm[1:], strict=True)
    return [Axis(first, size, n * size_mm / size) for (first, size), n, size_mm in trios]


def weights(edges: Edges, n: int) -> Float64[np.ndarray, "pixel position"]:
    """How much of each position of a grid every pixel along an axis gets.

    Args:
        edges: of the pixels, where 0..1 is the extent of the grid.
        n: positions of the grid.

    >>> weights(np.array([0, 0.5, 1]), 2).tolist()  # the half of a position next to the other one is shared
    [[0.875, 0.125], [0.125, 0.875]]
    """
    places = np.asarray(edges)[:, None] * n - 0.5 - np.arange(-1, n + 1)  # from each position; one more at both ends
    near = np.clip(places, -1, 1)
    until = np.where(near < 0, (near + 1) ** 2 / 2, 1 - (1 - near) ** 2 / 2)  # integral of the triangle around it
    shares = np.diff(until, axis=0)
    shares[:, 1] += shares[:, 0]
    shares[:, -2] += shares[:, -1]
    return shares[:, 1:-1]


def _edges_of_picture(encoder: Encoder, drawing: Drawing) -> list[Edges]:
    """Where the edges of the slab's rows and columns lie in the square picture."""
    pairs = zip(axes_of(encoder, drawing), drawing.slab.mask.shape[1:], strict=True)
    return [(axis.first + np.linspace(0, axis.size, n + 1)) / encoder.spec.input_size for axis, n in pairs]


def _edges_of_cube(encoder: Encoder, drawing: Drawing) -> list[Edges]:
    """Where the edges of the slab's voxels lie in the cube; those outside come to lie on its border."""
    mask = drawing.slab.mask
    cube = extents(mask.shape, bounding_box(mask), drawing.slab.spacing_mm, encoder.crop)
    return [
        np.clip((np.arange(n + 1) - low) / (high - low), 0, 1)
        for (low, high), n in zip(cube, mask.shape, strict=True)
    ]
