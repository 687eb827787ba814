"""Bring an image onto the grid of another one, in world coordinates."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64
from scipy.ndimage import affine_transform

from extract.image import Image

SAME_MM = 1e-2  # headers written by different tools differ by rounding
_PROBES = 32  # points along each axis at which overlap is looked at, in the middle of equal parts


def apart_mm(image: Image, target: Image) -> float:
    """The largest distance between corresponding corners of two images of one shape."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in target.voxels.shape])).reshape(3, -1)
    homogeneous = np.vstack([corners, np.ones(corners.shape[1])])
    return float(np.abs((image.affine - target.affine) @ homogeneous).max())


def overlap(image: Image, target: Image) -> float:
    """The share of the target's field of view, 0 to 1, that the image covers."""
    axes = [(np.arange(_PROBES) + 0.5) * n / _PROBES - 0.5 for n in target.voxels.shape]
    points = np.stack([axis.reshape(-1) for axis in np.meshgrid(*axes, indexing="ij")])
    to_image = _index_map(image, target)
    inside = to_image[:3, :3] @ points + to_image[:3, 3:]
    limits = np.array(image.voxels.shape)[:, None]
    return float(np.all((inside > -0.5) & (inside < limits - 0.5), axis=0).mean())


def resample(image: Image, target: Image, *, is_mask: bool) -> Image:
    """The image on the target's grid: linear for signal (its edge continued outside), nearest for masks (0 outside).

    Whole numbers stay whole numbers.
    """
    to_image = _index_map(image, target)
    voxels = affine_transform(
        image.voxels if is_mask else image.voxels.astype(np.float32),
        to_image[:3, :3],
        to_image[:3, 3],
        output_shape=target.voxels.shape,
        order=0 if is_mask else 1,
        # "constant" would lose the outermost voxels to rounding.
        mode="grid-constant" if is_mask else "nearest",
    )
    if image.voxels.dtype.kind != "f":
        voxels = np.rint(voxels).astype(image.voxels.dtype)
    return replace(image, voxels=voxels, affine=target.affine, plane=target.plane)


def _index_map(image: Image, target: Image) -> Float64[np.ndarray, "4 4"]:
    """From the target's voxel indices to the image's."""
    return np.linalg.inv(image.affine) @ target.affine
