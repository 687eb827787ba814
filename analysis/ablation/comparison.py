"""Every cell against the base, on the same patients and the same resamples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from scipy.stats import norm

from analysis.ablation.material import Arena, StudyMaterial
from analysis.ablation.measures import Measure, draw, find_measure, measures_of, resample, values
from analysis.discrimination.aucs import shortage
from analysis.inference.bootstrap import NO_VARIATION, percentile, without_variation
from analysis.inference.corrected_p import corrected
from analysis.inference.cross_validation import widened
from analysis.inference.intervals import FEWEST, Z95, without_interval
from triher.estimate import Estimate, not_estimable
from triher.study import BASE

_HOLM = "holm"
_NO_MAXIMUM = "the likelihood has no maximum in a seed"
RUNS_AWAY = "the classes are separated, or nearly, in some resamples"
"""Reason of a calibration slope without interval: to leave such resamples out would leave out the steepest."""

Draws = Float64[np.ndarray, " resample"]


@dataclass(frozen=True)
class Compared:
    """One cell by one measure."""

    cell: str
    measure: str
    own: Estimate
    """Of the cell itself, on the arena's patients."""
    difference: Estimate | None
    """The cell minus the base; None for the base, and without a base (see `missing_base`)."""
    p: float
    """Two-sided, of the difference; NaN where there is no test."""
    p_corrected: float
    """After Holm; NaN but for the study's metric in its first arena: all else describes."""
    is_primary: bool
    """Whether the study was planned for it, which is a family of its own."""


def compare(arena: Arena, material: StudyMaterial) -> tuple[Compared, ...]:
    """Every cell and measure; the study's metric first, within a measure the cells in the order of the arena.

    A difference has the interval d ± 1.96 s, s the standard deviation of the resampled differences, and the p value
    of d / s, the bootstrap test of Robin et al. (BMC Bioinformatics 2011;12:77): a count of resamples beyond 0 could
    give no p value below 1 / resamples, and a lattice of a hundred cells corrects by a hundred. Of out-of-fold
    predictions s is widened as `analysis.inference.cross_validation` says, so interval and p value agree.

    Both ask whether another sample of patients would turn round what these trained models show. A held-out test part
    says nothing about training again: of 200 simulated lattices of 13 cells that are worth the same
    (`benchmarks/lattices.py`), 5 to 12 % called some cell better or worse on held-out patients, but 4 to 5 % where
    all models had one true AUC, for models trained on the same patients do differ. Of 300 patients it was 9 % with
    one seed, 7.5 % with 3 and 5.5 % with 10, each trained on another four fifths; seeds that change less mend less. A
    claim there is about these models, and becomes one about the level of an axis when the out-of-fold arena says the
    same. Of cross-validated lattices 0 to 1.5 % claimed one.

    Only the study's metric in the first arena is corrected (Holm, Scand J Stat 1979;6:65): the cells of
    ``ablation.primary`` among themselves, planned ones without a p value counted as p = 1, and all others among
    themselves. A second look at other patients, and other measures, describe.

    Raises:
        StopRun: ``unknown_name`` for the study's metric.
    """
    metric = material.own.metric
    rest = [measure for measure in measures_of(material.config.scheme).values() if measure.name != metric]
    weights = resample(arena, material.config)
    first = compare_metric(arena, material)
    return (*first, *(one for measure in rest for one in _by_measure(arena, measure, weights)))


def compare_metric(arena: Arena, material: StudyMaterial) -> tuple[Compared, ...]:
    """The same by the study's metric alone.

    Raises:
        StopRun: ``unknown_name`` for the study's metric.
    """
    measure = find_measure(material.own.metric, material.config.scheme)
    found = _by_measure(arena, measure, resample(arena, material.config))
    is_first = arena.split == material.arenas[0].split
    return tuple(_correct(found, material.own.primary) if is_first else found)


def missing_base(arena: Arena, material: StudyMaterial) -> str:
    """Why nothing is compared with the base, or nothing."""
    if BASE in arena.names:
        return ""
    return material.result(BASE).reason or f"the base has no predictions of the split '{arena.split}'"


def estimates(arena: Arena, measure: Measure, weights: np.ndarray) -> list[Estimate]:
    """The measure of every cell of an arena, without the base.

    Args:
        arena: the cells.
        measure: what to estimate.
        weights: of `analysis.ablation.measures.resample`.
    """
    found, _, _ = _estimates(arena, measure, weights)
    return found


def _by_measure(arena: Arena, measure: Measure, weights: np.ndarray) -> list[Compared]:
    """All cells, p values not yet corrected."""
    own, exact, draws = _estimates(arena, measure, weights)
    base = arena.names.index(BASE) if BASE in arena.names else None
    found = []
    for i, (name, estimate) in enumerate(zip(arena.names, own, strict=True)):
        difference, p = None, math.nan
        if base is not None and i != base:
            d = round(exact[i] - exact[base], 12)
            spread = None if draws is None else np.round(draws[i] - draws[base], 12)
            difference, p = _difference(arena, measure, d, spread, estimate.reason)
        found.append(Compared(name, measure.name, estimate, difference, p, math.nan, is_primary=False))
    return found


def _estimates(
    arena: Arena, measure: Measure, weights: np.ndarray
) -> tuple[list[Estimate], list[float], np.ndarray | None]:
    """Of every cell the estimate and the value, and all draws; None where an interval is out of reach."""
    n, names = len(arena.y), arena.names
    seeds = arena.probabilities.shape[1]
    method = f"{measure.label}{f', mean of {seeds} seeds' if seeds > 1 else ''}"
    counts = measure.needs(arena.y, arena.classes)
    missing, few = shortage(counts, fewest=1), shortage(counts, fewest=FEWEST)
    if missing:
        return [not_estimable(missing, n=n, method=method)] * len(names), [math.nan] * len(names), None
    exact = [float(value) for value in values(arena, measure).mean(axis=1)]
    if few:
        return [_plain(value, few, n, method) for value in exact], exact, None
    draws = draw(arena, measure, weights)
    if not measure.has_interval:
        return [_plain(value, "", n, method) for value in exact], exact, draws
    smaller = [min(k, sum(counts.values()) - k) for k in counts.values()]
    method += f", {weights.shape[0]} stratified bootstrap resamples, percentile"
    found = []
    for value, own, p in zip(exact, draws, arena.probabilities, strict=True):
        if math.isnan(value):
            found.append(not_estimable(_NO_MAXIMUM, n=n, method=method))
            continue
        if not np.isfinite(own).all():
            found.append(_plain(value, RUNS_AWAY, n, method))
            continue
        estimate = percentile(value, own, n=n, method=method)
        if measure.is_area:
            estimate = without_variation(estimate, p.mean(axis=0), smaller)
        found.append(estimate if arena.folds is None else widened(estimate, arena.folds, bounds=measure.bounds))
    return found, exact, draws


def _plain(value: float, reason: str, n: int, method: str) -> Estimate:
    """A value without limits."""
    return without_interval(value, reason, n=n, method=method)


def _difference(arena: Arena, measure: Measure, d: float, draws: Draws | None, reason: str) -> tuple[Estimate, float]:
    """The difference with its interval, and its p value."""
    n, method = len(arena.y), f"difference in {measure.label}, paired bootstrap"
    if math.isnan(d):
        return not_estimable(reason or "the base has no value", n=n, method=method), math.nan
    if draws is None:
        return without_interval(d, reason, n=n, method=method), math.nan
    if not np.isfinite(draws).all():
        return without_interval(d, RUNS_AWAY, n=n, method=method), math.nan
    spread = float(np.std(draws, ddof=1)) if len(draws) > 1 else 0.0
    if spread == 0:
        return without_interval(d, NO_VARIATION, n=n, method=method), 1.0 if d == 0 else math.nan
    unbounded = Estimate(d, d - Z95 * spread, d + Z95 * spread, n, method)
    if arena.folds is not None:
        unbounded = widened(unbounded, arena.folds, bounds=(-math.inf, math.inf))
    error = (unbounded.high - unbounded.low) / (2 * Z95)
    farthest = measure.bounds[1] - measure.bounds[0]
    cut = replace(unbounded, low=max(-farthest, unbounded.low), high=min(farthest, unbounded.high))
    return cut, float(2 * norm.sf(abs(d) / error))


def _correct(found: Sequence[Compared], planned: Sequence[str]) -> list[Compared]:
    """Holm over the planned cells, and over the others."""
    marked = [replace(one, is_primary=one.cell in planned) for one in found]
    primary = {one.cell: one.p for one in marked if one.is_primary}
    ps = [primary.get(name, math.nan) for name in planned]
    after = corrected([1.0 if math.isnan(p) else p for p in ps], _HOLM)
    known = {name: float(q) for name, p, q in zip(planned, ps, after, strict=True) if not math.isnan(p)}
    others = [one for one in marked if not one.is_primary]
    known |= {one.cell: float(q) for one, q in zip(others, corrected([o.p for o in others], _HOLM), strict=True)}
    return [replace(one, p_corrected=known.get(one.cell, math.nan)) for one in marked]
