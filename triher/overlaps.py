"""Who is the same person: ids of the public collections under their several spellings, and equal ids.

MAMA-MIA and BreastDCEDL are both made from I-SPY1, I-SPY2 and Duke, ACRIN-6698 is a sub-study of I-SPY2, and each
writes the ids in its own way. A model trained on one and tested on another is tested on its own patients.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from triher.tables import matching_key

EQUAL_IDS = "equal ids once case, width and spaces are folded"


@dataclass(frozen=True)
class _Family:
    """One public collection of patients, under whatever names it is redistributed."""

    pattern: re.Pattern[str]
    """Matches a folded id; its groups are what is left of the id."""
    key: str
    """The id in the spelling of the collection itself."""
    source: str
    """Where it says that these are the same people."""


def _spelling(names: str, rest: str) -> re.Pattern[str]:
    """A name, a separator or none, the number; then nothing, or a separator and a visit, sample or lesion."""
    return re.compile(rf"(?:{names})[-_.]?{rest}(?:[-_.].*)?", re.DOTALL)


# MAMA-MIA: Garrucho et al., Sci Data 12:453 (2025), doi 10.1038/s41597-025-04707-4.
# BreastDCEDL: Fridman et al., Sci Data 13:264 (2026), doi 10.1038/s41597-026-06589-6.
_FAMILIES = (
    _Family(
        _spelling(r"i-?spy[-_.]?2|acrin[-_.]?6698", r"([0-9]{6})"),
        "ISPY2-{}",
        "I-SPY2: ACRIN-6698 is a sub-study with the same numbers (doi 10.7937/TCIA.KK02-6D95); part of MAMA-MIA "
        "(10.1038/s41597-025-04707-4) and BreastDCEDL (10.1038/s41597-026-06589-6)",
    ),
    _Family(
        _spelling(r"i-?spy[-_.]?1", r"([0-9]{4})"),
        "ISPY1_{}",
        "I-SPY1 (ACRIN 6657, doi 10.7937/K9/TCIA.2016.HdHpgJLK): part of MAMA-MIA (10.1038/s41597-025-04707-4) and "
        "BreastDCEDL (10.1038/s41597-026-06589-6)",
    ),
    _Family(
        _spelling(r"duke|breast[-_.]?mri", r"([0-9]{3})"),
        "Breast_MRI_{}",
        "Duke-Breast-Cancer-MRI (doi 10.7937/TCIA.e3sv-re93): part of MAMA-MIA (10.1038/s41597-025-04707-4) and "
        "BreastDCEDL (10.1038/s41597-026-06589-6)",
    ),
    _Family(
        _spelling(r"(?:breast[-_.]?mri[-_.]?)?nact(?:[-_.]?pilot)?|ucsf[-_.]?br", r"([0-9]{2})"),
        "UCSF-BR-{}",
        "Breast-MRI-NACT-Pilot (doi 10.7937/K9/TCIA.2016.QHsyhJKy; UCSF-BR-01 there): part of MAMA-MIA, as NACT_01 "
        "(10.1038/s41597-025-04707-4)",
    ),
    _Family(
        _spelling(r"ambl", r"([0-9]{3})"),
        "AMBL-{}",
        "Advanced-MRI-Breast-Lesions (doi 10.7937/C7X1-YN57): the source of BreastDCEDL_AMBL (arXiv 2509.26440)",
    ),
    _Family(
        _spelling(r"tcga", r"([a-z0-9]{2})[-_.]([a-z0-9]{4})"),
        "TCGA-{}-{}",
        "TCGA barcode: site and participant name the person; sample, portion and plate follow (GDC, 'TCGA Barcode')",
    ),
)


@dataclass(frozen=True)
class Overlap:
    """One person under two or more ids, or twice in one cohort."""

    key: str
    """The public key, or else the folded id."""
    members: tuple[tuple[str, str], ...]
    """Each (group, id), in the order they were given; at least two."""
    source: str
    """Why these are taken for one person: the collection and its publications, or `EQUAL_IDS`."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that share the person, each named once; one group when it is a repeat within a cohort."""
        return tuple(dict.fromkeys(group for group, _ in self.members))


def public_key(patient_id: str) -> str:
    """One key for one person across the public collections, in the spelling of the original collection.

    A bare number has no key, because every hospital has such numbers. What follows the id after a separator (visit,
    sample, phase) does not matter.

    Returns:
        The key, or "" where the id is of no known public collection.

    >>> public_key("ACRIN-6698-102212") == public_key("ispy2_102212") == "ISPY2-102212"
    True
    >>> public_key("DUKE_001"), public_key("TCGA-AO-A03M-01A-11R-A034-07"), public_key("102212")
    ('Breast_MRI_001', 'TCGA-AO-A03M', '')
    """
    family, parts = _recognize(patient_id)
    return family.key.format(*parts) if family else ""


def find_overlaps(groups: Mapping[str, Sequence[str]]) -> list[Overlap]:
    """Find every person who appears more than once, within a cohort or across cohorts.

    Args:
        groups: name of a cohort (or of the side of a split) -> its patient ids.

    Returns:
        One entry a person, in the order of the first appearance; empty when all ids are different people, as far
        as ids can tell (equal images under unrelated ids are found by their hashes elsewhere).

    >>> find_overlaps({"mama-mia": ["ISPY2_102212"], "breastdcedl": ["ACRIN-6698-102212", "Breast_MRI_001"]})[0].key
    'ISPY2-102212'
    """
    members: dict[str, list[tuple[str, str]]] = {}
    sources: dict[str, str] = {}
    for group, ids in groups.items():
        for patient_id in ids:
            family, parts = _recognize(patient_id)
            key = family.key.format(*parts) if family else matching_key(patient_id)
            members.setdefault(key, []).append((group, patient_id))
            sources[key] = family.source if family else EQUAL_IDS
    return [Overlap(key, tuple(found), sources[key]) for key, found in members.items() if len(found) > 1]


def _recognize(patient_id: str) -> tuple[_Family | None, tuple[str, ...]]:
    """The collection that an id belongs to, and the parts that name the person."""
    folded = matching_key(patient_id)
    for family in _FAMILIES:
        match = family.pattern.fullmatch(folded)
        if match:
            return family, tuple(part.upper() for part in match.groups())
    return None, ()
