"""Agreement of the likeliest class with the truth, and of two models in being right."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from analysis.discrimination.confusion import Confusion
from analysis.inference.intervals import FEWEST, wald, without_interval
from triher.estimate import Estimate, not_estimable

_KAPPA = "quadratic-weighted kappa, large-sample interval"


def quadratic_kappa(counts: Confusion) -> Estimate:
    """Cohen's kappa with quadratic weights, as the classes are ordered: far misses count more.

    The interval is the large-sample one of Fleiss, Cohen & Everitt (Psychol Bull 1969;72:323) by statsmodels, which
    is the delta method's. R's psych 2.2.9 sums its row weights over the wrong index: its interval is 12 % shorter on
    our referee's data, and another one when the two judgments change places.

    Args:
        counts: true class in rows, likeliest class in columns.

    >>> str(quadratic_kappa(np.array([[20, 5], [5, 20]])))
    '0.600 (0.378 to 0.822)'
    """
    n = int(counts.sum())
    lack = _lack(counts)
    if lack:
        return not_estimable(lack, n=n, method=_KAPPA)
    value, error = kappa(counts, "quadratic")
    if n < FEWEST:
        return without_interval(value, f"only {n} labeled patients", n=n, method=_KAPPA)
    if error == 0:
        return without_interval(value, "no disagreement, so the variance is 0", n=n, method=_KAPPA)
    return wald(value, error, n=n, method=_KAPPA, bounds=(-1.0, 1.0))


def _lack(counts: Confusion) -> str:
    """Why chance alone decides the agreement, or nothing."""
    if not counts.any():
        return "0 labeled patients"
    if (counts.sum(axis=1) > 0).sum() == 1:
        return "all labeled patients are of one class"
    return "one class is predicted for all" if (counts.sum(axis=0) > 0).sum() == 1 else ""


def kappa(counts: Confusion, weights: str | None) -> tuple[float, float]:
    """Cohen's kappa and its standard error.

    Args:
        counts: one judgment in rows, the other in columns.
        weights: ``linear``, ``quadratic``, or None for none.
    """
    from statsmodels.stats.inter_rater import cohens_kappa

    with np.errstate(divide="ignore", invalid="ignore"):  # a test against 0 comes along, which we do not use
        found = cohens_kappa(counts, wt=weights)
    return float(found.kappa), float(found.std_kappa)


@dataclass(frozen=True)
class Disagreement:
    """Two models of which only one is right."""

    only_first: int
    only_second: int
    exact_p: Estimate
    """McNemar's test by the binomial distribution."""
    corrected_chi2: float
    """With the continuity correction, 1 degree of freedom."""
    corrected_p: float


def mcnemar_test(
    first_right: Bool[np.ndarray, " patient"], second_right: Bool[np.ndarray, " patient"]
) -> Disagreement:
    """Test whether two models are right equally often on the same patients (McNemar, Psychometrika 1947;12:153)."""
    from statsmodels.stats.contingency_tables import mcnemar

    both = first_right & second_right
    only = int(np.sum(first_right & ~both)), int(np.sum(second_right & ~both))
    n, method = len(first_right), "McNemar, exact, two-sided p value"
    if not any(only):
        p = not_estimable("both are right on the same patients", n=n, method=method)
        return Disagreement(0, 0, p, np.nan, np.nan)
    table = [[int(both.sum()), only[0]], [only[1], n - sum(only) - int(both.sum())]]
    exact, corrected = mcnemar(table, exact=True), mcnemar(table, exact=False, correction=True)
    told = f"{method}; only the first is right in {only[0]}, only the second in {only[1]}"
    p = Estimate(min(1.0, float(exact.pvalue)), np.nan, np.nan, n, told)
    return Disagreement(*only, p, float(corrected.statistic), float(corrected.pvalue))
