"""Which slices of a lesion are embedded."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int, Real

from triher.errors import unknown_name

Areas = Real[np.ndarray, " slice"]
Present = Int[np.ndarray, " lesion"]
Indices = Int[np.ndarray, " chosen"]


def choose_slices(area_mm2: Areas, policy: str, n: int) -> Indices:
    """Positions of the chosen slices, ascending; only slices that hold lesion.

    >>> choose_slices(np.array([1.0, 5.0, 9.0, 4.0]), "largest", 2).tolist()
    [1, 2]

    Raises:
        StopRun: ``unknown_name``.
    """
    if policy not in POLICIES:
        raise unknown_name("slice policy", policy, POLICIES)
    present = np.flatnonzero(area_mm2 > 0)
    return np.sort(POLICIES[policy](present, area_mm2, min(n, len(present))))


def jitter(chosen: Indices, area_mm2: Areas, reach: int, rng: np.random.Generator) -> Indices:
    """Other slices near the chosen ones, ascending; only slices that hold lesion, each once.

    One after the other, in a drawn order, moves to a slice drawn from those that are free and near enough, its own
    among them. Where all slices that hold lesion are chosen, none can move.

    Args:
        chosen: as `choose_slices` gives them.
        area_mm2: of all slices.
        reach: how many slices each moves at most.
        rng: draws.
    """
    present = np.flatnonzero(area_mm2 > 0)
    taken = set(chosen.tolist())
    for place in rng.permutation(chosen).tolist():
        taken.remove(place)
        free = [near for near in present[np.abs(present - place) <= reach].tolist() if near not in taken]
        taken.add(free[rng.integers(len(free))])
    return np.array(sorted(taken))


def _largest(present: Present, area_mm2: Areas, n: int) -> Indices:
    """The slices with most lesion; the lower position wins a tie."""
    return present[np.argsort(-area_mm2[present], kind="stable")[:n]]


def _central(present: Present, area_mm2: Areas, n: int) -> Indices:
    """Neighbors around the slice with most lesion."""
    peak = int(np.argmax(area_mm2[present]))
    start = int(np.clip(peak - n // 2, 0, len(present) - n))
    return present[start : start + n]


def _spread(present: Present, area_mm2: Areas, n: int) -> Indices:
    """Evenly from the first to the last lesion slice, each in the middle of its share."""
    return present[((np.arange(n) + 0.5) * len(present) / n).astype(int)]


POLICIES: dict[str, Callable[[Present, Areas, int], Indices]] = {
    "all": lambda present, area_mm2, n: present,
    "largest": _largest,
    "central": _central,
    "spread": _spread,
}
