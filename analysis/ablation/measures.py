"""What cells are compared by: statistics of how often each patient was drawn, averaged over seeds in a resample."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from analysis.ablation.material import Arena
from analysis.auc_kernel import Multiplicities
from triher.settings import Config
from triher.types import Labels, Probabilities

Values = Float64[np.ndarray, " resample"]
Statistic = Callable[[Multiplicities, Labels, Probabilities, tuple[str, ...]], Values]
"""Of the multiplicities, the truth, the probabilities of one cell and seed, and the classes; NaN where it is not."""


@dataclass(frozen=True)
class Measure:
    """One number of a cell."""

    name: str
    """``auc_macro``, or with a class ``auc:positive``."""
    label: str
    """In print."""
    higher_is_better: bool
    bounds: tuple[float, float]
    """Of the value; a difference lies within their distance from 0."""
    statistic: Statistic
    needs: Callable[[Labels, tuple[str, ...]], dict[str, int]]
    """Groups without whom there is no value -> how many there are."""
    schemes: tuple[str, ...] = ("triple", "binary", "ultralow")
    ideal: float | None = None
    """The best value, where neither the highest nor the lowest is it."""

    def goodness(self, values: np.ndarray) -> np.ndarray:
        """Values turned so that higher is better."""
        if self.ideal is not None:
            return -np.abs(values - self.ideal)
        return values if self.higher_is_better else -values


MEASURES: dict[str, Measure] = {}
"""Name -> measure, of all schemes."""


def measures_of(scheme: str) -> Mapping[str, Measure]:
    """The measures that a label scheme has."""
    raise NotImplementedError


def find_measure(name: str, scheme: str) -> Measure:
    """The measure of that name.

    Raises:
        StopRun: ``unknown_name``.
    """
    raise NotImplementedError


def resample(arena: Arena, config: Config) -> Multiplicities:
    """How often each patient of an arena is drawn in each resample: the same for all cells, measures and parts."""
    raise NotImplementedError


def draw_seeds(arena: Arena, measure: Measure, weights: Multiplicities) -> Float64[np.ndarray, "cell seed resample"]:
    """The measure of every cell and seed in every resample."""
    raise NotImplementedError


def draw(arena: Arena, measure: Measure, weights: Multiplicities) -> Float64[np.ndarray, "cell resample"]:
    """The measure of every cell in every resample, the mean over its seeds."""
    raise NotImplementedError
