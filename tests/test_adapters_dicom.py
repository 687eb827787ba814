"""Folders of DICOM with a table of labels: whose study is whose, and who cannot come in."""

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from extract.adapters.contract import Request
from extract.adapters.importing import import_cohort
from extract.adapters.registry import find_adapter
from extract.cache import ensure_slab
from extract.exam import read_exam
from extract.phantom.cohort import write_phantom
from extract.phantom.dicom import phantom_as_dicom, write_dicom
from extract.recipe import SlabRecipe
from triher.cohort import read_cohort
from triher.config import read_config
from triher.errors import StopRun
from triher.progress import Reporter
from triher.settings import CohortConfig
from triher.tables import read_own_table

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
OPTIONS = {"map:patient_id": "MRN", "map:ihc": "HER2", "box": "2 6 2 6 1 3"}


def study(folder: Path, patient_id: str, *, date: str = "20200101", seed: int = 0, **options) -> None:
    """A small exam below a folder."""
    rng = np.random.default_rng(seed)
    phases = [rng.integers(1, 900, (9, 8, 4)).astype(np.int16) for _ in range(3)]
    given = {"vendor": "ge", "patient_id": patient_id, "seed": seed} | options
    for path in write_dicom(folder, phases, AFFINE, (-30.0, 90.0, 390.0), **given):
        header = pydicom.dcmread(path)
        header.StudyDate = date
        header.save_as(path)


@pytest.fixture
def hospital(tmp_path) -> Path:
    """Three patients in folders of their names, with a table that calls its columns in its own way."""
    for seed, patient_id in enumerate(("H-001", "H-002", "H-003")):
        study(tmp_path / "dicom" / patient_id / "study/series", patient_id, seed=seed)
    (tmp_path / "labels.csv").write_text("MRN;HER2;Age\nH-001;3+;51\nH-002;1+;62\nH-003;0;43\n", encoding="utf-8")
    return tmp_path


def run(folder: Path, *, table: str | None = "labels.csv", **options: str):
    """Import; the summary, the rows that came in, and code by patient of those who did not."""
    named = {name.replace("_", "-"): value for name, value in options.items()}
    request = Request(
        folder / "dicom",
        folder / table if table else None,
        options=(OPTIONS if table else {"box": OPTIONS["box"]}) | named,
    )
    summary = import_cohort("dicom", request, folder / "out.csv")
    rows = read_own_table(folder / "out.csv").set_index("patient_id").to_dict("index")
    skipped = folder / "out.skipped.csv"
    lost = dict(read_own_table(skipped)[["patient_id", "code"]].to_numpy()) if skipped.exists() else {}
    assert summary.n_in == summary.n_out + summary.n_skipped == len(rows) + len(lost)
    return summary, rows, lost


def exam_of(folder: Path, patient_id: str):
    config = read_config(folder / "out.yaml").cohort
    patients = {patient.patient_id: patient for patient in read_cohort(config).patients}
    return read_exam(patients[patient_id])


def test_patients_are_found_by_the_names_of_their_folders(hospital):
    summary, rows, lost = run(hospital)
    assert summary.by_site["cohort"] == {"zero": 1, "low": 1, "positive": 1}
    assert lost == {}
    assert rows["H-002"]["exam"] == "H-002/study/series"
    assert rows["H-002"]["Age"] == "62"
    assert exam_of(hospital, "H-002").phases == ("pre", "early", "late")


def test_ids_are_found_in_headers_where_folders_have_other_names(hospital):
    for number, folder in enumerate(sorted((hospital / "dicom").iterdir())):
        (hospital / "dicom/DICOM").mkdir(exist_ok=True)
        folder.rename(hospital / f"dicom/DICOM/PA{number:06d}")
    _, rows, lost = run(hospital)
    assert lost == {}
    assert rows["H-003"]["exam"] == "DICOM/PA000002/study/series"
    exam_of(hospital, "H-003")


def test_numbers_of_series_are_not_taken_for_patients(tmp_path):
    for number in (1, 2):
        study(tmp_path / f"dicom/{number}/7/{3 - number}", str(number), seed=number)
    (tmp_path / "labels.csv").write_text("MRN,HER2\n1,3+\n2,0\n", encoding="utf-8")
    _, rows, _ = run(tmp_path)
    assert {patient_id: row["exam"] for patient_id, row in rows.items()} == {"1": "1/7/2", "2": "2/7/1"}


def test_who_has_no_images_no_row_or_no_mask_is_named(hospital):
    shutil.rmtree(hospital / "dicom/H-001")
    study(hospital / "dicom/H-009/study", "H-009", seed=9)
    (hospital / "dicom/H-003/lesion.nii.gz").write_bytes(b"x")
    options = OPTIONS | {"mask": "{patient_id}/lesion.nii.gz"}
    options.pop("box")
    request = Request(hospital / "dicom", hospital / "labels.csv", options=options)
    summary = import_cohort("dicom", request, hospital / "out.csv")
    assert summary.skipped == {"no_images": 1, "mask_missing": 1, "no_label": 1}
    lost = read_own_table(hospital / "out.skipped.csv").set_index("patient_id")["code"].to_dict()
    assert lost == {"H-001": "no_images", "H-002": "mask_missing", "H-009/study": "no_label"}


@pytest.mark.parametrize(("which", "folder"), [("first", "H-001/before"), ("last", "H-001/after")])
def test_one_of_several_studies_is_chosen_by_date(hospital, which, folder):
    shutil.rmtree(hospital / "dicom/H-001")
    study(hospital / "dicom/H-001/before", "H-001", date="20190312", seed=4)
    study(hospital / "dicom/H-001/after", "H-001", date="20191105", seed=5)
    _, rows, lost = run(hospital)
    assert (lost, sorted(rows)) == ({"H-001": "series_ambiguous"}, ["H-002", "H-003"])
    _, rows, lost = run(hospital, study=which)
    assert (lost, rows["H-001"]["exam"]) == ({}, folder)


def test_two_studies_in_one_folder_cannot_be_told_apart(hospital):
    for seed in (4, 5):
        study(hospital / f"{seed}/a", "H-001", date=f"2019010{seed}", seed=seed)
    shutil.rmtree(hospital / "dicom/H-001")
    (hospital / "dicom/H-001/one").mkdir(parents=True)
    for path in sorted((hospital / "4/a").iterdir()):
        shutil.copy(path, hospital / "dicom/H-001" / path.name)
    for path in sorted((hospital / "5/a").iterdir()):
        shutil.copy(path, hospital / "dicom/H-001/one" / path.name)
    assert run(hospital, study="first")[2] == {"H-001": "series_ambiguous"}


def test_without_a_table_every_folder_is_a_patient_to_predict(hospital):
    summary, rows, _ = run(hospital, table=None)
    assert sorted(rows) == ["H-001", "H-002", "H-003"]
    assert summary.unlabeled == 3
    exam_of(hospital, "H-001")


def test_a_table_without_labels_is_accepted_on_request_only(hospital):
    (hospital / "labels.csv").write_text("MRN,Age\nH-001,50\n", encoding="utf-8")
    options = {name: text for name, text in OPTIONS.items() if name != "map:ihc"}
    request = Request(hospital / "dicom", hospital / "labels.csv", options=options)
    with pytest.raises(StopRun) as caught:
        import_cohort("dicom", request, hospital / "out.csv")
    assert caught.value.code == "column_missing"
    request = Request(hospital / "dicom", hospital / "labels.csv", options=options | {"labels": "none"})
    summary = import_cohort("dicom", request, hospital / "out.csv")
    assert (summary.n_out, summary.skipped) == (1, {"no_label": 2})


def test_a_column_names_folders_and_another_the_id_in_the_headers(hospital):
    for patient_id in ("H-001", "H-002", "H-003"):
        (hospital / "dicom" / patient_id).rename(hospital / "dicom" / f"box{patient_id[-1]}")
    rows = "MRN,HER2,where,header\nA,3+,box1,H-001\nB,0,box2,H-002\nC,1+,box3,H-003\n"
    (hospital / "labels.csv").write_text(rows, encoding="utf-8")
    mapped = {"map:exam": "where", "dicom-id": "{header}"}
    request = Request(hospital / "dicom", hospital / "labels.csv", options=OPTIONS | mapped)
    import_cohort("dicom", request, hospital / "out.csv")
    assert exam_of(hospital, "B").plane == "axial"


def test_names_of_options_are_checked(hospital):
    with pytest.raises(StopRun, match="did you mean 'series'"):
        run(hospital, serie="dyn")
    with pytest.raises(StopRun, match="unknown value of the option study"):
        run(hospital, study="newest")
    assert "phase:NAME" in find_adapter("dicom").options()


def test_the_phantom_as_dicom_gives_the_slabs_of_its_nifti(tmp_path):
    table = write_phantom(tmp_path, n_patients=6, shape=(24, 48, 48), reporter=Reporter(quiet=True))
    nifti = read_cohort(CohortConfig(table=table), survival=False).patients
    for patient in nifti:
        phantom_as_dicom(tmp_path / "dicom", patient)
    options = {"mask": "../images/{patient_id}_mask.nii.gz", "time-unit": "months"}
    import_cohort("dicom", Request(tmp_path / "dicom", table, options=options), tmp_path / "out.csv")
    imported = read_cohort(read_config(tmp_path / "out.yaml").cohort).patients
    recipe = SlabRecipe("box", 5.0)
    for one, other in zip(nifti, imported, strict=True):
        slabs = [ensure_slab(tmp_path / "slabs", patient, recipe).sha256 for patient in (one, other)]
        assert slabs[0] == slabs[1]
