"""Read a DICOM exam by its own geometry: classic and enhanced images, one series for all phases or one for each.

ITK stacks phases into one volume and reads on over missing slices; it is not used here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extract.dicom.frames import Frame
from extract.dicom.grid import Arranged, arrange
from extract.dicom.headers import scan_dicom
from extract.dicom.pixels import check_storage, read_stored
from extract.dicom.series import choose_series
from extract.dicom.values import require_patient
from extract.image import Grid, Image, canonical_image

_EXACT_BITS = 24  # whole numbers of so many bits are exact in float32


@dataclass(frozen=True)
class DicomSource:
    """A DICOM exam, known from its headers."""

    path: Path
    arranged: Arranged
    notes: tuple[tuple[str, str], ...]

    @property
    def grid(self) -> Grid:
        """Where the voxels of every phase lie: axes (column, row, slice)."""
        return self.arranged.grid

    @property
    def n_volumes(self) -> int:
        """How many phases there are."""
        return len(self.arranged.phases)

    @property
    def times_s(self) -> tuple[float, ...]:
        """Seconds from contrast injection to each phase."""
        return self.arranged.times_s

    def read(self, volumes: Sequence[int]) -> list[Image]:
        """The phases with these positions in time, each file opened once.

        Raises:
            SkipPatient: ``file_unreadable``, ``pixeldata_short``, ``image_corrupt`` or ``image_nonfinite``.
        """
        distinct = list(dict.fromkeys(volumes))
        wanted = [frame for k in distinct for frame in self.arranged.phases[k]]
        stack = np.empty((len(wanted), *self.grid.shape[1::-1]), _dtype(wanted))
        places = {(frame.storage.path, frame.index): place for place, frame in enumerate(wanted)}
        for frame, stored in read_stored(wanted):
            place = places[frame.storage.path, frame.index]
            stack[place] = stored if _is_as_stored(frame) else stored * np.float64(frame.slope) + frame.intercept
        remarks = () if all(map(_is_as_stored, wanted)) else (("image_scaled", _scaling(wanted)),)
        phases = dict(zip(distinct, np.split(stack, len(distinct)), strict=True))
        return [
            canonical_image(phases[k].transpose(2, 1, 0), self.grid.affine, str(self.path), remarks) for k in volumes
        ]


def open_dicom(path: Path, series: str = "", header_id: str = "") -> DicomSource:
    """Read the headers of a file, or of all files below a folder, and find the phases of the exam in them.

    Args:
        path: the file or folder.
        series: which series, see `extract.dicom.series.choose_series`.
        header_id: PatientID that the headers must carry, if they carry any; any one if empty.

    Raises:
        SkipPatient: ``patient_mismatch``, and those of `extract.dicom.headers.scan_dicom`,
            `extract.dicom.series.choose_series`, `extract.dicom.grid.arrange` and
            `extract.dicom.pixels.check_storage`.
    """
    frames, notes = scan_dicom(path)
    require_patient((frame.series.patient for frame in frames), header_id, path)
    chosen, remarks = choose_series(frames, series, str(path))
    for storage in dict.fromkeys(frame.storage for members in chosen.values() for frame in members):
        check_storage(storage)
    arranged = arrange(chosen, lambda frame: next(read_stored([frame]))[1], str(path))
    return DicomSource(path, arranged, (*notes, *remarks, *arranged.notes))


def _is_as_stored(frame: Frame) -> bool:
    """Whether the values need no rescaling."""
    return frame.slope == 1 and frame.intercept == 0


def _dtype(frames: Sequence[Frame]) -> np.dtype:
    """A type that holds the values of all images: as stored, or real numbers where any is rescaled."""
    kinds = {(frame.storage.is_signed, frame.storage.bits_allocated) for frame in frames}
    stored = np.result_type(*(np.dtype(f"{'i' if signed else 'u'}{bits // 8}") for signed, bits in kinds))
    if all(map(_is_as_stored, frames)):
        return stored
    return np.dtype(np.float64 if max(bits for _, bits in kinds) > _EXACT_BITS else np.float32)


def _scaling(frames: Sequence[Frame]) -> str:
    """The slopes and intercepts in words."""
    slopes, intercepts = ({getattr(frame, name) for frame in frames} for name in ("slope", "intercept"))
    parts = (
        f"{name} {min(found):g}" + (f" to {max(found):g}" if len(found) > 1 else "")
        for name, found in (("slope", slopes), ("intercept", intercepts))
    )
    return f"scaled slice by slice by {' and '.join(parts)}"
