"""What the headers of NRRD and MetaImage files say, in one form for both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from extract.formats.voxel_bytes import Layout, Packing
from extract.image import Affine
from triher.errors import SkipPatient

AT_END = -1
_MAX_AXES = 16  # NRRD_DIM_MAX of teem, the reference library


@dataclass(frozen=True)
class ItkHeader:
    """Where the voxels are, and how they lie in the patient."""

    layout: Layout
    packing: Packing
    data_file: str
    """Name of the file of voxels beside the header; empty where they follow it."""
    data_start: int
    """Where in their file the stored bytes begin, or `AT_END` where they are the last ones."""
    affine: Affine | None
    """(i, j, k) to RAS millimeters; none where the header does not say how the axes lie in the patient."""
    spacing_mm: tuple[float, ...]
    """Along (i, j, k); empty where not stated."""
    was_squeezed: bool
    """Whether axes of length 1 were dropped."""


def not_readable(path: Path, why: str) -> SkipPatient:
    """A file that is not what its name says; `why` must hold no text of the header, which may name the patient."""
    return SkipPatient("image_unreadable", f"{path}: {why}", remedy="export the image again, or convert it to NIfTI")


def arrange(sizes: Sequence[int], further: Sequence[int], path: Path) -> tuple[tuple[int, ...], int | None]:
    """Drop axes of length 1 that are no axes of space, and find the axis of time.

    Args:
        sizes: of all axes, as stored.
        further: positions of the axes that are no axes of space.
        path: the header, for messages.

    Returns:
        The remaining sizes, and which of them counts volumes.

    Raises:
        SkipPatient: ``image_4d`` when there are several, ``image_unreadable`` when the sizes are impossible.
    """
    if not 0 < len(sizes) <= _MAX_AXES or min(sizes) < 1:
        raise not_readable(path, f"the header claims {list(sizes)} voxels")
    kept = [axis for axis in range(len(sizes)) if axis not in further or sizes[axis] > 1]
    times = [axis for axis in kept if axis in further]
    if len(times) > 1:
        raise SkipPatient("image_4d", f"{path} has the shape {list(sizes)}; one axis of time was expected at most")
    return tuple(sizes[axis] for axis in kept), kept.index(times[0]) if times else None


def beside(path: Path, name: str) -> Path:
    """The file of voxels that a header names.

    Raises:
        SkipPatient: ``image_parts`` unless it is one file in or below the folder of the header.
    """
    parts = PurePosixPath(name.replace("\\", "/"))
    is_list = name.split()[:1] == ["LIST"] or "%" in name
    if is_list or parts.is_absolute() or ".." in parts.parts or ":" in name or "\0" in name:
        raise SkipPatient("image_parts", f"{path} names voxels in several files or in another folder")
    return path.parent / parts
