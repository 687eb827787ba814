"""The interval that a study with these numbers of patients would be expected to show if a value were true."""

import math

from analysis.discrimination.aucs import shortage
from analysis.inference.intervals import FEWEST, wald, wilson
from triher.estimate import Estimate, not_estimable

_AREA = "expected of an AUC, Hanley & McNeil 1982"


def hanley_mcneil_error(area: float, n_positive: int, n_negative: int) -> float:
    """The standard error of an AUC from its value and the numbers on both sides alone.

    Scores are taken to be exponentially distributed, which makes the error larger, and so cautious, beside normal
    scores. Source: Hanley & McNeil, Radiology 1982;143:29, formulas 1 and 2.

    Args:
        area: the AUC, 0 to 1.
        n_positive: with the condition, at least 1.
        n_negative: without it, at least 1.

    >>> round(hanley_mcneil_error(0.75, 20, 200), 4)
    0.065
    """
    two_positives, two_negatives = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area)
    variance += (n_positive - 1) * (two_positives - area**2) + (n_negative - 1) * (two_negatives - area**2)
    return math.sqrt(variance / (n_positive * n_negative))


def expected_area(value: float, n_positive: int, n_negative: int, *, names: tuple[str, str]) -> Estimate:
    """The 95 % interval that a study of these numbers would be expected to show about an AUC, or why there is none.

    Args:
        value: the AUC, 0 to 1.
        n_positive: patients with the condition.
        n_negative: patients without it.
        names: what they are called, for the reason when there are too few: with fewer than five on a side no
            interval of ours is shown either.

    >>> found = expected_area(0.74, 29, 103, names=("with the condition", "without it"))
    >>> round(found.low, 2), round(found.high, 2)
    (0.63, 0.85)
    """
    n = n_positive + n_negative
    few = shortage(dict(zip(names, (n_positive, n_negative), strict=True)), fewest=FEWEST)
    if few:
        return not_estimable(few, n=n, method=_AREA)
    error = hanley_mcneil_error(value, n_positive, n_negative)
    return wald(value, error, n=n, method=_AREA, bounds=(0.0, 1.0))


def expected_mean_area(value: float, sizes: dict[str, int]) -> Estimate:
    """The same of a mean of one-vs-rest AUCs, cautiously.

    Every class is given the same AUC, as a publication of the mean alone does not tell them apart. The standard
    error of a mean is at most the mean of the standard errors, which is what is taken.

    Args:
        value: the macro AUC.
        sizes: class in print -> number of patients, of all classes.
    """
    n, method = sum(sizes.values()), f"{_AREA}, mean of the classes' errors, cautious"
    few = shortage(sizes, fewest=FEWEST)
    if few:
        return not_estimable(few, n=n, method=method)
    errors = [hanley_mcneil_error(value, k, n - k) for k in sizes.values()]
    return wald(value, sum(errors) / len(errors), n=n, method=method, bounds=(0.0, 1.0))


def expected_share(value: float, n: int) -> Estimate:
    """The same of a proportion among n patients, Wilson limits (J Am Stat Assoc 1927;22:209).

    >>> print(expected_share(0.75, 132))
    0.750 (0.670 to 0.816)
    """
    return wilson(value * n, n, of_what="patients")
