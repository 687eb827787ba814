"""The DICOM series of a public collection that are to be downloaded, chosen from the index of its keepers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from triher.errors import StopRun, unknown_name
from triher.overlaps import public_key

MODALITIES = ("MR", "SEG")
"""Images, and segmentations where there are any; mammograms, slides and reports stay where they are."""
INDEX_COLUMNS = {
    "PatientID": str,
    "StudyInstanceUID": str,
    "SeriesInstanceUID": str,
    "Modality": str,
    "instanceCount": int,
    "series_size_MB": float,
    "license_short_name": str,
}
"""Columns of the index that are read, beside ``collection_id``: `Series` takes them in this order."""
_ROUNDING_MB = 0.01  # the index gives the size of a series in MB with two decimals
_UNSTATED = "not stated, see the collection's page"


@dataclass(frozen=True)
class Series:
    """One DICOM series of the index."""

    patient_id: str
    study_uid: str
    uid: str
    modality: str
    n_files: int
    size_mb: float
    license: str

    def has_arrived(self, folder: Path) -> bool:
        """Whether all its files are below `folder`, in full (to the precision of the index)."""
        place = folder / self.patient_id / self.study_uid / f"{self.modality}_{self.uid}"
        sizes = [path.stat().st_size for path in place.glob("*.dcm")]
        return len(sizes) >= self.n_files and sum(sizes) / 1e6 > self.size_mb - _ROUNDING_MB


def list_series(index: pd.DataFrame, collection_id: str) -> tuple[Series, ...]:
    """The MR and SEG series of a collection, by patient, study and series; empty where the index has none.

    Args:
        index: one row a series, with ``collection_id`` and `INDEX_COLUMNS`.
        collection_id: as on the Imaging Data Commons.
    """
    rows = index[(index["collection_id"] == collection_id) & index["Modality"].isin(MODALITIES)]
    rows = rows.fillna({"license_short_name": _UNSTATED})
    values = zip(*(rows[column].astype(kind).tolist() for column, kind in INDEX_COLUMNS.items()), strict=True)
    return tuple(sorted((Series(*row) for row in values), key=lambda one: (one.patient_id, one.study_uid, one.uid)))


def choose(series: Sequence[Series], patients: int | Sequence[str] | None) -> tuple[Series, ...]:
    """The series of some patients.

    Args:
        series: by patient.
        patients: the first so many; or ids, in any spelling that `triher.overlaps.public_key` knows; None for all.

    Raises:
        StopRun: ``unknown_name`` for an id that is not there, ``config_value`` for a number below 1.
    """
    known = list(dict.fromkeys(one.patient_id for one in series))
    if patients is None:
        return tuple(series)
    if isinstance(patients, int):
        if patients < 1:
            raise StopRun("config_value", f"--patients needs a number from 1 or a list of ids, found {patients}")
        wanted = set(known[:patients])
    else:
        spelling = {public_key(patient_id) or patient_id: patient_id for patient_id in known}
        wanted = {_find(patient_id, spelling) for patient_id in patients}
    return tuple(one for one in series if one.patient_id in wanted)


def _find(patient_id: str, spelling: dict[str, str]) -> str:
    """The index's spelling of an id."""
    key = public_key(patient_id) or patient_id
    if key not in spelling:
        raise unknown_name("patient of the collection", patient_id, spelling.values())
    return spelling[key]


def read_choice(text: str) -> int | tuple[str, ...] | None:
    """Read the option ``--patients``: a number, ids separated by commas, or nothing for all.

    >>> read_choice("20"), read_choice("ISPY1_1001, ISPY1_1002"), read_choice("")
    (20, ('ISPY1_1001', 'ISPY1_1002'), None)
    """
    if text.strip().isdecimal():
        return int(text)
    return tuple(part.strip() for part in text.split(",") if part.strip()) or None


def patients_of(series: Sequence[Series]) -> list[str]:
    """Whose series these are, each patient once, sorted."""
    return sorted({one.patient_id for one in series})


def licenses_of(series: Sequence[Series]) -> list[str]:
    """The licenses in the index, sorted; derived segmentations may have another one than the images."""
    return sorted({one.license for one in series})


def summarize(series: Sequence[Series]) -> str:
    """How much it is, and under which licenses the index has it."""
    size_gb = sum(one.size_mb for one in series) / 1000
    amount = f"{len(patients_of(series))} patients, {len(series)} series, {size_gb:.2f} GB"
    return f"{amount}; license in the index: {', '.join(licenses_of(series))}"
