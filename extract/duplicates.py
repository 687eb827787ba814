"""One person or one image twice, within a cohort or across cohorts."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from extract.problems import Checked, Problem
from triher.codes import CODES
from triher.cohort import Patient
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
class _Member:
    """One image file of a patient."""

    one: Checked
    patient: Patient
    path: Path

    def owner(self) -> tuple[str, str]:
        """Cohort and patient."""
        return (self.one.name, self.patient.patient_id)


def equal_files(checked: Sequence[Checked], reporter: Reporter) -> list[Problem]:
    """Image files of different patients whose bytes are equal; only files alike in size and middle are read whole."""
    images = [
        _Member(one, patient, path)
        for one in checked
        for patient in one.cohort.patients
        for name, path in patient.files().items()
        if name != "mask" and path.is_file()
    ]
    suspects = _shared(_shared([images], lambda path: path.stat().st_size), _middle)
    n = sum(map(len, suspects))
    tracked = reporter.track(suspects, f"comparing {n} files that look alike", len(suspects)) if suspects else []
    groups = [equal for group in tracked for equal in _shared([group], sha256_of_file)]
    return [_one_image(group) for group in groups]


def _shared(groups: Sequence[Sequence[_Member]], key: Callable[[Path], object]) -> list[list[_Member]]:
    """Split each group by a key, and keep the parts that several patients share."""
    parts: list[list[_Member]] = []
    for group in groups:
        by_key: dict[object, list[_Member]] = defaultdict(list)
        for member in group:
            by_key[key(member.path)].append(member)
        parts += [part for part in by_key.values() if len({member.owner() for member in part}) > 1]
    return parts


def _middle(path: Path) -> bytes:
    """A hash of some bytes from the middle of a file."""
    with path.open("rb") as file:
        file.seek(path.stat().st_size // 2)
        return hashlib.sha256(file.read(_SAMPLE_BYTES)).digest()


def _one_image(group: Sequence[_Member]) -> Problem:
    """Say to whom an image belongs."""
    listed = " and ".join(f"'{m.patient.patient_id}' ({m.one.name}, {m.path})" for m in group)
    name, patient_id = group[0].owner()
    found = f"one image belongs to {listed}"
    return Problem("stop", name, patient_id, "patient_leak", found, CODES["patient_leak"][1])
