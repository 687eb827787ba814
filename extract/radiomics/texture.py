"""Texture features of the matrices of `extract.radiomics.neighbors`, after IBSI (arXiv 1612.07003v11, chapter 3).

Features that IBSI defines and that repeat another one exactly are left out: dissimilarity (difference average), sum
average (twice the joint average), sum variance (cluster tendency), dependence count percentage (always 1).
Logarithms are of base 2. What a constant lesion leaves undefined has the value that IBSI or, where it is silent, the
limit gives; each is named beside its formula.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from extract.radiomics.neighbors import Counts, Lesion, cooccurrences, dependences, runs, tone_differences, zones

Matrix = Int64[np.ndarray, "row col"]
Shares = Float64[np.ndarray, "..."]
_COARSENESS_FLAT = 1e6  # IBSI's value for a lesion without differences

_GLCM = (
    "joint_maximum",
    "joint_average",
    "joint_variance",
    "joint_entropy",
    "difference_average",
    "difference_variance",
    "difference_entropy",
    "sum_entropy",
    "angular_second_moment",
    "contrast",
    "inverse_difference",
    "normalized_inverse_difference",
    "inverse_difference_moment",
    "normalized_inverse_difference_moment",
    "inverse_variance",
    "correlation",
    "autocorrelation",
    "cluster_tendency",
    "cluster_shade",
    "cluster_prominence",
    "information_correlation_1",
    "information_correlation_2",
)
_SIZES = (
    "{small}_emphasis",
    "{large}_emphasis",
    "low_gray_level_emphasis",
    "high_gray_level_emphasis",
    "{small}_low_gray_level_emphasis",
    "{small}_high_gray_level_emphasis",
    "{large}_low_gray_level_emphasis",
    "{large}_high_gray_level_emphasis",
    "gray_level_nonuniformity",
    "normalized_gray_level_nonuniformity",
    "{size}_nonuniformity",
    "normalized_{size}_nonuniformity",
    "gray_level_variance",
    "{size}_variance",
    "{size}_entropy",
)
_NGTDM = ("coarseness", "contrast", "busyness", "complexity", "strength")


def _sizes(small: str, large: str, size: str) -> tuple[str, ...]:
    """The names of one family of level and size."""
    return tuple(name.format(small=small, large=large, size=size) for name in _SIZES)


FAMILIES: dict[str, tuple[str, ...]] = {
    "glcm": _GLCM,
    "glrlm": (*_sizes("short_run", "long_run", "run_length"), "run_percentage"),
    "glszm": (*_sizes("small_zone", "large_zone", "zone_size"), "zone_percentage"),
    "ngldm": (*_sizes("low_dependence", "high_dependence", "dependence_count"), "dependence_count_energy"),
    "ngtdm": _NGTDM,
}
TEXTURE_NAMES = tuple(f"{family}_{name}" for family, names in FAMILIES.items() for name in names)


def texture_features(lesion: Lesion, *, merged: bool) -> Float64[np.ndarray, " feature"]:
    """All features of `TEXTURE_NAMES`, in their order.

    Args:
        lesion: gray levels; at least two voxels must touch.
        merged: add up the matrices of all directions first; else average the features over the directions. IBSI
            defines both.
    """
    n_voxels = len(lesion.inside)
    zone, dependence = zones(lesion), dependences(lesion)
    share = dependence / dependence.sum()
    pairs, lines = cooccurrences(lesion), runs(lesion)
    # Each direction has runs through every voxel.
    n_visits = n_voxels * (len(lines) if merged else 1)
    if merged:
        pairs, lines = [np.sum(pairs, axis=0)], [_merge(lines)]
    return np.concatenate(
        [
            np.mean([_cooccurrence_features(matrix) for matrix in pairs], axis=0),
            np.mean([[*_size_features(matrix), matrix.sum() / n_visits] for matrix in lines], axis=0),
            [*_size_features(zone), zone.sum() / n_voxels],
            [*_size_features(dependence), (share**2).sum()],
            _tone_features(*tone_differences(lesion)),
        ]
    )


def _merge(matrices: Sequence[Counts]) -> Counts:
    """Add matrices up whose largest sizes differ."""
    longest = max(matrix.shape[1] for matrix in matrices)
    return np.sum([np.pad(matrix, ((0, 0), (0, longest - matrix.shape[1]))) for matrix in matrices], axis=0)


def _cooccurrence_features(matrix: Matrix) -> list[float]:
    """IBSI section 3.6, in the order of ``_GLCM``."""
    n = len(matrix)
    p = matrix / matrix.sum()
    level = np.arange(1, n + 1)
    i, j = np.meshgrid(level, level, indexing="ij")
    marginal = p.sum(axis=1)
    mean = float(level @ marginal)
    variance = float((level - mean) ** 2 @ marginal)
    k = np.arange(n)
    difference = np.bincount(np.abs(i - j).reshape(-1), p.reshape(-1), minlength=n)
    total = np.bincount((i + j).reshape(-1), p.reshape(-1))
    cluster = i + j - 2 * mean
    apart = float(k @ difference)
    return [
        p.max(),
        mean,
        variance,
        _entropy(p),
        apart,
        (k - apart) ** 2 @ difference,
        _entropy(difference),
        _entropy(total),
        (p**2).sum(),
        k**2 @ difference,
        (difference / (1 + k)).sum(),
        (difference / (1 + k / n)).sum(),
        (difference / (1 + k**2)).sum(),
        (difference / (1 + (k / n) ** 2)).sum(),
        (difference[1:] / k[1:] ** 2).sum(),
        # One level correlates with itself.
        ((i * j * p).sum() - mean**2) / variance if variance > 0 else 1.0,
        (i * j * p).sum(),
        (cluster**2 * p).sum(),
        (cluster**3 * p).sum(),
        (cluster**4 * p).sum(),
        *_information(p, np.outer(marginal, marginal), _entropy(marginal)),
    ]


def _information(p: Shares, independent: Shares, marginal_entropy: float) -> tuple[float, float]:
    """Information correlation 1 and 2; both 0 where there is one level."""
    entropy = _entropy(p)
    seen = independent > 0
    crossed = -float((p[seen] * np.log2(independent[seen])).sum())
    first = (entropy - crossed) / marginal_entropy if marginal_entropy > 0 else 0.0
    # Rounding may bring the difference below 0.
    return first, float(np.sqrt(max(0.0, 1 - np.exp(-2 * (_entropy(independent) - entropy)))))


def _size_features(counts: Counts) -> list[float]:
    """IBSI sections 3.7, 3.8 and 3.11, in the order of ``_SIZES``."""
    n = counts.sum()
    p = counts / n
    i = np.arange(1, p.shape[0] + 1)[:, None]
    j = np.arange(1, p.shape[1] + 1)[None, :]
    by_level, by_size = p.sum(axis=1), p.sum(axis=0)
    low, high, small, large = 1 / i**2, i**2, 1 / j**2, j**2
    emphases = (small, large, low, high, low * small, high * small, low * large, high * large)
    return [
        *((p * weight).sum() for weight in emphases),
        n * (by_level**2).sum(),
        (by_level**2).sum(),
        n * (by_size**2).sum(),
        (by_size**2).sum(),
        (p * (i - (p * i).sum()) ** 2).sum(),
        (p * (j - (p * j).sum()) ** 2).sum(),
        _entropy(p),
    ]


def _tone_features(n: Float64[np.ndarray, " level"], s: Float64[np.ndarray, " level"]) -> list[float]:
    """IBSI section 3.10, in the order of ``_NGTDM``.

    Args:
        n: voxels of each level that have a neighbor.
        s: the sum of their differences from the mean of their neighbors.
    """
    level = np.flatnonzero(n) + 1
    p, s = n[level - 1] / n.sum(), s[level - 1]
    weighted = float(p @ s)
    if len(level) == 1 or weighted == 0:
        return [_COARSENESS_FLAT, 0.0, 0.0, 0.0, 0.0]
    gap = level[:, None] - level[None, :]
    both = p[:, None] + p[None, :]
    shares = float((np.outer(p, p) * gap**2).sum()) / (len(level) * (len(level) - 1))
    spread = float(np.abs(np.subtract.outer(level * p, level * p)).sum())
    return [
        1 / weighted,
        shares * s.sum() / n.sum(),
        weighted / spread if spread > 0 else 0.0,
        (np.abs(gap) * np.add.outer(p * s, p * s) / both).sum() / n.sum(),
        (both * gap**2).sum() / s.sum(),
    ]


def _entropy(p: Shares) -> float:
    """Shannon entropy in bits."""
    seen = p[p > 0]
    return -float((seen * np.log2(seen)).sum())
