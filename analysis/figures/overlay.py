"""Pictures of slices for people: gray image, lesion outline and heat map, as PNG."""

import io

import matplotlib as mpl
import numpy as np
from jaxtyping import Bool, Float, Real, UInt8
from PIL import Image
from scipy.ndimage import binary_erosion

Gray = UInt8[np.ndarray, "row col"]
Color = UInt8[np.ndarray, "row col 3"]

_OUTLINE = (64, 224, 208)
_HEAT = "inferno"
_MOST_HEAT = 0.65  # of the picture's light that the map may take at its hottest


def gray(voxels: Real[np.ndarray, "row col"], window: tuple[float, float]) -> Gray:
    """A slice in 256 grays between the ends of a window, so that phases shown in one window can be compared."""
    low, high = window
    return np.asarray(np.clip((voxels - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def with_heat(picture: Gray, heat: Float[np.ndarray, "row col"], hottest: float) -> Color:
    """Lay what speaks for a class over a picture; where nothing does, the picture stays as it is.

    Args:
        picture: the slice.
        heat: the map on its pixels; values below 0 are not shown.
        hottest: value that gets full color, the same for all slices of a patient.
    """
    strength = np.clip(heat / hottest, 0, 1) if hottest > 0 else np.zeros(heat.shape)
    colors = mpl.colormaps[_HEAT](strength)[..., :3] * 255
    share = (_MOST_HEAT * np.sqrt(strength))[..., None]
    return np.asarray((1 - share) * picture[..., None] + share * colors).astype(np.uint8)


def with_outline(picture: Gray | Color, mask: Bool[np.ndarray, "row col"]) -> Color:
    """Draw the edge of the lesion, a pixel wide, inside of it."""
    color = picture.copy() if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    color[mask & ~binary_erosion(mask)] = _OUTLINE
    return color


def enlarged(array: np.ndarray, factor: int) -> np.ndarray:
    """Repeat every pixel, so that outlines stay thin and voxels stay visible."""
    return array.repeat(factor, axis=0).repeat(factor, axis=1)


def png(picture: Gray | Color) -> bytes:
    """The picture as a PNG file without any metadata."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG", optimize=True)
    return stream.getvalue()
