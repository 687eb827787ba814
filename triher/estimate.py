"""A number with its uncertainty."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % interval, how many patients it rests on, and the method.

    A value that cannot be estimated is NaN and `reason` says why; an interval that cannot be
    estimated is NaN on both sides.
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    reason: str = ""

    def __str__(self) -> str:
        """Print as ``0.812 (0.741 to 0.876)``."""
        if math.isnan(self.value):
            return f"not estimable ({self.reason})"
        if math.isnan(self.low):
            return f"{self.value:.3f} (interval not estimable{': ' + self.reason if self.reason else ''})"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def not_estimable(reason: str, *, n: int, method: str) -> Estimate:
    """Say that there is no estimate, and why.

    >>> str(not_estimable("0 HER2-positive", n=12, method="AUC"))
    'not estimable (0 HER2-positive)'
    """
    return Estimate(math.nan, math.nan, math.nan, n, method, reason)
