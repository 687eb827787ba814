"""I-SPY2 in three classes, with the images of MAMA-MIA or of BreastDCEDL."""

import csv
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from imported_cohorts import as_cohort, codes, save

from extract.adapters.contract import Imported, Request
from extract.adapters.ispy2 import read
from extract.exam import read_exam
from triher.cohort import labels
from triher.tables import read_table

KEEP = {"without-images": "keep"}


@lru_cache
def real(path: Path, **options: str) -> Imported:
    """A real table, read once, with all rows."""
    return read(Request(path, options=KEEP | options))


def subset(source: Path, target: Path, column: str, ids: list[str]) -> None:
    """Some rows of a real table."""
    frame = read_table(source)
    chosen = frame[frame[column].isin(ids)]
    with target.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(chosen.columns)
        writer.writerows(chosen.to_numpy().tolist())


def test_classes_sites_and_unknown_of_the_real_table(shared, tmp_path):
    imported = real(shared / "data/ispy2")
    assert imported.scheme == "triple"
    assert len(imported.rows) == 982
    assert not imported.skipped
    known, unknown = labels(as_cohort(imported, tmp_path), "triple")
    assert Counter(known.values()) == {0: 217, 1: 365, 2: 244}
    assert len(unknown) == 156
    assert len({row["site"] for row in imported.rows if row["site"]}) == 22


def test_volumes_of_the_supplement_are_those_of_breastdcedl(shared):
    metadata = shared / "data/breastdcedl/BreastDCEDL_metadata_min_crop.csv"
    theirs = read(Request(shared / "data/ispy2", options=KEEP | {"source": "breastdcedl", "metadata": str(metadata)}))
    volumes = {row["patient_id"].split("-")[-1]: row["tum_vol_ml"] for row in theirs.rows}
    for row in real(shared / "data/ispy2").rows:
        if row["tum_vol_ml"]:
            theirs_ml = float(volumes[row["patient_id"].split("_")[-1]])
            assert float(row["tum_vol_ml"]) == pytest.approx(theirs_ml, rel=1e-5)


def test_what_tells_the_class_is_not_in_the_rows(shared):
    imported = real(shared / "data/ispy2")
    assert not {"her2", "her2_3class", "her2_index", "erbb2_y1248", "pam50", "arm"} & set(imported.rows[0])


def test_without_images_everybody_is_listed_with_the_reason(shared):
    imported = read(Request(shared / "data/ispy2"))
    assert not imported.rows
    assert Counter(codes(imported).values()) == {"no_images": 982}
    reasons = [one.reason for one in imported.skipped]
    assert sum("does not have the patient" in reason for reason in reasons) == 5


def test_mama_mia_images_join_by_id_and_bring_their_times(shared, tmp_path):
    root = tmp_path / "mama-mia"
    root.mkdir()
    ids = ["100899", "102011", "547405"]
    subset(shared / "data/ispy2/her2_triple_class.csv", tmp_path / "her2_triple_class.csv", "id", ids)
    mama = [f"ISPY2_{one}" for one in ids]
    subset(
        shared / "data/mama-mia/clinical_and_imaging_info.csv",
        root / "clinical_and_imaging_info.csv",
        "patient_id",
        mama,
    )
    mask = np.zeros((16, 16, 8), np.int16)
    mask[4:8, 4:8, 2:5] = 1
    affine = np.diag([-0.8, -0.8, 2.0, 1.0])
    for patient_id in ("ISPY2_100899", "ISPY2_609897", "DUKE_001"):
        for k in range(6):
            voxels = (100 + 50 * k * mask + 3 * k + np.arange(8)).astype(np.float32)
            save(root / "images" / patient_id / f"{patient_id.lower()}_{k:04d}.nii.gz", voxels, affine)
        save(root / "segmentations/expert" / f"{patient_id.lower()}.nii.gz", mask, affine)
    imported = read(Request(tmp_path / "her2_triple_class.csv", images=root))
    # 609897 has images and no row in the supplement; Duke's images are no matter of this table
    assert codes(imported) == {"ISPY2_102011": "no_images", "ISPY2_547405": "no_images", "ISPY2_609897": "no_label"}
    cohort = as_cohort(imported, tmp_path)
    assert [(p.patient_id, p.site, p.ihc) for p in cohort.patients] == [("ISPY2_100899", "AAO", "zero")]
    assert len(cohort.patients[0].reading.starts_s) == 6
    assert read_exam(cohort.patients[0]).mask.sum() == 48


def test_breastdcedl_images_join_by_id(shared, tmp_path):
    root = tmp_path / "breastdcedl"
    pids = ["ACRIN-6698-102212", "ISPY2-100899", "ISPY2-609897"]
    mask = np.zeros((10, 256, 256), np.int32)
    mask[2:8, 100:140, 90:140] = 1
    folder = root / "BreastDCEDL_ISPY2_min_crop"
    for pid in pids[:2]:
        for k in (0, 2, 5, 6):
            save(folder / "dce" / f"{pid}_spy2_vis1_dce_aqc_{k}.nii.gz", (100.0 + 20 * mask + k + np.arange(256) % 5))
        save(folder / "mask" / f"{pid}_spy2_vis1_mask.nii.gz", mask)
    name = "BreastDCEDL_metadata_min_crop.csv"
    subset(shared / "data/breastdcedl" / name, root / name, "pid", pids)
    subset(
        shared / "data/ispy2/her2_triple_class.csv",
        tmp_path / "her2_triple_class.csv",
        "id",
        ["100899", "102212", "547405"],
    )
    imported = read(Request(tmp_path / "her2_triple_class.csv", images=root))
    # 547405 is not in BreastDCEDL, 609897 not in the supplement
    assert codes(imported) == {"547405": "no_images", "ISPY2-609897": "no_label"}
    assert imported.scheme == "triple"
    cohort = as_cohort(imported, tmp_path)
    assert [p.patient_id for p in cohort.patients] == pids[:2]
    exam = read_exam(cohort.patients[0])
    assert exam.spacing_mm == pytest.approx((2.0, 0.6055, 0.6055))


def test_the_official_parts_come_along(shared):
    rows = real(shared / "data/ispy2").rows
    counts = Counter(row["official_split"] for row in rows)
    assert counts == {"train": 781, "test": 99, "validation": 99, "": 3}
    assert {row["split"] for row in rows} == {"train", "test", ""}


def test_ids_stay_text(shared):
    rows = real(shared / "data/ispy2").rows
    assert all(row["patient_id"].removeprefix("ISPY2_").isdecimal() for row in rows)
    write = [row["patient_id"] for row in rows]
    assert len(set(write)) == 982
