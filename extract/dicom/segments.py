"""Read a DICOM segmentation as a mask: DICOM PS3.3 A.51 and C.8.20, as 3D Slicer, OHIF and highdicom write it.

Only slices with any of the segment are stored, so each frame is put where its position says.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from extract.dicom.elements import EndOfData, NotDicom
from extract.dicom.frames import SAME_DIRECTION
from extract.dicom.grid import ras_affine
from extract.dicom.headers import read_header
from extract.dicom.pixels import DAMAGE, decoding_plugin
from extract.dicom.values import hashed_id, require_patient
from extract.image import Grid, Image, canonical_image, check_grid
from triher.errors import SkipPatient

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes: Segmentation and Label Map Segmentation (PS3.6 table A-1)."""
_EVEN = 0.05  # of the spacing, by which a frame may lie beside its slice
_HALF = 0.5  # of the largest value of a fractional segment


@dataclass(frozen=True)
class _Placed:
    """A frame of the file."""

    index: int
    segment: int
    """Number of the segment; 0 in a label map, whose values are numbers of segments."""
    place: int
    """Slice of the grid."""


@dataclass(frozen=True)
class SegmentationSource:
    """A DICOM segmentation, known from its header; its values are numbers of segments, 0 outside."""

    path: Path
    grid: Grid
    """Axes (column, row, slice), from the first to the last slice that is stored."""
    frames: tuple[_Placed, ...]
    notes: tuple[tuple[str, str], ...]

    @property
    def n_volumes(self) -> int:
        """One, whatever the number of segments."""
        return 1

    @property
    def times_s(self) -> tuple[float, ...]:
        """A segmentation has none."""
        return ()

    def read(self, volumes: Sequence[int]) -> list[Image]:
        """The segments in one volume; where they overlap, the highest number stands.

        Raises:
            SkipPatient: ``image_corrupt`` or ``file_unreadable``.
        """
        from pydicom import dcmread
        from pydicom.pixels.utils import pixel_array

        try:
            header = dcmread(self.path)
            plugin = decoding_plugin(str(header.file_meta.TransferSyntaxUID))
            pixels = pixel_array(header, raw=True, decoding_plugin=plugin).reshape(-1, header.Rows, header.Columns)
        except (OSError, *DAMAGE) as error:
            raise SkipPatient("image_corrupt", f"{self.path}: its pixels cannot be decoded: {error}") from error
        least = _HALF * float(header.get("MaximumFractionalValue", 1) or 1)
        stored = np.zeros(self.grid.shape, np.int32)
        for frame in self.frames:
            values = pixels[frame.index].T
            found = np.where(values >= least, frame.segment, 0) if frame.segment else values
            stored[..., frame.place] = np.maximum(stored[..., frame.place], found)
        return [canonical_image(stored, self.grid.affine, str(self.path)) for _ in volumes]


def find_segmentations(files: Sequence[Path]) -> list[Path]:
    """The DICOM segmentations among some files.

    Raises:
        SkipPatient: ``file_unreadable``.
    """
    found = []
    for path in files:
        try:
            content = read_header(path)
        except (NotDicom, EndOfData):
            continue
        if content.sop_class in SEGMENTATIONS:
            found.append(path)
    return found


def open_segmentation(path: Path, header_id: str = "") -> SegmentationSource:
    """Read the header of a segmentation.

    Args:
        path: the file.
        header_id: PatientID that it must carry, if it carries any; any one if empty.

    Raises:
        SkipPatient: ``dicom_geometry`` when its frames do not lie on one grid, ``mask_empty`` when it has none,
            ``patient_mismatch``, ``image_unreadable``, and those of `extract.image.check_grid`.
    """
    from pydicom import dcmread

    try:
        header = dcmread(path, stop_before_pixels=True)
        frames = list(_stated(header))
        shape = (int(header.Columns), int(header.Rows))
    except (OSError, *DAMAGE) as error:
        raise SkipPatient("image_unreadable", f"{path}: this segmentation cannot be used: {error}") from error
    require_patient([hashed_id(str(header.get("PatientID", "")))], header_id, path)
    if not frames:
        raise SkipPatient("mask_empty", f"{path}: the segmentation has no frame")
    places, spacing_mm = _places(frames, header, path)
    first = frames[int(np.argmin(places))]
    step = np.cross(*first.cosines) * spacing_mm
    affine = ras_affine(first.cosines, first.pixel_spacing, step, first.position)
    grid = check_grid((*shape, max(2, int(places.max()) + 1)), affine, str(path))
    placed = (_Placed(k, frame.segment, int(places[k])) for k, frame in enumerate(frames))
    return SegmentationSource(path, grid, tuple(placed), ())


@dataclass(frozen=True)
class _Stated:
    """What the header says of a frame."""

    segment: int
    position: Float64[np.ndarray, "3"]
    cosines: Float64[np.ndarray, "2 3"]
    pixel_spacing: tuple[float, float]


def _stated(header: Any) -> Iterator[_Stated]:  # noqa: ANN401 - pydicom has no types
    """Segment and geometry of every frame; groups that all frames share stand once."""
    (shared,) = header.SharedFunctionalGroupsSequence
    for own in header.PerFrameFunctionalGroupsSequence:
        position = _group(own, shared, "PlanePositionSequence").ImagePositionPatient
        orientation = _group(own, shared, "PlaneOrientationSequence").ImageOrientationPatient
        row_mm, column_mm = _group(own, shared, "PixelMeasuresSequence").PixelSpacing
        is_map = header.get("SegmentationType", "BINARY") == "LABELMAP"
        segment = 0 if is_map else _group(own, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber
        cosines = np.array(orientation, np.float64).reshape(2, 3)
        yield _Stated(int(segment), np.array(position, np.float64), cosines, (float(row_mm), float(column_mm)))


def _group(own: Any, shared: Any, name: str) -> Any:  # noqa: ANN401 - pydicom has no types
    """The one item of a functional group, of the frame or shared."""
    return (own if name in own else shared)[name].value[0]


def _places(frames: Sequence[_Stated], header: Any, path: Path) -> tuple[np.ndarray, float]:  # noqa: ANN401
    """Slice of each frame, and the distance of slices: as stated, else the least that there is."""
    first = frames[0]
    if any(np.abs(frame.cosines - first.cosines).max() > SAME_DIRECTION for frame in frames):
        raise SkipPatient("dicom_geometry", f"{path}: the frames of the segmentation lie in several planes")
    along = np.array([frame.position for frame in frames]) @ np.cross(*first.cosines)
    measures = header.SharedFunctionalGroupsSequence[0].get("PixelMeasuresSequence", [{}])[0]
    gaps = [b - a for a, b in pairwise(sorted(set(np.round(along, 3).tolist())))]
    nearest = min(gaps, default=float(measures.get("SliceThickness") or 1.0))
    spacing_mm = float(measures.get("SpacingBetweenSlices") or nearest)
    places = (along - along.min()) / spacing_mm
    if np.abs(places - np.rint(places)).max() > _EVEN:
        message = f"{path}: the frames of the segmentation do not lie {spacing_mm:g} mm apart, as stated"
        raise SkipPatient("dicom_geometry", message)
    return np.rint(places).astype(int), spacing_mm
