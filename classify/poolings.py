"""The table of statistics that make one vector of a patient's slices."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float64

from triher.errors import StopRun, unknown_name


@dataclass(frozen=True)
class Slices:
    """Some patients with equally many slices, in the order of the slices."""

    values: Float[np.ndarray, "patient slice feature"]
    area_mm2: Float64[np.ndarray, "patient slice"]

    @cached_property
    def wide(self) -> Float64[np.ndarray, "patient slice feature"]:
        """The values in double precision."""
        return self.values.astype(np.float64)

    @cached_property
    def ascending(self) -> Float[np.ndarray, "patient slice feature"]:
        """Each feature's values from small to large; sorted once for all statistics that need it."""
        return np.sort(self.values, axis=1)


Statistic: TypeAlias = Callable[[Slices], Float64[np.ndarray, "patient feature"]]


def quantile(share: float) -> Statistic:
    """The statistic of that quantile, between 0 and 1.

    Linear between order statistics: definition 7 of Hyndman & Fan, Am Stat 1996;50:361, which is NumPy's default.
    """

    def statistic(slices: Slices) -> Float64[np.ndarray, "patient feature"]:
        """Interpolate between two order statistics."""
        ascending = slices.ascending
        place = share * (ascending.shape[1] - 1)
        below = int(place)
        above = min(below + 1, ascending.shape[1] - 1)
        low = ascending[:, below].astype(np.float64)
        return np.asarray(low + (place - below) * (ascending[:, above] - low))

    return statistic


def largest(n_slices: int) -> Statistic:
    """The statistic of the mean over the slices with the largest lesion areas; the earlier slice where areas tie."""

    def statistic(slices: Slices) -> Float64[np.ndarray, "patient feature"]:
        """Choose slices for each patient, and average in the order of the slices."""
        chosen = np.sort(np.argsort(-slices.area_mm2, axis=1, kind="stable")[:, :n_slices], axis=1)
        return np.take_along_axis(slices.values, chosen[:, :, None], axis=1).mean(axis=1, dtype=np.float64)

    return statistic


def _area(slices: Slices) -> Float64[np.ndarray, "patient feature"]:
    """The mean, weighted by lesion area."""
    weights = slices.area_mm2 / slices.area_mm2.sum(axis=1, keepdims=True)
    return np.einsum("psf,ps->pf", slices.wide, weights)


POOLINGS: dict[str, Statistic] = {
    "mean": lambda slices: slices.wide.mean(axis=1),
    "max": lambda slices: slices.values.max(axis=1).astype(np.float64),
    "min": lambda slices: slices.values.min(axis=1).astype(np.float64),
    "median": quantile(0.5),
    "std": lambda slices: np.sqrt(((slices.wide - slices.wide.mean(axis=1, keepdims=True)) ** 2).mean(axis=1)),
    "area": _area,
    "q10": quantile(0.10),
    "q25": quantile(0.25),
    "q75": quantile(0.75),
    "q90": quantile(0.90),
    "top1": largest(1),
    "top3": largest(3),
    "top5": largest(5),
}
"""Name -> statistic. ``std`` divides by n, ``area`` weights by lesion area, ``qNN`` is a percentile, ``topN`` the
mean of the N slices with the largest lesion areas (of all, where there are fewer). Any ``q01`` to ``q99`` and any
``topN`` may be asked for."""

_QUANTILE = re.compile(r"q([0-9]{2})")
_LARGEST = re.compile(r"top([1-9][0-9]{0,3})")


def find_statistic(name: str) -> Statistic:
    """The statistic of that name.

    Raises:
        StopRun: ``unknown_name``.
    """
    if name in POOLINGS:
        return POOLINGS[name]
    if (share := _QUANTILE.fullmatch(name)) and share[1] != "00":
        return quantile(int(share[1]) / 100)
    if n_slices := _LARGEST.fullmatch(name):
        return largest(int(n_slices[1]))
    raise unknown_name("pooling", name, POOLINGS)


def needs_areas(name: str) -> bool:
    """Whether the statistic asks for lesion areas."""
    return name == "area" or _LARGEST.fullmatch(name) is not None


def check_pooling(names: Sequence[str]) -> None:
    """Stop early on a pooling that there is not.

    Raises:
        StopRun: ``unknown_name``, or ``config_value`` when there is none or one stands there twice.
    """
    if not names:
        raise StopRun("config_value", "classify.pooling is empty; it needs at least one statistic")
    for position, name in enumerate(names):
        find_statistic(name)
        if name in names[:position]:
            raise StopRun("config_value", f"classify.pooling names '{name}' twice", remedy="name it once")
