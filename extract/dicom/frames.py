"""What is known of a DICOM image from its header alone: one record a slice and moment.

Attributes: DICOM PS3.3; what the header does not say is None.
"""

from dataclasses import dataclass
from pathlib import Path

Notes = list[tuple[str, str]]
"""Code and text of what was noticed."""
SAME_DIRECTION = 1e-3
"""By which direction cosines of parallel images may differ; they are written with six decimals or more."""


@dataclass(frozen=True, slots=True)
class Series:
    """What the frames of a file share as members of a series."""

    uid: str
    study_uid: str
    study_date: str
    """Eight digits, to put visits into order; it is never written anywhere."""
    description: str
    number: int | None
    patient: str
    """Hash of PatientID as `extract.dicom.values.hashed_id` makes it; empty where there is none."""

    @property
    def shown(self) -> str:
        """The series in messages: its number, for text of the header has no place there."""
        return "?" if self.number is None else str(self.number)


@dataclass(frozen=True, slots=True)
class Storage:
    """How the values of a file's frames are stored."""

    path: Path
    syntax: str
    """UID of the transfer syntax."""
    n_frames: int
    rows: int
    cols: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    offset: int
    """Where the values start in the (inflated) file."""
    n_bytes: int
    """How many bytes of values there really are; -1 where they are compressed."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One slice at one moment."""

    storage: Storage
    index: int
    """Place in the file, 0 the first."""
    series: Series
    kind: tuple[str, ...]
    """Image type, repetition time, echo time and flip angle: equal in all phases of a dynamic scan."""
    orientation: tuple[float, ...] | None
    """Direction cosines of growing column, then of growing row number, to the left, posterior and superior."""
    position: tuple[float, ...] | None
    """Center of the first voxel, millimeters to the left, posterior and superior."""
    pixel_spacing: tuple[float, ...] | None
    """Distance of rows, distance of columns in mm."""
    temporal_position: int | None
    trigger_s: float | None
    """Seconds from the start of the acquisition."""
    acquisition_s: float | None
    """Seconds since midnight, as the other times."""
    acquisition_number: int | None
    content_s: float | None
    injection_s: float | None
    instance: int | None
    slope: float
    intercept: float
