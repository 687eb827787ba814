"""How voxels are shown in grays: the window that pictures, report and browser share."""

import numpy as np
from jaxtyping import Real

_PERCENTILES = (0.5, 99.5)


def window_of(voxels: Real[np.ndarray, "..."]) -> tuple[float, float]:
    """Darkest and brightest value to show of some voxels, in scanner units; the extreme half percents are cut."""
    low, high = np.percentile(voxels, _PERCENTILES)
    return float(low), float(max(high, low + 1e-6))
