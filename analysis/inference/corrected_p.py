"""P values corrected for how many were looked at."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from triher.estimate import Estimate

SMALL_P = 0.05
"""Below this a p value is called small in print: the two-sided convention that belongs to 95 % intervals."""


def corrected(p: Sequence[float] | np.ndarray, method: str = "fdr_bh") -> Float64[np.ndarray, " test"]:
    """Correct p values for their number.

    Args:
        p: NaN where there is no test; it stays NaN and does not count.
        method: as `statsmodels.stats.multitest.multipletests` calls it: ``fdr_bh`` (Benjamini & Hochberg, J R Stat
            Soc B 1995;57:289), ``holm`` (Scand J Stat 1979;6:65), ``bonferroni``, ``simes-hochberg``, ``fdr_by``.

    >>> corrected([0.01, 0.04, math.nan, 0.03], "holm").tolist()
    [0.03, 0.06, nan, 0.06]
    """
    from statsmodels.stats.multitest import multipletests

    values = np.array(p, np.float64)
    known = ~np.isnan(values)
    if known.any():
        values[known] = multipletests(values[known], method=method)[1]
    return values


def corrected_estimates(ps: Sequence[Estimate]) -> list[Estimate]:
    """P values after Benjamini and Hochberg; those not estimable stay so, and do not count."""
    values = corrected([p.value for p in ps])
    how = f"Benjamini-Hochberg over {int(np.isfinite(values).sum())} tests"
    return [
        replace(p, value=float(value), method=f"{p.method}, {how}") if math.isfinite(p.value) else p
        for p, value in zip(ps, values, strict=True)
    ]
