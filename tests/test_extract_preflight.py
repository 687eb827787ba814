"""The look before the work: every problem of every patient, in one table."""

import gzip
import shutil

import nibabel as nib
import numpy as np
import pytest

from extract.phantom.dicom import write_dicom
from extract.preflight import check_cohorts, refuse_ambiguous
from extract.problems import Checked, write_problems
from triher.cohort import read_cohort
from triher.errors import StopRun
from triher.progress import Reporter
from triher.settings import CohortConfig
from triher.tables import read_own_table

FILES = {
    "phases": {name: f"images/{{patient_id}}_{name}.nii.gz" for name in ("pre", "early", "late")},
    "mask": "images/{patient_id}_mask.nii.gz",
}


@pytest.fixture
def cohort_of(write_exam, tmp_path):
    """Write exams and a table; give the cohort as it is checked."""

    def make(rows, *, exams=(), name="A", scheme="triple"):
        for seed, patient_id in enumerate(exams):
            write_exam(patient_id, seed=seed)
        table = tmp_path / f"{name}.csv"
        table.write_text("patient_id,site,ihc,ish\n" + "\n".join(rows) + "\n", encoding="utf-8")
        config = CohortConfig(table=table, **FILES)
        return Checked(name, config, read_cohort(config), scheme)

    return make


def check(*checked, **options):
    return check_cohorts(checked, Reporter(quiet=True), **options)


def found(problems):
    return sorted((p.outcome, p.patient_id, p.code) for p in problems)


def test_all_problems_of_all_patients_from_headers_alone(cohort_of, tmp_path, opened_sources):
    one = cohort_of(["P1,A,0,", "P2,A,2+,", "P3,B,3+,", "P4,B,1+,"], exams=["P1", "P2", "P3", "P4"])
    (tmp_path / "images/P2_late.nii.gz").unlink()
    (tmp_path / "images/P3_early.nii.gz").write_bytes(b"<html>not found</html>")
    (tmp_path / "images/P3_mask.nii.gz").write_bytes(b"")
    assert found(check(one)) == [
        ("note", "", "site_one_class"),
        ("skip", "P2", "her2_unknown"),
        ("skip", "P2", "phase_missing"),
        ("skip", "P3", "image_unreadable"),
        ("skip", "P3", "image_unreadable"),
    ]
    assert opened_sources == []


def test_reading_the_voxels_finds_more(cohort_of, tmp_path):
    one = cohort_of(["P1,A,0,", "P2,A,3+,", "P3,A,1+,"], exams=["P1", "P2", "P3"])
    path = tmp_path / "images/P1_pre.nii.gz"
    path.write_bytes(path.read_bytes()[:-400])
    early, pre = tmp_path / "images/P2_early.nii.gz", tmp_path / "images/P2_pre.nii.gz"
    first = early.read_bytes()
    early.write_bytes(pre.read_bytes())
    pre.write_bytes(first)
    assert found(check(one)) == []
    assert found(check(one, voxels=True)) == [
        ("note", "P2", "phase_order_suspect"),
        ("skip", "P1", "image_truncated"),
    ]


@pytest.mark.fault("C5")
def test_c05_rows_without_images_and_images_without_a_row(cohort_of):
    one = cohort_of(["P1,A,0,", "P9,A,3+,"], exams=["P1", "P2"])
    problems = check(one)
    assert ("skip", "P9", "no_images") in found(problems)
    stranger = next(p for p in problems if p.code == "no_label")
    assert "P2_pre.nii.gz" in stranger.found


@pytest.mark.fault("C3")
def test_one_image_of_two_patients_and_one_person_in_two_cohorts_stop(cohort_of, tmp_path):
    one = cohort_of(["P1,A,0,", "ISPY2_100899,A,3+,"], exams=["P1", "ISPY2_100899"])
    for name in ("pre", "early", "late", "mask"):
        shutil.copy(tmp_path / f"images/P1_{name}.nii.gz", tmp_path / f"images/ISPY2-100899_{name}.nii.gz")
    other = cohort_of(["ISPY2-100899,B,3+,"], name="B")
    leaks = [p for p in check(one, other) if p.code == "patient_leak"]
    assert {p.outcome for p in leaks} == {"stop"}
    texts = " ".join(p.found for p in leaks)
    assert "'ISPY2_100899' (A) and 'ISPY2-100899' (B) are one person" in texts
    assert "'P1' (A" in texts


def test_a_site_of_one_class_is_named(cohort_of):
    rows = ["P1,A,0,", "P2,A,3+,", "P3,B,3+,", "P4,B,3+,"]
    problems = check(cohort_of(rows, exams=["P1", "P2", "P3", "P4"]))
    assert [(p.code, p.found) for p in problems] == [
        ("site_one_class", "all 2 labeled patients of site 'B' are of one class")
    ]


@pytest.mark.fault("C8")
def test_contradictions_of_pathology_are_listed(cohort_of):
    problems = check(cohort_of(["P1,A,3+,negative", "P2,A,1+,amplified"], exams=["P1", "P2"]))
    assert found(problems) == [
        ("note", "P1", "her2_contradiction"),
        ("note", "P2", "her2_contradiction"),
        ("skip", "P2", "her2_unknown"),
    ]


@pytest.mark.parametrize("twin", ["P1_pre.nii", "p1_PRE.nii.gz"])
def test_a32_a_file_with_a_twin_stops(cohort_of, tmp_path, twin):
    one = cohort_of(["P1,A,0,"], exams=["P1"])
    (tmp_path / "images" / twin).write_bytes(b"x")
    with pytest.raises(StopRun) as caught:
        refuse_ambiguous(one.cohort)
    assert caught.value.code == "ambiguous_file"
    assert twin in caught.value.message
    assert "P1_pre.nii.gz" in caught.value.message
    assert ("stop", "", "ambiguous_file") in found(check(one))


def test_the_table_of_problems_reads_back(cohort_of, tmp_path):
    problems = check(cohort_of(["P1,A,2+,"], exams=["P1"]))
    write_problems(tmp_path / "problems.csv", problems)
    rows = read_own_table(tmp_path / "problems.csv").to_dict("records")
    assert [row["code"] for row in rows] == ["her2_unknown"]
    assert rows[0]["what_to_do"]


def test_equal_voxels_in_other_files_are_found_when_voxels_are_read(cohort_of, tmp_path):
    one = cohort_of(["P1,A,0,", "P2,A,3+,"], exams=["P1", "P2"])
    image = nib.load(tmp_path / "images/P1_early.nii.gz")
    nib.save(
        nib.Nifti1Image(np.asarray(image.dataobj)[::-1], image.affine @ flipped(image.shape)), tmp_path / "x.nii"
    )
    (tmp_path / "images/P2_late.nii.gz").write_bytes(gzip.compress((tmp_path / "x.nii").read_bytes(), 9))
    assert "patient_leak" not in {p.code for p in check(one)}
    leaks = [p for p in check(one, voxels=True) if p.code == "patient_leak"]
    assert len(leaks) == 1
    assert "P1_early.nii.gz" in leaks[0].found
    assert "P2_late.nii.gz" in leaks[0].found


def flipped(shape):
    change = np.diag([-1.0, 1, 1, 1])
    change[0, 3] = shape[0] - 1
    return change


def test_one_dicom_exam_of_two_patients(cohort_of, tmp_path):
    voxels = [np.random.default_rng(0).integers(1, 900, (16, 14, 5)).astype(np.int16) + k for k in range(3)]
    write_dicom(tmp_path / "P1", voxels, np.diag([1.0, 1, 2, 1]), (-30.0, 90.0, 390.0), vendor="ge", patient_id="P1")
    shutil.copytree(tmp_path / "P1", tmp_path / "P2")
    for number, path in enumerate((tmp_path / "P2").iterdir()):
        path.rename(path.with_name(f"x{number}"))
    table = tmp_path / "dicom.csv"
    table.write_text("patient_id\nP1\nP2\n", encoding="utf-8")
    rules = {"pre": "pre", "late": "last"}
    config = CohortConfig(table=table, exam="{patient_id}", phases=rules, box="2 9 2 9 1 4", dicom_id="")
    leaks = [p for p in check(Checked("A", config, read_cohort(config), "triple")) if p.code == "patient_leak"]
    assert [(p.outcome, p.patient_id) for p in leaks] == [("stop", "P1")]
    assert str(tmp_path / "P2") in leaks[0].found
