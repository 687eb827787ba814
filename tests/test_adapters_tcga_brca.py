"""TCGA-BRCA: the real clinical table in full, and exams in every form that people have them in."""

from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from extract.adapters.contract import Request
from extract.adapters.importing import import_cohort
from extract.adapters.tcga_brca import read
from extract.exam import read_exam
from extract.phantom.dicom import write_dicom
from triher.cohort import labels, read_cohort
from triher.config import read_config
from triher.errors import StopRun

KEEP = {"without-images": "keep"}
COLUMNS = (
    *("bcr_patient_barcode", "tissue_source_site", "her2_ihc_score", "her2_fish_status", "her2_cent17_ratio"),
    *("her2_copy_number", "age_at_diagnosis", "ajcc_pathologic_tumor_stage", "histological_type", "race", "gender"),
    *("er_status_by_ihc", "pr_status_by_ihc", "menopause_status", "vital_status", "death_days_to"),
    *("last_contact_days_to", "her2_status_by_ihc"),
)
ONE, OTHER = "TCGA-AO-A03M", "TCGA-E2-A1B1"
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def line(barcode: str, **changes: str) -> list[str]:
    cells = {
        "bcr_patient_barcode": barcode,
        "tissue_source_site": barcode[5:7],
        "her2_ihc_score": "2+",
        "her2_fish_status": "Negative",
        "her2_cent17_ratio": "1.3",
        "age_at_diagnosis": "29",
        "vital_status": "Alive",
        "last_contact_days_to": "1455",
        "menopause_status": "Post (prior bilateral ovariectomy OR >12 mo since LMP)",
        "her2_status_by_ihc": "Equivocal",
        "er_status_by_ihc": "Positive",
    } | changes
    return [cells.get(name, "[Not Available]") for name in COLUMNS]


def write_clinical(folder: Path, *rows: list[str]) -> Path:
    """The table with its three rows of headers."""
    lines = [list(COLUMNS), list(COLUMNS), [f"CDE_ID:{2003300 + k}" for k in range(len(COLUMNS))], *rows]
    path = folder / "clinical_patient_brca.txt"
    path.write_text("".join("\t".join(cells) + "\n" for cells in lines), encoding="utf-8")
    return path


def write_nifti(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).integers(1, 900, (9, 8, 4)).astype(np.int16)
    if "mask" in path.name:
        voxels = np.zeros_like(voxels)
        voxels[2:5, 2:5, 1:3] = 1
    image = nib.Nifti1Image(voxels, AFFINE)
    image.set_sform(AFFINE, code=1)
    nib.save(image, path)


def write_exam(folder: Path, barcode: str, *, n_phases: int = 4) -> None:
    for phase in range(n_phases):
        write_nifti(folder / f"{barcode}_phase{phase}.nii.gz", phase)
    write_nifti(folder / f"{barcode}_mask.nii.gz")


def run(folder: Path, **options: str):
    """Import; the summary, the patients, and code by id of those left out."""
    named = {name.replace("_", "-"): value for name, value in options.items()}
    summary = import_cohort("tcga-brca", Request(folder, options=named), folder / "out.csv", overwrite=True)
    imported = read(Request(folder, options=named))
    lost = {one.patient_id: one.code for one in imported.skipped}
    config = read_config(folder / "out.yaml").cohort
    patients = {patient.patient_id: patient for patient in read_cohort(config).patients}
    assert summary.n_in == summary.n_out + summary.n_skipped == len(patients) + len(lost)
    return summary, patients, lost


def test_the_real_table_has_every_patient_and_every_score(shared):
    imported = read(Request(shared / "data/tcga-brca", options=KEEP))
    assert len(imported.rows) == 1097
    assert imported.skipped == ()
    scores = Counter(row["ihc"] for row in imported.rows)
    assert [scores[score] for score in ("0", "1+", "2+", "3+")] == [61, 272, 199, 90]
    assert Counter(row["event"] for row in imported.rows)["1"] == 104


@pytest.mark.parametrize(
    ("rules", "counts"),
    [
        ("either-test", {"zero": 61, "low": 407, "positive": 145}),
        ("asco-cap-2018", {"zero": 61, "low": 407, "positive": 142}),  # 3 with IHC 1+ and amplified ISH are left out
    ],
)
def test_the_classes_of_the_real_table(shared, tmp_path, rules, counts):
    request = Request(shared / "data/tcga-brca", options=KEEP | {"rules": rules})
    summary = import_cohort("tcga-brca", request, tmp_path / "out.csv")
    assert summary.by_split[""] == counts
    assert summary.unlabeled == 1097 - sum(counts.values())


def test_the_real_exam_comes_in_with_its_label_and_follow_up(shared, tmp_path):
    table = shared / "data/tcga-brca/clinical_patient_brca.txt"
    request = Request(table, images=shared / "data/tcga-ao-a03m")
    summary = import_cohort("tcga-brca", request, tmp_path / "out.csv")
    assert (summary.n_in, summary.n_out, summary.skipped) == (1097, 1, {"no_images": 1096})
    (patient,) = read_cohort(read_config(tmp_path / "out.yaml").cohort).patients
    assert (patient.patient_id, patient.site) == (ONE, "AO")
    assert (patient.time_months, patient.event) == (pytest.approx(1455 * 12 / 365.25), 0)
    exam = read_exam(patient)
    assert (exam.phases, exam.voxels.shape, exam.plane) == (("pre", "early", "late"), (3, 50, 256, 256), "sagittal")


def test_what_the_table_says_is_taken_over(tmp_path):
    dead = {"vital_status": "Dead", "death_days_to": "612", "last_contact_days_to": "[Not Available]"}
    write_clinical(tmp_path, line(ONE), line(OTHER, **dead, her2_ihc_score="3+", menopause_status="[Unknown]"))
    for barcode in (ONE, OTHER):
        write_exam(tmp_path / barcode.lower(), barcode)
    summary, patients, lost = run(tmp_path)
    assert (lost, summary.by_split) == ({}, {"": {"zero": 0, "low": 1, "positive": 1}})
    rows = {row["patient_id"]: row for row in read(Request(tmp_path)).rows}
    assert [rows[ONE][name] for name in ("er", "pr", "menopause", "time", "event")] == ["1", "", "post", "1455", "0"]
    assert [rows[OTHER][name] for name in ("menopause", "time", "event")] == ["", "612", "1"]
    assert read_exam(patients[ONE]).phases == ("pre", "early", "late")
    assert "her2_status_by_ihc" not in rows[ONE]  # it would tell the label


def test_contradictory_her2_stays_without_a_class(tmp_path):
    write_clinical(tmp_path, line(ONE, her2_ihc_score="1+", her2_fish_status="Positive", her2_cent17_ratio="2.4"))
    write_exam(tmp_path, ONE)
    assert run(tmp_path)[0].unlabeled == 1
    summary, patients, _ = run(tmp_path, rules="either-test")
    assert summary.unlabeled == 0
    assert len(patients) == 1


def test_a_folder_of_dicom_is_an_exam(tmp_path):
    write_clinical(tmp_path, line(ONE))
    phases = [np.random.default_rng(k).integers(1, 900, (9, 8, 4)).astype(np.int16) for k in range(3)]
    write_dicom(tmp_path / ONE / "study/3-dyn", phases, AFFINE, (-30.0, 90.0, 390.0), vendor="ge", patient_id=ONE)
    write_nifti(tmp_path / f"{ONE}_mask.nii.gz")
    _, patients, lost = run(tmp_path, series="vibrant")
    assert lost == {}
    assert read_exam(patients[ONE]).voxels.shape == (3, 4, 8, 9)


def test_who_cannot_come_in_is_named(tmp_path):
    write_clinical(tmp_path, line(ONE), line(OTHER), line("TCGA-A2-A0CM"))
    write_exam(tmp_path, ONE)
    for phase in range(3):
        write_nifti(tmp_path / f"{OTHER}_phase{phase}.nii.gz", phase)
    write_exam(tmp_path / "more", "TCGA-AR-A1AX")
    _, patients, lost = run(tmp_path)
    assert sorted(patients) == [ONE]
    assert lost == {OTHER: "mask_missing", "TCGA-A2-A0CM": "no_images", "TCGA-AR-A1AX": "no_label"}


FAULTS = {
    "patient_duplicate": lambda folder: write_clinical(folder, line(ONE), line(ONE, her2_ihc_score="3+")),
    "patient_id": lambda folder: write_clinical(folder, line(ONE), line("")),
    "csv_row": lambda folder: write_clinical(folder, line(ONE), line(OTHER)[:-1]),
    "ambiguous_file": lambda folder: [write_clinical(folder, line(ONE)), write_exam(folder / "again", ONE)],
    "file_unreadable": lambda folder: (folder / "clinical_patient_brca.txt").unlink(),
    "cohort_empty": lambda folder: write_clinical(folder, line(OTHER)),
}


@pytest.mark.parametrize("code", FAULTS)
def test_what_stops_the_import(tmp_path, code):
    write_clinical(tmp_path, line(ONE))
    write_exam(tmp_path, ONE)
    FAULTS[code](tmp_path)
    with pytest.raises(StopRun) as caught:
        import_cohort("tcga-brca", Request(tmp_path), tmp_path / "out.csv")
    assert caught.value.code == code
    assert not list(tmp_path.glob("out.*"))


def test_a_column_that_is_missing_and_an_option_that_nobody_knows(tmp_path):
    path = write_clinical(tmp_path, line(ONE))
    path.write_text(path.read_text(encoding="utf-8").replace("her2_ihc_score", "her2_ihc"), encoding="utf-8")
    with pytest.raises(StopRun, match="did you mean 'her2_ihc'"):
        read(Request(tmp_path))
    write_clinical(tmp_path, line(ONE))
    with pytest.raises(StopRun, match="did you mean 'rules'"):
        read(Request(tmp_path, options={"rule": "either-test"}))
    with pytest.raises(StopRun, match="unknown HER2 rule set"):
        read(Request(tmp_path, options={"rules": "asco"}))


def test_rows_without_images_stay_on_request(tmp_path):
    write_clinical(tmp_path, line(ONE), line(OTHER))
    summary, patients, lost = run(tmp_path, without_images="keep")
    assert (summary.n_out, lost) == (2, {})
    known, _ = labels(read_cohort(read_config(tmp_path / "out.yaml").cohort), "triple")
    assert sorted(known) == sorted(patients)


@pytest.mark.parametrize("place", ["", f"{ONE}", f"{ONE}/nifti", f"more/{ONE.lower()}/a/b"])
def test_exams_may_lie_at_any_depth(tmp_path, place):
    write_clinical(tmp_path, line(ONE))
    write_exam(tmp_path / place, ONE)
    _, patients, lost = run(tmp_path)
    assert lost == {}
    assert len(read_exam(patients[ONE]).phases) == 3


def test_the_dicom_that_nifti_files_were_made_from_may_lie_beside_them(tmp_path):
    write_clinical(tmp_path, line(ONE))
    write_exam(tmp_path / ONE / "nifti", ONE)
    (tmp_path / ONE / "dicom").mkdir()
    (tmp_path / ONE / "dicom/1-001.dcm").write_bytes(b"any")
    assert [row["exam"] for row in read(Request(tmp_path)).rows] == [f"{ONE}/nifti/{ONE}_phase*.nii.gz"]


def test_the_mask_of_a_dicom_exam_may_lie_among_its_folders(tmp_path):
    write_clinical(tmp_path, line(ONE))
    phases = [np.random.default_rng(k).integers(1, 900, (9, 8, 4)).astype(np.int16) for k in range(3)]
    write_dicom(tmp_path / ONE / "study/3-dyn", phases, AFFINE, (-30.0, 90.0, 390.0), vendor="ge", patient_id=ONE)
    write_nifti(tmp_path / ONE / "seg" / f"{ONE}_mask.nii.gz")
    (row,) = read(Request(tmp_path)).rows
    assert (row["exam"], row["mask"]) == (ONE, f"{ONE}/seg/{ONE}_mask.nii.gz")


@pytest.mark.parametrize("phases", [(0,), (1, 2, 3), (0, 2, 3)], ids=["one", "none before contrast", "gap"])
def test_phases_that_others_would_pass_for_must_be_there(tmp_path, phases):
    write_clinical(tmp_path, line(ONE), line(OTHER))
    write_exam(tmp_path, ONE)
    for phase in phases:
        write_nifti(tmp_path / f"{OTHER}_phase{phase}.nii.gz", phase)
    write_nifti(tmp_path / f"{OTHER}_mask.nii.gz")
    _, patients, lost = run(tmp_path)
    assert (sorted(patients), lost) == ([ONE], {OTHER: "phase_missing"})


def test_a_mask_alone_and_a_hidden_file_are_no_exam(tmp_path):
    write_clinical(tmp_path, line(ONE), line(OTHER))
    write_exam(tmp_path, ONE)
    write_nifti(tmp_path / OTHER / f"{OTHER}_mask.nii.gz")
    (tmp_path / OTHER / ".DS_Store").write_bytes(b"")
    assert run(tmp_path)[2] == {OTHER: "no_images"}


def compressed_otherwise(folder: Path) -> None:
    nib.save(nib.load(folder / f"{ONE}_phase3.nii.gz"), folder / f"{ONE}_phase3.nii")
    (folder / f"{ONE}_phase3.nii.gz").unlink()


TWICE = {
    "phases of two formats": compressed_otherwise,
    "a folder of DICOM elsewhere": lambda folder: [(folder / ONE).mkdir(), (folder / ONE / "1.dcm").touch()],
    "two masks": lambda folder: write_nifti(folder / "again" / f"{ONE}_mask.nii.gz"),
}


@pytest.mark.parametrize("case", TWICE)
def test_two_exams_or_masks_of_one_patient_are_named(tmp_path, case):
    write_clinical(tmp_path, line(ONE))
    write_exam(tmp_path, ONE)
    TWICE[case](tmp_path)
    with pytest.raises(StopRun, match=f"{ONE} has files in .* and in ") as caught:
        read(Request(tmp_path))
    assert caught.value.code == "ambiguous_file"


def test_a_table_with_headers_alone_is_empty(tmp_path):
    write_clinical(tmp_path)
    with pytest.raises(StopRun, match="holds no patient") as caught:
        read(Request(tmp_path))
    assert caught.value.code == "table_empty"


def test_repeated_rows_are_both_named(tmp_path):
    write_clinical(tmp_path, line(ONE), line(OTHER), line(ONE))
    with pytest.raises(StopRun, match=f"rows 4 and 6 are both '{ONE}'"):
        read(Request(tmp_path))
