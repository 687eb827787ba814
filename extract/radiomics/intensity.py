"""First-order features of the intensities in a lesion, after IBSI (arXiv 1612.07003v11, sections 3.3 and 3.4)."""

import numpy as np
from jaxtyping import Float64, Int64

INTENSITY_NAMES = tuple(
    f"intensity_{name}"
    for name in (
        "mean",
        "variance",
        "skewness",
        "excess_kurtosis",
        "median",
        "minimum",
        "percentile_10",
        "percentile_90",
        "maximum",
        "interquartile_range",
        "range",
        "mean_absolute_deviation",
        "robust_mean_absolute_deviation",
        "median_absolute_deviation",
        "coefficient_of_variation",
        "quartile_coefficient_of_dispersion",
        "energy",
        "root_mean_square",
    )
)
HISTOGRAM_NAMES = ("histogram_entropy", "histogram_uniformity")


def intensity_features(values: Float64[np.ndarray, " voxel"]) -> Float64[np.ndarray, " feature"]:
    """All features of `INTENSITY_NAMES`, in their order; the moments are those of the population.

    Equal values have skewness and excess kurtosis 0 (IBSI). A coefficient whose denominator is 0 is 0, and so is the
    robust deviation of two values, between whose percentiles nothing lies.
    """
    mean, median = values.mean(), np.median(values)
    deviation = values - mean
    variance = (deviation**2).mean()
    low, first, third, high = np.percentile(values, [10, 25, 75, 90])
    robust = values[(values >= low) & (values <= high)]
    return np.array(
        [
            mean,
            variance,
            _ratio((deviation**3).mean(), variance**1.5),
            _ratio((deviation**4).mean(), variance**2, 3.0) - 3,
            median,
            values.min(),
            low,
            high,
            values.max(),
            third - first,
            np.ptp(values),
            np.abs(deviation).mean(),
            np.abs(robust - robust.mean()).mean() if len(robust) else 0.0,
            np.abs(values - median).mean(),
            _ratio(np.sqrt(variance), mean),
            _ratio(third - first, third + first),
            (values**2).sum(),
            np.sqrt((values**2).mean()),
        ]
    )


def histogram_features(levels: Int64[np.ndarray, " voxel"]) -> Float64[np.ndarray, " feature"]:
    """Entropy in bits and uniformity of the gray levels, in the order of `HISTOGRAM_NAMES`."""
    share = np.bincount(levels) / len(levels)
    seen = share[share > 0]
    return np.array([-(seen * np.log2(seen)).sum(), (seen**2).sum()])


def _ratio(numerator: float, denominator: float, otherwise: float = 0.0) -> float:
    """A quotient, and what stands for it where the denominator is 0."""
    return float(numerator / denominator) if denominator != 0 else otherwise
