"""Standardized mean differences: how far groups of patients lie apart in a variable, whatever its unit.

Sources: Austin, Stat Med 2009;28:3083 (numbers and shares); Yang & Dalton, SAS Global Forum 2012, paper 335 (several
levels, by the Mahalanobis distance of their shares).
"""

import math

import numpy as np
from jaxtyping import Float, Int

SLIGHT, LARGE = 0.1, 0.25
"""Above 0.1 a difference is no longer negligible (Austin 2009), above 0.25 a model cannot be trusted to adjust for it
(Rubin, Health Serv Outcomes Res Methodol 2001;2:169)."""
_LEAST = 2


def of_numbers(first: Float[np.ndarray, " first"], second: Float[np.ndarray, " second"]) -> float:
    """Distance of two means in pooled standard deviations, without sign.

    Args:
        first: values of one group, none missing.
        second: of the other.

    Returns:
        NaN where a group has fewer than 2 values, infinity where the means differ and nobody does from her mean.

    >>> of_numbers(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0]))
    1.0
    """
    if min(len(first), len(second)) < _LEAST:
        return math.nan
    distance = abs(float(first.mean() - second.mean()))
    spread = math.sqrt((float(first.var(ddof=1)) + float(second.var(ddof=1))) / 2)
    if spread == 0:
        return math.inf if distance else 0.0
    return distance / spread


def of_levels(first: Int[np.ndarray, " level"], second: Int[np.ndarray, " level"]) -> float:
    """Mahalanobis distance of two vectors of shares; for two levels the difference of shares after Austin.

    Args:
        first: patients of one group at each level.
        second: of the other.

    Returns:
        NaN where a group is empty, infinity where the groups share no level that could explain the distance.

    >>> round(of_levels(np.array([50, 50]), np.array([30, 70])), 3)
    0.417
    """
    if not (first.sum() and second.sum()):
        return math.nan
    p, q = first / first.sum(), second / second.sum()
    there = (p + q) > 0
    p, q = p[there][1:], q[there][1:]  # one level follows from the others
    difference = p - q
    if not difference.any():
        return 0.0
    covariance = (np.diag(p) - np.outer(p, p) + np.diag(q) - np.outer(q, q)) / 2
    solved = np.linalg.pinv(covariance, hermitian=True) @ difference
    if not np.allclose(covariance @ solved, difference, atol=1e-9):
        return math.inf
    return float(math.sqrt(difference @ solved))


def chance_limit(n_first: int, n_second: int) -> float:
    """What the distance of two equal groups stays below in 95 of 100 samples of these sizes, by the normal limit.

    Source: Hedges & Olkin 1985, chapter 5: the variance of the difference is 1/n + 1/m where there is none.

    >>> round(chance_limit(80, 40), 2)
    0.38
    """
    return 1.96 * math.sqrt(1 / n_first + 1 / n_second)


def in_words(value: float) -> str:
    """A distance with what it means.

    >>> [in_words(value) for value in (0.05, 0.2, 0.4)]
    ['0.05', '0.20, differs', '0.40, differs much']
    """
    if math.isnan(value):
        return "not estimable"
    if math.isinf(value):
        return "differs wholly"
    text = f"{value:.2f}"
    if value > LARGE:
        return f"{text}, differs much"
    return f"{text}, differs" if value > SLIGHT else text
