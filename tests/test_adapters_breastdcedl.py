"""BreastDCEDL: every variant of the table, MinCrop and whole volumes, boxes and three classes."""

import csv
from collections import Counter
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from imported_cohorts import as_cohort, codes, save

from extract.adapters.breastdcedl import read
from extract.adapters.contract import Imported, Request
from extract.exam import read_exam, require_files
from triher.cohort import labels
from triher.errors import StopRun

KEEP = {"without-images": "keep"}
SPY2 = {
    "pid": "ISPY2-100001",
    "pCR": "0.0",
    "n_xy": "256.0",
    "n_z": "6.0",
    "n_times": "7.0",
    "pre": "0.0",
    "post_early": "2.0",
    "post_late": "5.0",
    "slice_thick": "2.0",
    "xy_spacing": "0.7",
    "mask_start": "2.0",
    "mask_end": "7.0",
    "sraw": "100.0",
    "eraw": "140.0",
    "scol": "90.0",
    "ecol": "140.0",
    "tum_vol": "1176.0",
    "age": "50.0",
    "menopause": "0.0",
    "HR": "1.0",
    "HER2": "0.0",
    "HER2pos": "0.0",
    "dataset": "spy2",
    "test": "0.0",
}
DUKE = SPY2 | {"pid": "Breast_MRI_001", "dataset": "duke", "post_early": "1.0", "post_late": "3.0", "n_times": "4.0"}
DUKE |= {"tum_vol": "1.176", "HER2": "1.0", "HER2pos": "1.0", "test": "2.0"}
SPY1 = SPY2 | {"pid": "ISPY1_1001", "dataset": "spy1", "post_early": "1.0", "post_late": "2.0", "n_times": "3.0"}
SPY1 |= {"test": "1.0", "HER2pos": ""}
NAMES = {
    "ISPY2": "BreastDCEDL_ISPY2_min_crop/dce/{}_spy2_vis1_dce_aqc_{}.nii.gz",
    "ISPY1": "BreastDCEDL_ISPY1_min_crop/dce/{}_spy1_vis1_acq{}.nii.gz",
    "Breas": "BreastDCEDL_DUKE_min_crop/crop_min_dce/{}_duke_aqc_{}.nii.gz",
}


@lru_cache
def real(path: Path, **options: str) -> Imported:
    """A real table, read once, with all rows."""
    return read(Request(path, options=KEEP | options))


def write_release(
    root: Path, *rows: dict[str, str], volumes=None, masks=True, name="BreastDCEDL_metadata_min_crop.csv"
):
    """A table and, for every row, MinCrop volumes with a lesion in slices 2 to 7."""
    root.mkdir(exist_ok=True)
    with (root / name).open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    mask = np.zeros((10, 256, 256), np.int32)
    mask[2:8, 100:140, 90:140] = 1
    for row in rows:
        pid = row["pid"]
        default = [row[name].removesuffix(".0") for name in ("pre", "post_early", "post_late")]
        for step, k in enumerate(map(int, (volumes or {}).get(pid, default))):
            voxels = (100 + 20 * mask + 7 * k + step + np.arange(256) % 5).astype(np.float64)
            save(root / NAMES[pid[:5]].format(pid, k), voxels)
        if masks and not pid.startswith("Breast"):
            folder = NAMES[pid[:5]].split("/")[0]
            save(root / folder / "mask" / f"{pid}_{row['dataset']}_vis1_mask.nii.gz", mask)
    return root


def test_the_min_crop_table_has_all_patients_and_their_her2(shared):
    imported = real(shared / "data/breastdcedl")
    assert len(imported.rows) == 2072
    assert imported.scheme == "binary"
    assert not imported.skipped
    counts = Counter((row["cohort"], row["official_split"], row["ihc"]) for row in imported.rows)
    expected = {
        # (train, validation, test) as negative/positive; the release's README counts these 2,072 rows
        "I-SPY2": ((586, 198), (77, 22), (77, 22)),
        "I-SPY1": ((69, 32), (21, 12), (23, 10)),
        "Duke": ((531, 114), (113, 23), (113, 24)),
    }
    for cohort, parts in expected.items():
        for part, pair in zip(("train", "validation", "test"), parts, strict=True):
            assert tuple(counts[cohort, part, name] for name in ("negative", "positive")) == pair
    assert sum(n for (cohort, _, ihc), n in counts.items() if not ihc and cohort == "I-SPY1") == 5


def test_the_earliest_table_reads_with_its_own_columns(shared):
    table = shared / "data/breastdcedl/metadata_spy2_vis1_for_modeling.csv"
    imported = read(Request(table, options=KEEP))
    assert len(imported.rows) + len(imported.skipped) == 982
    assert codes(imported) == {"ISPY2-208265": "spacing_implausible", "ISPY2-627981": "spacing_implausible"}
    assert Counter(row["ihc"] for row in imported.rows) == {"negative": 738, "positive": 242}
    row = next(row for row in imported.rows if row["patient_id"] == "ISPY2-427321")
    assert row["slice_thick"] == "2"  # 3 mm thick, 2 mm apart


def test_both_tables_agree_on_phases_volumes_and_ids(shared):
    folder = shared / "data/breastdcedl"
    late = {row["patient_id"]: row for row in read(Request(folder, options=KEEP)).rows}
    early = read(Request(folder / "metadata_spy2_vis1_for_modeling.csv", options=KEEP)).rows
    for row in early:
        other = late[row["patient_id"]]
        assert [other[name] for name in ("pre", "early", "late", "ihc", "hr")] == [
            row[name] for name in ("pre", "early", "late", "ihc", "hr")
        ]
        if row["slice_thick"] == other["slice_thick"]:
            assert float(row["tum_vol_ml"]) == pytest.approx(float(other["tum_vol_ml"]), rel=1e-3)


def test_volumes_are_milliliters_whatever_the_unit_of_the_table(shared):
    rows = real(shared / "data/breastdcedl").rows
    for cohort in ("I-SPY1", "I-SPY2", "Duke"):
        volumes = [float(row["tum_vol_ml"]) for row in rows if row["cohort"] == cohort and row["tum_vol_ml"]]
        assert 2 < np.median(volumes) < 20
    # the real mask: 42,423 voxels of 2 x 0.6055 x 0.6055 mm
    first = next(row for row in rows if row["patient_id"] == "ACRIN-6698-102212")
    voxels = np.asarray(nib.load(shared / "data/breastdcedl/mask/ACRIN-6698-102212_spy2_vis1_mask.nii.gz").dataobj)
    assert float(first["tum_vol_ml"]) == pytest.approx(voxels.sum() * 2 * 0.6055**2 / 1000, rel=1e-4)


def test_without_images_everybody_is_listed(shared):
    imported = read(Request(shared / "data/breastdcedl"))
    assert imported.rows == ()
    assert Counter(codes(imported).values()) == {"no_images": 2072}


def test_the_real_table_reads_as_a_binary_cohort(shared, tmp_path):
    imported = real(shared / "data/breastdcedl")
    cohort = as_cohort(imported, tmp_path)
    known, skipped = labels(cohort, imported.scheme)
    assert Counter(known.values()) == {0: 1610, 1: 457}
    assert {one.code for one in skipped} == {"her2_unknown"}
    assert len(skipped) == 5


def test_three_classes_join_by_id_and_leave_out_whom_they_do_not_know(shared, tmp_path):
    options = KEEP | {"three-class": str(shared / "data/ispy2/her2_triple_class.csv")}
    imported = read(Request(shared / "data/breastdcedl", options=options))
    assert imported.scheme == "triple"
    counts = Counter(row["ihc"] for row in imported.rows)
    assert counts == {"zero": 217, "low": 364, "positive": 242, "negative": 156}  # 3 of 982 are not in BreastDCEDL
    assert Counter(one.code for one in imported.skipped) == {"no_label": 2072 - 979}
    known, unknown = labels(as_cohort(imported, tmp_path), "triple")
    assert (len(known), len(unknown)) == (823, 156)
    assert len({row["site"] for row in imported.rows if row["site"]}) == 22


def test_min_crop_of_all_cohorts_reads_as_exams(tmp_path):
    imported = read(Request(write_release(tmp_path / "data", SPY2, SPY1, DUKE)))
    assert not imported.skipped
    cohort = as_cohort(imported, tmp_path)
    for patient in cohort.patients:
        exam = read_exam(patient)
        assert exam.mask.sum() == 6 * 40 * 50
        assert exam.spacing_mm == pytest.approx((2.0, 0.7, 0.7))
        assert exam.voxels.shape == (3, 10, 256, 256)
    assert [p.mask is None for p in cohort.patients] == [False, False, True]


def test_duke_alone_needs_no_mask_column(tmp_path):
    imported = read(Request(write_release(tmp_path / "data", SPY2, DUKE), options={"cohort": "duke"}))
    assert [row["box"] for row in imported.rows] == ["2 8 100 140 90 140"]
    assert "mask" not in imported.settings
    assert read_exam(as_cohort(imported, tmp_path).patients[0]).mask.any()
    assert not imported.skipped


def test_ispy1_alone_is_sagittal(tmp_path):
    imported = read(Request(write_release(tmp_path / "data", SPY1), options={"cohort": "ispy1"}))
    assert read_exam(as_cohort(imported, tmp_path).patients[0]).plane == "sagittal"


def test_duke_without_files_is_listed_and_so_are_files_without_a_row(tmp_path):
    left = DUKE | {"pid": "Breast_MRI_700"}
    root = write_release(tmp_path / "data", DUKE, left, volumes={"Breast_MRI_700": []})
    save(root / NAMES["Breas"].format("Breast_MRI_999", 0), np.ones((10, 4, 4)))
    imported = read(Request(root))
    assert codes(imported) == {"Breast_MRI_700": "no_images", "Breast_MRI_999": "no_label"}
    assert len(imported.rows) + 1 == 2


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        ({"n_xy": "448.0"}, (10, 256, 256)),
        ({}, (160, 448, 448)),
        ({}, (4, 256, 256)),
        ({"eraw": "300.0"}, (10, 256, 256)),
    ],
)
def test_a_box_that_does_not_hold_leaves_the_patient_out(tmp_path, change, shape):
    root = write_release(tmp_path / "data", DUKE | change, volumes={"Breast_MRI_001": []})
    for k in (0, 1, 3):
        save(root / NAMES["Breas"].format("Breast_MRI_001", k), np.ones(shape, np.uint8))
    assert codes(read(Request(root))) == {"Breast_MRI_001": "mask_missing"}


def test_a_broken_volume_of_duke_leaves_the_patient_out(tmp_path):
    root = write_release(tmp_path / "data", DUKE)
    (root / NAMES["Breas"].format("Breast_MRI_001", 0)).write_bytes(b"<html>")
    assert codes(read(Request(root))) == {"Breast_MRI_001": "image_unreadable"}


def test_a_missing_late_phase_is_replaced_by_the_last_and_noted(tmp_path):
    row = SPY2 | {"post_late": "6.0"}
    root = write_release(tmp_path / "data", row, volumes={row["pid"]: [0, 1, 2, 3, 4, 5]})
    imported = read(Request(root))
    assert imported.rows[0]["late"].endswith("_aqc_5.nii.gz")
    assert [note.code for note in imported.notes if note.patient_id] == ["phase_substituted"]


@pytest.mark.parametrize("volumes", [[0, 2], [2, 5, 6], [0]])
def test_too_few_phases_leave_the_patient_out(tmp_path, volumes):
    root = write_release(tmp_path / "data", SPY2, volumes={SPY2["pid"]: volumes})
    assert codes(read(Request(root))) == {SPY2["pid"]: "phase_missing"}


def test_three_volumes_counted_anew_are_pre_early_and_late(tmp_path):
    root = write_release(tmp_path / "data", SPY2, volumes={SPY2["pid"]: [0, 1, 2]})
    imported = read(Request(root))
    assert [imported.rows[0][name][-8] for name in ("pre", "early", "late")] == ["0", "1", "2"]
    assert [note.code for note in imported.notes if note.patient_id] == ["phases_chosen"]


@pytest.mark.parametrize(("n_times", "late"), [("7", "6"), ("6", "5"), ("9", "6")])
def test_blank_phases_follow_the_authors_rule(tmp_path, n_times, late):
    places = {"pre": "", "post_early": "", "post_late": "", "n_times": n_times}
    root = write_release(tmp_path / "data", SPY2 | places, volumes={SPY2["pid"]: range(int(n_times))})
    assert read(Request(root)).rows[0]["late"].endswith(f"_aqc_{late}.nii.gz")


def test_later_visits_do_not_mix_in(tmp_path):
    root = write_release(tmp_path / "data", SPY2)
    save(root / "vis2" / f"{SPY2['pid']}_spy2_vis2_dce_aqc_0.nii.gz", np.ones((4, 4, 4)))
    assert len(read(Request(root)).rows) == 1


def test_whole_and_cropped_volumes_below_one_folder_are_refused(tmp_path):
    root = write_release(tmp_path / "data", SPY2)
    save(root / "full" / f"{SPY2['pid']}_spy2_vis1_dce_aqc_0.nii.gz", np.ones((4, 4, 4)))
    with pytest.raises(StopRun) as caught:
        read(Request(root))
    assert caught.value.code == "ambiguous_file"


def test_a_missing_mask_keeps_the_name_that_it_should_have(tmp_path):
    imported = read(Request(write_release(tmp_path / "data", SPY2, masks=False)))
    patient = as_cohort(imported, tmp_path).patients[0]
    assert patient.mask.name == f"{SPY2['pid']}_spy2_vis1_mask.nii.gz"
    assert not patient.mask.exists()


def test_validation_patients_train_and_keep_their_official_part(tmp_path):
    imported = read(Request(write_release(tmp_path / "data", SPY2, SPY1, DUKE)))
    assert [(row["split"], row["official_split"]) for row in imported.rows] == [
        ("train", "train"),
        ("test", "test"),
        ("train", "validation"),
    ]
    assert "official_split" in {note.code for note in imported.notes}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"HER2": "2"}, "her2_codes"),
        ({"test": "3"}, "split_value"),
        ({"pid": "X-1"}, "patient_id"),
        ({"tum_vol": "1,5"}, "number_format"),
    ],
)
def test_cells_that_cannot_be_are_refused(tmp_path, change, code):
    root = tmp_path / "data"
    root.mkdir()
    with (root / "BreastDCEDL_metadata.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(SPY2))
        writer.writeheader()
        writer.writerow(SPY2 | change)
    with pytest.raises(StopRun) as caught:
        read(Request(root))
    assert caught.value.code == code


def test_an_unknown_option_is_refused(tmp_path):
    with pytest.raises(StopRun) as caught:
        read(Request(tmp_path, options={"cohrot": "duke"}))
    assert caught.value.code == "unknown_name"


def test_the_rows_tell_the_files_that_are_there(tmp_path):
    imported = read(Request(write_release(tmp_path / "data", SPY2, SPY1)))
    for patient in as_cohort(imported, tmp_path).patients:
        require_files(patient)
    assert not Counter(codes(imported))
