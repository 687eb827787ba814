"""DICOM by its own geometry: real series of two vendors, and a phantom in the habits of three."""

import gzip
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from extract.cache import ensure_slab
from extract.dicom.exam import open_dicom
from extract.dicom.headers import scan_dicom
from extract.image import canonical_image
from extract.phantom.dicom import TRANSFER_SYNTAXES, VENDORS, write_dicom
from extract.recipe import SlabRecipe
from extract.volumes import open_source
from triher.cohort import Patient
from triher.reading import Reading

TIMES_S = (-30.0, 90.0, 390.5)
SHAPE = (36, 33, 5)  # column, row, slice
SPACING = (0.7, 0.9, 2.4)


def affine_of(directions, spacing=SPACING):
    affine = np.eye(4)
    affine[:3, :3] = np.array(directions, float).T * spacing
    affine[:3, 3] = (-20.5, -31.25, 7.5)
    return affine


def volumes(n=3, *, shape=SHAPE, lowest=0, highest=4000, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(lowest, highest, shape).astype(np.int16) for _ in range(n)]


def write(folder, **changes):
    given = {"phases": volumes(), "affine": affine_of(np.eye(3)), "times_s": TIMES_S, "vendor": "ge"}
    return write_dicom(folder, **({**given, "patient_id": "P-1"} | changes))


AFFINES = {
    "axial": affine_of(np.eye(3)),
    "axial, rows to the left": affine_of([(-1, 0, 0), (0, -1, 0), (0, 0, 1)]),
    "sagittal": affine_of([(0, -1, 0), (0, 0, -1), (1, 0, 0)]),
    "coronal": affine_of([(-1, 0, 0), (0, 0, -1), (0, -1, 0)]),
    "slices against the normal": affine_of([(1, 0, 0), (0, 1, 0), (0, 0, -1)]),
    "oblique": affine_of(np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0].T),
}


@pytest.mark.fault("B2", "B7", "B9")
@pytest.mark.parametrize("orientation", AFFINES)
@pytest.mark.parametrize("vendor", VENDORS)
def test_every_vendor_comes_back_as_the_nifti_of_the_same_exam(tmp_path, vendor, orientation):
    phases, affine = volumes(), AFFINES[orientation]
    write(tmp_path, phases=phases, affine=affine, vendor=vendor)
    source = open_dicom(tmp_path)
    images = source.read(range(3))
    assert source.n_volumes == 3
    for image, voxels in zip(images, phases, strict=True):
        expected = canonical_image(voxels, affine, "")
        assert image.voxels.dtype == np.int16
        assert np.array_equal(image.voxels, expected.voxels)
        assert np.allclose(image.affine, expected.affine, atol=1e-5)
        assert image.plane == expected.plane


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
@pytest.mark.parametrize("vendor", VENDORS)
def test_every_transfer_syntax_gives_the_same_voxels(tmp_path, vendor, syntax):
    phases = volumes()
    write(tmp_path, phases=phases, vendor=vendor, transfer_syntax=syntax)
    for image, voxels in zip(open_dicom(tmp_path).read(range(3)), phases, strict=True):
        assert np.array_equal(image.voxels, canonical_image(voxels, affine_of(np.eye(3)), "").voxels)


TELLING = {
    # attribute: its value in each phase, where all others that could tell the phases apart are taken away
    "TemporalPositionIdentifier": (1, 2, 3),
    "TriggerTime": (0.0, 60_000.0, 120_000.0),
    "AcquisitionTime": ("100000", "100130", "100630.5"),
    "ContentTime": ("100000", "100130", "100630.5"),
    "AcquisitionNumber": (1, 2, 3),
}


@pytest.mark.fault("B2")
@pytest.mark.parametrize("attribute", TELLING)
def test_phases_of_one_series_are_told_apart_by_whatever_tells_them(tmp_path, attribute):
    paths = write(tmp_path, vendor="ge")
    for place, path in enumerate(paths):
        change(path, **(dict.fromkeys(TELLING) | {attribute: TELLING[attribute][place // SHAPE[2]]}))
    source = open_dicom(tmp_path)
    assert (source.n_volumes, source.grid.shape) == (3, SHAPE)
    assert source.grid.affine == pytest.approx(affine_of(np.eye(3)), abs=1e-5)
    for image, voxels in zip(source.read(range(3)), volumes(), strict=True):
        assert np.array_equal(image.voxels, canonical_image(voxels, affine_of(np.eye(3)), "").voxels)


def test_negative_values_of_signed_images(tmp_path):
    phases = volumes(lowest=-900)
    write(tmp_path, phases=phases)
    image = open_dicom(tmp_path).read([0])[0]
    assert image.voxels.min() == phases[0].min() < 0


@pytest.mark.parametrize(
    ("vendor", "times_s"),
    [
        ("ge", (-120.0, 0.0, 300.5)),  # trigger times count from the first phase; the second one stands for injection
        ("siemens", (-120.0, 0.0, 300.5)),  # from the clock
        ("philips", ()),  # the clock stands still
        ("philips-enhanced", (-120.0, 0.0, 300.5)),
    ],
)
def test_times_come_from_what_each_vendor_writes(tmp_path, vendor, times_s):
    write(tmp_path, vendor=vendor)
    assert open_dicom(tmp_path).times_s == pytest.approx(times_s)


def test_a_stated_injection_is_time_zero(tmp_path):
    for path in write(tmp_path, vendor="siemens"):
        change(path, ContrastBolusStartTime="100000")
    assert open_dicom(tmp_path).times_s == pytest.approx(TIMES_S)


def test_an_injection_of_another_hour_is_not_used_and_noted(tmp_path):
    for path in write(tmp_path, vendor="siemens"):
        change(path, ContrastBolusStartTime="080000")
    source = open_dicom(tmp_path)
    assert source.times_s == pytest.approx((-120.0, 0.0, 300.5))
    assert "phase_times" in dict(source.notes)


def test_a_scan_across_midnight_keeps_its_order(tmp_path):
    clocks = {-30.0: "235900", 90.0: "000100", 390.5: "000600.5"}
    paths = write(tmp_path, vendor="siemens")
    for path, clock in zip(paths, [c for c in clocks.values() for _ in range(SHAPE[2])], strict=True):
        change(path, AcquisitionTime=clock)
    source = open_dicom(tmp_path)
    assert source.times_s == pytest.approx((-120.0, 0.0, 300.5))
    assert np.array_equal(source.read([0])[0].voxels, canonical_image(volumes()[0], affine_of(np.eye(3)), "").voxels)


def change(path, **values):
    header = pydicom.dcmread(path)
    for keyword, value in values.items():
        if value is None:
            del header[keyword]
        else:
            setattr(header, keyword, value)
    header.save_as(path)


def reordered(array, affine, order, flips):
    """The same volume with its axes in another order and direction."""
    change_of_axes = np.zeros((4, 4))
    change_of_axes[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        change_of_axes[old, new] = -1 if flip else 1
        change_of_axes[old, 3] = array.shape[old] - 1 if flip else 0
    turned = np.transpose(array, order)
    for axis, flip in enumerate(flips):
        turned = np.flip(turned, axis) if flip else turned
    return turned, affine @ change_of_axes


@pytest.mark.slow
@pytest.mark.fault("A20")
def test_all_48_axis_orders_and_flips_give_the_same_slab(tmp_path, write_exam):
    exam = write_exam(shape=(14, 12, 10))
    affine = nib.load(exam.patient.mask).affine
    slabs = set()
    for order, flips in product(permutations(range(3)), product((False, True), repeat=3)):
        name = f"{''.join(map(str, order))}{''.join(str(int(flip)) for flip in flips)}"
        turned = [reordered(exam.voxels[phase], affine, order, flips) for phase in exam.patient.phases]
        write_dicom(tmp_path / name, [t[0] for t in turned], turned[0][1], TIMES_S, vendor="ge", patient_id="P1")
        rules = {"pre": "pre", "early": "first post", "late": "last"}
        source = dict.fromkeys(rules, tmp_path / name)
        patient = Patient("P1", "test", "A", "", source, exam.patient.mask, Reading(rules))
        slabs.add(ensure_slab(tmp_path / "slabs", patient, SlabRecipe("box", 5.0)).sha256)
    nifti = ensure_slab(tmp_path / "slabs", exam.patient, SlabRecipe("box", 5.0))
    assert slabs == {nifti.sha256}


def test_the_real_ge_series_gives_ten_phases_of_ten_slices(shared):
    folder = shared / "data/dicom/ge_multiphase"
    source = open_dicom(folder)
    assert (source.n_volumes, source.grid.shape) == (10, (64, 64, 10))
    assert source.times_s == pytest.approx(range(-1, 9))
    images = source.read(range(10))
    for phase, image in enumerate(images):
        for place in range(10):  # the first file is the uppermost slice
            stored = pydicom.dcmread(folder / f"{10 * phase + place + 1:04d}.dcm").pixel_array
            assert np.array_equal(image.voxels[9 - place], stored)


@pytest.fixture
def philips_twins(shared, tmp_path) -> list[Path]:
    """The classic and the enhanced export of one acquisition, unpacked."""
    folders = []
    for name in ("philips_classic", "philips_enhanced"):
        folder = tmp_path / name
        folder.mkdir()
        for packed in sorted((shared / "data/dicom" / name).glob("*.gz")):
            (folder / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
        folders.append(folder)
    return folders


def test_the_real_philips_twins_have_equal_voxels_and_geometry(philips_twins):
    classic, enhanced = (open_dicom(folder).read([0])[0] for folder in philips_twins)
    assert np.array_equal(classic.voxels, enhanced.voxels)
    assert np.allclose(classic.affine, enhanced.affine, atol=1e-9)
    assert classic.voxels.shape == (40, 96, 96)


@pytest.mark.fault("B7", "B9")
def test_slope_and_intercept_of_every_slice_are_applied(philips_twins):
    classic, enhanced = philips_twins
    real = open_dicom(classic).read([0])[0]
    for place, path in enumerate(sorted(classic.iterdir())):
        header = pydicom.dcmread(path)
        expected = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
        assert np.array_equal(real.voxels[place], expected.astype(np.float32))
    header = pydicom.dcmread(next(enhanced.iterdir()))
    assert np.array_equal(open_dicom(enhanced).read([0])[0].voxels, (header.pixel_array * 0.1).astype(np.float32))
    assert "slope 0.1" in dict(real.remarks)["image_scaled"]


@pytest.mark.fault("B9")
def test_a_single_enhanced_file_is_a_source_of_its_own(tmp_path):
    (path,) = write(tmp_path, vendor="philips-enhanced")
    assert open_source(path).n_volumes == 3


def test_headers_are_read_and_no_pixel_before_it_is_asked_for(tmp_path):
    paths = write(tmp_path)
    frames, notes = scan_dicom(tmp_path)
    assert (len(frames), notes) == (len(paths), [])
    assert frames[0].storage.n_bytes == SHAPE[0] * SHAPE[1] * 2


def test_each_file_is_opened_once_for_headers_and_once_for_voxels(tmp_path, monkeypatch):
    paths = write(tmp_path)
    opened = []
    open_path = Path.open

    def counting(path, *arguments, **options):
        opened.append(path)
        return open_path(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", counting)
    source = open_dicom(tmp_path)
    assert sorted(opened) == sorted(paths)
    opened.clear()
    source.read([0, 2])
    assert sorted(opened) == sorted(paths[: SHAPE[2]] + paths[-SHAPE[2] :])


def test_the_order_of_files_and_their_names_do_not_matter(tmp_path):
    write(tmp_path / "one")
    (tmp_path / "other/deep").mkdir(parents=True)
    for place, path in enumerate(sorted((tmp_path / "one").iterdir(), reverse=True)):
        path.rename(tmp_path / "other/deep" / f"{place * 37 % 15:03d}")
    assert np.array_equal(open_dicom(tmp_path).read([1])[0].voxels, volumes()[1].transpose(2, 1, 0)[:, ::-1, ::-1])
