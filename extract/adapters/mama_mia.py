"""MAMA-MIA: 1,506 exams of I-SPY1, I-SPY2, NACT-Pilot and Duke as NIfTI, with expert segmentations.

Garrucho et al., Scientific Data 2025, doi 10.1038/s41597-025-04707-4; Synapse syn60868042. Layout, with k = 0 before
contrast:

    clinical_and_imaging_info.xlsx (sheet dataset_info), or .csv
    images/<PATIENT_ID>/<patient_id in lower case>_000<k>.nii.gz
    segmentations/expert/<patient_id in lower case>.nii.gz      also segmentations/automatic

HER2 is positive or negative. Survival: whoever has ``days_to_death`` above 0 died then; whoever has 0 was alive at
``days_to_follow_up``; where it is empty (I-SPY2, NACT) nothing is known. Columns that tell HER2 (the subtype, the
drugs) stay out of the rows. The official parts for training and test lie in a file of their own, which is not read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extract.adapters.contract import (
    Imported,
    Request,
    Row,
    check_options,
    choose_option,
    claim,
    find_table,
    gap,
    image_root,
    keeps_rows,
    part_rows,
)
from extract.adapters.rows import binary_her2, filled, number, read_rows
from triher.errors import Note, SkipPatient, Skipped, unknown_name

TABLES = ("clinical_and_imaging_info.csv", "clinical_and_imaging_info.xlsx")
SHEET = "dataset_info"
OPTIONS = {
    "segmentation": "'expert' (default) or 'automatic'",
    "dataset": "'all' (default), 'ISPY1', 'ISPY2', 'DUKE' or 'NACT'",
}

_COHORTS = {"ISPY1": "I-SPY1", "ISPY2": "I-SPY2", "DUKE": "Duke", "NACT": "NACT"}
_COVARIATES = ("age", "hr", "er", "pr", "mammaprint", "field_strength")
_VOLUME = re.compile(r"(?P<stem>.+)_(?P<k>000\d)\.nii(?:\.gz)?")
SETTINGS: dict[str, Any] = {
    "name": "MAMA-MIA",
    "exam": "{exam}",
    "phases": {"pre": "pre", "early": "first post", "late": "last"},
    "mask": "{mask}",
    "times": "{times}",
}
"""The cohort section, without covariates and survival."""


@dataclass(frozen=True)
class Exams:
    """The images and segmentations below a folder; ids are in lower case."""

    root: Path
    numbers: dict[str, tuple[int, ...]]
    """Patient -> which volumes there are."""
    patterns: dict[str, str]
    """Patient -> pattern of the volumes' files below the root."""
    masks: dict[str, str]
    """Patient -> file below the root."""
    segmentation: str

    def cells(self, patient_id: str) -> Row:
        """Exam and mask of a patient; the names that they would have where they are not there.

        Raises:
            SkipPatient: ``phase_missing`` when a volume before the last one is not there.
        """
        key = patient_id.casefold()
        numbers = self.numbers.get(key, ())
        if numbers != tuple(range(len(numbers))):
            message = (
                f"volumes {list(numbers)} of images/{patient_id} are there; they should count from 0 without a gap"
            )
            raise SkipPatient("phase_missing", message, remedy="download the patient's images again")
        return {
            "exam": self.patterns.get(key, f"images/{patient_id}/{key}_000*.nii.gz"),
            "mask": self.masks.get(key, f"segmentations/{self.segmentation}/{key}.nii.gz"),
        }


def read(request: Request) -> Imported:
    """Read the table and list the images.

    Raises:
        StopRun: as `extract.adapters.rows.read_rows`; ``unknown_name`` for options and data sets;
            ``ambiguous_file`` when one volume is there twice; ``her2_codes``, ``number_format``.
    """
    check_options(request, OPTIONS)
    wanted = choose_option(request, "dataset", ("all", *_COHORTS), "all")
    table = find_table(request, TABLES)
    required = ("patient_id", "dataset", "her2", "site", "acquisition_times", "days_to_death", "days_to_follow_up")
    sheet = request.sheet or (SHEET if table.suffix == ".xlsx" else "")
    everyone, notes = read_rows(table, required, purpose="MAMA-MIA", sheet=sheet)
    patients = [cells for cells in everyone if wanted in ("all", cells["dataset"])]
    exams = list_exams(image_root(request), choose_option(request, "segmentation", ("expert", "automatic"), "expert"))
    rows, broken, remarks = _rows(patients, exams, str(table))
    missing = {
        row["patient_id"]: f"looked for {exams.root / row['exam']}"
        for row in rows
        if row["patient_id"].casefold() not in exams.numbers
    }
    kept, absent, counted = part_rows(rows, missing, keep=keeps_rows(request))
    strangers = without_row(exams, [cells["patient_id"] for cells in everyone])
    settings = SETTINGS | {"covariates": list(_COVARIATES), "time_unit": "days", "event_codes": {"0": 0, "1": 1}}
    skipped = (*broken, *absent, *strangers)
    return Imported(kept, settings, "binary", exams.root, skipped, (*notes, *counted, *remarks))


def list_exams(folder: Path, segmentation: str = "expert") -> Exams:
    """Find the volumes and one kind of segmentations.

    Args:
        folder: the collection's, or its ``images``.
        segmentation: ``expert`` or ``automatic``.

    Raises:
        StopRun: ``ambiguous_file`` when one volume or segmentation is there twice.
    """
    root = folder.parent if folder.name == "images" and not (folder / "images").is_dir() else folder
    files: dict[str, dict[int, Path]] = {}
    for path in sorted((root / "images").glob("*/*.nii*")):
        found = _VOLUME.fullmatch(path.name)
        if found and found["stem"].casefold() == path.parent.name.casefold():
            claim(files.setdefault(path.parent.name.casefold(), {}), int(found["k"]), path)
    masks: dict[str, dict[int, Path]] = {}
    for path in sorted((root / "segmentations" / segmentation).glob("*.nii*")):
        claim(masks.setdefault(path.name.split(".nii")[0].casefold(), {}), 0, path)
    return Exams(
        root,
        {key: tuple(sorted(volumes)) for key, volumes in files.items()},
        {key: _pattern(volumes, root) for key, volumes in files.items()},
        {key: found[0].relative_to(root).as_posix() for key, found in masks.items()},
        segmentation,
    )


def _pattern(volumes: dict[int, Path], root: Path) -> str:
    """One name for all volumes; nothing else in the folder fits it."""
    first = volumes[min(volumes)]
    stem, _, ending = first.name.rpartition("_")
    return (first.parent / f"{stem}_000*{ending[4:]}").relative_to(root).as_posix()


def without_row(exams: Exams, patient_ids: Sequence[str]) -> list[Skipped]:
    """Images of patients whom the table does not have."""
    known = {patient_id.casefold() for patient_id in patient_ids}
    return [
        gap(key.upper(), _COHORTS.get(key.split("_")[0].upper(), ""), "no_label", f"{exams.patterns[key]}: no row")
        for key in exams.numbers
        if key not in known
    ]


def exam_times(cells: Row, exams: Exams) -> tuple[str, list[Note]]:
    """Start of each volume in seconds, or nothing and a remark where times and volumes differ in number."""
    patient_id, text = cells["patient_id"], filled(cells["acquisition_times"])
    n_files = len(exams.numbers.get(patient_id.casefold(), ()))
    n_times = len([part for part in re.split(r"[\s,\[\]]+", text) if part])
    if not text or not n_files or n_files == n_times:
        return text, []
    return "", [
        Note(patient_id, "phase_times", f"{n_times} times are given for {n_files} volumes; they are not used")
    ]


def _rows(patients: list[Row], exams: Exams, where: str) -> tuple[list[Row], list[Skipped], list[Note]]:
    """The rows, who has images that cannot be used, and remarks."""
    rows: list[Row] = []
    skipped: list[Skipped] = []
    notes: list[Note] = []
    for cells in patients:
        row = _clinical(cells, where)
        try:
            images = exams.cells(cells["patient_id"])
        except SkipPatient as error:
            skipped.append(error.row(cells["patient_id"], row["cohort"], "import"))
            continue
        times, remarks = exam_times(cells, exams)
        rows.append(row | images | {"times": times})
        notes += remarks
    return rows, skipped, notes


def _clinical(cells: Row, where: str) -> Row:
    """What the table says about the patient, without the columns that repeat the label."""
    if cells["dataset"] not in _COHORTS:
        raise unknown_name(f"data set (patient '{cells['patient_id']}' in {where})", cells["dataset"], _COHORTS)
    time, event = _survival(cells, where)
    plain = ("age", "hr", "er", "pr", "mammaprint", "pcr", "field_strength", "view", "breast_density")
    return {
        "patient_id": cells["patient_id"],
        "cohort": _COHORTS[cells["dataset"]],
        "site": filled(cells["site"]),
        "ihc": binary_her2(cells["her2"], f"{where}, patient '{cells['patient_id']}'"),
        "ish": "",
        "time": time,
        "event": event,
        **{name: filled(cells.get(name, "")) for name in plain},
        "menopause": (filled(cells.get("menopause", "")).split() or [""])[0],
        "vendor": filled(cells.get("manufacturer", "")),
    }


def _survival(cells: Row, where: str) -> tuple[str, str]:
    """Days and event: death above 0 is the event, 0 is alive until the last follow-up, empty is not known."""
    where = f"{where}, patient '{cells['patient_id']}'"
    death = number(cells["days_to_death"], "days_to_death", where)
    follow_up = number(cells["days_to_follow_up"], "days_to_follow_up", where)
    if death is None or (death == 0 and follow_up is None):
        return "", ""
    return (f"{death:g}", "1") if death > 0 else (f"{follow_up:g}", "0")
