"""Discrimination: how well the probabilities tell the classes apart, with intervals by DeLong's variances."""

import numpy as np
from jaxtyping import Bool, Float, Float64

from analysis.discrimination.delong import NO_VARIANCE, delong
from analysis.inference.intervals import FEWEST, pairs_agree_limit, wald, without_interval
from analysis.patients.samples import class_label
from triher.estimate import Estimate, not_estimable
from triher.types import Labels, Probabilities, Scores

GUESSING = 0.5
"""The AUC of scores that say nothing."""
SEPARATED = "the scores separate perfectly"
_METHOD = "AUC, DeLong"


def auc(condition: Bool[np.ndarray, " patient"], score: Scores, *, names: tuple[str, str]) -> Estimate:
    """The area under the ROC curve with DeLong's interval (Wald on the AUC scale, cut at 0 and 1).

    Perfect separation has no variance to build on; its limits are those of pairs that all agree.

    Args:
        condition: who has the condition.
        score: higher means likelier.
        names: what those with and those without it are called, for the reason when one side is empty.

    >>> str(auc(np.array([True, True]), np.array([0.2, 0.3]), names=("HER2-positive", "others")))
    'not estimable (0 others)'
    """
    n = len(score)
    counts = (int(condition.sum()), int((~condition).sum()))
    missing = shortage(dict(zip(names, counts, strict=True)), fewest=1)
    if missing:
        return not_estimable(missing, n=n, method=_METHOD)
    value, variance = delong(score[condition], score[~condition])
    few = shortage(dict(zip(names, counts, strict=True)), fewest=FEWEST)
    if few:
        return without_interval(value, few, n=n, method=_METHOD)
    if np.ptp(score) == 0:
        return without_interval(value, "all scores are equal, so DeLong's variance is 0", n=n, method=_METHOD)
    if variance < NO_VARIANCE:
        return _separated(value, min(counts), n)
    return wald(value, variance**0.5, n=n, method=_METHOD, bounds=(0.0, 1.0))


def _separated(value: float, n_pairs: int, n: int) -> Estimate:
    """Limits for an AUC of 1, or of 0."""
    limit = pairs_agree_limit(n_pairs)
    low, high = (limit, 1.0) if value > 0.5 else (0.0, 1 - limit)
    return Estimate(value, low, high, n, f"AUC, exact limits of {n_pairs} disjoint pairs", SEPARATED)


def shortage(counts: dict[str, int], *, fewest: int) -> str:
    """Which groups have fewer than that many patients, or an empty text.

    >>> shortage({"HER2-low": 9, "HER2-positive": 3}, fewest=5)
    'only 3 HER2-positive'
    """
    short = {name: n for name, n in counts.items() if n < fewest}
    return ", ".join(f"{'only ' if n else ''}{n} {name}" for name, n in short.items())


def one_vs_rest(y: Labels, probabilities: Probabilities, classes: tuple[str, ...]) -> tuple[Estimate, ...]:
    """The AUC of each class against all others, its probability as the score."""
    labels = [class_label(name) for name in classes]
    return tuple(
        auc(y == c, probabilities[:, c], names=(labels[c], f"other than {labels[c]}")) for c in range(len(classes))
    )


def zero_vs_rest(y: Labels, probabilities: Probabilities) -> Estimate:
    """Task 1 of the FUSCC system in the triple scheme: low or positive against zero, score 1 - p(zero).

    Source: Adv Sci 2025, PMC12412478.
    """
    return auc(*zero_vs_rest_scores(y, probabilities), names=("HER2-low or -positive", "HER2-zero"))


def zero_vs_rest_scores(
    y: Labels, probabilities: Probabilities
) -> tuple[Bool[np.ndarray, " patient"], Float64[np.ndarray, " patient"]]:
    """Who is low or positive, and the score of task 1."""
    return y >= 1, 1 - probabilities[:, 0]


def low_vs_positive(y: Labels, probabilities: Probabilities) -> Estimate:
    """Task 2 in the triple scheme: positive against low among those two.

    The score is p(positive) / (p(low) + p(positive)): the probability given that the patient is not zero. The
    plain p(positive) would rank differently. Source: Adv Sci 2025, PMC12412478.
    """
    return auc(*low_vs_positive_scores(y, probabilities), names=("HER2-positive", "HER2-low"))


def low_vs_positive_scores(
    y: Labels, probabilities: Probabilities
) -> tuple[Bool[np.ndarray, " among"], Float64[np.ndarray, " among"]]:
    """Among the low and positive: who is positive, and the score of task 2."""
    among = y >= 1
    return y[among] == 2, conditional_positive(probabilities[among])


def conditional_positive(probabilities: Probabilities) -> Float[np.ndarray, " patient"]:
    """P(positive | low or positive); one half where both are 0, which says nothing."""
    return conditional(probabilities[:, 1], probabilities[:, 2])


def conditional(other: Scores, wanted: Scores) -> Float[np.ndarray, " patient"]:
    """The probability of a class given that it is that or another one; one half where both are 0.

    >>> conditional(np.array([1.0, 0.0]), np.array([3.0, 0.0])).tolist()
    [0.75, 0.5]
    """
    either = other + wanted
    return np.divide(wanted, either, out=np.full(len(either), 0.5), where=either > 0)


def roc_points(
    condition: Bool[np.ndarray, " patient"], score: Scores
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """False and true positive rate at every threshold, from the strictest to the loosest.

    >>> roc_points(np.array([True, False]), np.array([0.9, 0.1]))
    (array([0., 0., 1.]), array([0., 1., 1.]))
    """
    order = np.argsort(-score, kind="stable")
    last_of_equals = np.append(np.diff(score[order]) != 0, True)
    with_it = np.cumsum(condition[order])[last_of_equals]
    without = np.cumsum(~condition[order])[last_of_equals]
    return np.append(0.0, without / without[-1]), np.append(0.0, with_it / with_it[-1])


def roc_band(
    condition: Bool[np.ndarray, " patient"], score: Scores, *, seed: int, resamples: int = 300
) -> tuple[Float[np.ndarray, " rate"], Float[np.ndarray, " rate"], Float[np.ndarray, " rate"]] | None:
    """Pointwise 95 % limits of the sensitivity at fixed false positive rates, by a bootstrap within each side.

    Source: Fawcett, Pattern Recognit Lett 2006;27:861, section 8 (vertical averaging).

    Args:
        condition: who has the condition.
        score: higher means likelier.
        seed: of the resamples.
        resamples: how many; a picture needs fewer than a table.

    Returns:
        False positive rates from 0 to 1, lower and upper limits; None with fewer than 5 patients on a side.
    """
    sides = np.flatnonzero(condition), np.flatnonzero(~condition)
    if min(map(len, sides)) < FEWEST:
        return None
    rng = np.random.default_rng(seed)
    rates = np.linspace(0, 1, 41)
    drawn = np.empty((resamples, len(rates)))
    for row in drawn:
        chosen = np.concatenate([rng.choice(side, len(side)) for side in sides])
        false, true = roc_points(condition[chosen], score[chosen])
        row[:] = np.interp(rates, false, true)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return rates, low, high
