"""Stratified patient bootstrap: intervals for what has no closed formula, by multiplicities instead of loops.

A resample is written as how often each patient occurs in it; all statistics of one call see the same
resamples, so differences between them are paired. Patients are drawn within their class, and where several cohorts
are pooled within class and cohort (see `analysis.inference.strata`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float64

from analysis.discrimination.auc_kernel import Multiplicities, Ranking, add_draws, among, areas, rank
from analysis.discrimination.aucs import SEPARATED, shortage
from analysis.inference.intervals import FEWEST, pairs_agree_limit, without_interval
from analysis.patients.samples import class_label
from triher.estimate import Estimate, not_estimable
from triher.types import Labels, Probabilities

NO_VARIATION = "no variation between resamples"
_CELLS = 1 << 18  # resamples x patients held at once: 1 MB, which stays in the cache of a processor

Statistic = Callable[[Multiplicities], Float[np.ndarray, "resample statistic"]]
Rankings = Sequence[Ranking]


def multiplicities(strata: Labels, resamples: int, rng: np.random.Generator) -> Multiplicities:
    """Draw patients with replacement within each stratum, and count how often each was drawn.

    >>> multiplicities(np.array([0, 0, 1]), 4, np.random.default_rng(0)).sum(axis=1)
    array([3, 3, 3, 3])
    """
    counts = np.zeros((len(strata), resamples), np.int32)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        add_draws(rng.integers(0, len(members), (resamples, len(members))), members, counts)
    return counts.T


def resampled(
    strata: Labels, statistic: Statistic, *, resamples: int, seed: int
) -> Float[np.ndarray, "resamples statistic"]:
    """Apply a statistic to stratified resamples, in portions that bound the memory."""
    rng = np.random.default_rng(seed)
    portion = max(1, _CELLS // max(1, len(strata)))
    sizes = [min(portion, resamples - start) for start in range(0, resamples, portion)]
    return np.concatenate([statistic(multiplicities(strata, size, rng)) for size in sizes])


def percentile(value: float, draws: Float[np.ndarray, " resamples"], *, n: int, method: str) -> Estimate:
    """The value with the 2.5 and 97.5 % percentiles of its resamples (Efron & Tibshirani 1993, ch. 13).

    Resamples in which the statistic does not exist (NaN) are left out and counted in the method.
    """
    usable = np.isfinite(draws)
    if not usable.all():
        method += f", {int(np.sum(~usable))} of them without a value and left out"
    if not usable.any() or np.ptp(draws[usable]) == 0:
        return without_interval(value, NO_VARIATION, n=n, method=method)
    low, high = np.quantile(draws[usable], [0.025, 0.975])
    return Estimate(value, float(low), float(high), n, method)


def macro_rankings(y: Labels, probabilities: Probabilities) -> Rankings:
    """Each class against all others."""
    return [rank(y == c, probabilities[:, c]) for c in range(probabilities.shape[1])]


def mean_area(rankings: Rankings, weights: Multiplicities) -> Float64[np.ndarray, " resample"]:
    """The mean of several AUCs in every resample."""
    return np.mean([areas(ranking, weights) for ranking in rankings], axis=0)


def macro_micro_auc(
    y: Labels,
    probabilities: Probabilities,
    classes: tuple[str, ...],
    *,
    resamples: int,
    seed: int,
    strata: Labels | None = None,
) -> tuple[Estimate, Estimate]:
    """Macro and micro one-vs-rest AUC with percentile intervals.

    Macro is the mean of the classes' AUCs; micro ranks all patient-class pairs together. A class without
    patients makes both not estimable; it is never averaged in.
    """
    n_classes = probabilities.shape[1]
    each = macro_rankings(y, probabilities)
    pairs = rank(np.eye(n_classes, dtype=bool)[y].ravel(), probabilities.ravel())
    together = among(pairs, np.repeat(np.arange(len(y)), n_classes))

    def found(weights: Multiplicities) -> Float[np.ndarray, "resample statistic"]:
        return np.column_stack([mean_area(each, weights), areas(together, weights)])

    names = ("macro one-vs-rest AUC", "micro one-vs-rest AUC")
    labels = tuple(map(class_label, classes))
    macro, micro = class_estimates(y, found, labels, names, resamples=resamples, seed=seed, strata=strata)
    return without_variation(macro, probabilities, _against_rest(y, n_classes)), micro


def macro_auc(
    y: Labels, probabilities: Probabilities, labels: tuple[str, ...], *, resamples: int, seed: int
) -> Estimate:
    """The macro one-vs-rest AUC alone; `labels` call the groups as they are to be called in a reason."""
    each = macro_rankings(y, probabilities)

    def found(weights: Multiplicities) -> Float[np.ndarray, "resample statistic"]:
        return mean_area(each, weights)[:, None]

    names = ("macro one-vs-rest AUC",)
    [macro] = class_estimates(y, found, labels, names, resamples=resamples, seed=seed)
    return without_variation(macro, probabilities, _against_rest(y, probabilities.shape[1]))


def macro_auc_lead(
    y: Labels,
    probabilities: Probabilities,
    companion: Probabilities,
    classes: tuple[str, ...],
    *,
    resamples: int,
    seed: int,
    strata: Labels | None = None,
) -> tuple[Estimate, Estimate]:
    """The companion's macro AUC, and how far the model is ahead of it, on the same patients and resamples."""
    mine, others = macro_rankings(y, probabilities), macro_rankings(y, companion)

    def found(weights: Multiplicities) -> Float[np.ndarray, "resample statistic"]:
        other = mean_area(others, weights)
        return np.column_stack([other, mean_area(mine, weights) - other])

    names = ("macro one-vs-rest AUC", "difference in macro one-vs-rest AUC")
    labels = tuple(map(class_label, classes))
    other, ahead = class_estimates(y, found, labels, names, resamples=resamples, seed=seed, strata=strata)
    return without_variation(other, companion, _against_rest(y, companion.shape[1])), ahead


def _against_rest(y: Labels, n_classes: int) -> list[int]:
    """Of each class and its rest the number of the smaller one."""
    return [min(int(k), len(y) - int(k)) for k in np.bincount(y, minlength=n_classes)]


def without_variation(mean: Estimate, probabilities: Probabilities, smaller: Sequence[int]) -> Estimate:
    """Say why resamples of a mean of AUCs do not differ; perfect separation gets limits from pairs that all agree.

    That every AUC is 1 is at most as likely as that the hardest one is, so all limits hold together.

    Args:
        mean: of the AUCs.
        probabilities: the scores.
        smaller: for each AUC the number of patients on its smaller side.
    """
    if mean.reason != NO_VARIATION:
        return mean
    if np.ptp(probabilities, axis=0).max() == 0:
        return replace(mean, reason="all scores are equal")
    if mean.value < 1:
        return mean
    name = mean.method.split(",")[0]
    low = float(np.mean([pairs_agree_limit(k) for k in smaller]))
    return Estimate(1.0, low, 1.0, mean.n, f"{name}, mean of the exact limits of disjoint pairs", SEPARATED)


def class_estimates(
    y: Labels,
    statistic: Statistic,
    labels: tuple[str, ...],
    names: tuple[str, ...],
    *,
    resamples: int,
    seed: int,
    strata: Labels | None = None,
) -> list[Estimate]:
    """Values on the patients themselves, intervals from the resamples, reasons where there is neither.

    Args:
        y: position of each patient's class.
        statistic: of the multiplicities, a column for each name; needs a patient of every class.
        labels: what the classes are called in a reason.
        names: what the columns are called in the method.
        resamples: how many.
        seed: where the drawing starts.
        strata: within which patients are drawn; their classes when None.
    """
    n = len(y)
    methods = [f"{name}, {resamples} stratified bootstrap resamples, percentile" for name in names]
    counts = {label: int(np.sum(y == c)) for c, label in enumerate(labels)}
    missing = shortage(counts, fewest=1)
    if missing:
        return [not_estimable(missing, n=n, method=method) for method in methods]
    values = statistic(np.ones((1, n), np.int32))[0]
    few = shortage(counts, fewest=FEWEST)
    if few:
        return [without_interval(float(v), few, n=n, method=m) for v, m in zip(values, methods, strict=True)]
    draws = resampled(y if strata is None else strata, statistic, resamples=resamples, seed=seed)
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
