"""FM-BCMRI's layout: one folder ``Image``, one ``Mask``, and everything else in the file names.

``<CENTER>_<visit>_<phase>_<PID>.nii.gz``, such as ``IS2_d0_C2_100899.nii.gz``: visits d0 (before treatment) to d9,
also called bl, 1c, 2c and po; phase C0 before contrast, C1 and on after it. Read off the parser of file names in the
FM-BCMRI repository (zhenweishi/FM-BCMRI, fmbcmri/function/feature_extraction.py); as there, a name has four parts,
and one mask serves all phases of a visit.

Labels come from ``label.csv``, whose column ``Name`` holds the name of any of the patient's files, or the PID. Which
other column is HER2 is not laid down: IHC and ISH by the options ``ihc`` and ``ish``, or made classes by ``label``. A
class number could be anything, so ``classes`` must say what it means.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extract.adapters.contract import (
    Imported,
    Request,
    Row,
    check_options,
    choose_option,
    find_table,
    gap,
    image_root,
    keeps_rows,
    part_rows,
)
from extract.adapters.rows import filled, whole
from triher.errors import Note, Skipped, StopRun
from triher.tables import read_table, require_column

TABLES = ("label.csv",)
OPTIONS = {
    "visit": "d0 (default) to d9",
    "early": "the phase after contrast that stands for early: C1 (default), C2, ...",
    "ihc": "column with the IHC score ('ihc' if not given)",
    "ish": "column with the ISH result ('ish' if not given)",
    "label": "column with the HER2 class, instead of ihc and ish",
    "classes": "what its cells mean: '0=zero,1=low,2=positive' or '0=negative,1=positive'",
    "covariates": "numeric columns to carry over, with commas between",
}

_NAME = re.compile(
    r"(?P<center>[^_]+)_(?P<visit>d\d|bl|1c|2c|po)_C(?P<phase>\d+)_(?P<pid>[^_.][^_]*?)(?:\.nii(?:\.gz)?)?"
)
_VISITS = {"bl": "d0", "1c": "d1", "2c": "d2", "po": "d3"}
_CLASSES = ("zero", "low", "positive", "negative")


@dataclass(frozen=True)
class Name:
    """What a file name says."""

    patient_id: str
    """Center and PID: a PID is unique in its center only."""
    center: str
    visit: str
    phase: int


Volumes = dict[tuple[str, str], dict[int, Path]]
"""(patient, visit) -> phase -> file."""


@dataclass(frozen=True)
class _Place:
    """The files below a root, and the visit that is wanted."""

    root: Path
    images: Volumes
    masks: Volumes
    visit: str


def parse_name(text: str) -> Name | None:
    """Read a file name, with or without its ending; None when it is none of this layout.

    >>> parse_name("IS2_bl_C2_100899.nii.gz")
    Name(patient_id='IS2_100899', center='IS2', visit='d0', phase=2)
    """
    found = _NAME.fullmatch(text)
    if not found:
        return None
    visit = _VISITS.get(found["visit"], found["visit"])
    return Name(f"{found['center']}_{found['pid']}", found["center"], visit, int(found["phase"]))


def read(request: Request) -> Imported:
    """Read the labels and the file names.

    Raises:
        StopRun: as `triher.tables.read_table`; ``column_missing``; ``config_value`` for options that cannot be read;
            ``patient_duplicate`` when two rows of one patient differ, or one PID is in two centers;
            ``ambiguous_file`` when two files are one phase.
    """
    check_options(request, OPTIONS)
    visit = choose_option(request, "visit", (f"d{i}" for i in range(10)), "d0")
    root = image_root(request)
    images, bad = _list(root / "Image")
    masks, bad_masks = _list(root / "Mask")
    labels, scheme, stray = _labels(request, images)
    rows, broken, remarks = _rows(labels, _Place(root, images, masks, visit), _early(request))
    visits = _visits(images)
    missing = {
        row["patient_id"]: f"{root / 'Image'} has visits {visits.get(row['patient_id'], [])}, not {visit}"
        for row in rows
        if (row["patient_id"], visit) not in images
    }
    remarks += [
        Note(row["patient_id"], "visit_left_out", f"visits {visits[row['patient_id']]} are there; {visit} is taken")
        for row in rows
        if row["patient_id"] not in missing and len(visits[row["patient_id"]]) > 1
    ]
    kept, absent, counted = part_rows(rows, missing, keep=keeps_rows(request))
    strangers = sorted({patient_id for patient_id, _ in images} - set(labels))
    unlabeled = [gap(one, "FM-BCMRI", "no_label", "images, but no row in the table of labels") for one in strangers]
    covariates = [name for name in next(iter(labels.values()), {}) if name not in ("ihc", "ish", "site")]
    settings: dict[str, Any] = {
        "name": "FM-BCMRI",
        "phases": {name: f"{{{name}}}" for name in ("pre", "early", "late")},
        "mask": "{mask}",
        "covariates": covariates,
    }
    notes = (*stray, *bad, *bad_masks, *counted, *remarks)
    return Imported(kept, settings, scheme, root, (*broken, *absent, *unlabeled), notes)


def _list(folder: Path) -> tuple[Volumes, list[Note]]:
    """The files of a folder by what their names say, and those whose names say nothing."""
    found: Volumes = {}
    bad: list[Note] = []
    for path in sorted(folder.glob("*.nii*")) if folder.is_dir() else []:
        name = parse_name(path.name)
        if name is None:
            text = f"{path} is not named <CENTER>_<visit>_<phase>_<PID>.nii.gz; left out"
            bad.append(Note("", "file_name", text))
            continue
        other = found.setdefault((name.patient_id, name.visit), {}).setdefault(name.phase, path)
        if other != path:
            raise StopRun("ambiguous_file", f"{other} and {path} are the same image of one patient")
    return found, bad


def _early(request: Request) -> int:
    """The phase that stands for early."""
    text = request.options.get("early", "C1")
    if not re.fullmatch(r"C[1-9]\d?", text):
        raise StopRun("config_value", f"the option early is '{text}'; expected C1, C2, ...")
    return int(text[1:])


def _labels(request: Request, images: Volumes) -> tuple[dict[str, Row], str, list[Note]]:
    """Patient -> label cells, site and covariates; the scheme; rows whose name is none."""
    table = find_table(request, TABLES)
    frame = read_table(table, request.sheet)
    columns = _columns(request, [str(name) for name in frame.columns])
    for column in ("Name", *columns.values()):
        require_column(frame, column, purpose="FM-BCMRI", where=str(table))
    classes = _classes(request)
    by_pid: dict[str, set[str]] = {}
    for patient_id, _ in images:
        by_pid.setdefault(patient_id.split("_", 1)[1], set()).add(patient_id)
    labels: dict[str, Row] = {}
    notes: list[Note] = []
    for cells in frame.to_dict("records"):
        patient_id = _patient_of(str(cells["Name"]), by_pid, str(table))
        row = {"site": patient_id.split("_")[0] if "_" in patient_id else ""}
        row |= {ours: filled(whole(str(cells[theirs]))) for ours, theirs in columns.items()}
        if "label" in row:
            row = _named_class(row, classes, f"{table}, {cells['Name']}")
        if labels.setdefault(patient_id, row) != row:
            raise StopRun("patient_duplicate", f"{table}: two rows of patient '{patient_id}' differ")
    if "ihc" not in columns and "label" not in columns:
        text = f"{table} has no column 'ihc', and neither the option ihc nor label names one: there are no labels"
        notes.append(Note("", "column_missing", text))
    found = {*classes.values(), *(row.get("ihc", "") for row in labels.values())}
    binary = "label" in columns and found <= {"negative", "positive", ""}
    return labels, "binary" if binary else "triple", notes


def _columns(request: Request, present: list[str]) -> dict[str, str]:
    """Our column -> the table's: what the options name, and ``ihc`` and ``ish`` where they are there."""
    named = {name: request.options[name] for name in ("ihc", "ish", "label") if name in request.options}
    if "label" not in named:
        named |= {name: name for name in ("ihc", "ish") if name not in named and name in present}
    covariates = [name.strip() for name in request.options.get("covariates", "").split(",") if name.strip()]
    return named | {name: name for name in covariates}


def _classes(request: Request) -> dict[str, str]:
    """Cell -> class, as the option says."""
    text = request.options.get("classes", "")
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    classes = {cell.strip(): name.strip() for cell, _, name in pairs}
    if wrong := sorted(set(classes.values()) - set(_CLASSES)):
        raise StopRun("config_value", f"the option classes names {wrong}; known classes: {', '.join(_CLASSES)}")
    return classes


def _named_class(row: Row, classes: Mapping[str, str], where: str) -> Row:
    """The class as an IHC entry."""
    cell = row.pop("label")
    name = classes.get(cell, cell)
    if name not in ("", *_CLASSES):
        message = f"{where}: the label is '{cell}', which the option classes does not explain"
        raise StopRun("config_value", message, remedy="give classes, such as 0=zero,1=low,2=positive")
    return {"ihc": name, "ish": "", **row}


def _patient_of(text: str, by_pid: Mapping[str, set[str]], where: str) -> str:
    """The patient that a cell of ``Name`` means: by a file's name, or by the PID alone."""
    if not text:
        raise StopRun("patient_id", f"{where}: the column 'Name' has an empty cell")
    if name := parse_name(text):
        return name.patient_id
    known = by_pid.get(text, {text})
    if len(known) > 1:
        raise StopRun("patient_duplicate", f"{where}: '{text}' can be {' or '.join(sorted(known))}")
    return next(iter(known))


def _rows(labels: Mapping[str, Row], place: _Place, early: int) -> tuple[list[Row], list[Skipped], list[Note]]:
    """One row a labeled patient, who has too few phases, and remarks."""
    rows: list[Row] = []
    skipped: list[Skipped] = []
    notes: list[Note] = []
    for patient_id, label in labels.items():
        volumes = place.images.get((patient_id, place.visit), {})
        numbers = _choose(volumes, early) if volumes else {"pre": 0, "early": early, "late": early + 1}
        if numbers is None:
            there = ", ".join(f"C{k}" for k in sorted(volumes))
            reason = f"C0, C{early} and a later phase are needed; there are {there}"
            skipped.append(gap(patient_id, "FM-BCMRI", "phase_missing", reason))
            continue
        if numbers["early"] != early:
            text = f"C{early} is not there; early is C{numbers['early']}"
            notes.append(Note(patient_id, "phase_substituted", text))
        rows.append(_row(patient_id, label, numbers, place))
    return rows, skipped, notes


def _choose(volumes: Collection[int], early: int) -> dict[str, int] | None:
    """Pre, the first phase from `early` on, and the last one; None where these are not three."""
    post = sorted(phase for phase in volumes if phase >= early)
    return {"pre": 0, "early": post[0], "late": post[-1]} if 0 in volumes and len(post) > 1 else None


def _row(patient_id: str, label: Row, numbers: Mapping[str, int], place: _Place) -> Row:
    """Identity, label and files; the names that files would have where they are not there."""
    center, _, pid = patient_id.partition("_")
    key = (patient_id, place.visit)
    volumes = place.images.get(key, {})
    paths = {
        name: volumes.get(k, place.root / "Image" / f"{center}_{place.visit}_C{k}_{pid}.nii.gz")
        for name, k in numbers.items()
    }
    expected = place.root / "Mask" / f"{center}_{place.visit}_C{numbers['early']}_{pid}.nii.gz"
    paths["mask"] = _mask(place.masks.get(key, {}), numbers["early"]) or expected
    files = {name: path.relative_to(place.root).as_posix() for name, path in paths.items()}
    return {"patient_id": patient_id, "cohort": "FM-BCMRI", "site": "", "ihc": "", "ish": "", **label, **files}


def _mask(masks: Mapping[int, Path], early: int) -> Path | None:
    """That of the early phase, or the first of the visit's."""
    return masks.get(early) or (masks[min(masks)] if masks else None)


def _visits(images: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Patient -> visits."""
    found: dict[str, list[str]] = {}
    for patient_id, visit in sorted(images):
        found.setdefault(patient_id, []).append(visit)
    return found
