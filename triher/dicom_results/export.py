"""Write the results of a run as DICOM: a folder a patient, an index, and who was left out."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pydicom.dataset import Dataset

from analysis.explained_run import failed_tests
from classify.archive import MANIFEST, open_files, read_manifest
from extract.cache import Slab, ensure_slab, read_slab
from extract.exam import open_phases, read_exam
from extract.recipe import SlabRecipe, slabs_of
from triher.cohort import Patient, read_cohort
from triher.config import recorded_config
from triher.dicom_results.images import captures, parametric_map
from triher.dicom_results.labels import Origin
from triher.dicom_results.originals import Originals, originals_of
from triher.dicom_results.placing import Placed, place
from triher.dicom_results.report import Statement, structured_report
from triher.errors import SkipPatient, Skipped, StopRun, unknown_name
from triher.explanations import NAME as MAPS
from triher.explanations import MapsIndex, PatientMaps, read_maps, read_maps_index
from triher.files import make_writable, refuse_other_files, replacing, sha256_of_file
from triher.labels import scheme_classes
from triher.prediction_cells import classes_of_set
from triher.predictions import one_row_a_patient, probability_columns, read_predictions
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.tables import read_own_rows, write_table

INDEX, LEFT_OUT = "index.csv", "skipped.csv"
_STAGE = "dicom"


@dataclass(frozen=True)
class Written:
    """What was written of one patient."""

    patient_id: str
    folder: str
    """Numbered, so that no id of a patient is a name of a file."""
    predicted: str
    n_objects: int
    has_maps: bool


@dataclass(frozen=True)
class _Run:
    """What is read of the run once."""

    config: Config
    run: RunFolder
    origin: Origin
    phase: str
    maps: MapsIndex | None
    maps_failed: bool
    """Whether the maps failed a sanity test, which is said beside each of them."""
    recipe: SlabRecipe


def export(
    run: RunFolder, out: Path, reporter: Reporter, *, only: Sequence[str] = (), phase: str = ""
) -> tuple[list[Written], list[Skipped]]:
    """Write map, pictures and report of the predicted patients whose images are DICOM.

    Args:
        run: a run folder with predictions; maps go along where `triher explain` made them.
        out: an empty folder, or one that an earlier export wrote.
        reporter: where progress goes.
        only: ids of the patients; everybody predicted when empty.
        phase: on whose images the maps lie; the second phase when empty, the first where there is one.

    Returns:
        What was written, and who was left out.

    Raises:
        StopRun: ``output_folder`` when the run has no predictions or `out` holds other files, ``unknown_name`` for a
            phase or patient that there is not, ``config_value`` where the run has no images.
    """
    opened = _open(run, phase)
    cohort = read_cohort(opened.config.cohort, survival=False)
    rows = _predicted(opened, only)
    refuse_other_files(out, INDEX)
    make_writable(out)
    places = {patient.patient_id: f"{number:04d}" for number, patient in enumerate(cohort.patients, start=1)}
    people = [patient for patient in cohort.patients if patient.patient_id in (only or rows)]
    skipped = [_unknown(row) for name, row in rows.items() if name not in places and name in (only or rows)]
    written = [one for one in _earlier(out) if one.patient_id not in {patient.patient_id for patient in people}]
    _refuse_other_cohort(written, places, out)
    for patient in reporter.track(people, "DICOM", len(people)):
        try:
            objects = _objects(opened, patient, rows[patient.patient_id])
        except SkipPatient as reason:
            skipped.append(reason.row(patient.patient_id, patient.cohort, _STAGE))
            _write(out / places[patient.patient_id], {})
            continue
        name, folder = patient.patient_id, out / places[patient.patient_id]
        _write(folder, objects)
        predicted = _statement(rows[name], opened.config.scheme).predicted
        written.append(Written(name, folder.name, predicted, len(objects), "map.dcm" in objects))
    written.sort(key=lambda one: one.folder)
    write_table(out / INDEX, [f.name for f in fields(Written)], [astuple(one) for one in written])
    write_table(out / LEFT_OUT, [f.name for f in fields(Skipped)], [astuple(row) for row in skipped])
    return written, skipped


def _predicted(opened: _Run, only: Sequence[str]) -> dict[str, pd.Series]:
    """Patient id -> row of the prediction table, after proving that all who are wanted are in it."""
    scheme = opened.config.scheme
    frame = one_row_a_patient(read_predictions(opened.run.predictions_file, scheme), scheme)
    rows = {str(row["patient_id"]): row for _, row in frame.iterrows()}
    for name in only:
        if name not in rows:
            raise unknown_name("predicted patient", name, rows)
    return rows


def _open(run: RunFolder, phase: str) -> _Run:
    """What a run is, from its folder."""
    record = run.read_record()
    if "config" not in record or not run.predictions_file.is_file():
        raise StopRun("output_folder", f"{run.path} holds no predictions", remedy="run `triher run CONFIG` first")
    config = recorded_config(run)
    if not config.has_images:
        raise StopRun("config_value", f"{run.path} was made from a table of features, and has no images")
    phases = list(config.cohort.phases)
    if phase and phase not in phases:
        raise unknown_name("phase", phase, phases)
    maps_file = run.explanations / MAPS
    has_maps = maps_file.is_file() and not run.explanations_are_stale
    maps = read_maps_index(maps_file) if has_maps else None
    failed = bool(failed_tests(run)) if maps is not None else False
    shown = phase or phases[min(1, len(phases) - 1)]
    return _Run(config, run, _origin(run, record), shown, maps, failed, slabs_of(config))


def _origin(run: RunFolder, record: Mapping[str, Any]) -> Origin:
    """The locked model of the run, or the one that was applied."""
    stages = record["stages"]
    own = f"{run.bundle.name}/{MANIFEST}" in stages.get("classify", {}).get("outputs", {})
    bundle = run.bundle if own else Path(stages.get("apply", {}).get("bundle", ""))
    if not own and "apply" not in stages:
        message = f"the predictions in {run.path} are of a head that is not locked, so nothing identifies the model"
        raise StopRun("output_folder", message, remedy="choose a head that can be locked")
    manifest = read_manifest(open_files(bundle))
    sha256 = sha256_of_file(bundle / MANIFEST if bundle.is_dir() else bundle)
    return Origin(sha256, str(manifest.encoder.get("name", "")), manifest.head)


def _objects(opened: _Run, patient: Patient, row: pd.Series) -> dict[str, Dataset]:
    """File name -> object."""
    originals = originals_of(open_phases(patient), opened.phase)
    found: dict[str, Dataset] = {}
    maps = None
    if opened.maps is not None and patient.patient_id in opened.maps.patient_ids:
        maps = read_maps(opened.run.explanations / MAPS, patient.patient_id)
    statement = _statement(row, opened.config.scheme)
    if maps is not None:
        placed = _placed(opened, patient, maps, originals)
        classes = scheme_classes(opened.config.scheme)
        found["map.dcm"] = parametric_map(placed, originals, classes, opened.origin)
        predicted = statement.predicted
        seen = "; model of the map: trained on this patient" if maps.in_training else ""
        failed = "\nThe maps failed sanity tests: they are no reasons" if opened.maps_failed else ""
        caption = f"HER2-{predicted}: p = {statement.probabilities[predicted]:.2f}{seen}{failed}"
        statement = replace(statement, maps_failed=opened.maps_failed)
        pictures = captures(placed, originals, classes.index(predicted), caption, opened.origin)
        found |= {f"picture-{k:02d}.dcm": picture for k, picture in enumerate(pictures, start=1)}
    positions = range(len(originals.frames))
    evidence = [*originals.used(positions), *([found["map.dcm"]] if "map.dcm" in found else [])]
    found["report.dcm"] = structured_report(statement, evidence, opened.origin)
    return found


def _placed(opened: _Run, patient: Patient, maps: PatientMaps, originals: Originals) -> Placed:
    """The maps on the images, after proving that these are the images of the maps."""
    slab: Slab = read_slab(ensure_slab(opened.run.slabs, patient, opened.recipe).path)
    exam = read_exam(patient, opened.config.cohort.mask_label)
    return place(maps, slab, exam, opened.recipe, originals, opened.phase)


def _statement(row: pd.Series, scheme: str) -> Statement:
    """A row of the prediction table."""
    names = zip(scheme_classes(scheme), probability_columns(scheme), strict=True)
    return Statement(
        {name: float(row[column]) for name, column in names},
        classes_of_set(str(row.get("set", "") or "")),
        str(row["split"]),
        str(row.get("outside", "") or ""),
    )


def _unknown(row: pd.Series) -> Skipped:
    """Somebody who is predicted, and whom the cohort table does not name any more."""
    reason = SkipPatient("patient_unknown", "predicted, and not in the cohort table")
    return reason.row(str(row["patient_id"]), str(row["cohort"]), _STAGE)


def _write(folder: Path, objects: Mapping[str, Dataset]) -> None:
    """Write a patient's objects, each whole or not at all, and remove what an earlier export wrote beside them."""
    for path in folder.glob("*.dcm"):
        if path.name not in objects:
            path.unlink()
    for name, dataset in objects.items():
        with replacing(folder / name) as part:
            dataset.save_as(part, enforce_file_format=True)


def _earlier(out: Path) -> list[Written]:
    """What an earlier export wrote into the folder."""
    if not (out / INDEX).is_file():
        return []
    return [
        Written(row["patient_id"], row["folder"], row["predicted"], int(row["n_objects"]), row["has_maps"] == "True")
        for _, row in read_own_rows(out / INDEX)
    ]


def _refuse_other_cohort(kept: Sequence[Written], places: dict[str, str], out: Path) -> None:
    """Stop where a folder holds a patient whom the cohort does not have in that place."""
    for one in kept:
        if places.get(one.patient_id) != one.folder:
            message = f"{out} holds '{one.patient_id}' under {one.folder}, from another cohort table"
            raise StopRun("output_folder", message, remedy="choose another folder with --out")
