"""Shape features of a lesion, in millimeters, after IBSI (arXiv 1612.07003v11, section 3.1).

Features that are functions of sphericity (compactness, asphericity, spherical disproportion) are left out, and so
are those of ellipsoids, which a lesion of one slice has none of.
"""

import numpy as np
from jaxtyping import Float64
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from skimage.measure import marching_cubes, mesh_surface_area

from triher.types import Mask

SHAPE_NAMES = tuple(
    f"shape_{name}"
    for name in (
        "mesh_volume_mm3",
        "voxel_volume_mm3",
        "surface_area_mm2",
        "surface_to_volume_per_mm",
        "sphericity",
        "maximum_diameter_mm",
        "major_axis_length_mm",
        "minor_axis_length_mm",
        "least_axis_length_mm",
        "elongation",
        "flatness",
        "box_volume_density",
        "box_area_density",
        "hull_volume_density",
        "hull_area_density",
    )
)


def shape_features(mask: Mask, spacing_mm: tuple[float, float, float]) -> Float64[np.ndarray, " feature"]:
    """All features of `SHAPE_NAMES`, in their order.

    Args:
        mask: [slice, row, col], with at least one voxel.
        spacing_mm: of (slice, row, col).
    """
    corners, triangles, _, _ = marching_cubes(np.pad(mask, 1).astype(np.float32), 0.5, spacing=spacing_mm)
    # Centered, so that a lesion's place does not change the rounding.
    corners = corners.astype(np.float64) - corners.mean(axis=0)
    area = float(mesh_surface_area(corners, triangles))
    a, b, c = (corners[triangles[:, n]] for n in range(3))
    volume = abs(float(np.einsum("ij,ij->", a, np.cross(b, c)))) / 6
    hull = ConvexHull(corners)
    box = np.ptp(corners, axis=0)
    box_area = 2 * (box[0] * box[1] + box[0] * box[2] + box[1] * box[2])
    return np.array(
        [
            volume,
            mask.sum() * np.prod(spacing_mm),
            area,
            area / volume,
            (36 * np.pi * volume**2) ** (1 / 3) / area,
            pdist(corners[hull.vertices]).max(),
            *_axes(mask, spacing_mm),
            volume / np.prod(box),
            area / box_area,
            volume / hull.volume,
            area / hull.area,
        ]
    )


def _axes(mask: Mask, spacing_mm: tuple[float, float, float]) -> list[float]:
    """Lengths of the principal axes, elongation and flatness; a single voxel counts as round."""
    points = np.argwhere(mask) * np.array(spacing_mm)
    variance = np.linalg.eigvalsh(np.cov(points.T)) if len(points) > 1 else np.zeros(3)
    # Rounding may bring the variance across a flat lesion below 0.
    least, minor, major = 4 * np.sqrt(np.clip(variance, 0, None))
    return [major, minor, least, minor / major if major > 0 else 1.0, least / major if major > 0 else 1.0]
