"""Radiomics in the place of an encoder: the lesion of a slab becomes one row of features a view."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64

from extract.cache import Slab
from extract.fusion import Fusion
from extract.radiomics.features import channel_features, channel_names, radiomics_features, require_finite
from extract.radiomics.region import prepare
from extract.radiomics.settings import RadiomicsSettings
from extract.radiomics.shape import SHAPE_NAMES, shape_features
from triher.types import Mask, Volume

PROBE_SPACING_MM = (2.0, 0.75, 0.9)
_PROBE_SHAPE = (9, 15, 13)
_PROBE_UNIT = 1e-3


def embed_slab(
    slab: Slab, fusions: Sequence[Fusion], settings: RadiomicsSettings
) -> dict[str, Float32[np.ndarray, "1 feature"]]:
    """The features of the lesion as a whole in each view, named by `view_names`.

    Raises:
        SkipPatient: as `extract.radiomics.features.radiomics_features`.
    """
    shape = _shape(slab, settings)
    channels = dict.fromkeys(channel for fusion in fusions for channel in fusion.channels)
    known = {channel: _channel(slab, channel, settings) for channel in channels}
    views = {}
    for fusion in fusions:
        found = np.concatenate([shape, *(known[channel] for channel in _distinct(fusion))])
        views[fusion.name] = require_finite(found, view_names(fusion, settings))[None]
    return views


def view_names(fusion: Fusion, settings: RadiomicsSettings) -> tuple[str, ...]:
    """The names of a view's features: shape once, then each distinct channel, such as ``early-pre:glcm_contrast``."""
    labels = ["-".join(part for part in channel if part) for channel in _distinct(fusion)]
    return (*SHAPE_NAMES, *(f"{label}:{name}" for label in labels for name in channel_names(settings)))


def probe(settings: RadiomicsSettings) -> Float32[np.ndarray, "1 feature"]:
    """The features of a fixed synthetic lesion, on a scale on which the store sees drift.

    The store compares probes by their largest value, and features differ by orders of magnitude, so the inverse
    hyperbolic sine is taken: about the logarithm above 0.001. A change of a few percent in any feature shows.
    """
    voxels, mask = probe_lesion()
    found = radiomics_features(voxels, mask, PROBE_SPACING_MM, settings)
    return np.arcsinh(found / _PROBE_UNIT)[None].astype(np.float32)


def probe_lesion() -> tuple[Volume, Mask]:
    """The lesion of the probe; whole numbers from whole numbers, so that no generator decides about them."""
    position = np.indices(_PROBE_SHAPE)
    center = (np.array(_PROBE_SHAPE) - 1) / 2
    radius = np.array([part - c for part, c in zip(position, center, strict=True)])
    mask = ((radius / (center - 1)[:, None, None, None]) ** 2).sum(axis=0) <= 1
    slices, rows, cols = position
    return (17 * slices + 5 * rows**2 + 3 * rows * cols + 11 * cols) % 41, mask


def _shape(slab: Slab, settings: RadiomicsSettings) -> Float64[np.ndarray, " feature"]:
    """The shape features, which all channels share."""
    region = prepare(slab.voxels[0], slab.mask, slab.spacing_mm, settings)
    return shape_features(region.mask, region.spacing_mm)


def _channel(slab: Slab, channel: tuple[str, str], settings: RadiomicsSettings) -> Float64[np.ndarray, " feature"]:
    """The features of a phase, or of the difference of two."""
    return channel_features(prepare(_voxels(slab, channel), slab.mask, slab.spacing_mm, settings), settings)


def _voxels(slab: Slab, channel: tuple[str, str]) -> Volume:
    """A phase, or the difference of two, in units of the scanner."""
    phase, subtracted = channel
    voxels = slab.voxels[slab.phases.index(phase)].astype(np.float64)
    return voxels - slab.voxels[slab.phases.index(subtracted)] if subtracted else voxels


def _distinct(fusion: Fusion) -> tuple[tuple[str, str], ...]:
    """The channels of a fusion, each once, in their order."""
    return tuple(dict.fromkeys(fusion.channels))
