"""What cells are compared by: statistics of how often each patient was drawn, averaged over seeds in a resample."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float64

from analysis.ablation.drawn import (
    Values,
    all_classes,
    anybody,
    calibration_slope,
    class_alone,
    class_and_rest,
    class_area,
    classwise_ece,
    low_and_positive,
    low_vs_positive_area,
    macro_area,
    mean_loss,
    mean_recall,
    recall,
    rejection,
    rest_alone,
    right_share,
    zero_and_rest,
    zero_vs_rest_area,
)
from analysis.ablation.material import Arena
from analysis.discrimination.auc_kernel import Multiplicities
from analysis.inference.bootstrap import multiplicities
from analysis.patients.samples import DECIMALS
from triher.errors import unknown_name
from triher.labels import SCHEMES
from triher.settings import Config
from triher.types import Labels, Probabilities

Statistic = Callable[[Multiplicities, Labels, Probabilities, tuple[str, ...]], Values]
"""Of the multiplicities, the truth, the probabilities of one cell and seed, and the classes; NaN where it is not."""
Groups = Callable[[Labels, tuple[str, ...]], dict[str, int]]


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
    needs: Groups
    """Groups without whom there is no value -> how many there are."""
    schemes: tuple[str, ...] = tuple(SCHEMES)
    ideal: float | None = None
    """The best value, where neither the highest nor the lowest is it."""
    is_area: bool = False
    """Whether it is an AUC, or a mean of some, and limits of perfect separation apply."""
    has_interval: bool = True
    """Whether resamples give an interval of the value; always of differences."""

    def goodness(self, values: np.ndarray) -> np.ndarray:
        """Values turned so that higher is better."""
        if self.ideal is not None:
            return -np.abs(values - self.ideal)
        return values if self.higher_is_better else -values


def measures_of(scheme: str) -> Mapping[str, Measure]:
    """The measures that a label scheme has.

    >>> list(measures_of("binary"))[:3]
    ['auc_macro', 'auc:positive', 'auc:negative']
    """
    return {name: measure for name, measure in MEASURES.items() if scheme in measure.schemes}


def find_measure(name: str, scheme: str) -> Measure:
    """The measure of that name.

    Raises:
        StopRun: ``unknown_name``.
    """
    known = measures_of(scheme)
    if name not in known:
        raise unknown_name(f"measure for ablation.metric in the scheme '{scheme}'", name, known)
    return known[name]


def resample(arena: Arena, config: Config) -> Multiplicities:
    """How often each patient of an arena is drawn in each resample: the same for all cells, measures and parts."""
    return multiplicities(arena.strata, config.analysis.resamples, np.random.default_rng(config.seed))


def draw_seeds(arena: Arena, measure: Measure, weights: Multiplicities) -> Float64[np.ndarray, "cell seed resample"]:
    """The measure of every cell and seed in every resample, rounded to 12 decimals.

    Args:
        arena: the cells; each resample must keep a patient of each group in `Measure.needs`.
        measure: what to compute.
        weights: as `resample` gives them, or any other; 1 for everybody gives the values themselves.
    """
    found = [
        [measure.statistic(weights, arena.y, seed, arena.classes) for seed in cell] for cell in arena.probabilities
    ]
    return np.round(np.array(found, np.float64), DECIMALS)


def draw(arena: Arena, measure: Measure, weights: Multiplicities) -> Float64[np.ndarray, "cell resample"]:
    """The measure of every cell in every resample, the mean over its seeds.

    Seeds are averaged within a resample, so an interval tells how another sample of patients would judge the mean of
    these very seeds; how far seeds lie apart is another question, which their standard deviation answers.
    """
    return np.round(draw_seeds(arena, measure, weights).mean(axis=1), DECIMALS)


def values(arena: Arena, measure: Measure) -> Float64[np.ndarray, "cell seed"]:
    """The measure of every cell and seed on the patients as they are."""
    return draw_seeds(arena, measure, np.ones((1, len(arena.y)), np.int32))[:, :, 0]


def _all_measures() -> list[Measure]:
    """In the order of print: discrimination, of two classes also right answers, then the probabilities themselves."""
    names = dict.fromkeys(name for classes in SCHEMES.values() for name in classes)
    having = {name: tuple(s for s, classes in SCHEMES.items() if name in classes) for name in names}
    found = [
        _area("auc_macro", "macro AUC", macro_area, all_classes),
        _area("auc_zero_vs_rest", "AUC zero against rest", zero_vs_rest_area, zero_and_rest, ("triple",)),
        _area("auc_low_vs_positive", "AUC low against positive", low_vs_positive_area, low_and_positive, ("triple",)),
    ]
    for name, schemes in having.items():
        statistic, needs = partial(class_area, name), partial(class_and_rest, name)
        found.append(_area(f"auc:{name}", f"AUC {name}", statistic, needs, schemes))
    positive = "positive"
    found += [
        _share("accuracy", "accuracy", right_share, anybody),
        _share("balanced_accuracy", "balanced accuracy", mean_recall, all_classes),
        _share("sensitivity:positive", "sensitivity", partial(recall, positive), partial(class_alone, positive)),
        _share("specificity:positive", "specificity", partial(rejection, positive), partial(rest_alone, positive)),
        _error("brier", "Brier score", (0.0, 2.0), partial(mean_loss, 0)),
        _error("log_loss", "log loss", (0.0, math.inf), partial(mean_loss, 1)),
        _error("ece", "classwise ECE", (0.0, 1.0), classwise_ece, has_interval=False),
    ]
    for name, schemes in having.items():
        statistic, needs = partial(calibration_slope, name), partial(class_and_rest, name)
        found.append(_slope(f"slope:{name}", f"calibration slope {name}", statistic, needs, schemes))
    return found


def _area(
    name: str, label: str, statistic: Statistic, needs: Groups, schemes: tuple[str, ...] = tuple(SCHEMES)
) -> Measure:
    """An AUC, or a mean of some."""
    return Measure(
        name, label, higher_is_better=True, bounds=(0.0, 1.0), statistic=statistic, needs=needs, schemes=schemes,
        is_area=True,
    )  # fmt: skip


def _share(name: str, label: str, statistic: Statistic, needs: Groups) -> Measure:
    """A share of right answers of the likelier one of two classes."""
    return Measure(
        name, label, higher_is_better=True, bounds=(0.0, 1.0), statistic=statistic, needs=needs, schemes=("binary",)
    )


def _error(
    name: str, label: str, bounds: tuple[float, float], statistic: Statistic, *, has_interval: bool = True
) -> Measure:
    """What is better the lower it is."""
    return Measure(
        name, label, higher_is_better=False, bounds=bounds, statistic=statistic, needs=anybody,
        has_interval=has_interval,
    )  # fmt: skip


def _slope(name: str, label: str, statistic: Statistic, needs: Groups, schemes: tuple[str, ...]) -> Measure:
    """What is best at 1; below it, predictions are too extreme."""
    return Measure(
        name, label, higher_is_better=True, bounds=(-math.inf, math.inf), statistic=statistic, needs=needs,
        schemes=schemes, ideal=1.0,
    )  # fmt: skip


MEASURES: dict[str, Measure] = {measure.name: measure for measure in _all_measures()}
"""Name -> measure, of all schemes.

``ece`` is biased upward, and the more the fewer the patients (see `analysis.calibration.ece`), so resamples give no
interval of it; the bias of two cells on the same patients is about the same, and their difference has one.
"""
