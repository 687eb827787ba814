"""Deletion and insertion: what becomes of a prediction while the squares of a map are hidden one after the other."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

SHARES = (0.25, 0.5, 0.75)
"""Of the squares that are hidden, besides none and all."""
N_RANDOM = 2
"""Random orders that each map is compared with."""

Judge = Callable[[Bool[np.ndarray, "variant slice row col"]], Float64[np.ndarray, " variant"]]
"""Log-odds of the explained class with these pixels hidden, through encoder, pooling and head."""


@dataclass(frozen=True)
class Curves:
    """Areas under the log-odds over the share of squares, from none to all; means of log-odds, in their unit."""

    deletion: float
    """Highest squares of the map hidden first; lower is better."""
    insertion: float
    """Highest squares of the map uncovered first; higher is better."""
    random: float
    """Mean over random orders, the same for both: what stays uncovered in a random order is random, too."""


def tiles(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], side_mm: float
) -> Int[np.ndarray, "slice row col"]:
    """Number of the square that each pixel belongs to, counted through the slices; squares at the edge are cut off.

    >>> tiles((1, 2, 4), (3.0, 1.0, 1.0), 2.0).tolist()
    [[[0, 0, 1, 1], [0, 0, 1, 1]]]
    """
    places = [
        np.arange(n) // max(1, round(side_mm / size)) for n, size in zip(shape[1:], spacing_mm[1:], strict=True)
    ]
    plane = places[0][:, None] * (places[1][-1] + 1) + places[1]
    return np.arange(shape[0])[:, None, None] * (plane.max() + 1) + plane


def hide_in_turn(
    heat: Float[np.ndarray, "slice row col"],
    squares: Int[np.ndarray, "slice row col"],
    judge: Judge,
    rng: np.random.Generator,
) -> Curves:
    """Hide and uncover the squares of all slices together, in the order of the map and in random orders.

    Petsiuk et al. (RISE, BMVC 2018) take single pixels and probabilities; squares keep the hidden parts connected
    for random orders as well, and log-odds do not saturate.

    Args:
        heat: the map of the explained class.
        squares: as `tiles` gives them.
        judge: what the model says of pictures with hidden pixels.
        rng: draws the random orders.
    """
    n = int(squares.max()) + 1
    mean = np.bincount(squares.ravel(), heat.ravel(), n) / np.bincount(squares.ravel(), minlength=n)
    tie = rng.permutation(n)
    highest = np.lexsort((tie, -mean))
    orders = [highest, highest[::-1], *(rng.permutation(n) for _ in range(N_RANDOM))]
    steps = [math.ceil(share * n) for share in SHARES]
    hidden = [order[:step] for order in orders for step in steps]
    ends = [np.zeros(0, np.int64), np.arange(n)]
    found = judge(np.stack([np.isin(squares, chosen) for chosen in [*ends, *hidden]]))
    whole, none = found[0], found[1]
    areas = [_area(whole, curve, none) for curve in found[2:].reshape(len(orders), len(steps))]
    # Uncovering the highest first passes the same pictures as hiding the lowest first, from the other end.
    return Curves(areas[0], areas[1], float(np.mean(areas[2:])))


def _area(whole: float, curve: Float64[np.ndarray, " step"], none: float) -> float:
    """Trapezoids over the shares 0, `SHARES`, 1."""
    return float(np.trapezoid([whole, *curve, none], [0.0, *SHARES, 1.0]))
