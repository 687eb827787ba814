"""The confusion matrix of the likeliest class, and the proportions read off it."""

import numpy as np
from jaxtyping import Int

from analysis.discrimination import shortage
from analysis.intervals import FEWEST, wilson, without_interval
from analysis.samples import class_label
from triher.estimate import Estimate, not_estimable
from triher.types import Labels, Probabilities

Confusion = Int[np.ndarray, "class predicted"]


def confusion_matrix(y: Labels, probabilities: Probabilities) -> Confusion:
    """Count patients by true class (row) and likeliest class (column; the first of equals).

    >>> confusion_matrix(np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]]))
    array([[1, 0],
           [1, 0]])
    """
    n_classes = probabilities.shape[1]
    pairs = y * n_classes + probabilities.argmax(axis=1)
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def accuracy(counts: Confusion) -> Estimate:
    """The share of right answers. It says little where one class is common: see `majority_share`."""
    return wilson(int(np.trace(counts)), int(counts.sum()), of_what="labeled patients")


def majority_share(counts: Confusion) -> Estimate:
    """The accuracy of always naming the most common class."""
    totals = counts.sum(axis=1)
    return wilson(int(totals.max()), int(totals.sum()), of_what="labeled patients")


def sensitivities(counts: Confusion, classes: tuple[str, ...]) -> tuple[Estimate, ...]:
    """Of each class, the share that is recognized."""
    return tuple(wilson(int(row[c]), int(row.sum()), of_what=class_label(classes[c])) for c, row in enumerate(counts))


def specificities(counts: Confusion, classes: tuple[str, ...]) -> tuple[Estimate, ...]:
    """Of those outside each class, the share that is not taken for it."""
    others = counts.sum() - counts.sum(axis=1)
    kept = others - (counts.sum(axis=0) - np.diag(counts))
    return tuple(
        wilson(int(kept[c]), int(others[c]), of_what=f"other than {class_label(name)}")
        for c, name in enumerate(classes)
    )


def balanced_accuracy(counts: Confusion, classes: tuple[str, ...], *, resamples: int, seed: int) -> Estimate:
    """The mean of the classes' sensitivities, with a stratified bootstrap interval.

    Resampling within a class draws its hits from a binomial distribution, so no patient has to be drawn.
    """
    method = f"balanced accuracy, {resamples} stratified bootstrap resamples, percentile"
    totals, hits = counts.sum(axis=1), np.diag(counts)
    n = int(totals.sum())
    named = {class_label(name): int(total) for name, total in zip(classes, totals, strict=True)}
    missing = shortage(named, fewest=1)
    if missing:
        return not_estimable(missing, n=n, method=method)
    value = float((hits / totals).mean())
    few = shortage(named, fewest=FEWEST)
    if few:
        return without_interval(value, few, n=n, method=method)
    draws = np.random.default_rng(seed).binomial(totals, hits / totals, (resamples, len(totals))) / totals
    low, high = np.quantile(draws.mean(axis=1), [0.025, 0.975])
    if low == high:
        return without_interval(value, "no variation between resamples", n=n, method=method)
    return Estimate(value, float(low), float(high), n, method)
