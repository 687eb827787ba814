"""Whose sample is whose: sample names to patients, by equal names or by TCGA barcodes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from triher.errors import Note, StopRun
from triher.tables import matching_key

# TCGA-AO-A03M-01A-11R-A034-07: project, site, participant, sample type with vial, portion with analyte, plate, center
# (Genomic Data Commons, "TCGA Barcode"). Tables made by R write dots for the hyphens.
_BARCODE = re.compile(
    r"TCGA[-._]([A-Z0-9]{2})[-._]([A-Z0-9]{4})"
    r"(?:[-._](?P<type>\d{2})(?P<vial>[A-Z]?)"
    r"(?:[-._](?P<portion>\d{2})(?P<analyte>[A-Z]?)(?:[-._](?P<plate>[A-Z0-9]{4})(?:[-._](?P<center>\d{2}))?)?)?)?",
    re.IGNORECASE,
)
_PRIMARY = "01"
"""Primary solid tumor (Genomic Data Commons, "Sample Type Codes"); 06 is a metastasis, 11 normal tissue."""
_LISTED = 5


@dataclass(frozen=True)
class Barcode:
    """The parts of a TCGA barcode; those that it does not reach are empty."""

    participant: str
    """``TCGA-AO-A03M``."""
    sample_type: str
    """``01`` for a primary tumor."""
    rest: tuple[str, ...]
    """Vial, portion, analyte, plate and center."""

    def starts_with(self, other: "Barcode") -> bool:
        """Whether the other barcode names this sample, or the patient or sample that it is from."""
        parts = zip((self.sample_type, *self.rest), (other.sample_type, *other.rest), strict=True)
        return self.participant == other.participant and all(theirs in ("", mine) for mine, theirs in parts)


def read_barcode(text: str) -> Barcode | None:
    """Take a TCGA barcode apart, None for other names.

    >>> read_barcode("TCGA-AO-A03M-01A-11R-A034-07")
    Barcode(participant='TCGA-AO-A03M', sample_type='01', rest=('A', '11', 'R', 'A034', '07'))
    >>> read_barcode("SUBJECT-001") is None
    True
    """
    found = _BARCODE.fullmatch(text.strip())
    if found is None:
        return None
    parts = {name: (value or "").upper() for name, value in found.groupdict().items()}
    participant = f"TCGA-{found[1].upper()}-{found[2].upper()}"
    rest = tuple(parts[name] for name in ("vial", "portion", "analyte", "plate", "center"))
    return Barcode(participant, parts["type"], rest)


@dataclass(frozen=True)
class Matches:
    """Which sample stands for which patient."""

    position: dict[str, int]
    """Patient id -> position among the names; one primary tumor a patient."""
    notes: tuple[Note, ...]


def match_samples(names: Sequence[str], wanted: Mapping[str, str]) -> Matches:
    """Find each patient's sample among the names of an axis.

    A name belongs to a patient when both are equal but for case, width and spaces, or when both are TCGA barcodes and
    the patient's is the beginning. Of TCGA samples only primary tumors (type 01) count, and of several aliquots the
    first by vial, portion, analyte, plate and center.

    Args:
        names: of the samples, as the table has them.
        wanted: patient id -> name of the sample, or of the patient.

    Raises:
        StopRun: ``sample_duplicate`` when two names that are no barcodes belong to one patient.
    """
    equal: dict[str, list[int]] = {}
    by_person: dict[str, list[tuple[Barcode, int]]] = {}
    for place, name in enumerate(names):
        barcode = read_barcode(name)
        if barcode is None:
            equal.setdefault(matching_key(name), []).append(place)
        else:
            by_person.setdefault(barcode.participant, []).append((barcode, place))
    position: dict[str, int] = {}
    other: list[str] = []
    several: list[str] = []
    for patient_id, name in wanted.items():
        barcode = read_barcode(name)
        if barcode is None:
            found = equal.get(matching_key(name), [])
            _refuse_two(patient_id, [names[place] for place in found])
        else:
            mine = [entry for entry in by_person.get(barcode.participant, []) if entry[0].starts_with(barcode)]
            primary = [entry for entry in mine if entry[0].sample_type in ("", _PRIMARY)]
            other += [names[place] for entry, place in mine if (entry, place) not in primary]
            found = [place for _, place in sorted(primary, key=lambda entry: (entry[0].rest, entry[1]))]
            several += [names[place] for place in found[1:]]
        if found:
            position[patient_id] = found[0]
    return Matches(position, tuple(_notes(other, several)))


def _refuse_two(patient_id: str, found: Sequence[str]) -> None:
    """Nothing says which of two samples to take."""
    if len(found) > 1:
        listed = ", ".join(f"'{name}'" for name in found)
        raise StopRun("sample_duplicate", f"{len(found)} samples belong to patient '{patient_id}': {listed}")


def _notes(other: Sequence[str], several: Sequence[str]) -> list[Note]:
    """What was left out of the samples of the patients."""
    notes = []
    if other:
        text = f"{len(other)} samples are no primary tumors (TCGA sample type 01) and are left out: {_list(other)}"
        notes.append(Note("", "sample_not_primary", text))
    if several:
        rule = "the first by vial, portion, analyte, plate and center is taken"
        text = f"{len(several)} further samples of the same patients are left out ({rule}): {_list(several)}"
        notes.append(Note("", "sample_several", text))
    return notes


def _list(names: Sequence[str]) -> str:
    """The first names and how many more."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
