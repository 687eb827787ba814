"""The slab cache: one read of the source, and everything computed from it equals the volume, to the bit."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import nibabel as nib
import numpy as np
import pytest
from safetensors.numpy import load_file

from extract.cache import cut_slab, ensure_slab, read_slab, write_slab
from extract.exam import read_exam
from extract.landmarks import StandardScale
from extract.normalization import NORMALIZATIONS, normalize
from extract.recipe import SlabRecipe
from extract.sealed import read_sealed, write_sealed
from triher.errors import SkipPatient

STANDARD = StandardScale(tuple(float(place) for place in range(20, 240, 20)))
RECIPE = SlabRecipe("box", 5.0)


def test_the_second_time_no_source_is_opened(tmp_path, write_exam, opened_sources):
    files = write_exam()
    first = ensure_slab(tmp_path / "slabs", files.patient, RECIPE)
    assert sorted(path.name for path in opened_sources) == [
        "P1_early.nii.gz", "P1_late.nii.gz", "P1_mask.nii.gz", "P1_pre.nii.gz",
    ]  # fmt: skip
    opened_sources.clear()
    second = ensure_slab(tmp_path / "slabs", files.patient, RECIPE)
    assert opened_sources == []
    assert (second.path, second.sha256, second.was_cached) == (first.path, first.sha256, True)


def test_every_normalization_of_one_patient_opens_each_source_once(tmp_path, write_exam, opened_sources):
    files = write_exam()
    for how in NORMALIZATIONS.values():
        slab = read_slab(ensure_slab(tmp_path / "slabs", files.patient, RECIPE).path)
        normalize(slab, how, np.arange(slab.voxels.shape[1]), STANDARD)
    assert len(opened_sources) == 4


def test_a_touched_file_is_read_again_and_finds_the_same_slab(tmp_path, write_exam, opened_sources):
    files = write_exam()
    first = ensure_slab(tmp_path / "slabs", files.patient, RECIPE)
    os.utime(files.patient.mask, (1, 1))
    opened_sources.clear()
    second = ensure_slab(tmp_path / "slabs", files.patient, RECIPE)
    assert len(opened_sources) == 4
    assert second.path == first.path
    assert not second.was_cached


def test_the_slab_is_named_by_content_not_by_patient(tmp_path, write_exam):
    first, second = write_exam("P1", seed=3), write_exam("P2", seed=3, folder="elsewhere")
    a = ensure_slab(tmp_path / "slabs", first.patient, RECIPE)
    b = ensure_slab(tmp_path / "slabs", second.patient, RECIPE)
    assert a.path == b.path
    assert b"P1" not in a.path.read_bytes()


def test_another_margin_is_another_slab(tmp_path, write_exam):
    patient = write_exam().patient
    a = ensure_slab(tmp_path / "slabs", patient, RECIPE)
    b = ensure_slab(tmp_path / "slabs", patient, replace(RECIPE, margin_mm=8.0))
    assert a.sha256 != b.sha256


def test_the_slab_survives_the_disk(tmp_path, write_exam):
    slab = cut_slab(read_exam(write_exam().patient), RECIPE)
    write_slab(tmp_path / "slab.safetensors", slab)
    again = read_slab(tmp_path / "slab.safetensors")
    np.testing.assert_array_equal(again.voxels, slab.voxels)
    np.testing.assert_array_equal(again.mask, slab.mask)
    assert again.acquisition() == slab.acquisition()
    for packed, histograms in zip(again.slice_histograms, slab.slice_histograms, strict=True):
        assert len(packed) == len(histograms)
        for found, expected in zip(packed, histograms, strict=True):
            np.testing.assert_array_equal(found.values, expected.values)
            np.testing.assert_array_equal(found.counts, expected.counts)
    assert (again.phases, again.first_slice, again.spacing_mm) == (slab.phases, slab.first_slice, slab.spacing_mm)


def test_area_and_volume_in_physical_units(write_exam):
    files = write_exam()
    slab = cut_slab(read_exam(files.patient), RECIPE)
    np.testing.assert_allclose(slab.area_mm2().sum(), files.mask.sum() * 1.2 * 1.2, rtol=1e-5)
    assert slab.acquisition()["lesion_volume_ml"] == pytest.approx(
        files.mask.sum() * 1.2 * 1.2 * 2.5 / 1000, rel=1e-5
    )


def test_a_damaged_slab_names_the_file_to_delete(tmp_path, write_exam):
    entry = ensure_slab(tmp_path / "slabs", write_exam().patient, RECIPE)
    entry.path.write_bytes(entry.path.read_bytes()[:1000])
    with pytest.raises(SkipPatient, match="delete"):
        read_slab(entry.path)


def test_a_corrected_spacing_is_another_slab(tmp_path, write_exam):
    patient = write_exam().patient
    before = ensure_slab(tmp_path / "slabs", patient, RECIPE)
    for path in (*patient.phases.values(), patient.mask):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), np.diag([0.6, 0.6, 2.5, 1]), image.header), path)
    after = ensure_slab(tmp_path / "slabs", patient, RECIPE)
    assert after.sha256 != before.sha256
    assert read_slab(after.path).spacing_mm[1] == pytest.approx(0.6)


def test_one_exam_with_two_masks_is_recognized(tmp_path, write_exam):
    patient = write_exam().patient
    first = ensure_slab(tmp_path / "slabs", patient, RECIPE)
    image = nib.load(patient.mask)
    moved = np.roll(np.asarray(image.dataobj), 1, axis=0)
    nib.save(nib.Nifti1Image(moved, image.affine, image.header), patient.mask)
    second = ensure_slab(tmp_path / "slabs", patient, RECIPE)
    assert first.sha256[:32] == second.sha256[:32]
    assert first.sha256 != second.sha256


def test_every_flipped_bit_of_a_slab_is_noticed(tmp_path, write_exam):
    path = ensure_slab(tmp_path / "slabs", write_exam().patient, RECIPE).path
    data = path.read_bytes()
    for position in np.random.default_rng(0).integers(0, len(data), 40):
        broken = bytearray(data)
        broken[position] ^= 1 << (position % 8)
        path.write_bytes(broken)
        with pytest.raises(SkipPatient, match="damaged"):
            read_slab(path)


def test_every_flipped_bit_of_a_header_is_noticed_and_other_programs_read_the_arrays(tmp_path):
    path = tmp_path / "sealed.safetensors"
    arrays = {"mask": np.eye(3, dtype=bool), "voxels": np.arange(6, dtype=np.int16).reshape(2, 3)}
    write_sealed(path, arrays, {"phases": ["pre", "early"], "spacing_mm": [2.5, 1.2]})
    read_back, facts = read_sealed(path)
    others = load_file(path)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read_back[name], array)
        np.testing.assert_array_equal(others[name], array)
    assert facts == {"phases": ["pre", "early"], "spacing_mm": [2.5, 1.2]}
    data = path.read_bytes()
    for position in range(8 * len(data)):
        broken = bytearray(data)
        broken[position // 8] ^= 1 << (position % 8)
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"its (content|header)"):
            read_sealed(path)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"slab": 3}'])
def test_a_damaged_index_is_made_again(tmp_path, write_exam, content):
    patient = write_exam().patient
    first = ensure_slab(tmp_path / "slabs", patient, RECIPE)
    (index,) = (tmp_path / "slabs" / "index").glob("*.json")
    index.write_text(content)
    assert ensure_slab(tmp_path / "slabs", patient, RECIPE).sha256 == first.sha256


def test_equal_exams_side_by_side_in_two_threads(tmp_path, write_exam):
    patients = [write_exam(f"P{i}", seed=1, folder=f"copy{i}").patient for i in range(4)]
    for trial in range(5):
        ensure = partial(ensure_slab, tmp_path / f"slabs{trial}", recipe=RECIPE)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(ensure, patients))
        assert len({entry.sha256 for entry in found}) == 1
