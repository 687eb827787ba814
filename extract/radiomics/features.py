"""Radiomics of one lesion in one channel: shape, first-order and texture features after IBSI.

The definitions are those of the image biomarker standardisation initiative (IBSI 1: Zwanenburg et al. 2020, Radiology
295:328, doi 10.1148/radiol.2020191145; manual arXiv 1612.07003v11). The tests hold every feature against the
reference values of its digital phantom and against MIRP's. They are written out here because no library would do:
PyRadiomics does not build for the Python versions that we support, MIRP (EUPL) demands pandas 3 and ITK, Z-Rad pulls
in a GPL toolkit, Pictologics needs Python 3.12, and Nyxus reads images in three dimensions from files alone.
"""

import numpy as np
from jaxtyping import Float32, Float64

from extract.radiomics.intensity import HISTOGRAM_NAMES, INTENSITY_NAMES, histogram_features, intensity_features
from extract.radiomics.neighbors import lay_out
from extract.radiomics.region import Region, discretize, filtered, prepare
from extract.radiomics.settings import ORIGINAL, RadiomicsSettings
from extract.radiomics.shape import SHAPE_NAMES, shape_features
from extract.radiomics.texture import TEXTURE_NAMES, texture_features
from triher.errors import SkipPatient
from triher.types import Mask, Volume

_NAMES = (*INTENSITY_NAMES, *HISTOGRAM_NAMES, *TEXTURE_NAMES)


def feature_names(settings: RadiomicsSettings) -> tuple[str, ...]:
    """The names of the features, in their order: shape, then what depends on the channel.

    >>> names = feature_names(RadiomicsSettings())
    >>> len(names), names[4], names[35]
    (110, 'shape_sphericity', 'glcm_joint_maximum')
    """
    return (*SHAPE_NAMES, *channel_names(settings))


def channel_names(settings: RadiomicsSettings) -> tuple[str, ...]:
    """The names of the features that depend on the channel; those of a filtered image carry the filter's name."""
    return tuple(name if kind == ORIGINAL else f"{kind}_{name}" for kind in settings.filters for name in _NAMES)


def radiomics_features(
    voxels: Volume, mask: Mask, spacing_mm: tuple[float, float, float], settings: RadiomicsSettings
) -> Float32[np.ndarray, " feature"]:
    """The features of a lesion in one channel, named by `feature_names`.

    Args:
        voxels: [slice, row, col] in units of the scanner, or the difference of two phases.
        mask: the lesion.
        spacing_mm: of (slice, row, col).
        settings: resampling, filters and gray levels.

    Raises:
        SkipPatient: ``mask_empty``; ``radiomics_undefined`` when no two voxels of the lesion touch, or there are too
            many gray levels; ``embedding_nonfinite`` when a feature is not a finite number, naming it.
    """
    region = prepare(voxels, mask, spacing_mm, settings)
    found = np.concatenate([shape_features(region.mask, region.spacing_mm), channel_features(region, settings)])
    return require_finite(found, feature_names(settings))


def channel_features(region: Region, settings: RadiomicsSettings) -> Float64[np.ndarray, " feature"]:
    """The features of `channel_names`, in their order.

    Raises:
        SkipPatient: as `radiomics_features`.
    """
    return np.concatenate(
        [_of_image(region.mask, filtered(region, kind, settings), settings) for kind in settings.filters]
    )


def _of_image(
    mask: Mask, image: Float64[np.ndarray, "slice row col"], settings: RadiomicsSettings
) -> Float64[np.ndarray, " feature"]:
    """First-order and texture features of one filtered image."""
    values = image[mask]
    levels = np.zeros(mask.shape, np.int64)
    levels[mask] = discretize(values, settings)
    lesion = lay_out(levels, settings.dimensions)
    if not lesion.has_neighbors():
        message = f"no two of the lesion's voxels touch ({len(values)} after resampling), so it has no texture"
        raise SkipPatient("radiomics_undefined", message)
    texture = texture_features(lesion, merged=settings.merged)
    return np.concatenate([intensity_features(values), histogram_features(levels[mask]), texture])


def require_finite(found: Float64[np.ndarray, " feature"], names: tuple[str, ...]) -> Float32[np.ndarray, " feature"]:
    """The features as the store keeps them.

    Raises:
        SkipPatient: ``embedding_nonfinite`` with the names of the features that are not finite.
    """
    with np.errstate(over="ignore"):
        stored = found.astype(np.float32)
    odd = [name for name, value in zip(names, stored, strict=True) if not np.isfinite(value)]
    if odd:
        listed = ", ".join(odd[:5]) + (", ..." if len(odd) > 5 else "")
        raise SkipPatient("embedding_nonfinite", f"radiomics: not a finite number: {listed}")
    return stored
