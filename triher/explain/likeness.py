"""How alike two maps of the same slices are, whatever their scale and sign."""

import numpy as np
from jaxtyping import Float
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

_LARGEST_WINDOW = 7  # pixels, the usual one of the structural similarity; smaller where a slice is smaller
_RANGE = 2.0  # from -1 to 1, after scaling


def rank_likeness(one: Float[np.ndarray, "slice row col"], other: Float[np.ndarray, "slice row col"]) -> float:
    """Absolute rank correlation (Spearman) of the pixels of all slices; NaN where a map is constant.

    Absolute, as the sign of a map of random weights is drawn, too, and a mirrored map shows the same places. A
    constant map shows nothing, so that there is nothing to compare: it must not count as another map.

    >>> ramp = np.arange(8.0).reshape(2, 2, 2)
    >>> rank_likeness(ramp, -(ramp**3))
    1.0
    """
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(abs(spearmanr(one, other, axis=None).statistic))


def structure_likeness(one: Float[np.ndarray, "slice row col"], other: Float[np.ndarray, "slice row col"]) -> float:
    """Mean structural similarity (Wang et al., IEEE TIP 2004) of the slices, each map divided by its largest value.

    Adebayo et al. (NeurIPS 2018) compare maps by it. Where most of a map is 0 it is high for any two maps.

    Returns:
        From -1 to 1, 1 for equal maps; NaN where a map is constant, or the slices are too small for the
        smallest window of 3 pixels.
    """
    side = min(one.shape[1:])
    window = min(_LARGEST_WINDOW, side if side % 2 else side - 1)
    if window < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    pairs = zip(_scaled(one), _scaled(other), strict=True)
    return float(np.mean([structural_similarity(a, b, win_size=window, data_range=_RANGE) for a, b in pairs]))


def _scaled(heat: Float[np.ndarray, "slice row col"]) -> Float[np.ndarray, "slice row col"]:
    """Between -1 and 1."""
    largest = float(np.abs(heat).max())
    return heat / largest if largest > 0 else heat
