"""Results as DICOM: where they lie, what they say, and whom they name."""

import dataclasses
from pathlib import Path

import numpy as np
import pydicom
import pytest
from nibabel.affines import apply_affine

from classify.stage import classify
from extract.cache import Slab, cut_slab, ensure_slab, read_slab
from extract.exam import Exam, open_phases, read_exam
from extract.phantom.dicom import VENDORS, write_dicom
from extract.recipe import SlabRecipe, slabs_of
from triher.cohort import Patient, read_cohort
from triher.config import dump_config
from triher.dicom_results.export import export
from triher.dicom_results.images import captures, parametric_map
from triher.dicom_results.labels import NOTICE, Origin
from triher.dicom_results.originals import Originals, originals_of
from triher.dicom_results.placing import place
from triher.dicom_results.report import Statement, structured_report
from triher.errors import SkipPatient, StopRun
from triher.explanation_checks import NAME as CHECKS
from triher.explanation_checks import Check, write_checks
from triher.explanations import PatientMaps, write_maps
from triher.progress import Reporter
from triher.reading import Reading

SHAPE = (36, 33, 6)  # column, row, slice
BOX = (9, 21, 4, 15, 1, 5)
CLASSES = ("zero", "low", "positive")
ORIGIN = Origin("ab" * 32, "toy", "logistic")
TURNS = {
    "axial": np.eye(3),
    "axial, rows to the left": np.array([(-1, 0, 0), (0, -1, 0), (0, 0, 1)]),
    "sagittal": np.array([(0, -1, 0), (0, 0, -1), (1, 0, 0)]),
    "oblique": np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0].T,
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A patient of one exam, and maps of her slab."""

    patient: Patient
    exam: Exam
    slab: Slab
    originals: Originals
    maps: PatientMaps


def _patient(folder: Path, **reading: object) -> Patient:
    rules = {"pre": "pre", "early": "first post", "late": "last"}
    return Patient("P-1", "c", "A", "", dict.fromkeys(rules, folder), None, Reading(rules, box=BOX, **reading))


def _case(folder: Path, vendor: str, turn: str) -> Case:
    rng = np.random.default_rng(3)
    affine = np.eye(4)
    affine[:3, :3] = TURNS[turn].T * (0.7, 0.9, 2.4)
    affine[:3, 3] = (-20.1, -31.5, 7.25)
    phases = [rng.integers(0, 4000, SHAPE).astype(np.int16) for _ in range(3)]
    write_dicom(folder, phases, affine, (-30.0, 90.0, 390.5), vendor=vendor, patient_id="P-1")
    patient = _patient(folder)
    exam = read_exam(patient)
    slab = cut_slab(exam, SlabRecipe("box", 2.0, "none"))
    chosen = np.array([1, 2], np.int32)
    values = rng.standard_normal((3, 2, *slab.mask.shape[1:])).astype(np.float32)
    maps = PatientMaps("P-1", values, chosen + np.int32(slab.first_slice), np.zeros(3), False)
    return Case(patient, exam, slab, originals_of(open_phases(patient), "early"), maps)


def _place(case: Case):
    return place(case.maps, case.slab, case.exam, SlabRecipe("box", 2.0, "none"), case.originals, "early")


@pytest.mark.parametrize(
    ("vendor", "turn"), [*((vendor, "axial") for vendor in VENDORS), *(("siemens", turn) for turn in TURNS)]
)
def test_every_value_lies_where_its_voxel_lies(tmp_path, vendor, turn):
    """The world coordinates that the object states are those of the voxel the value was computed for."""
    case = _case(tmp_path / "dicom", vendor, turn)
    made = parametric_map(_place(case), case.originals, CLASSES, ORIGIN)
    made.save_as(tmp_path / "map.dcm")
    read = pydicom.dcmread(tmp_path / "map.dcm")
    frames = np.frombuffer(read.FloatPixelData, "<f4").reshape(-1, read.Rows, read.Columns)
    shared = read.SharedFunctionalGroupsSequence[0]
    spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    hottest, values = [], []
    for frame, groups in zip(frames, read.PerFrameFunctionalGroupsSequence, strict=True):
        row, col = np.unravel_index(frame.argmax(), frame.shape)
        origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        lps = origin + cosines[0] * col * spacing[1] + cosines[1] * row * spacing[0]
        hottest.append(lps * (-1, -1, 1))
        values.append(frame.max())
    volume = np.zeros((3, *case.exam.mask.shape), np.float32)
    corner = np.argwhere(case.exam.mask).min(axis=0) - np.argwhere(case.slab.mask).min(axis=0)
    rows, cols = (slice(corner[i], corner[i] + case.slab.mask.shape[i]) for i in (1, 2))
    volume[:, case.maps.slice_index, rows, cols] = case.maps.maps
    expected = [
        (one[k].max(), apply_affine(case.exam.affine, (k, *np.unravel_index(one[k].argmax(), one[k].shape))))
        for one in volume
        for k in case.maps.slice_index
    ]
    found = sorted(zip(values, hottest, strict=True), key=lambda pair: pair[0])
    for (value, place_), (wanted, where) in zip(found, sorted(expected, key=lambda pair: pair[0]), strict=True):
        assert value == wanted
        assert np.allclose(place_, where, atol=0.01)


def test_what_is_written_belongs_to_the_study_and_says_research(tmp_path):
    case = _case(tmp_path / "dicom", "siemens", "axial")
    source = pydicom.dcmread(next(path for path in (tmp_path / "dicom").rglob("*") if path.is_file()))
    placed = _place(case)
    made = parametric_map(placed, case.originals, CLASSES, ORIGIN)
    pictures = captures(placed, case.originals, 1, "HER2-low: p = 0.80", ORIGIN)
    statement = Statement({"zero": 0.15, "low": 0.8, "positive": 0.05}, ["low", "zero"], "test", "")
    report = structured_report(statement, [*case.originals.used([0, 1]), made], ORIGIN)
    assert len(pictures) == 2
    for one in (made, *pictures, report):
        assert one.StudyInstanceUID == source.StudyInstanceUID
        assert one.SeriesInstanceUID != source.SeriesInstanceUID
        assert one.PatientID == "P-1"
        assert "RESEARCH USE ONLY" in one.SeriesDescription
    assert made.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert made.ContentQualification == "RESEARCH"
    assert pictures[0].ImageComments == NOTICE
    assert pictures[0].pixel_array[:14].any()  # the notice is in the pixels, too
    text = " ".join(str(element.value) for element in report.iterall())
    assert report.VerificationFlag == "UNVERIFIED"
    assert all(
        words in text for words in (NOTICE, "Probability of HER2-low", "0.8", "held-out", ORIGIN.bundle_sha256)
    )


def test_equal_results_have_equal_identifiers(tmp_path):
    made = [
        parametric_map(_place(case), case.originals, CLASSES, ORIGIN)
        for case in (_case(tmp_path / name, "ge", "axial") for name in ("a", "b"))
    ]
    assert made[0].SOPInstanceUID == made[1].SOPInstanceUID
    assert made[0].FloatPixelData == made[1].FloatPixelData


def test_other_results_have_other_identifiers(tmp_path):
    """An archive keeps the first of two objects with one UID: a map by another method must not look like it."""
    case = _case(tmp_path / "dicom", "ge", "axial")
    placed = _place(case)
    other = dataclasses.replace(placed, maps=2 * placed.maps)
    one, two = (parametric_map(p, case.originals, CLASSES, ORIGIN) for p in (placed, other))
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert one.SeriesInstanceUID != two.SeriesInstanceUID
    low, zero = (captures(placed, case.originals, c, "HER2", ORIGIN) for c in (1, 0))
    assert {a.SOPInstanceUID for a in low}.isdisjoint(b.SOPInstanceUID for b in zero)
    sure, unsure = (Statement({"zero": p, "low": 1 - p}, [], "test", "") for p in (0.9, 0.6))
    reports = [structured_report(s, case.originals.used([0]), ORIGIN) for s in (sure, unsure, sure)]
    assert len({report.SOPInstanceUID for report in reports}) == 2


def test_maps_of_other_voxels_are_put_nowhere(tmp_path):
    case = _case(tmp_path / "dicom", "ge", "axial")
    other = dataclasses.replace(case.slab, images="0" * 32)
    with pytest.raises(SkipPatient, match="images or mask are others"):
        _place(dataclasses.replace(case, slab=other))


@pytest.fixture
def run(make_study, tmp_path):
    """A run whose first patients have DICOM exams, and the others NIfTI files that are not read."""
    study = make_study(n=24, head="majority", trials=1, folds=2)
    assert classify(*study)
    for number, name in enumerate(study.ids[:3]):
        rng = np.random.default_rng(number)
        phases = [rng.integers(0, 4000, SHAPE).astype(np.int16) for _ in range(3)]
        affine = np.diag([0.7, 0.9, 2.4, 1.0])
        write_dicom(tmp_path / "dicom" / name, phases, affine, (-30.0, 90.0, 390.5), vendor="ge", patient_id=name)
    own = study.config.cohort.model_copy(
        update={
            "root": tmp_path / "dicom",
            "exam": "{patient_id}",
            "phases": {"pre": "pre", "early": "first post", "late": "last"},
            "box": " ".join(map(str, BOX)),
            "mask": "{mask}",
        }
    )
    config = study.config.model_copy(update={"cohort": own})
    study.run.record_command("triher run", dump_config(config))
    patient = read_cohort(own).patients[0]
    slab = read_slab(ensure_slab(study.run.slabs, patient, slabs_of(config)).path)
    values = np.ones((3, 1, *slab.mask.shape[1:]), np.float32)
    index = np.array([slab.first_slice], np.int32)
    maps = [PatientMaps(patient.patient_id, values, index, np.zeros(3), True)]
    write_maps(study.run.explanations / "maps.h5", maps, classes=CLASSES, method="occlusion")
    return study.run


def test_everybody_is_written_or_named(run, tmp_path):
    out = tmp_path / "out"
    written, skipped = export(run, out, Reporter(quiet=True))
    assert [one.folder for one in written] == ["0001", "0002", "0003"]
    assert [one.has_maps for one in written] == [True, False, False]
    assert sorted(path.name for path in (out / "0001").iterdir()) == ["map.dcm", "picture-01.dcm", "report.dcm"]
    assert len(written) + len(skipped) == 24
    assert not any(one.patient_id in str(path) for one in written for path in out.rglob("*"))


def test_maps_that_failed_a_sanity_test_say_so_wherever_they_go(run, tmp_path):
    def told(folder):
        report, picture = (pydicom.dcmread(folder / "0001" / f"{name}.dcm") for name in ("report", "picture-01"))
        return "Sanity tests" in str(report), picture

    first = run.predictions_file.read_text(encoding="utf-8").splitlines()[1].split(",")[0]
    export(run, tmp_path / "good", Reporter(quiet=True), only=[first])
    write_checks(run.explanations / CHECKS, [Check("deletion", "m", -1.0, -2.0, 0.0, 12, -1.0, passed=False, p=0.5)])
    export(run, tmp_path / "bad", Reporter(quiet=True), only=[first])
    (good, plain), (bad, warned) = told(tmp_path / "good"), told(tmp_path / "bad")
    assert (good, bad) == (False, True)
    assert warned.Rows > plain.Rows
    assert warned.SOPInstanceUID != plain.SOPInstanceUID


def test_maps_of_an_earlier_model_are_not_exported(run, tmp_path):
    run.record_stage("explain", "key", [], 1.0, predictions="0" * 64)
    written, _ = export(run, tmp_path / "out", Reporter(quiet=True))
    assert [one.has_maps for one in written] == [False] * 3


def test_who_cannot_be_written_any_more_leaves_no_objects_and_is_named(run, tmp_path):
    out = tmp_path / "out"
    everybody, _ = export(run, out, Reporter(quiet=True))
    first = everybody[0].patient_id
    (tmp_path / "dicom" / first).rename(tmp_path / "gone")
    written, skipped = export(run, out, Reporter(quiet=True), only=[first])
    assert [one.patient_id for one in written] == [one.patient_id for one in everybody[1:]]
    assert [one.patient_id for one in skipped] == [first]
    assert not list((out / "0001").glob("*"))
    text = run.predictions_file.read_text()
    run.predictions_file.write_text(text.replace(everybody[1].patient_id, "STRANGER"))
    run.record_stage("classify", "key", [run.predictions_file, run.bundle / "manifest.json"], 1.0)
    _, skipped = export(run, tmp_path / "other", Reporter(quiet=True), only=["STRANGER"])
    assert [(one.patient_id, one.code) for one in skipped] == [("STRANGER", "patient_unknown")]
    assert export(run, tmp_path / "other", Reporter(quiet=True), only=["STRANGER"])[0] == []  # over an empty index


def test_a_model_that_is_not_locked_is_named_as_the_reason(run, tmp_path):
    assert run.read_record()["stages"]["classify"]["outputs"]
    run.record_stage("classify", "key", [], 1.0)
    with pytest.raises(StopRun, match="a head that is not locked"):
        export(run, tmp_path / "out", Reporter(quiet=True))


def test_a_second_export_of_one_patient_keeps_the_others(run, tmp_path):
    out = tmp_path / "out"
    everybody, _ = export(run, out, Reporter(quiet=True))
    before = {path: path.stat().st_ino for path in out.rglob("*.dcm")}
    again, _ = export(run, out, Reporter(quiet=True), only=[everybody[1].patient_id])
    assert again == everybody
    assert [path for path in before if path.stat().st_ino != before[path]] == [out / "0002" / "report.dcm"]


def test_unknown_names_and_other_folders_are_refused(run, tmp_path):
    with pytest.raises(StopRun, match="did you mean 'SUBJECT-000'"):
        export(run, tmp_path / "out", Reporter(quiet=True), only=["SUBJECT-0000"])
    with pytest.raises(StopRun, match="unknown phase 'erly'; did you mean 'early'"):
        export(run, tmp_path / "out", Reporter(quiet=True), phase="erly")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(StopRun, match="holds other files"):
        export(run, tmp_path / "mine", Reporter(quiet=True))
