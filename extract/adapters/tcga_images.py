"""TCGA-BRCA's images: which files and folders below a folder are whose exam and whose mask.

An exam is a set of NIfTI files ``<barcode>_phase<k>.nii.gz``, where phase 0 is the one before contrast, or a folder
with the barcode's name that holds DICOM; its mask is ``<barcode>_mask.nii.gz``. All of them may lie in folders of
any depth, also within the patient's own.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from triher.errors import StopRun

_BARCODE = r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}"
_FOLDER = re.compile(_BARCODE, re.IGNORECASE)
_PHASE = re.compile(rf"(?P<stem>(?P<id>{_BARCODE})_phase)(?P<phase>\d+)(?P<suffix>\.nii(\.gz)?)", re.IGNORECASE)
_MASK = re.compile(rf"(?P<id>{_BARCODE})_mask\.nii(\.gz)?", re.IGNORECASE)


@dataclass(frozen=True)
class Images:
    """What lies below the folder of the images, by barcode in capitals; paths relative to it."""

    exams: dict[str, str]
    """A pattern of NIfTI files, or a folder of DICOM."""
    masks: dict[str, str]
    phases: dict[str, tuple[int, ...]]
    """The phases of exams in NIfTI files, in order."""

    def incomplete(self, barcode: str) -> str:
        """What is missing of an exam in NIfTI files, of which rules take the first and the second; else nothing."""
        phases = self.phases.get(barcode)
        if phases is None or (len(phases) > 1 and phases == tuple(range(len(phases)))):
            return ""
        return f"{self.exams[barcode]} has the phases {list(phases)}; expected 0 (before contrast), 1 and so on"


def list_images(root: Path) -> Images:
    """Find exams and masks below a folder.

    Raises:
        StopRun: ``ambiguous_file`` when a patient has two exams or two masks.
    """
    volumes: dict[str, dict[str, list[int]]] = {}
    masks: dict[str, list[str]] = {}
    folders: dict[str, set[str]] = {}
    for place in _files(root):
        owner = next((k for k, name in enumerate(place.parts[:-1], 1) if _FOLDER.fullmatch(name)), 0)
        if phase := _PHASE.fullmatch(place.name):
            pattern = str(place.with_name(f"{phase['stem']}*{phase['suffix']}"))
            volumes.setdefault(phase["id"].upper(), {}).setdefault(pattern, []).append(int(phase["phase"]))
        elif mask := _MASK.fullmatch(place.name):
            masks.setdefault(mask["id"].upper(), []).append(str(place))
        elif owner:
            folder = PurePath(*place.parts[:owner])
            folders.setdefault(folder.name.upper(), set()).add(str(folder))
    exams = {barcode: list(patterns) for barcode, patterns in volumes.items()}
    for barcode, places in folders.items():
        # Beside NIfTI files, whatever else is in the patient's folder is where they come from.
        own = [place for place in sorted(places) if not _holds(place, volumes.get(barcode, {}))]
        exams[barcode] = [*exams.get(barcode, []), *own]
    phases = {barcode: tuple(sorted(next(iter(patterns.values())))) for barcode, patterns in volumes.items()}
    return Images(_single(exams, root), _single(masks, root), phases)


def _files(root: Path) -> Iterator[PurePath]:
    """Every file but the hidden ones, relative to the root."""
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        place = PurePath(folder).relative_to(root)
        yield from (place / name for name in sorted(names) if not name.startswith("."))


def _holds(folder: str, files: Mapping[str, object]) -> bool:
    """Whether any of the files lies below a folder."""
    return any(PurePath(file).is_relative_to(folder) for file in files)


def _single(places: Mapping[str, list[str]], root: Path) -> dict[str, str]:
    """The one place of every patient."""
    for barcode, found in places.items():
        if len(found) > 1:
            message = f"{barcode} has files in {' and in '.join(str(root / place) for place in found)}"
            raise StopRun("ambiguous_file", message, remedy="move all but one of them to another folder")
    return {barcode: found[0] for barcode, found in places.items()}
