"""The intraclass correlation of absolute agreement, ICC(A,1), of many features at once.

Two-way random effects, a single measurement: how much of the variance of one measurement is between patients, when
patients and measurements are both drawn from many (McGraw & Wong, Psychol Methods 1996;1:30; ICC(2,1) of Shrout &
Fleiss, Psychol Bull 1979;86:420).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import f

from triher.types import Vectors

Numbers = Float64[np.ndarray, " feature"]


@dataclass(frozen=True)
class MeanSquares:
    """Of an analysis of variance of each feature, patients in rows and measurements in columns."""

    n: int
    """Patients."""
    k: int
    """Measurements."""
    rows: Numbers
    columns: Numbers
    error: Numbers


def mean_squares(*measurements: Vectors) -> MeanSquares:
    """The two-way analysis of variance without replication.

    Args:
        measurements: two or more of the same patients and features, in the same order; all finite.

    Raises:
        ValueError: for fewer than two measurements or patients.
    """
    stacked = np.stack([np.asarray(one, np.float64) for one in measurements])
    k, n, _ = stacked.shape
    if k < 2 or n < 2:
        raise ValueError(f"an ICC needs two measurements and two patients, and there are {k} and {n}")
    centered = stacked - stacked.mean(axis=(0, 1))
    row, column = centered.mean(axis=0), centered.mean(axis=1)
    error = centered - row - column[:, None]
    return MeanSquares(
        n,
        k,
        k * (row**2).sum(axis=0) / (n - 1),
        n * (column**2).sum(axis=0) / (k - 1),
        (error**2).sum(axis=(0, 1)) / ((n - 1) * (k - 1)),
    )


def agreement(found: MeanSquares) -> Numbers:
    """ICC(A,1) of each feature, at most 1; NaN for one that is the same in all patients and measurements.

    >>> scores = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7.0]])
    >>> agreement(mean_squares(*scores.T[:, :, None])).round(3).tolist()
    [0.29]
    """
    between = found.rows - found.error
    whole = found.rows + (found.k - 1) * found.error + found.k * (found.columns - found.error) / found.n
    return np.divide(between, whole, out=np.full_like(whole, np.nan), where=whole > 0)


def limits(found: MeanSquares, *, level: float = 0.95) -> tuple[Numbers, Numbers]:
    """Lower and upper confidence limits of ICC(A,1) (McGraw & Wong 1996, table 7, with Satterthwaite's degrees).

    Both are 1 where all measurements agree fully, and NaN where there is no ICC.
    """
    n, k, value = found.n, found.k, agreement(found)
    with np.errstate(divide="ignore", invalid="ignore"):  # full agreement, and features without an ICC: see below
        ratio = value / (n * (1 - value))
        a, b = k * ratio * found.columns, (1 + k * ratio * (n - 1)) * found.error
        degrees = (a + b) ** 2 / (a**2 / (k - 1) + b**2 / ((n - 1) * (k - 1)))
        rest = k * found.columns + (k * n - k - n) * found.error
        tail = (1 + level) / 2
        above, below = f.ppf(tail, n - 1, degrees), f.ppf(tail, degrees, n - 1)
        low = n * (found.rows - above * found.error) / (above * rest + n * found.rows)
        high = n * (below * found.rows - found.error) / (rest + n * below * found.rows)
    return np.where(value == 1, 1.0, low), np.where(value == 1, 1.0, high)
