"""How well the classes are told apart in each subgroup, and whether the subgroups differ (interaction)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import chi2

from analysis.calibration.slopes import logistic_recalibration
from analysis.discrimination.aucs import conditional_positive, low_vs_positive, zero_vs_rest
from analysis.discrimination.delong import delong
from analysis.inference.bootstrap import macro_auc, macro_rankings, mean_area, resampled
from analysis.inference.corrected_p import corrected_estimates
from analysis.inference.cross_validation import Folds, folds_of, widened
from analysis.part import Material
from analysis.patients.groupings import NOT_KNOWN, PLACES, Grouping, groupings
from analysis.patients.samples import Sample, class_label
from triher.estimate import Estimate, not_estimable
from triher.settings import Config
from triher.types import Labels, Probabilities

NESTED = ("auc_zero_vs_rest", "auc_low_vs_positive")
_PAIR = 2


@dataclass(frozen=True)
class Level:
    """The labeled patients of one level."""

    label: str
    """`analysis.patients.groupings.NOT_KNOWN` for those of whom the level is not known."""
    counts: tuple[int, ...]
    """Patients of each class."""
    areas: Mapping[str, Estimate]
    """``auc_macro`` and, in the triple scheme, the AUCs of the nested tasks."""
    variances: Mapping[str, float]
    """Of the same AUCs; NaN where there is none to build a test on."""
    in_the_large: tuple[Estimate, ...]
    """Calibration-in-the-large of each class."""

    @property
    def n(self) -> int:
        """How many."""
        return sum(self.counts)


@dataclass(frozen=True)
class Interaction:
    """Whether an AUC is the same in all levels of a grouping."""

    quantity: str
    compared: tuple[str, ...]
    left_out: tuple[str, ...]
    """Levels without a variance, and those not known."""
    q: Estimate
    """Cochran's Q, with as many degrees of freedom as levels compared less one."""
    p: Estimate
    p_adjusted: Estimate
    """After Benjamini & Hochberg over all interactions of the split."""

    @property
    def degrees(self) -> int:
        """Of freedom."""
        return max(0, len(self.compared) - 1)


@dataclass(frozen=True)
class Subgrouping:
    """One grouping of the patients of one split."""

    split: str
    name: str
    levels: tuple[Level, ...]
    interactions: tuple[Interaction, ...]


def judge_subgroups(material: Material) -> tuple[Subgrouping, ...]:
    """All groupings of all splits that have labeled patients.

    Raises:
        StopRun: as `analysis.patients.groupings.groupings`.
    """
    wanted = groupings(material.config, material.cohort, material.frame)
    found: list[Subgrouping] = []
    for sample in material.samples:
        if len(sample.y):
            groups, folds = _of_split(wanted, sample.split, material), folds_of(material.frame, sample.split)
            found += judge_split(sample, groups, folds, material.config, material.classes)
    return tuple(found)


def of_everybody(sample: Sample, material: Material) -> dict[str, Estimate]:
    """The AUCs of all patients of a split, beside which its subgroups stand."""
    folds = folds_of(material.frame, sample.split)
    return dict(_level("", sample.y, sample.probabilities, folds, material.config, material.classes).areas)


def _of_split(wanted: Sequence[Grouping], split: str, material: Material) -> list[Grouping]:
    """The groupings that a split is divided by: not by cohort or site unasked where it has one only."""
    rows = material.frame[material.frame["split"] == split]
    asked = material.config.analysis.subgroups
    single = {name for name in PLACES if name not in asked and len(rows[name].unique()) < _PAIR}
    return [grouping for grouping in wanted if grouping.name not in single]


def judge_split(
    sample: Sample, wanted: Sequence[Grouping], folds: Folds | None, config: Config, classes: tuple[str, ...]
) -> tuple[Subgrouping, ...]:
    """Divide the patients of one split in each way, and correct the p values of all its interactions together.

    Where several models gave the scores, the levels' intervals are widened (`analysis.inference.cross_validation`),
    each by the level's share of the patients. The tests are not: what all levels have in common by the models cancels
    out in their differences.

    Args:
        sample: the labeled patients.
        wanted: how to divide them.
        folds: how they were predicted; None for one model.
        config: scheme, resamples and seed.
        classes: of the scheme.
    """
    divided = [_divided(sample, grouping, folds, config, classes) for grouping in wanted]
    corrected = iter(corrected_estimates([test.p for group in divided for test in group.interactions]))
    return tuple(
        replace(group, interactions=tuple(replace(t, p_adjusted=next(corrected)) for t in group.interactions))
        for group in divided
    )


def _divided(
    sample: Sample, grouping: Grouping, folds: Folds | None, config: Config, classes: tuple[str, ...]
) -> Subgrouping:
    """One grouping of one split."""
    level_of = np.array([grouping.level_of.get(name, NOT_KNOWN) for name in sample.patient_id], dtype=object)
    levels = []
    for label in grouping.levels(sample.patient_id):
        here = level_of == label
        own = None if folds is None else Folds(folds.n, float(here.mean()))
        levels.append(_level(label, sample.y[here], sample.probabilities[here], own, config, classes))
    quantities = levels[0].areas if levels else ()
    tests = tuple(interaction(quantity, levels) for quantity in quantities)
    return Subgrouping(sample.split, grouping.name, tuple(levels), tests)


def _level(
    label: str,
    y: Labels,
    probabilities: Probabilities,
    folds: Folds | None,
    config: Config,
    classes: tuple[str, ...],
) -> Level:
    """The numbers of one level."""
    draws = {"resamples": config.analysis.resamples, "seed": config.seed}
    areas = {"auc_macro": macro_auc(y, probabilities, tuple(map(class_label, classes)), **draws)}
    variances = {"auc_macro": _macro_variance(areas["auc_macro"], y, probabilities, **draws)}
    if config.scheme == "triple":
        for quantity, estimate, variance in zip(NESTED, *_nested(y, probabilities), strict=True):
            areas[quantity] = estimate
            variances[quantity] = variance if _has_variance(estimate) else math.nan
    large = [
        logistic_recalibration(y == c, probabilities[:, c].copy(), name).in_the_large
        for c, name in enumerate(classes)
    ]
    counts = np.bincount(y, minlength=len(classes))
    if folds is not None:
        areas = {quantity: widened(area, folds, bounds=(0.0, 1.0)) for quantity, area in areas.items()}
    return Level(label, tuple(int(k) for k in counts), areas, variances, tuple(large))


def _has_variance(estimate: Estimate) -> bool:
    """Whether an interval rests on a variance: not where there is none, nor where the scores separate perfectly."""
    return math.isfinite(estimate.low) and not estimate.reason


def _nested(y: Labels, probabilities: Probabilities) -> tuple[list[Estimate], list[float]]:
    """The AUCs of the nested tasks and their DeLong variances."""
    estimates = [zero_vs_rest(y, probabilities), low_vs_positive(y, probabilities)]
    score, rest = conditional_positive(probabilities), 1 - probabilities[:, 0]
    sides = [(rest[y >= 1], rest[y == 0]), (score[y == 2], score[y == 1])]
    return estimates, [delong(*s)[1] if min(map(len, s)) else math.nan for s in sides]


def _macro_variance(macro: Estimate, y: Labels, probabilities: Probabilities, *, resamples: int, seed: int) -> float:
    """The variance of the macro AUC over the same resamples as its interval."""
    if not _has_variance(macro):
        return math.nan
    each = macro_rankings(y, probabilities)
    drawn = resampled(y, lambda weights: mean_area(each, weights)[:, None], resamples=resamples, seed=seed)
    return float(drawn.var(ddof=1))


def heterogeneity(values: Sequence[float], variances: Sequence[float]) -> tuple[float, float]:
    """Cochran's Q of independent AUCs and its p value, chi-square with one degree less than there are AUCs.

    For two it is the square of the unpaired DeLong z. For more the AUCs are compared on the logit scale, their
    variances carried over by the delta method: on the AUC scale a level that is high by chance has a small variance
    and weighs too much. Where all AUCs were equal, the test rejected at 5 % in 1 to 8 % of simulated samples of 2, 5
    and 20 levels of 25 to 100 patients; on the AUC scale in up to 34 % (`benchmarks/coverage.py`).

    Source: Cochran, Biometrics 1954;10:101.

    Args:
        values: AUCs between 0 and 1, both excluded.
        variances: of the AUCs, above 0.

    >>> q, p = heterogeneity([0.8, 0.6], [0.005, 0.005])
    >>> round(q, 2), round(p, 4)
    (4.0, 0.0455)
    """
    x, variance = np.asarray(values, float), np.asarray(variances, float)
    if len(x) > _PAIR:
        x, variance = np.log(x / (1 - x)), variance / (x * (1 - x)) ** 2
    mean = np.sum(x / variance) / np.sum(1 / variance)
    q = float(np.sum((x - mean) ** 2 / variance))
    return q, float(chi2.sf(q, len(x) - 1))


def interaction(quantity: str, levels: Sequence[Level]) -> Interaction:
    """Test whether the AUC is the same in all levels; levels without variance, and those not known, stay out."""
    used = [v for v in levels if v.label != NOT_KNOWN and math.isfinite(v.variances[quantity])]
    left_out = tuple(v.label for v in levels if v not in used)
    n = sum(level.n for level in used)
    scale = "AUC" if len(used) <= _PAIR else "logit"
    method = f"Cochran's Q of {len(used)} levels ({scale} scale), chi-square with {max(0, len(used) - 1)} df"
    labels = tuple(level.label for level in used)
    if len(used) < _PAIR:
        reason = f"{'only 1 level has' if used else 'no level has'} a variance"
        nothing = not_estimable(reason, n=n, method=method)
        return Interaction(quantity, labels, left_out, nothing, nothing, nothing)
    values = [level.areas[quantity].value for level in used]
    q, p = heterogeneity(values, [level.variances[quantity] for level in used])
    statistic, found = (Estimate(number, math.nan, math.nan, n, method) for number in (q, p))
    return Interaction(quantity, labels, left_out, statistic, found, found)
