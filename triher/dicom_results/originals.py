"""The DICOM images behind one phase of a patient: their headers, and the way between their axes and ours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pydicom
from jaxtyping import Shaped
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from pydicom.dataset import Dataset

from extract.dicom.exam import DicomSource
from extract.dicom.frames import Frame
from extract.exam import Exam, Opened
from triher.errors import SkipPatient

# Attributes of patient and study that every object must have, if only empty (PS3.3 C.7.1.1 and C.7.2.1).
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_OF_ALL_FRAMES = ("PixelMeasuresSequence", "PlaneOrientationSequence")  # frames of one grid are alike in these


@dataclass(frozen=True)
class Originals:
    """The images of one phase, slice by slice."""

    frames: tuple[Frame, ...]
    """In the order of the third axis as stored."""
    source: DicomSource
    headers: dict[str, Dataset]
    """Path of a file -> its header, without pixels."""

    def header(self, position: int) -> Dataset:
        """Of the file that holds the slice at a position."""
        return self.headers[str(self.frames[position].storage.path)]

    def used(self, positions: Sequence[int]) -> list[Dataset]:
        """The headers of the files behind some slices, each once."""
        paths = dict.fromkeys(str(self.frames[position].storage.path) for position in positions)
        return [self.headers[path] for path in paths]


def originals_of(opened: Opened, phase: str) -> Originals:
    """Read the headers of the images behind a phase.

    Args:
        opened: as `extract.exam.open_phases` gives it.
        phase: a name of it.

    Raises:
        SkipPatient: ``dicom_origin`` when the phase is no DICOM, so that there is no series to lie next to;
            ``dicom_geometry`` when the images name no frame of reference.
    """
    source, volume = opened.phases[phase]
    if not isinstance(source, DicomSource):
        raise SkipPatient("dicom_origin", f"the images of phase '{phase}' are no DICOM, so no series can be named")
    frames = source.arranged.phases[volume]
    paths = dict.fromkeys(frame.storage.path for frame in frames)
    headers = {str(path): _completed(pydicom.dcmread(path, stop_before_pixels=True)) for path in paths}
    if not all("FrameOfReferenceUID" in header for header in headers.values()):
        raise SkipPatient("dicom_geometry", f"{source.path}: images without FrameOfReferenceUID")
    return Originals(frames, source, headers)


def _completed(header: Dataset) -> Dataset:
    """The header with what de-identification took out, left empty; of several frames, what they share said once."""
    for name in _MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
    if "PerFrameFunctionalGroupsSequence" in header:
        first, shared = header.PerFrameFunctionalGroupsSequence[0], header.SharedFunctionalGroupsSequence[0]
        for name in _OF_ALL_FRAMES:
            if name not in shared and name in first:
                setattr(shared, name, first[name].value)
    return header


def as_stored(
    volume: Shaped[np.ndarray, "slice row col"], exam: Exam, source: DicomSource
) -> Shaped[np.ndarray, "image pixel_row pixel_col"]:
    """Turn a volume in our axes into the images of the source, in the order of its frames."""
    change = ornt_transform(io_orientation(exam.affine), io_orientation(source.grid.affine))
    return np.asarray(apply_orientation(volume, change).transpose(2, 1, 0))
