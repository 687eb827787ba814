"""Radiomics of one lesion in one channel: shape, first-order and texture features after IBSI.

The definitions are those of the image biomarker standardisation initiative (IBSI 1: Zwanenburg et al. 2020, Radiology
295:328, doi 10.1148/radiol.2020191145; manual arXiv 1612.07003v11), and the tests hold every feature against the
reference values of its digital phantom. They are written out here because no library would do: PyRadiomics does not
build for the Python versions that we support, MIRP (EUPL) demands pandas 3 and ITK, Z-Rad pulls in a GPL toolkit,
Pictologics needs Python 3.12, and Nyxus reads images in three dimensions from files.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64
from scipy.ndimage import affine_transform, find_objects

from extract.radiomics_intensity import HISTOGRAM_NAMES, INTENSITY_NAMES, histogram_features, intensity_features
from extract.radiomics_neighbors import lay_out
from extract.radiomics_shape import SHAPE_NAMES, shape_features
from extract.radiomics_texture import TEXTURE_NAMES, texture_features
from triher.errors import SkipPatient, StopRun
from triher.types import Mask, Volume

VERSION = 1  # counts up with every change of a value
CHANNEL_NAMES = (*INTENSITY_NAMES, *HISTOGRAM_NAMES, *TEXTURE_NAMES)
_MAX_LEVELS = 1024  # co-occurrence matrices of more levels fill gigabytes
_HALF = 0.5  # share of a new voxel that lesion must fill (IBSI section 2.4)


@dataclass(frozen=True)
class RadiomicsSettings:
    """What is decided before features are computed."""

    resample_mm: float | None = 1.0
    """Side of the cubic voxels that image and mask are brought to (squares within each slice, with 2 dimensions);
    None keeps the scanner's."""
    bin_count: int | None = 32
    """Gray levels between the lesion's least and largest value; None with `bin_width`."""
    bin_width: float | None = None
    """Width of a gray level in units of the scanner, counted from the lesion's least value."""
    dimensions: int = 3
    """3, or 2 for texture within slices only, over all slices together (IBSI's 2.5D)."""
    merged: bool = True
    """Whether the matrices of all directions are added up, or the features averaged over the directions."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning.

        Raises:
            StopRun: ``config_value``.
        """
        if (self.bin_count is None) == (self.bin_width is None):
            raise StopRun("config_value", "radiomics: give one of bin_count and bin_width")
        if self.bin_count is not None and not 2 <= self.bin_count <= _MAX_LEVELS:
            raise StopRun("config_value", f"radiomics.bin_count: {self.bin_count} is not between 2 and {_MAX_LEVELS}")
        for name in ("bin_width", "resample_mm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise StopRun("config_value", f"radiomics.{name}: {value} is not above 0")
        if self.dimensions not in (2, 3):
            raise StopRun("config_value", f"radiomics.dimensions: {self.dimensions} is neither 2 nor 3")


@dataclass(frozen=True)
class Region:
    """A lesion cut out, on the grid on which its features are computed."""

    voxels: Float64[np.ndarray, "slice row col"]
    mask: Mask
    spacing_mm: tuple[float, float, float]


def feature_names(settings: RadiomicsSettings) -> tuple[str, ...]:
    """The names of the features, in their order.

    >>> len(feature_names(RadiomicsSettings())), feature_names(RadiomicsSettings())[4]
    (110, 'shape_sphericity')
    """
    return (*SHAPE_NAMES, *CHANNEL_NAMES)


def radiomics_features(
    voxels: Volume, mask: Mask, spacing_mm: tuple[float, float, float], settings: RadiomicsSettings
) -> Float32[np.ndarray, " feature"]:
    """The features of a lesion in one channel, named by `feature_names`.

    Args:
        voxels: [slice, row, col] in units of the scanner, or the difference of two phases.
        mask: the lesion.
        spacing_mm: of (slice, row, col).
        settings: resampling and gray levels.

    Raises:
        SkipPatient: ``radiomics_undefined`` when no two voxels of the lesion touch, or there are too many gray levels;
            ``embedding_nonfinite`` when a feature is not a finite number, naming it.
    """
    region = prepare(voxels, mask, spacing_mm, settings)
    found = np.concatenate([shape_features(region.mask, region.spacing_mm), channel_features(region, settings)])
    return require_finite(found, feature_names(settings))


def channel_features(region: Region, settings: RadiomicsSettings) -> Float64[np.ndarray, " feature"]:
    """The features of `CHANNEL_NAMES`, those that depend on the intensities."""
    values = region.voxels[region.mask]
    levels = np.zeros(region.mask.shape, np.int64)
    levels[region.mask] = discretize(values, settings)
    lesion = lay_out(levels, settings.dimensions)
    if not lesion.has_neighbors():
        raise SkipPatient("radiomics_undefined", f"no two of the lesion's {len(values)} voxels touch; texture needs pairs")
    texture = texture_features(lesion, merged=settings.merged)
    return np.concatenate([intensity_features(values), histogram_features(levels[region.mask]), texture])


def discretize(values: Float64[np.ndarray, " voxel"], settings: RadiomicsSettings) -> Int64[np.ndarray, " voxel"]:
    """Gray levels from 1 (IBSI section 2.7); equal values are all of level 1.

    >>> discretize(np.array([0.0, 5.0, 10.0]), RadiomicsSettings(bin_count=4)).tolist()
    [1, 3, 4]
    """
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise SkipPatient("embedding_nonfinite", "the lesion's intensities hold NaN or infinity")
    if settings.bin_count is not None:
        width = (high - low) / settings.bin_count or 1.0
        return np.minimum(np.floor((values - low) / width) + 1, settings.bin_count).astype(np.int64)
    width = settings.bin_width or 1.0
    if (high - low) / width >= _MAX_LEVELS:
        message = f"bin_width {width:g} makes more than {_MAX_LEVELS} gray levels of {low:g} to {high:g}"
        raise SkipPatient("radiomics_undefined", message, remedy="choose a larger bin_width, or a bin_count")
    return (np.floor((values - low) / width) + 1).astype(np.int64)


def prepare(
    voxels: Volume, mask: Mask, spacing_mm: tuple[float, float, float], settings: RadiomicsSettings
) -> Region:
    """Cut the lesion out and resample it.

    The new grid has its center in that of the lesion's box, so it moves with the lesion. Interpolation is linear; a
    new voxel is lesion where at least half of it is. Voxels outside the lesion matter only where they are interpolated
    with its outermost ones.

    Raises:
        SkipPatient: ``radiomics_undefined`` when nothing of the lesion is left on the new grid.
    """
    box = find_objects(np.pad(mask, 1).astype(np.int8))[0]
    around = tuple(slice(part.start - 1, part.stop + 1) for part in box)
    cut_voxels = np.pad(voxels.astype(np.float64), 1, mode="edge")[around]
    cut_mask = np.pad(mask, 1)[around]
    if settings.resample_mm is None:
        return Region(cut_voxels, cut_mask, spacing_mm)
    side = settings.resample_mm
    new_mm = (side if settings.dimensions == 3 else spacing_mm[0], side, side)
    steps = np.array(new_mm) / np.array(spacing_mm)
    shape = tuple(int(np.ceil(n / step)) for n, step in zip(cut_mask.shape, steps, strict=True))
    offset = (np.array(cut_mask.shape) - 1) / 2 - steps * (np.array(shape) - 1) / 2
    inside = affine_transform(cut_mask.astype(np.float64), steps, offset, shape, order=1, mode="nearest") >= _HALF
    if not inside.any():
        message = f"nothing is left of the lesion's {int(mask.sum())} voxels at {side:g} mm"
        raise SkipPatient("radiomics_undefined", message, remedy="resample to smaller voxels, or not at all")
    signal = affine_transform(cut_voxels, steps, offset, shape, order=1, mode="nearest")
    return Region(signal, inside, new_mm)


def require_finite(found: Float64[np.ndarray, " feature"], names: tuple[str, ...]) -> Float32[np.ndarray, " feature"]:
    """The features as the store keeps them.

    Raises:
        SkipPatient: ``embedding_nonfinite`` with the names of the features that are not finite.
    """
    with np.errstate(over="ignore"):
        stored = found.astype(np.float32)
    odd = [name for name, value in zip(names, stored, strict=True) if not np.isfinite(value)]
    if odd:
        raise SkipPatient("embedding_nonfinite", f"radiomics: {', '.join(odd[:5])} is not a finite number")
    return stored
