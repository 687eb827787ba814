"""The confusion matrix of the likeliest class, and the proportions read off it."""

import numpy as np
from jaxtyping import Float, Int

from analysis.discrimination.aucs import shortage
from analysis.inference.bootstrap import percentile
from analysis.inference.intervals import FEWEST, wilson, without_interval
from analysis.patients.samples import class_label
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


def predictive_values(counts: Confusion, classes: tuple[str, ...]) -> tuple[Estimate, ...]:
    """Of those taken for each class, the share that is of it. It changes with the classes' shares."""
    return tuple(
        wilson(int(column[c]), int(column.sum()), of_what=f"taken for {class_label(classes[c])}")
        for c, column in enumerate(counts.T)
    )


def balanced_accuracy(counts: Confusion, classes: tuple[str, ...], *, resamples: int, seed: int) -> Estimate:
    """The mean of the classes' sensitivities, with a stratified bootstrap interval."""
    return mean_sensitivity(counts, tuple(map(class_label, classes)), resamples=resamples, seed=seed)


def mean_sensitivity(counts: Confusion, labels: tuple[str, ...], *, resamples: int, seed: int) -> Estimate:
    """The same of any groups, called in a reason as `labels` have it.

    Resampling within a group draws its hits from a binomial distribution, so no patient has to be drawn.
    """
    method = f"balanced accuracy, {resamples} stratified bootstrap resamples, percentile"
    totals, hits = counts.sum(axis=1), np.diag(counts)
    n = int(totals.sum())
    named = {label: int(total) for label, total in zip(labels, totals, strict=True)}
    missing = shortage(named, fewest=1)
    if missing:
        return not_estimable(missing, n=n, method=method)
    value = float((hits / totals).mean())
    few = shortage(named, fewest=FEWEST)
    if few:
        return without_interval(value, few, n=n, method=method)
    draws = np.random.default_rng(seed).binomial(totals, hits / totals, (resamples, len(totals))) / totals
    return percentile(value, draws.mean(axis=1), n=n, method=method)


def matthews(counts: Confusion, classes: tuple[str, ...], *, resamples: int, seed: int) -> Estimate:
    """Matthews' correlation of the true with the likeliest class, for several classes, with a bootstrap interval.

    Resampling within a class draws its row of the matrix from a multinomial distribution. 0 is guessing, 1 perfect.
    Source: Gorodkin, Comput Biol Chem 2004;28:367.
    """
    method = f"Matthews correlation, {resamples} stratified bootstrap resamples, percentile"
    totals = counts.sum(axis=1)
    n = int(totals.sum())
    named = {class_label(name): int(total) for name, total in zip(classes, totals, strict=True)}
    missing = shortage(named, fewest=1)
    if missing:
        return not_estimable(missing, n=n, method=method)
    value = float(_correlation(counts[None])[0])
    if not np.isfinite(value):
        return not_estimable("one class is predicted for all", n=n, method=method)
    few = shortage(named, fewest=FEWEST)
    if few:
        return without_interval(value, few, n=n, method=method)
    rng = np.random.default_rng(seed)
    rows = [rng.multinomial(total, row / total, resamples) for row, total in zip(counts, totals, strict=True)]
    return percentile(value, _correlation(np.stack(rows, axis=1)), n=n, method=method)


def _correlation(counts: Int[np.ndarray, "resample class predicted"]) -> Float[np.ndarray, " resample"]:
    """Matthews' correlation of each matrix; NaN where one class is predicted for all."""
    rows, columns, n = counts.sum(axis=2), counts.sum(axis=1), counts.sum(axis=(1, 2))
    covariance = n * np.trace(counts, axis1=1, axis2=2) - (rows * columns).sum(axis=1)
    spread = np.sqrt((n**2 - (rows**2).sum(axis=1)) * (n**2 - (columns**2).sum(axis=1)).astype(float))
    return np.divide(covariance, spread, out=np.full(len(counts), np.nan), where=spread > 0)
