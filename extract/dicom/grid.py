"""Put the images of an exam into a full grid of positions and phases, by their own geometry.

Geometry: DICOM PS3.3 section C.7.6.2. A position that lacks an image, or has one too many, is named.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from extract.dicom.frames import SAME_DIRECTION, Frame, Series
from extract.dicom.phases import on_one_clock, phase_times, split_phases
from extract.image import Affine, Grid, check_grid
from triher.errors import SkipPatient

_SAME_MM = 0.02  # positions are written with three decimals or more; slices are 0.1 mm apart at least
_EVEN = 0.05  # of the spacing, by which distances of slices may differ
_GAP = 1.5  # of the spacing, above which a slice is missing
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

ReadStored = Callable[[Frame], np.ndarray]


@dataclass(frozen=True)
class Arranged:
    """The images of an exam in order."""

    phases: tuple[tuple[Frame, ...], ...]
    """``[phase][slice]``, slices along the cross product of row and column direction."""
    grid: Grid
    """Axes (column, row, slice)."""
    times_s: tuple[float, ...]
    """Seconds from injection to each phase; empty where not known."""
    notes: tuple[tuple[str, str], ...]


def arrange(chosen: Mapping[Series, Sequence[Frame]], read_stored: ReadStored, where: str) -> Arranged:
    """Order images by position and phase.

    Args:
        chosen: the series of the exam, in the order of time where it is known.
        read_stored: reads the pixels of an image, to compare those that claim one place and moment.
        where: the folder, for messages.

    Raises:
        SkipPatient: ``dicom_geometry``, ``series_mixed``, ``slice_matrix``, ``slice_duplicate``, ``slice_missing``,
            ``series_not_a_grid``, and those of `extract.image.check_grid`.
    """
    frames = on_one_clock([frame for members in chosen.values() for frame in members])
    _require_geometry(frames)
    _require_one_plane(frames, where)
    columns, repeated = _drop_copies(_by_position(frames), read_stored)
    phases = split_phases(columns, where)
    grid = check_grid(
        (frames[0].storage.cols, frames[0].storage.rows, len(columns)), _affine(phases[0], where), where
    )
    times_s, notes = phase_times(phases)
    if repeated:
        notes.append(("slice_repeated", f"{repeated} images are copies of others; left out"))
    return Arranged(tuple(map(tuple, phases)), grid, times_s, tuple(notes))


def _require_geometry(frames: Sequence[Frame]) -> None:
    """Refuse images that do not say where they lie."""
    for frame in frames:
        stated = {
            "ImagePositionPatient": frame.position,
            "ImageOrientationPatient": frame.orientation,
            "PixelSpacing": frame.pixel_spacing,
        }
        absent = [name for name, value in stated.items() if value is None]
        if absent:
            raise SkipPatient("dicom_geometry", f"{frame.storage.path} has no usable {' and no '.join(absent)}")


def _require_one_plane(frames: Sequence[Frame], where: str) -> None:
    """Refuse images of several orientations or matrices."""
    first = frames[0]
    for frame in frames[1:]:
        if np.abs(_cosines(frame) - _cosines(first)).max() > SAME_DIRECTION:
            message = f"{where}: {frame.storage.path} lies in another plane than {first.storage.path}"
            raise SkipPatient("series_mixed", message)
        if _matrix(frame) != _matrix(first):
            message = f"{frame.storage.path} has {_in_words(frame)}, but {first.storage.path} has {_in_words(first)}"
            raise SkipPatient("slice_matrix", message)


def _matrix(frame: Frame) -> tuple[object, ...]:
    """Rows, columns and the size of a pixel."""
    return (frame.storage.rows, frame.storage.cols, *(round(s, 4) for s in frame.pixel_spacing or ()))


def _in_words(frame: Frame) -> str:
    """The matrix for a message."""
    spacing = " x ".join(f"{s:g}" for s in frame.pixel_spacing or ())
    return f"{frame.storage.rows} x {frame.storage.cols} pixels of {spacing} mm"


def _cosines(frame: Frame) -> Float64[np.ndarray, "2 3"]:
    """Direction of growing column number, and of growing row number."""
    return np.array(frame.orientation, np.float64).reshape(2, 3)


def _normal(frame: Frame) -> Float64[np.ndarray, "3"]:
    """The direction in which slices are counted."""
    return np.cross(*_cosines(frame))


def _by_position(frames: Sequence[Frame]) -> list[list[Frame]]:
    """The images of each position, positions along the normal."""
    distances = np.array([frame.position for frame in frames]) @ _normal(frames[0])
    order = np.argsort(distances, kind="stable")
    starts = np.flatnonzero(np.diff(distances[order]) > _SAME_MM) + 1
    return [[frames[i] for i in part] for part in np.split(order, starts)]


def _drop_copies(columns: list[list[Frame]], read_stored: ReadStored) -> tuple[list[list[Frame]], int]:
    """Keep one of the images that claim one place and moment and have equal pixels."""
    kept = [_without_copies(column, read_stored) for column in columns]
    n_moments = [len(set(map(_moment, column))) for column in columns]
    if len({*map(len, kept)}) > 1:
        for column, n in zip(kept, n_moments, strict=True):
            if len(column) > n:
                raise _different(column)
    return kept, sum(map(len, columns)) - sum(map(len, kept))


def _without_copies(column: list[Frame], read_stored: ReadStored) -> list[Frame]:
    """The images of a position; of those with one moment and equal pixels the first."""
    moments = Counter(map(_moment, column))
    first: dict[tuple[object, ...], Frame] = {}
    for frame in column:
        moment = _moment(frame)
        first.setdefault((*moment, _digest(read_stored(frame)) if moments[moment] > 1 else b""), frame)
    return list(first.values())


def _different(column: Sequence[Frame]) -> SkipPatient:
    """Name two images that cannot both be right."""
    moments = Counter(map(_moment, column))
    one, other, *_ = (frame for frame in column if moments[_moment(frame)] > 1)
    message = f"{one.storage.path} and {other.storage.path} have one position and one time, and different pixels"
    return SkipPatient("slice_duplicate", message)


def _moment(frame: Frame) -> tuple[object, ...]:
    """All that says when an image was taken."""
    times = (frame.temporal_position, frame.trigger_s, frame.acquisition_s, frame.content_s, frame.acquisition_number)
    return (frame.series.uid, *times)


def _digest(stored: np.ndarray) -> bytes:
    """A hash of stored pixels."""
    return hashlib.sha256(stored.tobytes()).digest()


def _affine(slices: Sequence[Frame], where: str) -> Affine:
    """From (column, row, slice) to RAS millimeters; refuse slices that lack one or do not lie evenly."""
    positions = np.array([frame.position for frame in slices])
    first = slices[0]
    if len(slices) == 1:
        message = f"{where} holds one slice ({first.storage.path}); a volume was expected"
        raise SkipPatient("image_not_3d", message)
    along = positions @ _normal(first)
    distances = np.diff(along)
    spacing = float(np.median(distances))
    wide = np.flatnonzero(distances > _GAP * spacing)
    if len(wide):
        low, high = along[wide[0]], along[wide[0] + 1]
        text = (
            f"{where}: no slice between {low:.2f} and {high:.2f} mm along the normal, where slices are {spacing:.2f}"
        )
        raise SkipPatient("slice_missing", f"{text} mm apart ({len(wide)} gaps)")
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    expected = positions[0] + np.arange(len(slices))[:, None] * step
    apart = float(np.abs(positions - expected).max())
    if apart > max(_SAME_MM, _EVEN * spacing):
        message = f"{where}: the slices do not lie evenly on one line (up to {apart:.2f} mm beside it)"
        raise SkipPatient("dicom_geometry", message)
    return ras_affine(_cosines(first), first.pixel_spacing or (0.0, 0.0), step, positions[0])


def ras_affine(
    cosines: Float64[np.ndarray, "2 3"],
    pixel_spacing: Sequence[float],
    step: Float64[np.ndarray, "3"],
    origin: Float64[np.ndarray, "3"],
) -> Affine:
    """From (column, row, slice) to RAS millimeters.

    Args:
        cosines: direction of growing column number, and of growing row number, in LPS.
        pixel_spacing: distance of rows, distance of columns in mm.
        step: from one slice to the next, in LPS millimeters.
        origin: center of the first voxel, in LPS millimeters.
    """
    (along_row, along_column), (row_mm, column_mm) = cosines, pixel_spacing
    lps = np.eye(4)
    lps[:3] = np.stack([along_row * column_mm, along_column * row_mm, step, origin], axis=1)
    return _TO_RAS @ lps
