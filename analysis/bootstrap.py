"""Stratified patient bootstrap: intervals for what has no closed formula, by multiplicities instead of loops.

A resample is written as how often each patient occurs in it; all statistics of one call see the same
resamples, so differences between them are paired.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from analysis.discrimination import SEPARATED, shortage
from analysis.intervals import FEWEST, pairs_agree_limit, without_interval
from analysis.samples import class_label
from triher.estimate import Estimate, not_estimable
from triher.types import Labels, Probabilities, Scores

NO_VARIATION = "no variation between resamples"
_CELLS = 2_000_000  # resamples x patients held at once: 16 MB an array

Multiplicities = Int[np.ndarray, "resample patient"]
Statistic = Callable[[Multiplicities], Float[np.ndarray, "resample statistic"]]


def multiplicities(y: Labels, resamples: int, rng: np.random.Generator) -> Multiplicities:
    """Draw patients with replacement within each class, and count how often each was drawn.

    >>> multiplicities(np.array([0, 0, 1]), 4, np.random.default_rng(0)).sum(axis=1)
    array([3, 3, 3, 3])
    """
    counts = np.zeros((resamples, len(y)), np.int64)
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        drawn = rng.integers(0, len(members), (resamples, len(members)))
        flat = (drawn + len(members) * np.arange(resamples)[:, None]).ravel()
        counts[:, members] = np.bincount(flat, minlength=flat.size).reshape(resamples, -1)
    return counts


def resampled(
    y: Labels, statistic: Statistic, *, resamples: int, seed: int
) -> Float[np.ndarray, "resamples statistic"]:
    """Apply a statistic to stratified resamples, in portions that bound the memory."""
    rng = np.random.default_rng(seed)
    portion = max(1, _CELLS // max(1, len(y)))
    sizes = [min(portion, resamples - start) for start in range(0, resamples, portion)]
    return np.concatenate([statistic(multiplicities(y, size, rng)) for size in sizes])


def weighted_auc(
    condition: Bool[np.ndarray, " patient"], score: Scores, weights: Multiplicities
) -> Float[np.ndarray, " resample"]:
    """The AUC in every resample at once; ties count half.

    Each class must keep at least one patient in each resample, which stratification guarantees.
    """
    concordant, pairs = concordance(condition, score, weights)
    return concordant / pairs


def concordance(
    condition: Bool[np.ndarray, " patient"], score: Scores, weights: Multiplicities
) -> tuple[Float[np.ndarray, " resample"], Int[np.ndarray, " resample"]]:
    """In every resample the pairs whose one with the condition scores higher (ties count half), and all pairs."""
    order = np.argsort(score, kind="stable")
    _, starts = np.unique(score[order], return_index=True)
    weights, condition = weights[:, order], condition[order]
    with_it = np.add.reduceat(weights * condition, starts, axis=1)
    without = np.add.reduceat(weights * ~condition, starts, axis=1)
    below = np.cumsum(without, axis=1) - without / 2
    return (with_it * below).sum(axis=1), with_it.sum(axis=1) * without.sum(axis=1)


def percentile(value: float, draws: Float[np.ndarray, " resamples"], *, n: int, method: str) -> Estimate:
    """The value with the 2.5 and 97.5 % percentiles of its resamples (Efron & Tibshirani 1993, ch. 13)."""
    if np.ptp(draws) == 0:
        return without_interval(value, NO_VARIATION, n=n, method=method)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value, float(low), float(high), n, method)


def _macro(y: Labels, probabilities: Probabilities, weights: Multiplicities) -> Float[np.ndarray, " resample"]:
    """The mean of the one-vs-rest AUCs in every resample."""
    areas = [weighted_auc(y == c, probabilities[:, c], weights) for c in range(probabilities.shape[1])]
    return np.mean(areas, axis=0)


def _micro(y: Labels, probabilities: Probabilities, weights: Multiplicities) -> Float[np.ndarray, " resample"]:
    """The AUC over all patient-class pairs in every resample."""
    n_classes = probabilities.shape[1]
    hits = np.eye(n_classes, dtype=bool)[y]
    return weighted_auc(hits.ravel(), probabilities.ravel(), np.repeat(weights, n_classes, axis=1))


def macro_micro_auc(
    y: Labels, probabilities: Probabilities, classes: tuple[str, ...], *, resamples: int, seed: int
) -> tuple[Estimate, Estimate]:
    """Macro and micro one-vs-rest AUC with percentile intervals.

    Macro is the mean of the classes' AUCs; micro ranks all patient-class pairs together. A class without
    patients makes both not estimable; it is never averaged in.
    """

    def areas(weights: Multiplicities) -> Float[np.ndarray, "resample statistic"]:
        return np.column_stack([_macro(y, probabilities, weights), _micro(y, probabilities, weights)])

    labels = tuple(map(class_label, classes))
    macro, micro = _estimates(y, areas, labels, ("macro", "micro"), resamples=resamples, seed=seed)
    return _without_variation(macro, y, probabilities), micro


def macro_auc(
    y: Labels, probabilities: Probabilities, labels: tuple[str, ...], *, resamples: int, seed: int
) -> Estimate:
    """The macro one-vs-rest AUC alone; `labels` call the groups as they are to be called in a reason."""

    def areas(weights: Multiplicities) -> Float[np.ndarray, "resample statistic"]:
        return _macro(y, probabilities, weights)[:, None]

    [macro] = _estimates(y, areas, labels, ("macro",), resamples=resamples, seed=seed)
    return _without_variation(macro, y, probabilities)


def macro_auc_lead(
    y: Labels,
    probabilities: Probabilities,
    companion: Probabilities,
    classes: tuple[str, ...],
    *,
    resamples: int,
    seed: int,
) -> tuple[Estimate, Estimate]:
    """The companion's macro AUC, and how far the model is ahead of it, on the same patients and resamples."""

    def areas(weights: Multiplicities) -> Float[np.ndarray, "resample statistic"]:
        other = _macro(y, companion, weights)
        return np.column_stack([other, _macro(y, probabilities, weights) - other])

    labels, names = tuple(map(class_label, classes)), ("macro", "difference in macro")
    other, ahead = _estimates(y, areas, labels, names, resamples=resamples, seed=seed)
    return _without_variation(other, y, companion), ahead


def _without_variation(macro: Estimate, y: Labels, probabilities: Probabilities) -> Estimate:
    """Say why resamples do not differ; perfect separation gets limits from pairs that all agree.

    That every class is separated is at most as likely as that the hardest one is, so all limits hold together.
    """
    if macro.reason != NO_VARIATION:
        return macro
    if np.ptp(probabilities, axis=0).max() == 0:
        return replace(macro, reason="all scores are equal")
    if macro.value < 1:
        return macro
    counts = np.bincount(y, minlength=probabilities.shape[1])
    limits = [pairs_agree_limit(min(int(k), len(y) - int(k))) for k in counts]
    method = "macro one-vs-rest AUC, mean of the exact limits of disjoint pairs"
    return Estimate(1.0, float(np.mean(limits)), 1.0, macro.n, method, SEPARATED)


def macro_auc_difference(
    y: Labels,
    reference: Probabilities,
    probabilities: Probabilities,
    classes: tuple[str, ...],
    *,
    resamples: int,
    seed: int,
) -> tuple[Estimate, Estimate]:
    """The reference's macro AUC, and how far the model stays behind it, on the same patients and resamples."""

    def areas(weights: Multiplicities) -> Float[np.ndarray, "resample statistic"]:
        best = _macro(y, reference, weights)
        return np.column_stack([best, best - _macro(y, probabilities, weights)])

    labels, names = tuple(map(class_label, classes)), ("macro", "difference in macro")
    best, behind = _estimates(y, areas, labels, names, resamples=resamples, seed=seed)
    return best, behind


def _estimates(
    y: Labels, statistic: Statistic, labels: tuple[str, ...], names: tuple[str, ...], *, resamples: int, seed: int
) -> list[Estimate]:
    """Values on the patients themselves, intervals from the resamples, reasons where there is neither."""
    n = len(y)
    methods = [f"{name} one-vs-rest AUC, {resamples} stratified bootstrap resamples, percentile" for name in names]
    counts = {label: int(np.sum(y == c)) for c, label in enumerate(labels)}
    missing = shortage(counts, fewest=1)
    if missing:
        return [not_estimable(missing, n=n, method=method) for method in methods]
    values = statistic(np.ones((1, n), np.int64))[0]
    few = shortage(counts, fewest=FEWEST)
    if few:
        return [without_interval(float(v), few, n=n, method=m) for v, m in zip(values, methods, strict=True)]
    draws = resampled(y, statistic, resamples=resamples, seed=seed)
    return [
        percentile(float(value), draws[:, i], n=n, method=method)
        for i, (value, method) in enumerate(zip(values, methods, strict=True))
    ]


def mean_losses(
    y: Labels, losses: Float[np.ndarray, "patient loss"], methods: tuple[str, ...], *, resamples: int, seed: int
) -> list[Estimate]:
    """Means over the patients (Brier score, log loss) with percentile intervals."""
    n = len(y)
    if n < FEWEST:
        reason = f"only {n} labeled patients" if n else "0 labeled patients"
        return [not_estimable(reason, n=n, method=method) for method in methods]
    draws = resampled(y, lambda weights: weights @ losses / n, resamples=resamples, seed=seed)
    values = losses.mean(axis=0)
    return [percentile(float(values[i]), draws[:, i], n=n, method=method) for i, method in enumerate(methods)]
