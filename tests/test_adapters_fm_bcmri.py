"""FM-BCMRI: everything from file names, labels by name or PID."""

from pathlib import Path

import numpy as np
import pytest
from imported_cohorts import as_cohort, codes, save

from extract.adapters.contract import Request
from extract.adapters.fm_bcmri import parse_name, read
from extract.exam import read_exam
from triher.cohort import labels
from triher.errors import StopRun

LABELS = "Name,ihc,ish,age\nIS2_d0_C2_100899,2+,negative,53.0\n100900,3+,,48\nGD_d0_C2_7.nii.gz,0,,61\n"


def write_release(
    root: Path, text: str = LABELS, names: tuple[str, ...] = ("IS2_d0_C{}_100899", "IS2_d0_C{}_100900")
):
    """A table of labels, and phases C0 to C3 with one mask for each name."""
    root.mkdir(exist_ok=True)
    (root / "label.csv").write_text(text)
    mask = np.zeros((16, 16, 8), np.int16)
    mask[4:8, 4:8, 2:5] = 1
    affine = np.diag([-0.8, -0.8, 2.0, 1.0])
    for name in names:
        for k in range(4):
            voxels = (100 + 50 * k * mask + 3 * k + np.arange(8)).astype(np.float32)
            save(root / "Image" / f"{name.format(k)}.nii.gz", voxels, affine)
        save(root / "Mask" / f"{name.format(2)}.nii.gz", mask, affine)
    return root


@pytest.mark.parametrize(
    "name", ["IS2_C2_100899", "IS2_d0_2_100899", "a_d0_C2_1_left", "IS2_d0_C2_.nii.gz", "_d0_C1_5"]
)
def test_names_of_another_layout_are_none(name):
    assert parse_name(name) is None


@pytest.mark.parametrize(("name", "visit"), [("bl", "d0"), ("1c", "d1"), ("2c", "d2"), ("po", "d3"), ("d4", "d4")])
def test_visits_have_two_names(name, visit):
    assert parse_name(f"SY_{name}_C0_9.nii").visit == visit


def test_the_layout_reads_as_exams_with_labels_by_name_and_by_pid(tmp_path):
    imported = read(Request(write_release(tmp_path / "data")))
    assert codes(imported) == {"GD_7": "no_images"}
    assert imported.scheme == "triple"
    cohort = as_cohort(imported, tmp_path)
    assert [(p.patient_id, p.site) for p in cohort.patients] == [("IS2_100899", "IS2"), ("IS2_100900", "IS2")]
    assert labels(cohort, "triple")[0] == {"IS2_100899": 1, "IS2_100900": 2}
    for patient in cohort.patients:
        exam = read_exam(patient)
        assert exam.mask.sum() == 48
        signal = [phase[exam.mask].mean() for phase in exam.voxels]
        assert signal[0] < signal[1] < signal[2]


def test_c2_can_stand_for_early(tmp_path):
    imported = read(Request(write_release(tmp_path / "data"), options={"early": "C2"}))
    row = imported.rows[0]
    assert [row[name] for name in ("pre", "early", "late")] == [f"Image/IS2_d0_C{k}_100899.nii.gz" for k in (0, 2, 3)]


def test_another_early_phase_is_noted_and_too_few_are_left_out(tmp_path):
    root = write_release(tmp_path / "data")
    (root / "Image/IS2_d0_C1_100899.nii.gz").unlink()
    imported = read(Request(root))
    assert imported.rows[0]["early"] == "Image/IS2_d0_C2_100899.nii.gz"
    assert [(note.patient_id, note.code) for note in imported.notes] == [("IS2_100899", "phase_substituted")]
    (root / "Image/IS2_d0_C0_100900.nii.gz").unlink()
    (root / "Image/IS2_d0_C3_100899.nii.gz").unlink()
    imported = read(Request(root))
    assert not imported.rows
    assert codes(imported) == {"IS2_100899": "phase_missing", "IS2_100900": "phase_missing", "GD_7": "no_images"}


def test_the_first_visit_is_taken_unless_another_is_asked_for(tmp_path):
    names = ("IS2_d0_C{}_100899", "IS2_1c_C{}_100899", "IS2_d1_C{}_100900")
    root = write_release(tmp_path / "data", names=names)
    imported = read(Request(root))
    assert [row["patient_id"] for row in imported.rows] == ["IS2_100899"]
    assert [(note.patient_id, note.code) for note in imported.notes] == [("IS2_100899", "visit_left_out")]
    assert codes(imported)["IS2_100900"] == "no_images"
    later = read(Request(root, options={"visit": "d1"}))
    assert [row["pre"] for row in later.rows] == ["Image/IS2_1c_C0_100899.nii.gz", "Image/IS2_d1_C0_100900.nii.gz"]


def test_bad_names_and_images_without_labels_are_listed(tmp_path):
    root = write_release(tmp_path / "data", names=("IS2_d0_C{}_100899", "IS2_d0_C{}_5"))
    save(root / "Image" / "SY_d0_C2_10099473_left.nii.gz", np.ones((4, 4, 4), np.float32))
    imported = read(Request(root))
    assert [note.code for note in imported.notes] == ["file_name"]
    assert codes(imported) == {"100900": "no_images", "GD_7": "no_images", "IS2_5": "no_label"}


def test_rows_of_one_patient_are_merged_unless_they_differ(tmp_path):
    text = "Name,ihc\nIS2_d0_C1_100899,0\nIS2_d0_C2_100899,0\n"
    assert len(read(Request(write_release(tmp_path / "data", text))).rows) == 1
    with pytest.raises(StopRun) as caught:
        read(Request(write_release(tmp_path / "data", text.replace("C2_100899,0", "C2_100899,3+"))))
    assert caught.value.code == "patient_duplicate"


def test_a_pid_of_two_centers_is_no_name(tmp_path):
    root = write_release(tmp_path / "data", names=("IS2_d0_C{}_100900", "GD_d0_C{}_100900"))
    with pytest.raises(StopRun) as caught:
        read(Request(root))
    assert caught.value.code == "patient_duplicate"


def test_class_numbers_mean_what_the_option_says_and_nothing_before(tmp_path):
    text = "Name,label\nIS2_d0_C2_100899,1\nIS2_d0_C2_100900,0.0\n"
    root = write_release(tmp_path / "data", text)
    with pytest.raises(StopRun) as caught:
        read(Request(root, options={"label": "label"}))
    assert caught.value.code == "config_value"
    binary = read(Request(root, options={"label": "label", "classes": "0=negative, 1=positive"}))
    assert binary.scheme == "binary"
    assert [row["ihc"] for row in binary.rows] == ["positive", "negative"]
    triple = read(Request(root, options={"label": "label", "classes": "0=zero,1=low,2=positive"}))
    assert triple.scheme == "triple"
    assert labels(as_cohort(triple, tmp_path), "triple")[0] == {"IS2_100899": 1, "IS2_100900": 0}


def test_class_words_need_no_explanation(tmp_path):
    text = "Name,status\nIS2_d0_C2_100899,positive\nIS2_d0_C2_100900,negative\n"
    assert read(Request(write_release(tmp_path / "data", text), options={"label": "status"})).scheme == "binary"
    text = text.replace("negative", "low")
    assert read(Request(write_release(tmp_path / "data", text), options={"label": "status"})).scheme == "triple"


def test_without_a_label_column_the_rows_have_no_label_and_a_note(tmp_path):
    imported = read(Request(write_release(tmp_path / "data", "Name\nIS2_d0_C2_100899\n")))
    assert [row["ihc"] for row in imported.rows] == [""]
    assert "column_missing" in {note.code for note in imported.notes}


def test_covariates_and_columns_of_other_names_come_along(tmp_path):
    text = "Name,HER2_IHC,FISH,age\nIS2_d0_C2_100899,2+,amplified,53.0\n"
    options = {"ihc": "HER2_IHC", "ish": "FISH", "covariates": "age"}
    imported = read(Request(write_release(tmp_path / "data", text), options=options))
    assert imported.settings["covariates"] == ["age"]
    cohort = as_cohort(imported, tmp_path)
    assert cohort.patients[0].covariates == {"age": 53.0}
    assert labels(cohort, "triple")[0] == {"IS2_100899": 2}


def test_rows_stay_without_images_where_asked(tmp_path):
    imported = read(Request(write_release(tmp_path / "data"), options={"without-images": "keep"}))
    assert len(imported.rows) == 3
    assert not imported.skipped
    assert imported.rows[2]["mask"] == "Mask/GD_d0_C1_7.nii.gz"


@pytest.mark.parametrize(
    "options", [{"early": "C0"}, {"early": "2"}, {"classes": "0=none"}, {"classes": "nonsense", "label": "ihc"}]
)
def test_options_that_mean_nothing_are_refused(tmp_path, options):
    with pytest.raises(StopRun) as caught:
        read(Request(write_release(tmp_path / "data"), options=options))
    assert caught.value.code == "config_value"
