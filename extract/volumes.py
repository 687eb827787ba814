"""What one file, folder or pattern of files holds: the volumes of an exam in the order of time."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from extract.image import Assumed, Grid, Image
from triher.errors import SkipPatient
from triher.files import natural_order
from triher.reading import Reading

AS_IT_IS = Reading()
"""Nothing beyond what the headers say."""

_ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
_DICOM_MARK = (128, b"DICM")  # preamble, then the mark: DICOM PS3.10 section 7.1


@runtime_checkable
class Source(Protocol):
    """The volumes of one source, known from headers; voxels come with `read`."""

    @property
    def grid(self) -> Grid:
        """Where the voxels of the first volume lie, as stored."""

    @property
    def n_volumes(self) -> int:
        """How many volumes there are."""

    @property
    def times_s(self) -> tuple[float, ...]:
        """Seconds from contrast injection to each volume, negative before it; empty where not known."""

    @property
    def notes(self) -> tuple[tuple[str, str], ...]:
        """Code and text of what was noticed in the headers."""

    def read(self, volumes: Sequence[int]) -> list[Image]:
        """The volumes with these positions in time, each file opened once.

        Raises:
            SkipPatient: whatever the voxels show.
        """


@dataclass(frozen=True)
class Files:
    """Several files of one volume each, in the order of their names."""

    parts: tuple[Source, ...]

    @property
    def grid(self) -> Grid:
        """The first file's."""
        return self.parts[0].grid

    @property
    def n_volumes(self) -> int:
        """One a file."""
        return len(self.parts)

    @property
    def times_s(self) -> tuple[float, ...]:
        """Not known from file names."""
        return ()

    @property
    def notes(self) -> tuple[tuple[str, str], ...]:
        """Those of all files."""
        return tuple(note for part in self.parts for note in part.notes)

    def read(self, volumes: Sequence[int]) -> list[Image]:
        """Read the files with these positions."""
        return [self.parts[k].read([0])[0] for k in volumes]


def open_source(path: Path, reading: Reading = AS_IT_IS) -> Source:
    """Read the headers of what a path names: a file, a folder of DICOM, or a pattern with ``*`` for files.

    Args:
        path: NIfTI, NRRD, MetaImage or DICOM.
        reading: which series and whose PatientID, for DICOM; stated geometry and what becomes of values that are not
            finite, for the others.

    Raises:
        SkipPatient: ``file_unreadable`` and whatever the headers show.
    """
    if "*" in path.name and not path.exists():
        files = source_files(path)
        if not files:
            raise SkipPatient("no_images", f"no file matches {path}")
        parts = tuple(open_source(file, reading) for file in files)
        return parts[0] if len(parts) == 1 else Files(parts)
    assumed = Assumed(reading.orientation, reading.spacing_mm) if reading.orientation else None
    zero = reading.nonfinite == "zero"
    if path.suffix.casefold() in _ITK:
        from extract.formats.itk_formats import open_itk

        return open_itk(path, assumed, zero_nonfinite=zero)
    if path.is_dir() or _is_dicom(path):
        from extract.dicom.exam import open_dicom

        return open_dicom(path, reading.series, reading.header_id)
    from extract.formats.nifti import open_nifti

    return open_nifti(path, assumed, zero_nonfinite=zero)


def open_mask(path: Path, reading: Reading = AS_IT_IS) -> Source:
    """Read the headers of a lesion mask: as `open_source`, or a DICOM segmentation, also one among other files.

    Args:
        path: the file, folder or pattern.
        reading: as for `open_source`; the choice of series is that of the exam, not of the mask.

    Raises:
        SkipPatient: ``ambiguous_file`` when there are several segmentations, and as `open_source`.
    """
    if path.is_dir() or _is_dicom(path):
        from extract.dicom.segments import find_segmentations, open_segmentation

        found = find_segmentations(source_files(path))
        if len(found) > 1:
            listed = " and ".join(str(file) for file in found[:2])
            message = f"{path} holds {len(found)} segmentations: {listed}"
            raise SkipPatient("ambiguous_file", message, remedy="name the file of one in cohort.mask")
        if found:
            return open_segmentation(found[0], reading.header_id)
    return open_source(path, replace(reading, series=""))


def source_files(path: Path) -> list[Path]:
    """Every file that a path names, in a fixed order: the file, those below the folder, or those of the pattern.

    Raises:
        SkipPatient: ``file_unreadable``.
    """
    try:
        if "*" in path.name and not path.exists():
            pattern = glob.escape(path.name).replace("[*]", "*")
            return sorted((file for file in path.parent.glob(pattern) if file.is_file()), key=natural_order)
        if path.is_dir():
            return sorted(file for file in path.rglob("*") if file.is_file())
        return [path] if path.is_file() else []
    except OSError as error:
        raise SkipPatient("file_unreadable", f"{error.filename}: {error.strerror}") from error


def _is_dicom(path: Path) -> bool:
    """Whether the file carries the mark of DICOM."""
    start, mark = _DICOM_MARK
    try:
        with path.open("rb") as file:
            return file.read(start + len(mark))[start:] == mark
    except OSError as error:
        raise SkipPatient("file_unreadable", f"cannot read {path}: {error.strerror}") from error
