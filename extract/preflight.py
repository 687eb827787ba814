"""Look at cohorts before any long work: every problem of every patient, in one table."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from extract.duplicates import Member, equal_files, equal_images, people_in_common
from extract.exam import MIN_OVERLAP, Opened, open_phases, read_exam
from extract.image import Grid
from extract.presence import require_files
from extract.problems import Checked, Outcome, Problem, code_for_nobody
from extract.resampling import overlap
from extract.volumes import open_mask, source_files
from triher.codes import CODES
from triher.cohort import Cohort, Patient, contradictions, labels
from triher.errors import Note, SkipPatient, StopRun, TriherError
from triher.folds import LEAST_TO_TRAIN, require_classes
from triher.labels import scheme_classes
from triher.progress import Reporter
from triher.survival_time import time_fault

Look = tuple[list[Problem], list[Member]]

_READERS = 4
_LISTED = 5


def check_cohorts(checked: Sequence[Checked], reporter: Reporter, *, voxels: bool = False) -> list[Problem]:
    """List every problem of some cohorts, and what they have in common.

    Headers are read, and the bytes of files of equal size; voxels only on request.

    Args:
        checked: the cohorts.
        reporter: where progress goes.
        voxels: read every volume as extraction does, which finds damaged data, empty masks, phases in the wrong
            order and equal images in whatever files, and takes as long.
    """
    problems: list[Problem] = []
    images: list[Member] = []
    for one in checked:
        problems += [_remark(note, one) for note in one.cohort.notes]
        problems += _check_names(one) + _check_times(one)
        for found, members in _look_at_patients(one, reporter, voxels=voxels):
            problems += found
            images += members
        problems += _nobody_left(one, problems) + _check_labels(one) + _images_of_nobody(one)
    copies = equal_images(images) if voxels else equal_files(checked, reporter)
    return problems + people_in_common(checked) + copies


def few_of_a_class(one: Checked, lost: Collection[str]) -> str:
    """Why nothing can be trained on the cohort; empty where something can, or where it has no labels at all.

    Args:
        one: the cohort.
        lost: patients who are left out.
    """
    if "ihc" not in one.cohort.columns:
        return ""
    y = np.array([label for name, label in labels(one.cohort, one.scheme)[0].items() if name not in lost], np.int64)
    try:
        require_classes(y, np.arange(len(y)), classes=scheme_classes(one.scheme), least=LEAST_TO_TRAIN)
    except StopRun as reason:
        return reason.message
    return ""


def refuse_ambiguous(cohort: Cohort) -> None:
    """Stop when a file has a neighbor whose name differs only in case, in Unicode form or in being compressed.

    Raises:
        StopRun: ``ambiguous_file``, with both names.
    """
    listing: dict[Path, dict[str, list[str]]] = {}
    for patient in cohort.patients:
        for path in patient.files().values():
            if path.parent not in listing:
                listing[path.parent] = _names_by_key(path.parent)
            names = listing[path.parent].get(_name_key(path.name), [])
            if len(names) > 1 and path.name in names:
                message = f"{path.parent} holds {' and '.join(repr(name) for name in names)}"
                raise StopRun("ambiguous_file", message)


def _names_by_key(folder: Path) -> dict[str, list[str]]:
    """The names in a folder, by what they have in common."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        found[_name_key(path.name)].append(path.name)
    return found


def _name_key(name: str) -> str:
    """A name without case, Unicode form and compression."""
    return unicodedata.normalize("NFC", name).casefold().removesuffix(".gz")


def _check_names(one: Checked) -> list[Problem]:
    """File names that could mean two files."""
    try:
        refuse_ambiguous(one.cohort)
    except StopRun as reason:
        return [Problem("stop", one.name, "", reason.code, reason.message, reason.remedy)]
    return []


def _look_at_patients(one: Checked, reporter: Reporter, *, voxels: bool) -> list[Look]:
    """Problems of every patient's files and, where voxels are read, the hashes of the images."""
    patients = one.cohort.patients
    look = _check_voxels if voxels else _check_headers

    def examine(patient: Patient) -> Look:
        return look(patient, one)

    with ThreadPoolExecutor(_READERS) as pool:
        return list(reporter.track(pool.map(examine, patients), f"checking {one.name}", len(patients)))


def _nobody_left(one: Checked, problems: Sequence[Problem]) -> list[Problem]:
    """Say that a run would stop when every patient of the cohort is left out."""
    skipped = {p.patient_id: p.code for p in problems if (p.outcome, p.cohort) == ("skip", one.name)}
    n_patients = len(one.cohort.patients)
    if len(skipped) < n_patients:
        return []
    code = code_for_nobody(skipped.values())
    text = f"0 of {n_patients} patients can be used: {', '.join(sorted(set(skipped.values())))}"
    return [Problem("stop", one.name, "", code, text, "mend what is said about the patients")]


def _problem(error: TriherError, patient: Patient, one: Checked) -> Problem:
    """What an exception says about a patient."""
    outcome: Outcome = "stop" if isinstance(error, StopRun) else "skip"
    return Problem(outcome, one.name, patient.patient_id, error.code, error.message, error.remedy)


def _check_headers(patient: Patient, one: Checked) -> Look:
    """All problems that headers show: of the exam and, whatever that has, of the mask."""
    try:
        require_files(patient)
    except SkipPatient as reason:
        return [_problem(reason, patient, one)], []
    problems = []
    first: Grid | None = None
    try:
        opened = open_phases(patient)
        first = next(iter(opened.grids().values()))
        problems += _notes(opened.notes, patient, one)
        problems += [_problem(fault, patient, one) for fault in _misplaced_phases(opened)]
    except SkipPatient as reason:
        problems.append(_problem(reason, patient, one))
    try:
        if patient.mask is not None:
            _check_place(patient.mask, open_mask(patient.mask, patient.reading).grid, first)
    except SkipPatient as reason:
        problems.append(_problem(reason, patient, one))
    return problems, []


def _misplaced_phases(opened: Opened) -> list[SkipPatient]:
    """Phases whose grid has another shape than the first one's, or covers too little of it."""
    (first_name, first), *others = opened.grids().items()
    faults = []
    for name, grid in others:
        share = _share(grid, first)
        if sorted(grid.shape) != sorted(first.shape):
            message = f"phase '{name}' has the shape {grid.shape}, '{first_name}' {first.shape}"
            faults.append(SkipPatient("phase_shape", message))
        elif share < MIN_OVERLAP:
            message = f"phase '{name}' covers {share:.0%} of '{first_name}'"
            faults.append(SkipPatient("phase_geometry", message))
    return faults


def _check_place(mask: Path, grid: Grid, first: Grid | None) -> None:
    """Refuse a mask that does not meet the first phase."""
    if first is not None and _share(grid, first) == 0:
        raise SkipPatient("mask_geometry", f"{mask} does not meet the first phase's field of view")


def _share(grid: Grid, first: Grid) -> float:
    """How much of the first grid another one covers, 0 to 1."""
    if grid.shape == first.shape and np.array_equal(grid.affine, first.affine):
        return 1.0
    return overlap(grid.without_voxels(), first.without_voxels())


def _remark(note: Note, one: Checked) -> Problem:
    """A note of the cohort."""
    return Problem("note", one.name, note.patient_id, note.code, note.text, CODES[note.code][1])


def _notes(found: Iterable[tuple[str, str]], patient: Patient, one: Checked) -> list[Problem]:
    """Remarks, but for the choice of phases, which is no problem."""
    return [_remark(Note(patient.patient_id, code, text), one) for code, text in found if code != "phases_chosen"]


def _check_voxels(patient: Patient, one: Checked) -> Look:
    """What reading the whole exam shows."""
    try:
        exam = read_exam(patient, one.config.mask_label)
    except (SkipPatient, StopRun) as reason:
        return [_problem(reason, patient, one)], []
    members = [Member(one, patient, patient.phases[name], exam.sha256[name]) for name in exam.phases]
    return _notes(((note.code, note.text) for note in exam.notes), patient, one), members


def _check_times(one: Checked) -> list[Problem]:
    """Whom the survival part would do without, where the table has follow-up."""
    if not {"time", "event"} <= one.cohort.columns:
        return []
    notes = []
    for patient in one.cohort.patients:
        code, reason = time_fault(patient) or ("", "")
        if code:
            notes.append(Note(patient.patient_id, code, f"{reason}; left out of the survival part only"))
        elif patient.time_months == 0:
            notes.append(Note(patient.patient_id, "time_zero", "time 0 is taken as half a day"))
    return [_remark(note, one) for note in notes]


def _check_labels(one: Checked) -> list[Problem]:
    """Who has no class, and sites that have one class only."""
    if "ihc" not in one.cohort.columns:
        return []
    known, unlabeled = labels(one.cohort, one.scheme)
    problems = [Problem("skip", one.name, row.patient_id, row.code, row.reason, row.remedy) for row in unlabeled]
    problems += [_remark(note, one) for note in contradictions(one.cohort)]
    sites: dict[str, Counter[int]] = defaultdict(Counter)
    for patient in one.cohort.patients:
        if patient.patient_id in known:
            sites[patient.site][known[patient.patient_id]] += 1
    if len(sites) > 1:
        for site, classes in sorted(sites.items()):
            if len(classes) == 1:
                text = f"all {classes.total()} labeled patients of site '{site}' are of one class"
                remedy = "the site alone tells the class: hold it out, or report it apart"
                problems.append(Problem("note", one.name, "", "site_one_class", text, remedy))
    return problems


def _images_of_nobody(one: Checked) -> list[Problem]:
    """Files that the templates would match and that belong to no row."""
    config = one.config
    root = config.images_root
    claimed = {path for patient in one.cohort.patients for path in patient.files().values()}
    templates = [config.exam] if config.exam else list(config.phases.values())
    strangers = []
    for template in templates:
        pattern = re.sub(r"\{[^}]*\}", "*", template)
        if pattern.strip("*/") and not pattern.startswith("/"):
            strangers += sorted(path for path in root.glob(pattern) if path not in claimed)
    if config.exam and any(path.name.count("*") for path in claimed):
        owned = {file for path in claimed for file in source_files(path)}
        strangers = [path for path in strangers if path not in owned]
    if not strangers:
        return []
    examples = ", ".join(str(path.relative_to(root)) for path in strangers[:_LISTED])
    text = f"{len(strangers)} images belong to no row of the table: {examples}"
    return [Problem("note", one.name, "", "no_label", text, "add rows for them, or leave them")]
