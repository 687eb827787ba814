"""The phantom as it lies on disk: what is written, that it agrees with its truth, and that it can be made again."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from extract.phantom.anatomy import FAT, GLAND, make_grid, tissue_map
from extract.phantom.cohort import PHASES, draw_patients, write_phantom
from extract.phantom.lesion import grow_lesion
from extract.phantom.physics import SCANNERS
from extract.phantom.truth import CLASSES, posterior, trait_values
from triher.cohort import labels, read_cohort
from triher.errors import StopRun
from triher.predictions import REFERENCE, read_predictions
from triher.progress import Reporter
from triher.settings import CohortConfig

COLUMNS = "patient_id,cohort,site,split,ihc,ish,age,time,event,pre,early,late,mask"
QUIET = Reporter(quiet=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("phantom"), n_patients=6, seed=1, reporter=QUIET).parent


def _voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj).T


def test_cohort_reads_with_the_labels_of_the_truth(folder: Path) -> None:
    table = folder / "cohort.csv"
    assert table.read_text().splitlines()[0] == COLUMNS
    cohort = read_cohort(CohortConfig(table=table, covariates=("age",), time_unit="months"))
    known, skipped = labels(cohort, "triple")
    truth = pd.read_csv(folder / "truth.csv").set_index("patient_id")
    assert {k: CLASSES[v] for k, v in known.items()} == truth["class"].to_dict()
    assert not skipped
    assert not cohort.notes
    for patient in cohort.patients:
        assert patient.split == ("test" if patient.site == "C" else "train")
        assert patient.time_months == pytest.approx(truth["time_months"][patient.patient_id], abs=1e-3)
        assert all(path.is_file() for path in (*patient.phases.values(), patient.mask))


def test_pathology_of_a_full_cohort_is_consistent_and_balanced() -> None:
    draws = draw_patients(120, seed=3)
    for site in "ABC":
        here = [d.y for d in draws if d.site == site]
        assert np.bincount(here).tolist() == [12, 16, 12]
    seen = {(CLASSES[d.y], d.ihc, d.ish) for d in draws}
    assert seen == {
        ("zero", "0", ""),
        ("low", "1+", ""),
        ("low", "2+", "negative"),
        ("positive", "3+", ""),
        ("positive", "2+", "positive"),
    }
    assert len({d.patient_id for d in draws}) == 120


def test_best_possible_predictions_are_the_posterior_of_the_truth(folder: Path) -> None:
    table = read_predictions(folder / "best_possible.csv", "triple", (REFERENCE,))
    draws = draw_patients(6, seed=1)
    p = posterior(np.stack([d.scores for d in draws]))
    np.testing.assert_allclose(table[["p_zero", "p_low", "p_positive"]].to_numpy(), p)
    assert set(table["split"]) == {"reference"}
    assert set(table["repeat"]) == set(table["fold"]) == {0}
    assert table["y"].tolist() == [d.y for d in draws]


def test_images_are_proper_volumes_with_the_sites_geometry(folder: Path) -> None:
    for row in pd.read_csv(folder / "cohort.csv").itertuples():
        scanner = SCANNERS[row.site]
        for name in (*PHASES, "mask"):
            image = nib.load(folder / getattr(row, name))
            assert image.shape == (112, 112, 28)
            assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
            assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 1
            np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
            expected = (scanner.in_plane_mm, scanner.in_plane_mm, scanner.slice_mm)
            np.testing.assert_allclose(image.header.get_zooms(), expected, rtol=1e-6)
            assert image.get_data_dtype() == (np.uint8 if name == "mask" else np.int16)


def test_lesions_are_inside_and_enhance(folder: Path) -> None:
    for row in pd.read_csv(folder / "cohort.csv").itertuples():
        pre, early, late, mask = (_voxels(folder / getattr(row, name)) for name in (*PHASES, "mask"))
        lesion = mask == 1
        assert set(np.unique(mask)) == {0, 1}
        assert lesion.any(axis=(1, 2)).sum() >= 5
        edge = lesion.copy()
        edge[1:-1, 1:-1, 1:-1] = False
        assert not edge.any()
        assert early[lesion].mean() > pre[lesion].mean()
        assert late[lesion].mean() > pre[lesion].mean()


def test_lesion_has_its_volume_and_lies_in_the_breast() -> None:
    for draw in draw_patients(9, seed=5):
        scanner = SCANNERS[draw.site]
        spacing = (scanner.slice_mm, scanner.in_plane_mm, scanner.in_plane_mm)
        grid = make_grid((28, 112, 112), spacing)
        rng = np.random.default_rng(draw.seed)
        tissue = tissue_map(draw.body, grid, rng)
        rough = trait_values(draw.scores)["irregularity_fraction"]
        lesion = grow_lesion(draw.body, rough, tissue, grid, rng)
        volume = lesion.mask.sum() * np.prod(spacing)
        assert (6 * volume / np.pi) ** (1 / 3) == pytest.approx(draw.body.diameter_mm, rel=0.05)
        assert np.isin(tissue[lesion.mask], (FAT, GLAND)).all()


def test_same_seed_same_bytes_whatever_the_number_of_patients(folder: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "again", n_patients=6, seed=1, reporter=QUIET)
    files = sorted(p.relative_to(folder) for p in folder.rglob("*.*"))
    assert len(files) == 3 + 6 * 4
    for file in files:
        assert (folder / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    write_phantom(tmp_path / "fewer", n_patients=2, seed=1, reporter=QUIET)
    fewer = sorted((tmp_path / "fewer" / "images").iterdir())
    assert len(fewer) == 2 * 4
    for file in fewer:
        assert file.read_bytes() == (folder / "images" / file.name).read_bytes()


def test_a_shifted_site_changes_its_own_images_and_nothing_else(tmp_path: Path) -> None:
    small = {"n_patients": 3, "shape": (24, 48, 48), "reporter": QUIET}
    as_ever = write_phantom(tmp_path / "as ever", **small).parent
    shifted = write_phantom(tmp_path / "shifted", shifted_site="B", **small).parent
    assert (as_ever / "cohort.csv").read_bytes() == (shifted / "cohort.csv").read_bytes()
    for row in pd.read_csv(as_ever / "cohort.csv").itertuples():
        for name in (*PHASES, "mask"):
            before, after = ((place / getattr(row, name)).read_bytes() for place in (as_ever, shifted))
            assert (before == after) == (row.site != "B" or name == "mask")
    before, after = (pd.read_csv(place / "truth.csv").set_index("patient_id") for place in (as_ever, shifted))
    changed = before.compare(after)
    assert set(changed.columns.get_level_values(0)) == {"early_s", "late_s", "noise_sd"}
    assert list(changed.index) == ["PH-B-001"]


def test_a_single_signal_leaves_all_other_traits_alike_in_the_classes() -> None:
    draws = draw_patients(600, seed=4, signal=["ktrans_per_min"])
    scores, y = np.stack([d.scores for d in draws]), np.array([d.y for d in draws])
    means = np.array([scores[y == k].mean(axis=0) for k in range(3)])
    assert np.ptp(means[:, 0]) > 2
    assert (np.ptp(means[:, 1:], axis=0) < 0.35).all()  # the standard error of a difference is 0.1


@pytest.mark.parametrize("wish", [{"signal": ["ktrans"]}, {"shifted_site": "D"}])
def test_unknown_traits_and_sites_are_refused(tmp_path: Path, wish: dict) -> None:
    with pytest.raises(StopRun, match=r"unknown (trait|site) of the phantom '(ktrans|D)'") as caught:
        write_phantom(tmp_path / "new", n_patients=1, reporter=QUIET, **wish)
    assert caught.value.code == "unknown_name"
    assert not (tmp_path / "new").exists()


def test_other_seed_other_patients() -> None:
    first, second = (draw_patients(3, seed)[0] for seed in (1, 2))
    assert (first.scores != second.scores).any()


def test_compressed_files_carry_neither_time_nor_name(folder: Path) -> None:
    data = next((folder / "images").glob("*_pre.nii.gz")).read_bytes()
    assert data[:4] == b"\x1f\x8b\x08\x00"
    assert data[4:8] == bytes(4)
    assert gzip.decompress(data)[344:347] == b"n+1"


def test_fewer_voxels_keep_the_field_of_view(tmp_path: Path) -> None:
    write_phantom(tmp_path, n_patients=1, shape=(24, 48, 48), seed=2, reporter=QUIET)
    image = nib.load(tmp_path / "images" / "PH-A-001_early.nii.gz")
    np.testing.assert_allclose(np.multiply(image.shape, image.header.get_zooms()), (140, 140, 67.2), rtol=1e-5)


@pytest.mark.parametrize(("n_patients", "shape"), [(0, (28, 112, 112)), (3, (8, 112, 112))])
def test_impossible_wishes_are_refused(tmp_path: Path, n_patients: int, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="the phantom needs at least"):
        write_phantom(tmp_path, n_patients=n_patients, shape=shape, reporter=QUIET)


def test_folder_that_cannot_be_written_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StopRun) as caught:
        write_phantom(tmp_path / "file", n_patients=1, reporter=QUIET)
    assert caught.value.code == "output_folder"
