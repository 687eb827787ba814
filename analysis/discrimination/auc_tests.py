"""Tests of AUCs: against each other by DeLong's variances, against guessing by ranks."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Real
from scipy.stats import mannwhitneyu, norm, t, ttest_ind_from_stats

from analysis.discrimination.aucs import shortage
from analysis.discrimination.delong import NO_VARIANCE, delong, delong_covariance
from analysis.inference.intervals import FEWEST, wald, without_interval
from triher.estimate import Estimate, not_estimable
from triher.types import Scores

_PAIRED = "difference in AUC, paired DeLong"
_UNPAIRED = "difference in AUC, unpaired DeLong, Welch's t"
_HALF = "AUC against 0.5, Mann-Whitney, two-sided p value"


@dataclass(frozen=True)
class Tested:
    """A difference of two AUCs, first minus second, and whether it is more than chance."""

    difference: Estimate
    statistic: float
    """z of the paired, t of the unpaired test; NaN where the difference has no variance."""
    p: Estimate
    """Two-sided p value, without limits."""


def paired_test(
    condition: Bool[np.ndarray, " patient"], first: Scores, second: Scores, *, names: tuple[str, str]
) -> Tested:
    """Test whether two scores of the same patients have the same AUC.

    Args:
        condition: who has the condition.
        first: higher means likelier.
        second: another score of the same patients.
        names: what those with and those without the condition are called, for the reason when one side is empty.
    """
    n = len(condition)
    lack = _lack(condition, names)
    if lack:
        return _untested(math.nan, lack, n, _PAIRED)
    (one, two), covariance = delong_covariance(condition, np.stack([first, second]))
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if variance < NO_VARIANCE:
        return _untested(float(one - two), "the difference has no variance", n, _PAIRED)
    z = float(one - two) / math.sqrt(variance)
    difference = wald(float(one - two), math.sqrt(variance), n=n, method=_PAIRED, bounds=(-1.0, 1.0))
    return Tested(difference, z, p_estimate(2 * float(norm.sf(abs(z))), n, f"{_PAIRED}, two-sided p value"))


def unpaired_test(
    first: tuple[Bool[np.ndarray, " one"], Real[np.ndarray, " one"]],
    second: tuple[Bool[np.ndarray, " other"], Real[np.ndarray, " other"]],
    *,
    names: tuple[str, str],
) -> Tested:
    """Test whether an AUC is the same among two groups of patients who share nobody.

    The degrees of freedom are Welch's, with the patients of a group as its observations, as in pROC (Robin et al.,
    BMC Bioinformatics 2011;12:77).

    Args:
        first: condition and score of one group.
        second: those of the other.
        names: what those with and those without the condition are called.
    """
    n = len(first[0]) + len(second[0])
    lack = _lack(first[0], names) or _lack(second[0], names)
    if lack:
        return _untested(math.nan, f"in one of both {lack}", n, _UNPAIRED)
    (one, variance_one), (two, variance_two) = (delong(s[c], s[~c]) for c, s in (first, second))
    if min(variance_one, variance_two) < NO_VARIANCE:
        return _untested(one - two, "an AUC has no variance", n, _UNPAIRED)
    sizes = (len(first[0]), len(second[0]))
    deviations = math.sqrt(variance_one * sizes[0]), math.sqrt(variance_two * sizes[1])
    found = ttest_ind_from_stats(one, deviations[0], sizes[0], two, deviations[1], sizes[1], equal_var=False)
    half = float(t.ppf(0.975, _welch(variance_one, variance_two, sizes))) * math.sqrt(variance_one + variance_two)
    difference = Estimate(one - two, max(-1.0, one - two - half), min(1.0, one - two + half), n, _UNPAIRED)
    p = p_estimate(float(found.pvalue), n, f"{_UNPAIRED}, two-sided p value")
    return Tested(difference, float(found.statistic), p)


def against_half(condition: Bool[np.ndarray, " patient"], score: Scores, *, names: tuple[str, str]) -> Estimate:
    """The two-sided p value of an AUC against 0.5: the Mann-Whitney test, whose U is the AUC times the pairs.

    It takes the variance that U has where the score tells nothing (Mann & Whitney, Ann Math Stat 1947;18:50), with
    the correction for ties and for continuity, or all orders where a side has 8 patients at most and no two scores
    are equal. DeLong's variance is that of the AUC found: near 0 or 1 it vanishes. Where the score told nothing, a z
    from it fell below p = 0.001 in 1 % of 4,000 simulated samples of 10 and 10 patients, and in 2.7 % of 6 and 60;
    this one in 0.03 and 0.08 %.

    Args:
        condition: who has the condition.
        score: higher means likelier.
        names: what those with and those without the condition are called.
    """
    n = len(condition)
    lack = _lack(condition, names)
    if lack:
        return not_estimable(lack, n=n, method=_HALF)
    if np.ptp(score) == 0:
        return not_estimable("all scores are equal", n=n, method=_HALF)
    return p_estimate(float(mannwhitneyu(score[condition], score[~condition]).pvalue), n, _HALF)


def p_estimate(p: float, n: int, method: str) -> Estimate:
    """A p value as a number without limits."""
    return Estimate(p, math.nan, math.nan, n, method)


def _lack(condition: Bool[np.ndarray, " patient"], names: tuple[str, str]) -> str:
    """Why there are too few for a test, or nothing."""
    return shortage(dict(zip(names, (int(condition.sum()), int((~condition).sum())), strict=True)), fewest=FEWEST)


def _welch(one: float, two: float, sizes: tuple[int, int]) -> float:
    """Welch's degrees of freedom (Biometrika 1947;34:28)."""
    return (one + two) ** 2 / (one**2 / (sizes[0] - 1) + two**2 / (sizes[1] - 1))


def _untested(value: float, reason: str, n: int, method: str) -> Tested:
    """A difference of which no test can be made, and why."""
    known = without_interval(value, reason, n=n, method=method)
    return Tested(known, math.nan, not_estimable(reason, n=n, method=f"{method}, two-sided p value"))
