"""Intervals from a standard error (Wald), or from a count (Wilson, Clopper-Pearson)."""

import math

from scipy.stats import beta, norm

from triher.estimate import Estimate, not_estimable

Z95 = float(norm.ppf(0.975))
FEWEST = 5
"""With fewer patients than this on one side a number is shown without interval."""


def wald(value: float, standard_error: float, *, n: int, method: str, bounds: tuple[float, float]) -> Estimate:
    """The 95 % interval value ± 1.96 SE, cut at the bounds of the scale.

    >>> str(wald(0.9, 0.1, n=20, method="AUC", bounds=(0.0, 1.0)))
    '0.900 (0.704 to 1.000)'
    """
    low = max(bounds[0], value - Z95 * standard_error)
    high = min(bounds[1], value + Z95 * standard_error)
    return Estimate(value, low, high, n, method)


def without_interval(value: float, reason: str, *, n: int, method: str) -> Estimate:
    """A value whose interval cannot be estimated, and why."""
    return Estimate(value, math.nan, math.nan, n, method, reason)


def wilson(hits: int | float, n: int, *, of_what: str) -> Estimate:
    """A proportion with its Wilson 95 % limits (Wilson, J Am Stat Assoc 1927;22:209).

    Args:
        hits: how many of the n; ties count one half, which makes the limits cautious.
        n: how many in all.
        of_what: who the n are, for the reason when there are none.

    >>> str(wilson(87, 101, of_what="patients"))
    '0.861 (0.781 to 0.916)'
    """
    method = "proportion, Wilson limits"
    if n == 0:
        return not_estimable(f"0 {of_what}", n=0, method=method)
    share = hits / n
    center = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    low, high = center - half, center + half
    return Estimate(share, 0.0 if hits == 0 else low, 1.0 if hits == n else high, n, method)


def clopper_pearson(hits: int, n: int) -> tuple[float, float]:
    """The exact 95 % limits of a proportion, never too short (Clopper & Pearson, Biometrika 1934;26:404).

    >>> [round(limit, 3) for limit in clopper_pearson(87, 101)]
    [0.778, 0.922]
    """
    low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    return low, float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0


def pairs_agree_limit(n_pairs: int) -> float:
    """The lower 95 % limit of a probability when every one of some independent pairs agreed.

    Where scores separate m from n patients, min(m, n) pairs that share nobody agree, so the limit holds for the AUC,
    cautiously.

    >>> round(pairs_agree_limit(10), 3), round(pairs_agree_limit(100), 3)
    (0.692, 0.964)
    """
    return clopper_pearson(n_pairs, n_pairs)[0]
