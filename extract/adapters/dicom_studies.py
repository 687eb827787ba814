"""Which DICOM studies lie where below a folder, and whose they are: one header a folder of files is read."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from extract.dicom.frames import Series
from extract.dicom.headers import peek
from extract.dicom.values import hashed_id

_TRIED = 20  # files of a folder, until one is an MR image


@dataclass(frozen=True)
class Study:
    """A study of one patient."""

    folders: tuple[Path, ...]
    """Those that hold its files, relative to the folder that was searched."""
    uid: str
    date: str
    patient: str
    """As `extract.dicom.values.hashed_id` makes it of PatientID in the headers."""

    @property
    def place(self) -> Path:
        """The folder that holds all of it."""
        return Path(os.path.commonpath(self.folders))

    def owner(self, patients: Mapping[str, str]) -> str:
        """Whose study it is: by the name of the uppermost folder that is an id, else by PatientID in the headers.

        Args:
            patients: `extract.dicom.values.hashed_id` of each id -> the id.

        Returns:
            The id; empty where it is nobody's.
        """
        keys = (*map(hashed_id, self.place.parts), self.patient)
        return next((patients[key] for key in keys if key in patients), "")


def list_studies(root: Path) -> list[Study]:
    """The studies below a folder, by their place.

    A folder with images of several studies counts for the first one; reading the exam will tell.

    Raises:
        SkipPatient: ``file_unreadable``.
    """
    members: dict[tuple[str, str, str], list[tuple[Series, Path]]] = {}
    for folder in leaves(root):
        series = first_image(root / folder)
        if series is not None:
            top = next(iter(folder.parts), "")
            members.setdefault((top, series.patient, series.study_uid), []).append((series, folder))
    studies = (
        Study(tuple(folder for _, folder in found), uid, found[0][0].study_date, patient)
        for (_, patient, uid), found in members.items()
    )
    return sorted(studies, key=lambda study: study.place)


def are_apart(study: Study, others: Sequence[Study]) -> bool:
    """Whether no other study lies in the folder that holds all of a study."""
    return not any(
        folder.is_relative_to(study.place) for other in others if other != study for folder in other.folders
    )


def leaves(root: Path) -> Iterator[Path]:
    """Every folder that holds files, the root or below it, relative to the root."""
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        if names:
            yield Path(folder).relative_to(root)


def first_image(folder: Path) -> Series | None:
    """The series of the first file of a folder that is an MR image.

    Raises:
        SkipPatient: ``file_unreadable``.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return next(filter(None, map(peek, files[:_TRIED])), None)
