"""NRRD and MetaImage, as ITK and pynrrd write them, give the volume that NIfTI gives; damage is named."""

from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK

from extract.image import Image, canonical_image
from extract.volumes import open_source
from triher.errors import SkipPatient
from triher.reading import Reading

SHAPE = (7, 6, 4)  # i, j, k
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")


def voxels_of(*, n: int = 0, dtype=np.int16) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(1, 900, SHAPE + ((n,) if n else ())).astype(dtype)


def itk_image(array: np.ndarray, *, seed: int = 1) -> SimpleITK.Image:
    """An oblique image; arrays are [i, j, k]."""
    directions, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing((0.7, 0.9, 2.4))
    image.SetOrigin((-20.5, 13.25, 7.0))
    image.SetDirection(directions.ravel().tolist())
    return image


def expected(array: np.ndarray, image: SimpleITK.Image) -> Image:
    """The volume from ITK's own idea of where the voxels lie, in LPS."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return canonical_image(array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, "")


def assert_same(found: Image, wanted: Image) -> None:
    assert np.array_equal(found.voxels, wanted.voxels)
    assert np.allclose(found.affine, wanted.affine, atol=1e-4)
    assert found.plane == wanted.plane


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("suffix", ITK_SUFFIXES)
def test_what_itk_writes_is_read_as_itk_means_it(tmp_path, suffix, dtype, compressed):
    array = np.clip(voxels_of(), 0, 250).astype(dtype)
    image = itk_image(array)
    SimpleITK.WriteImage(image, str(tmp_path / f"a{suffix}"), compressed)
    source = open_source(tmp_path / f"a{suffix}")
    assert (source.n_volumes, source.times_s) == (1, ())
    (found,) = source.read([0])
    assert_same(found, expected(array, image))


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior", "LPS"])
@pytest.mark.parametrize("detached", [False, True], ids=["one file", "two files"])
def test_what_pynrrd_writes(tmp_path, space, encoding, detached):
    array = voxels_of()
    header = {
        "space": space,
        "space directions": np.diag([0.7, 0.9, 2.4]),
        "space origin": np.array([1.0, 2.0, 3.0]),
        "encoding": encoding,
    }
    path = tmp_path / ("a.nhdr" if detached else "a.nrrd")
    nrrd.write(str(path), array, header, detached_header=detached)
    affine = np.diag([0.7, 0.9, 2.4, 1.0])
    affine[:3, 3] = (1, 2, 3)
    to_ras = np.eye(4) if space.startswith("right") else np.diag([-1.0, -1.0, 1.0, 1.0])
    assert_same(open_source(path).read([0])[0], canonical_image(array, to_ras @ affine, ""))


@pytest.mark.parametrize("time_axis", [0, 3])
def test_a_sequence_of_3d_slicer_holds_volumes(tmp_path, time_axis):
    array = voxels_of(n=3)
    nowhere = [np.nan] * 3
    directions = [[0.7, 0, 0], [0, 0.9, 0], [0, 0, 2.4]]
    header = {
        "space": "left-posterior-superior",
        "kinds": ["list", "domain", "domain", "domain"] if time_axis == 0 else ["domain"] * 3 + ["list"],
        "space directions": np.array([nowhere, *directions] if time_axis == 0 else [*directions, nowhere]),
        "space origin": np.zeros(3),
    }
    nrrd.write(str(tmp_path / "a.nrrd"), np.moveaxis(array, -1, time_axis), header)
    source = open_source(tmp_path / "a.nrrd")
    assert source.n_volumes == 3
    wanted = np.diag([-0.7, -0.9, 2.4, 1.0])
    for found, k in zip(source.read([2, 0]), (2, 0), strict=True):
        assert_same(found, canonical_image(array[..., k], wanted, ""))


def test_a_metaimage_of_four_axes_holds_volumes(tmp_path):
    array = voxels_of(n=3)
    image = SimpleITK.JoinSeries([itk_image(array[..., k]) for k in range(3)])
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))
    source = open_source(tmp_path / "a.mha")
    assert source.n_volumes == 3
    assert_same(source.read([1])[0], expected(array[..., 1], itk_image(array[..., 1])))


@pytest.mark.parametrize("suffix", ITK_SUFFIXES)
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_file_that_is_cut_off_is_never_read_as_zeros(tmp_path, suffix, share):
    SimpleITK.WriteImage(
        itk_image(np.tile(voxels_of(), (6, 6, 6))), str(tmp_path / f"a{suffix}"), suffix.endswith("d")
    )
    data_path = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    data = data_path.read_bytes()
    data_path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(SkipPatient) as caught:
        open_source(tmp_path / f"a{suffix}").read([0])
    assert caught.value.code in ("image_truncated", "image_corrupt")
    assert data_path.name in caught.value.message


@pytest.mark.parametrize("suffix", ITK_SUFFIXES)
def test_a_flipped_bit_in_compressed_data_is_noticed(tmp_path, suffix):
    SimpleITK.WriteImage(itk_image(np.tile(voxels_of(), (6, 6, 6))), str(tmp_path / f"a{suffix}"), True)
    data_path = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(data_path.read_bytes())
    data[-60] ^= 8
    data_path.write_bytes(bytes(data))
    with pytest.raises(SkipPatient) as caught:
        open_source(tmp_path / f"a{suffix}").read([0])
    assert caught.value.code in ("image_truncated", "image_corrupt")


MHD = "ObjectType = Image\nNDims = 3\nDimSize = 7 6 4\nElementType = MET_SHORT\n"
PLACED = "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 0.7 0.9 2.4\n"
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 7 6 4\nencoding: raw\nendian: little\n"
LPS = "space: left-posterior-superior\nspace directions: (0.7,0,0) (0,0.9,0) (0,0,2.4)\nspace origin: (0,0,0)\n"
OTHER_SPACE = LPS.replace("left-posterior-superior", "scanner-xyz")
CHANNELS = "ElementNumberOfChannels = 3\n"
HEADERS = {
    "a web page.nrrd": ("<html>404</html>", "image_unreadable"),
    "a web page.mha": ("<html>404</html>", "image_unreadable"),
    "no place.mhd": (f"{MHD}ElementSpacing = 1 1 2\nElementDataFile = v.raw\n", "orientation_unknown"),
    "no place.nhdr": (f"{NRRD}spacings: 1 1 2\ndata file: v.raw\n\n", "orientation_unknown"),
    "a space of no patient.nhdr": (f"{NRRD}{OTHER_SPACE}data file: v.raw\n\n",
                                   "orientation_unknown"),
    "many files.mhd": (f"{MHD}{PLACED}ElementDataFile = LIST\n", "image_parts"),
    "another folder.mhd": (f"{MHD}{PLACED}ElementDataFile = ../v.raw\n", "image_parts"),
    "another folder.nhdr": (f"{NRRD}{LPS}data file: /etc/passwd\n\n", "image_parts"),
    "a pattern of files.nhdr": (f"{NRRD}{LPS}data file: v%03d.raw 1 4 1\n\n", "image_parts"),
    "voxels that are not there.mhd": (f"{MHD}{PLACED}ElementDataFile = w.raw\n", "file_unreadable"),
    "text.mhd": (f"{MHD}{PLACED}BinaryData = False\nElementDataFile = v.raw\n", "image_unreadable"),
    "several values.mhd": (f"{MHD}{PLACED}{CHANNELS}ElementDataFile = v.raw\n", "image_unreadable"),
    "an unknown type.nhdr": (f"{NRRD.replace('short', 'block')}{LPS}data file: v.raw\n\n", "image_unreadable"),
    "no end of the header.nrrd": (f"{NRRD}{LPS}", "image_truncated"),
    "an enormous size.mhd": (f"{MHD.replace('7 6 4', '9000 9000 9000')}{PLACED}ElementDataFile = v.raw\n",
                             "image_too_large"),
    "no size.mhd": (f"{MHD.replace('7 6 4', '7 6')}{PLACED}ElementDataFile = v.raw\n", "image_unreadable"),
    "an implausible spacing.mhd": (f"{MHD}{PLACED.replace('2.4', '24')}ElementDataFile = v.raw\n",
                                   "spacing_implausible"),
    "axes that are not at right angles.nhdr": (f"{NRRD}{LPS.replace('(0,0.9,0)', '(0.5,0.9,0)')}data file: v.raw\n\n",
                                               "affine_sheared"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_cannot_be_used_are_named(tmp_path, name):
    text, code = HEADERS[name]
    (tmp_path / name).write_text(text, encoding="utf-8")
    voxels_of().tofile(tmp_path / "v.raw")
    with pytest.raises(SkipPatient) as caught:
        open_source(tmp_path / name)
    assert caught.value.code == code
    assert name in caught.value.message


@pytest.mark.parametrize("name", ["no place.mhd", "no place.nhdr"])
def test_an_orientation_can_be_stated(tmp_path, name):
    (tmp_path / name).write_text(HEADERS[name][0], encoding="utf-8")
    voxels_of().ravel(order="F").tofile(tmp_path / "v.raw")
    source = open_source(tmp_path / name, Reading(orientation="RAS"))
    assert [code for code, _ in source.notes] == ["geometry_assumed"]
    assert_same(source.read([0])[0], canonical_image(voxels_of(), np.diag([1.0, 1, 2, 1]), ""))


@pytest.mark.fault("B15")
def test_names_in_headers_reach_no_message(tmp_path):
    (tmp_path / "a.nhdr").write_text(f"{NRRD}content: Jane Doe\nPatientName:=Jane Doe\n", encoding="utf-8")
    with pytest.raises(SkipPatient) as caught:
        open_source(tmp_path / "a.nhdr")
    assert "Jane" not in str(caught.value)


def test_values_that_are_not_finite(tmp_path):
    array = voxels_of(dtype=np.float32)
    array[0, 0, 0] = np.nan
    SimpleITK.WriteImage(itk_image(array), str(tmp_path / "a.nrrd"))
    with pytest.raises(SkipPatient, match="1 voxels are NaN"):
        open_source(tmp_path / "a.nrrd").read([0])
    (found,) = open_source(tmp_path / "a.nrrd", Reading(nonfinite="zero")).read([0])
    assert dict(found.remarks).keys() == {"image_nonfinite"}


def test_a_path_to_a_header_is_all_that_is_needed_in_another_folder(tmp_path, monkeypatch):
    SimpleITK.WriteImage(itk_image(voxels_of()), str(tmp_path / "a.mhd"))
    monkeypatch.chdir("/")
    assert open_source(Path(tmp_path / "a.mhd")).read([0])[0].voxels.size == np.prod(SHAPE)
