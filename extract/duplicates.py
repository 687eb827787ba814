"""One person or one image twice, within a cohort or across cohorts."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from extract.problems import Checked, Problem
from extract.volumes import source_files
from triher.codes import CODES
from triher.cohort import Patient
from triher.errors import SkipPatient
from triher.files import sha256_of_file
from triher.overlaps import find_overlaps
from triher.progress import Reporter

_SAMPLE_BYTES = 1 << 16


def people_in_common(checked: Sequence[Checked]) -> list[Problem]:
    """One person under two ids or in two cohorts."""
    problems = []
    for found in find_overlaps({one.name: one.cohort.ids() for one in checked}):
        listed = " and ".join(f"'{patient_id}' ({name})" for name, patient_id in found.members)
        first_name, first_id = found.members[0]
        text = f"{listed} are one person ({found.key})"
        remedy = "keep one of them, or keep both on one side of every split"
        problems.append(Problem("stop", first_name, first_id, "patient_leak", text, remedy))
    return problems


@dataclass(frozen=True)
class Member:
    """One image of a patient."""

    one: Checked
    patient: Patient
    path: Path
    """The file, folder or pattern."""
    sha256: str = ""
    """Of its voxels, where they have been read."""

    def owner(self) -> tuple[str, str]:
        """Cohort and patient."""
        return (self.one.name, self.patient.patient_id)


def equal_images(images: Sequence[Member]) -> list[Problem]:
    """Images of different patients whose voxels are equal, in whatever files they are."""
    return [_one_image(group) for group in _shared([images], lambda member: member.sha256)]


def equal_files(checked: Sequence[Checked], reporter: Reporter) -> list[Problem]:
    """Images of different patients whose files are equal; only those alike in size and middle are read whole."""
    images = [
        Member(one, patient, path)
        for one in checked
        for patient in one.cohort.patients
        for name, path in patient.files().items()
        if name != "mask"
    ]
    suspects = _shared(_shared([images], _sizes), _middle)
    n = sum(map(len, suspects))
    tracked = reporter.track(suspects, f"comparing {n} images that look alike", len(suspects)) if suspects else []
    groups = [equal for group in tracked for equal in _shared([group], _content)]
    return [_one_image(group) for group in groups]


def _shared(groups: Sequence[Sequence[Member]], key: Callable[[Member], object]) -> list[list[Member]]:
    """Split each group by a key, and keep the parts that several patients share; no key, no part."""
    parts: list[list[Member]] = []
    for group in groups:
        by_key: dict[object, list[Member]] = defaultdict(list)
        for member in group:
            by_key[key(member)].append(member)
        by_key.pop(None, None)
        parts += [part for part in by_key.values() if len({member.owner() for member in part}) > 1]
    return parts


def _files(member: Member) -> list[Path]:
    """The files of an image, largest first; none where they cannot be listed, which is said elsewhere."""
    try:
        return sorted(source_files(member.path), key=lambda path: (-path.stat().st_size, path))
    except (SkipPatient, OSError):
        return []


def _sizes(member: Member) -> tuple[int, ...] | None:
    """Sizes of the files."""
    return tuple(path.stat().st_size for path in _files(member)) or None


def _middle(member: Member) -> bytes:
    """A hash of some bytes from the middle of the largest files, whatever their order."""
    files = _files(member)
    alike = [path for path in files if path.stat().st_size == files[0].stat().st_size]
    return hashlib.sha256(b"".join(sorted(map(_sample, alike)))).digest()


def _sample(path: Path) -> bytes:
    """A hash of some bytes from the middle of a file."""
    with path.open("rb") as file:
        file.seek(path.stat().st_size // 2)
        return hashlib.sha256(file.read(_SAMPLE_BYTES)).digest()


def _content(member: Member) -> tuple[str, ...]:
    """Hashes of the files, whatever their order."""
    return tuple(sorted(map(sha256_of_file, _files(member))))


def _one_image(group: Sequence[Member]) -> Problem:
    """Say to whom an image belongs."""
    listed = " and ".join(f"'{m.patient.patient_id}' ({m.one.name}, {m.path})" for m in group)
    name, patient_id = group[0].owner()
    found = f"one image belongs to {listed}"
    return Problem("stop", name, patient_id, "patient_leak", found, CODES["patient_leak"][1])
