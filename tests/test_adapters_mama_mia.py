"""MAMA-MIA: counts of the real table, survival, times, and exams in the published layout."""

import csv
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from imported_cohorts import as_cohort, codes, save

from extract.adapters.contract import Imported, Request
from extract.adapters.mama_mia import read
from extract.exam import read_exam
from triher.cohort import labels
from triher.errors import StopRun
from triher.tables import read_table, write_table

KEEP = {"without-images": "keep"}
TABLE = "clinical_and_imaging_info.csv"
ROW = {
    "patient_id": "DUKE_001",
    "dataset": "DUKE",
    "her2": "1.0",
    "site": "DUKE",
    "acquisition_times": "[0, 120, 240]",
    "days_to_death": "0.0",
    "days_to_follow_up": "2940.0",
    "age": "41.0",
    "hr": "0.0",
    "er": "0.0",
    "pr": "0.0",
    "mammaprint": "",
    "pcr": "0.0",
    "field_strength": "1.5",
    "menopause": "pre (<6 months since LMP)",
    "manufacturer": "SIEMENS",
}


@lru_cache
def real(path: Path, **options: str) -> Imported:
    """A real table, read once, with all rows."""
    return read(Request(path, options=KEEP | options))


def write_release(root: Path, *rows: dict[str, str], n_volumes: int = 3) -> Path:
    """A table and, for every row, volumes and an expert mask, stored left to right reversed."""
    root.mkdir(exist_ok=True)
    with (root / TABLE).open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    affine = np.diag([-0.8, -0.8, 2.0, 1.0])
    mask = np.zeros((16, 16, 8), np.int16)
    mask[4:8, 4:8, 2:5] = 1
    for row in rows:
        patient_id = row["patient_id"]
        for k in range(n_volumes):
            voxels = (100 + 50 * k * mask + 3 * k + np.arange(8)).astype(np.float32)
            save(root / "images" / patient_id / f"{patient_id.lower()}_{k:04d}.nii.gz", voxels, affine)
        save(root / "segmentations/expert" / f"{patient_id.lower()}.nii.gz", mask, affine)
    return root


def test_the_real_table_has_1506_patients_of_26_sites(shared):
    imported = real(shared / "data/mama-mia")
    assert Counter(row["cohort"] for row in imported.rows) == {"I-SPY2": 980, "Duke": 291, "I-SPY1": 171, "NACT": 64}
    assert len({row["site"] for row in imported.rows}) == 26
    assert Counter(row["vendor"] for row in imported.rows) == {"GE": 966, "SIEMENS": 411, "Philips": 129}
    assert Counter(row["ihc"] for row in imported.rows) == {"negative": 1091, "positive": 393, "": 22}
    assert Counter(row["menopause"] for row in imported.rows) == {"pre": 643, "post": 420, "": 408, "peri": 35}
    assert sum(not row["times"] for row in imported.rows) == 33


def test_nothing_in_the_rows_repeats_the_label(shared):
    imported = real(shared / "data/mama-mia")
    assert not {"her2", "tumor_subtype", "anti_her2_neu_therapy", "nac_agent"} & set(imported.rows[0])
    assert not {"ihc", "ish", "pcr"} & set(imported.settings["covariates"])


def test_workbook_and_text_are_one_table(shared):
    folder = shared / "data/mama-mia"
    workbook = read(Request(folder / "clinical_and_imaging_info.xlsx", options=KEEP))
    assert workbook.rows == real(folder).rows
    stray = [note for note in workbook.notes if note.code == "stray_row"]  # the mean of pcr below the table
    assert ["1509" in note.text for note in stray] == [True]


def test_death_is_the_event_and_zero_means_alive(shared):
    imported = real(shared / "data/mama-mia")
    assert Counter(row["event"] for row in imported.rows) == {"": 1506 - 396 - 63, "0": 396, "1": 63}
    by_id = {row["patient_id"]: row for row in imported.rows}
    assert (by_id["DUKE_010"]["time"], by_id["DUKE_010"]["event"]) == ("471", "1")  # followed up to day 384
    assert (by_id["DUKE_129"]["time"], by_id["DUKE_129"]["event"]) == ("348", "1")  # no follow-up
    assert (by_id["DUKE_001"]["time"], by_id["DUKE_001"]["event"]) == ("2940", "0")
    assert {row["event"] for row in imported.rows if row["cohort"] in ("I-SPY2", "NACT")} == {""}


def test_the_real_table_reads_as_a_cohort(shared, tmp_path):
    imported = real(shared / "data/mama-mia")
    cohort = as_cohort(imported, tmp_path)
    known, unknown = labels(cohort, imported.scheme)
    assert Counter(known.values()) == {0: 1091, 1: 393}
    assert len(unknown) == 22
    assert sum(patient.event == 1 for patient in cohort.patients) == 63
    assert len(cohort.patients[0].reading.starts_s) == 5


def test_without_images_everybody_is_listed(shared):
    imported = read(Request(shared / "data/mama-mia"))
    assert not imported.rows
    assert Counter(codes(imported).values()) == {"no_images": 1506}


def test_the_published_layout_reads_as_exams(tmp_path):
    other = ROW | {"patient_id": "ISPY2_100899", "dataset": "ISPY2", "site": "AAO", "acquisition_times": ""}
    imported = read(Request(write_release(tmp_path / "data", ROW, other)))
    assert not imported.skipped
    for patient in as_cohort(imported, tmp_path).patients:
        exam = read_exam(patient)
        assert exam.phases == ("pre", "early", "late")
        assert exam.mask.sum() == 4 * 4 * 3
        assert exam.spacing_mm == pytest.approx((2.0, 0.8, 0.8))
        signal = [phase[exam.mask].mean() for phase in exam.voxels]
        assert signal[0] < signal[1] < signal[2]


def test_real_rows_with_images_of_a_few_patients(shared, tmp_path):
    frame = read_table(shared / "data/mama-mia" / TABLE)
    chosen = frame[frame["patient_id"].isin(["DUKE_001", "ISPY1_1001", "ISPY2_100899", "NACT_01"])]
    root = write_release(tmp_path / "data", *chosen.head(2).to_dict("records"))
    write_table(root / TABLE, list(chosen.columns), chosen.to_numpy().tolist())
    imported = read(Request(root))
    assert len(imported.rows) + len(imported.skipped) == 4
    assert Counter(codes(imported).values()) == {"no_images": 2}
    assert len(as_cohort(imported, tmp_path).patients) == 2


def test_times_that_do_not_fit_the_volumes_are_dropped_with_a_note(tmp_path):
    imported = read(Request(write_release(tmp_path / "data", ROW, n_volumes=4)))
    assert imported.rows[0]["times"] == ""
    assert [note.code for note in imported.notes] == ["phase_times"]


def test_a_gap_among_the_volumes_leaves_the_patient_out(tmp_path):
    root = write_release(tmp_path / "data", ROW)
    (root / "images/DUKE_001/duke_001_0001.nii.gz").unlink()
    assert codes(read(Request(root))) == {"DUKE_001": "phase_missing"}


def test_images_without_a_row_are_listed(tmp_path):
    root = write_release(tmp_path / "data", ROW)
    save(root / "images/DUKE_999/duke_999_0000.nii.gz", np.ones((4, 4, 4), np.float32))
    imported = read(Request(root))
    assert codes(imported) == {"DUKE_999": "no_label"}
    assert len(imported.rows) == 1


def test_other_files_of_the_folder_are_no_volumes(tmp_path):
    root = write_release(tmp_path / "data", ROW)
    save(root / "images/DUKE_001/duke_001_mask.nii.gz", np.ones((4, 4, 4), np.float32))
    imported = read(Request(root))
    assert read_exam(as_cohort(imported, tmp_path).patients[0]).voxels.shape[0] == 3


def test_automatic_segmentations_are_a_choice(tmp_path):
    root = write_release(tmp_path / "data", ROW)
    imported = read(Request(root / "images", root / TABLE, options={"segmentation": "automatic"}))
    assert imported.rows[0]["mask"] == "segmentations/automatic/duke_001.nii.gz"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"her2": "2"}, "her2_codes"),
        ({"dataset": "ISPY3"}, "unknown_name"),
        ({"days_to_death": "x"}, "number_format"),
    ],
)
def test_cells_that_cannot_be_are_refused(tmp_path, change, code):
    root = write_release(tmp_path / "data", ROW | change)
    with pytest.raises(StopRun) as caught:
        read(Request(root))
    assert caught.value.code == code


def test_one_volume_twice_is_refused(tmp_path):
    root = write_release(tmp_path / "data", ROW)
    save(root / "images/DUKE_001/duke_001_0001.nii", np.ones((4, 4, 4), np.float32))
    with pytest.raises(StopRun) as caught:
        read(Request(root))
    assert caught.value.code == "ambiguous_file"


def test_rows_that_say_the_same_twice_are_one(tmp_path):
    imported = read(Request(write_release(tmp_path / "data", ROW, ROW)))
    assert len(imported.rows) == 1
    assert [note.code for note in imported.notes] == ["patient_duplicate"]
    with pytest.raises(StopRun) as caught:
        read(Request(write_release(tmp_path / "data", ROW, ROW | {"age": "42"})))
    assert caught.value.code == "patient_duplicate"
