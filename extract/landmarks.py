"""Nyul's normalization: percentiles of each volume are mapped to those of an average training volume.

Nyul, Udupa & Zhang 2000, "New variants of a method of MRI scale standardization", IEEE Transactions on Medical
Imaging 19:143-150, doi 10.1109/42.836373: the variant with deciles as landmarks.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Real, UInt8

from extract.histograms import Histogram
from extract.scaling import look_up
from triher.errors import StopRun

# The paper's set of deciles; its outermost pair lies at 1 and 99 as in TorchIO and in intensity-normalization.
PERCENTILES = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
# Our choice: what lies outside the first and last landmark gets a tenth of the 8 bits on either side.
_SCALE = (25.5, 229.5)


@dataclass(frozen=True)
class StandardScale:
    """Where the landmarks of every volume are mapped to, in 0..255."""

    landmarks: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what cannot be such a scale, as it may come from a configuration."""
        n, finite = len(self.landmarks), all(map(math.isfinite, self.landmarks))
        if n != len(PERCENTILES) or not finite or sorted(self.landmarks) != list(self.landmarks):
            message = (
                f"extract.standard_scale: {len(PERCENTILES)} ascending numbers, one for each of the percentiles "
                f"{list(PERCENTILES)}, were expected; found {list(self.landmarks)}"
            )
            raise StopRun("config_value", message)


def foreground_landmarks(volume: Histogram) -> Float64[np.ndarray, " landmark"]:
    """The percentiles of the foreground, in scanner units: of the voxels above the mean of the whole volume.

    The mean as threshold is the paper's: in its histograms of a slice of tissue and much air it lies between the two.
    """
    above = volume.values > volume.moments()[0]
    foreground = Histogram(volume.values[above], volume.counts[above])
    return np.array([foreground.quantile(percentile / 100) for percentile in PERCENTILES])


def fit_standard_scale(patients: Iterable[Sequence[Histogram]]) -> StandardScale:
    """The mean place of each landmark when every volume's first and last one are brought to a common scale.

    All phases share one scale. The order of patients does not matter.

    Args:
        patients: of each training patient, the histogram of every phase's whole volume. No others: the scale is
            part of what a model learns.

    Raises:
        StopRun: ``scale_missing`` when there is no volume to fit it on.
    """
    low, high = _SCALE
    found = [foreground_landmarks(volume) for phases in patients for volume in phases]
    places = [
        low + (marks - marks[0]) / (marks[-1] - marks[0]) * (high - low) for marks in found if np.ptp(marks) > 0
    ]
    if not places:
        raise StopRun("scale_missing", "no training patient has a volume that a standard scale could be fitted on")
    # fsum is exact, so that the order of patients changes no bit.
    return StandardScale(tuple(math.fsum(place) / len(places) for place in np.transpose(places).tolist()))


def standardize(
    voxels: Real[np.ndarray, "..."], volume: Histogram, standard: StandardScale
) -> UInt8[np.ndarray, "..."]:
    """Map voxels of one volume to 8 bits: linear between the landmarks, the outer pieces carried on outside.

    Args:
        voxels: some of the volume's, in scanner units.
        volume: of all its voxels.
        standard: as fitted on the training patients.
    """
    landmarks, first = np.unique(foreground_landmarks(volume), return_index=True)
    if len(landmarks) < 2:
        return np.zeros(voxels.shape, np.uint8)
    places = np.array(standard.landmarks)[first]
    low, high = voxels.min(), voxels.max()
    if voxels.dtype.kind == "f" or int(high) - int(low) > voxels.size:
        return _map(voxels.astype(np.float64), landmarks, places)
    table = _map(np.arange(int(low), int(high) + 1, dtype=np.float64), landmarks, places)
    return look_up(voxels, int(low), table)


def _map(
    values: Float64[np.ndarray, "..."],
    landmarks: Float64[np.ndarray, " landmark"],
    places: Float64[np.ndarray, " landmark"],
) -> UInt8[np.ndarray, "..."]:
    """Each value by the line through the two landmarks around it, or nearest to it."""
    piece = np.clip(np.searchsorted(landmarks, values) - 1, 0, len(landmarks) - 2)
    slope = np.diff(places)[piece] / np.diff(landmarks)[piece]
    mapped = places[piece] + (values - landmarks[piece]) * slope
    return np.rint(np.clip(mapped, 0, 255)).astype(np.uint8)
