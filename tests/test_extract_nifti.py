"""Reading NIfTI volumes: every way of storing one gives the same array, and damage is named."""

import gzip
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from extract.formats.nifti import open_nifti, read_volume
from triher.errors import SkipPatient


def write(path: Path, array: np.ndarray, affine: np.ndarray, *, codes: int = 1) -> Path:
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, code=codes)
    image.set_qform(affine, code=codes)
    nib.save(image, path)
    return path


@pytest.fixture
def volume() -> tuple[np.ndarray, np.ndarray]:
    array = np.random.default_rng(0).integers(-50, 900, (6, 7, 5)).astype(np.int16)
    return array, np.array([[1.1, 0, 0, -3], [0, 1.2, 0, -4], [0, 0, 2.5, 7], [0, 0, 0, 1.0]])


@pytest.mark.fault("A20")
def test_all_48_axis_orders_and_flips_give_the_same_array(tmp_path, volume):
    array, affine = volume
    expected = read_volume(write(tmp_path / "a.nii.gz", array, affine))
    digests = set()
    for order, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        change = np.column_stack([order, flips]).astype(float)
        turned = nib.Nifti1Image(array, affine).as_reoriented(change)
        image = read_volume(write(tmp_path / "b.nii.gz", np.asarray(turned.dataobj), turned.affine))
        np.testing.assert_array_equal(image.voxels, expected.voxels)
        np.testing.assert_allclose(image.affine, expected.affine, atol=1e-5)
        digests.add(image.sha256())
    assert len(digests) == 1


def test_axial_axes_point_as_on_a_viewing_station(tmp_path, volume):
    array, affine = volume
    image = read_volume(write(tmp_path / "a.nii.gz", array, affine))
    # RAS in: columns must run to the patient's left (x falling), rows to posterior (y falling), slices upwards.
    assert image.plane == "axial"
    np.testing.assert_array_equal(image.voxels, array[::-1, ::-1].transpose(2, 1, 0))
    np.testing.assert_allclose(image.spacing_mm, (2.5, 1.2, 1.1), rtol=1e-5)


def test_the_affine_still_maps_each_voxel_to_its_place(tmp_path, volume):
    array, affine = volume
    image = read_volume(write(tmp_path / "a.nii.gz", array, affine))
    x, y, z = np.unravel_index(np.argmax(array), array.shape)
    s, r, c = np.unravel_index(np.argmax(image.voxels), image.voxels.shape)
    np.testing.assert_allclose(image.affine @ (s, r, c, 1), affine @ (x, y, z, 1), atol=1e-4)


def test_agreement_with_nibabel_on_a_real_exam(shared):
    for path in sorted((shared / "data" / "tcga-ao-a03m").glob("*.nii.gz")):
        ours = read_volume(path)
        theirs = nib.as_closest_canonical(nib.load(path)).get_fdata()
        assert ours.plane == "sagittal"
        # sagittal: slices to the left, rows to inferior, columns to posterior
        np.testing.assert_array_equal(ours.voxels, theirs[::-1, ::-1, ::-1].transpose(0, 2, 1))


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_truncated_gzip_is_named_and_never_read_as_zeros(tmp_path, volume, share):
    path = write(tmp_path / "a.nii.gz", *volume)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SkipPatient, match="end") as caught:
        read_volume(path)
    assert caught.value.code == "image_truncated"


def test_truncated_plain_file(tmp_path, volume):
    path = write(tmp_path / "a.nii", *volume)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(SkipPatient) as caught:
        read_volume(path)
    assert caught.value.code == "image_truncated"


def test_every_flipped_bit_is_an_error_or_harmless(tmp_path, volume):
    path = write(tmp_path / "a.nii.gz", *volume)
    right = read_volume(path).voxels
    data = path.read_bytes()
    for position in np.random.default_rng(0).integers(10, len(data), 60):
        broken = bytearray(data)
        broken[position] ^= 1 << int(position % 8)
        path.write_bytes(broken)
        try:
            np.testing.assert_array_equal(read_volume(path).voxels, right)
        except SkipPatient:
            continue


@pytest.mark.parametrize("content", [b"", b"<html><body>not found</body></html>" * 40, b"\x1f\x8b"])
def test_what_is_no_nifti_is_said_to_be_none(tmp_path, content):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    with pytest.raises(SkipPatient) as caught:
        read_volume(path)
    assert caught.value.code in {"image_unreadable", "image_truncated"}


def test_html_is_quoted_in_the_message(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"<html><body>not found</body></html>" * 40)
    with pytest.raises(SkipPatient, match="<html"):
        read_volume(path)


def faulty(array: np.ndarray, fault: str) -> np.ndarray:
    if fault == "image_nonfinite":
        array = array.astype(np.float32)
        array[1, 2, 3] = np.nan
        return array
    return {"image_not_3d": array[:, :, 0], "image_4d": np.stack([array] * 3, axis=-1)}[fault]


@pytest.mark.parametrize("fault", ["image_nonfinite", "image_not_3d", "image_4d"])
def test_unusable_volumes_are_named(tmp_path, volume, fault):
    array, affine = volume
    path = write(tmp_path / "a.nii.gz", faulty(array, fault), affine)
    with pytest.raises(SkipPatient) as caught:
        read_volume(path)
    assert caught.value.code == fault


def test_a_trailing_axis_of_one_is_dropped(tmp_path, volume):
    array, affine = volume
    image = read_volume(write(tmp_path / "a.nii.gz", array[..., None], affine))
    assert image.voxels.shape == (5, 7, 6)


def test_no_orientation_is_no_guess(tmp_path, volume):
    path = write(tmp_path / "a.nii.gz", *volume, codes=0)
    with pytest.raises(SkipPatient, match="sform and qform"):
        read_volume(path)


@pytest.mark.parametrize("factor", [0.01, 20.0])
def test_implausible_spacing(tmp_path, volume, factor):
    array, affine = volume
    path = write(tmp_path / "a.nii.gz", array, np.diag([factor, factor, factor, 1.0]) @ affine)
    with pytest.raises(SkipPatient) as caught:
        read_volume(path)
    assert caught.value.code == "spacing_implausible"


def test_sheared_axes(tmp_path, volume):
    array, affine = volume
    sheared = affine.copy()
    sheared[0, 1] = 0.4
    image = nib.Nifti1Image(array, sheared)
    image.set_sform(sheared, code=1)
    nib.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(SkipPatient) as caught:
        read_volume(tmp_path / "a.nii.gz")
    assert caught.value.code == "affine_sheared"


def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(tmp_path, volume):
    path = write(tmp_path / "a.nii", *volume)
    data = bytearray(path.read_bytes())
    data[42:48] = np.array([2000, 2000, 2000], "<i2").tobytes()
    path.write_bytes(data)
    with pytest.raises(SkipPatient) as caught:
        read_volume(path)
    assert caught.value.code == "image_too_large"


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_slope_and_intercept_are_applied(tmp_path, volume, suffix):
    array, affine = volume
    path = write(tmp_path / f"a.{suffix}", array, affine)
    raw = path.read_bytes()
    data = bytearray(gzip.decompress(raw) if suffix == "nii.gz" else raw)
    data[112:120] = np.array([0.5, 10.0], "<f4").tobytes()
    path.write_bytes(gzip.compress(data) if suffix == "nii.gz" else data)
    image = read_volume(path)
    assert image.voxels.dtype == np.float32
    np.testing.assert_array_equal(image.voxels, (array * 0.5 + 10)[::-1, ::-1].transpose(2, 1, 0).astype(np.float32))
    assert "slope 0.5" in dict(image.remarks)["image_scaled"]


def test_whole_numbers_stored_as_float_become_integers(tmp_path, volume):
    array, affine = volume
    image = read_volume(write(tmp_path / "a.nii.gz", array.astype(np.float64), affine))
    assert image.voxels.dtype == np.int16
    assert image.sha256() == read_volume(write(tmp_path / "b.nii.gz", array, affine)).sha256()


def test_the_header_is_read_without_the_voxels(tmp_path, volume, monkeypatch):
    path = write(tmp_path / "a.nii.gz", *volume)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("the whole file was read"))
    source = open_nifti(path)
    assert source.grid.shape == (6, 7, 5)
    np.testing.assert_allclose(source.grid.affine, volume[1], atol=1e-5)
    assert (source.n_volumes, source.times_s, source.notes) == (1, (), ())


def test_a_missing_file_is_a_named_skip(tmp_path):
    with pytest.raises(SkipPatient, match="No such file"):
        read_volume(tmp_path / "gone.nii.gz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_more_bytes_than_the_header_announces(tmp_path, volume, name):
    path = write(tmp_path / name, *volume)
    whole = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
    longer = whole[:400] + whole[380:]
    path.write_bytes(gzip.compress(longer) if name.endswith("gz") else longer)
    with pytest.raises(SkipPatient, match=rf"{name} holds {len(longer)} bytes") as caught:
        read_volume(path)
    assert caught.value.code == "image_size"


@pytest.mark.parametrize("field", ["srow_x", "srow_y", "srow_z", "pixdim", "qoffset_x", "quatern_b"])
def test_a_geometry_that_contradicts_itself(tmp_path, volume, field):
    path = write(tmp_path / "a.nii", *volume)
    header, data = nib.load(path).header, volume[0].tobytes(order="F")
    header["vox_offset"] = 352
    place = header[field][1:3] if field == "pixdim" else header[field].reshape(-1)[-1:]
    place += 0.5 if field == "quatern_b" else 4
    path.write_bytes(header.binaryblock + bytes(4) + data)
    with pytest.raises(SkipPatient) as caught:
        read_volume(path)
    assert caught.value.code in {"affine_invalid", "spacing_implausible", "affine_sheared"}
