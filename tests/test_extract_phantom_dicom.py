"""DICOM as vendors write it: voxels and geometry return exactly, and every habit is there."""

import gzip
import io
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import JPEGLSLossless

from extract.phantom.cohort import write_phantom
from extract.phantom.dicom import TRANSFER_SYNTAXES, VENDORS, phantom_as_dicom, write_dicom
from triher.cohort import read_cohort
from triher.errors import StopRun
from triher.progress import Reporter
from triher.settings import CohortConfig

TIMES_S = (-30.0, 90.0, 390.5)
SHAPE = (36, 33, 5)  # column, row, slice
SPACING = (0.7, 0.9, 2.4)
CLASSIC = [name for name in VENDORS if not VENDORS[name].is_multiframe]
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def _affine(columns: object, *, origin: tuple[float, ...] = (-20.123456789, -31.5, 7.25)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.array(columns, float).T * SPACING
    affine[:3, 3] = origin
    return affine


def _oblique() -> np.ndarray:
    directions, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))
    return _affine(directions.T)


AFFINES = {
    "axial": _affine(np.eye(3)),
    "axial, rows to the left": _affine([(-1, 0, 0), (0, -1, 0), (0, 0, 1)]),
    "sagittal": _affine([(0, -1, 0), (0, 0, -1), (1, 0, 0)]),
    "coronal": _affine([(-1, 0, 0), (0, 0, -1), (0, -1, 0)]),
    "slices against the normal": _affine([(1, 0, 0), (0, 1, 0), (0, 0, -1)]),
    "oblique": _oblique(),
}


def _phases(n: int = 3, *, seed: int = 0, highest: int = 4000) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, highest, SHAPE).astype(np.int16) for _ in range(n)]


def _write(folder: Path, **changes: object) -> list[Path]:
    given = {"phases": _phases(), "affine": AFFINES["axial"], "times_s": TIMES_S, "vendor": "ge", "patient_id": "P-1"}
    return write_dicom(folder, **(given | changes))


def _headers(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.rglob("*")) if path.is_file()]


def _slices(folder: Path, vendor: str) -> dict[object, list[tuple[np.ndarray, list, list, list]]]:
    """Phase -> (position, orientation, spacing, voxels [row, col]) of its slices, in any order."""
    found = defaultdict(list)
    for header in _headers(folder):
        pixels = header.pixel_array.astype(float)
        if "PerFrameFunctionalGroupsSequence" in header:
            for frame, values in zip(header.PerFrameFunctionalGroupsSequence, pixels, strict=True):
                found[frame.FrameContentSequence[0].TemporalPositionIndex].append(
                    _slice(
                        frame.PlanePositionSequence[0],
                        frame.PlaneOrientationSequence[0],
                        frame.PixelMeasuresSequence[0],
                        frame.PixelValueTransformationSequence[0],
                        values,
                    )
                )
        else:
            key = header.AcquisitionTime if vendor == "siemens" else header.TemporalPositionIdentifier
            found[key].append(_slice(header, header, header, header, pixels))
    return {key: found[key] for key in sorted(found)}


def _slice(position, orientation, measures, scale, values) -> tuple[np.ndarray, list, list, list]:
    real = values * float(scale.get("RescaleSlope", 1)) + float(scale.get("RescaleIntercept", 0))
    spacing = [*map(float, measures.PixelSpacing), float(measures.SpacingBetweenSlices)]
    assert measures.SliceThickness == measures.SpacingBetweenSlices
    return (
        np.array(position.ImagePositionPatient, float),
        np.array(orientation.ImageOrientationPatient, float),
        spacing,
        real,
    )


def _volume(slices: list, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voxels [column, row, slice] and their affine, slices ordered along a direction."""
    slices = sorted(slices, key=lambda part: float(part[0] @ along))
    first, orientation, (row_mm, column_mm, slice_mm), _ = slices[0]
    step = (slices[-1][0] - first) / (len(slices) - 1)
    assert np.linalg.norm(step) == pytest.approx(slice_mm)
    affine = np.eye(4)
    affine[:3, :4] = np.stack([orientation[:3] * column_mm, orientation[3:] * row_mm, step, first], axis=1)
    return np.stack([part[3].T for part in slices], axis=2), TO_LPS @ affine


@pytest.mark.parametrize("orientation", AFFINES)
@pytest.mark.parametrize("vendor", VENDORS)
def test_voxels_and_geometry_return_exactly(tmp_path: Path, vendor: str, orientation: str) -> None:
    phases, affine = _phases(), AFFINES[orientation]
    _write(tmp_path, phases=phases, affine=affine, vendor=vendor)
    found = _slices(tmp_path, vendor)
    assert len(found) == len(phases)
    for slices, voxels in zip(found.values(), phases, strict=True):
        read, geometry = _volume(slices, (TO_LPS @ affine)[:3, 2])
        np.testing.assert_array_equal(read, voxels)
        np.testing.assert_allclose(geometry, affine, atol=1e-9)


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
@pytest.mark.parametrize("vendor", VENDORS)
def test_every_transfer_syntax_holds_the_same_values(tmp_path: Path, vendor: str, syntax: str) -> None:
    phases = _phases(2)
    if VENDORS[vendor].is_signed:
        phases = [volume - 2000 for volume in phases]
    paths = _write(tmp_path, phases=phases, times_s=(0.0, 60.0), vendor=vendor, transfer_syntax=syntax)
    assert {h.file_meta.TransferSyntaxUID for h in _headers(tmp_path)} == {TRANSFER_SYNTAXES[syntax][0]}
    for slices, voxels in zip(_slices(tmp_path, vendor).values(), phases, strict=True):
        np.testing.assert_array_equal(_volume(slices, np.array([0, 0, 1]))[0], voxels)
    assert all(path.read_bytes()[128:132] == b"DICM" for path in paths)


@pytest.mark.parametrize("vendor", VENDORS)
def test_equal_arguments_give_equal_bytes_and_another_seed_other_uids(tmp_path: Path, vendor: str) -> None:
    once, again, other = (
        _write(tmp_path / name, vendor=vendor, seed=seed) for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert [p.read_bytes() for p in once] == [p.read_bytes() for p in again]
    assert [p.relative_to(tmp_path / "a") for p in once] == [p.relative_to(tmp_path / "b") for p in again]
    uids = [{pydicom.dcmread(p).SOPInstanceUID for p in paths} for paths in (once, other)]
    assert len(uids[0]) == len(once)
    assert not uids[0] & uids[1]
    assert _write(tmp_path / "a", vendor=vendor, seed=3) == once


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_id_is_all_that_is_said_of_the_patient(tmp_path: Path, vendor: str) -> None:
    _write(tmp_path, vendor=vendor, patient_id="Pätient 7")
    for header in _headers(tmp_path):
        assert {e.keyword: e.value for e in header if e.tag.group == 0x10 and e.value} == {"PatientID": "Pätient 7"}
        assert not any(e.value for e in header.iterall() if e.VR == "PN")
        assert not any(e.tag.is_private for e in header.iterall())
        assert header.ImageComments.startswith("Synthetic")


def test_ge_keeps_all_phases_in_one_series_and_its_clocks_stand_still(tmp_path: Path) -> None:
    paths = _write(tmp_path, vendor="ge")
    headers = [pydicom.dcmread(path) for path in paths]
    for name in ("SeriesInstanceUID", "ContentTime", "AcquisitionTime", "AcquisitionNumber", "StudyInstanceUID"):
        assert len({h[name].value for h in headers}) == 1
    assert [h.InstanceNumber for h in headers] == list(range(1, 16))
    assert [h.TemporalPositionIdentifier for h in headers[::5]] == [1, 2, 3]
    assert {h.NumberOfTemporalPositions for h in headers} == {3}
    assert [float(h.TriggerTime) for h in headers[::5]] == [0.0, 120000.0, 420500.0]
    assert {(h.BitsStored, h.PixelRepresentation, "RescaleSlope" in h) for h in headers} == {(16, 1, False)}


def test_siemens_has_a_folder_a_phase_and_tells_them_by_the_clock(tmp_path: Path) -> None:
    paths = _write(tmp_path, vendor="siemens", affine=AFFINES["sagittal"])
    headers = [pydicom.dcmread(path) for path in paths]
    first = headers[::5]
    assert len({path.parent for path in paths}) == 3
    assert [h.SeriesDescription for h in first] == [
        "t1_fl3d_sag_dyna_PRE",
        "t1_fl3d_sag_dyna_POST_1",
        "t1_fl3d_sag_dyna_POST_2",
    ]
    assert np.diff([h.SeriesNumber for h in first]).tolist() == [1, 1]
    assert [h.AcquisitionTime for h in first] == ["095930.000000", "100130.000000", "100630.500000"]
    assert len({h.SeriesInstanceUID for h in headers}) == 3
    for h in headers:
        assert not {"TemporalPositionIdentifier", "NumberOfTemporalPositions", "TriggerTime"} & set(h.dir())
        assert (h.BitsStored, h.BitsAllocated, h.PixelRepresentation) == (12, 16, 0)
    by_name = [pydicom.dcmread(path).InstanceNumber for path in sorted(paths[0].parent.iterdir())]
    assert by_name != sorted(by_name)
    assert sorted(by_name) == [1, 2, 3, 4, 5]


def test_philips_rescales_each_slice_in_its_own_way_and_interleaves_the_phases(tmp_path: Path) -> None:
    paths = _write(tmp_path, vendor="philips", phases=_phases(highest=900))
    headers = [pydicom.dcmread(path) for path in paths]
    assert {float(h.RescaleSlope) for h in headers} == {1.0, 0.5, 0.25}
    scales = [(float(h.RescaleSlope), float(h.RescaleIntercept)) for h in headers]
    assert all(a != b for phase in (scales[:5], scales[5:10], scales[10:]) for a, b in pairwise(phase))
    assert all(a != b for a, b in zip(scales[:5], scales[5:10], strict=True))
    assert len({h.SeriesInstanceUID for h in headers}) == len({h.AcquisitionTime for h in headers}) == 1
    assert {h.ContrastBolusStartTime for h in headers} == {"100000.000000"}
    in_order = sorted(headers, key=lambda h: h.InstanceNumber)
    assert [h.TemporalPositionIdentifier for h in in_order[:4]] == [1, 2, 3, 1]
    assert [h.InstanceNumber for h in in_order] == list(range(1, 16))


def test_enhanced_frames_carry_index_and_moment(tmp_path: Path) -> None:
    (path,) = _write(tmp_path, vendor="philips-enhanced")
    header = pydicom.dcmread(path)
    assert header.SOPClassUID.name == "Enhanced MR Image Storage"
    assert header.NumberOfFrames == 15
    pointers = [item.DimensionIndexPointer for item in header.DimensionIndexSequence]
    contents = [frame.FrameContentSequence[0] for frame in header.PerFrameFunctionalGroupsSequence]
    for content in contents:
        assert content.DimensionIndexValues == [1, content.InStackPositionNumber, content.TemporalPositionIndex]
        assert all(pointer in content for pointer in pointers)
    assert [c.FrameAcquisitionDateTime for c in contents[:3]] == [
        "20000101095930.000000",
        "20000101100130.000000",
        "20000101100630.500000",
    ]
    scales = [f.PixelValueTransformationSequence[0] for f in header.PerFrameFunctionalGroupsSequence]
    assert len({(s.RescaleSlope, s.RescaleIntercept) for s in scales}) > 3


@pytest.mark.parametrize("orientation", ["axial", "axial, rows to the left", "sagittal", "coronal"])
def test_simpleitk_reads_a_phase_of_siemens_as_the_nifti_of_the_same_array(tmp_path: Path, orientation: str) -> None:
    phases, affine = _phases(), AFFINES[orientation]
    paths = _write(tmp_path / "dicom", vendor="siemens", phases=phases, affine=affine)
    image = nib.Nifti1Image(phases[1], affine)
    image.set_qform(affine, code=1)
    nib.save(image, tmp_path / "image.nii")
    expected = SimpleITK.ReadImage(str(tmp_path / "image.nii"))
    found = SimpleITK.ReadImage(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(paths[5].parent)))
    np.testing.assert_array_equal(SimpleITK.GetArrayViewFromImage(found), SimpleITK.GetArrayViewFromImage(expected))
    for name in ("Origin", "Spacing", "Direction"):
        wanted = getattr(expected, f"Get{name}")()
        np.testing.assert_allclose(getattr(found, f"Get{name}")(), wanted, atol=1e-5)  # NIfTI holds single precision


@pytest.mark.parametrize(
    ("vendor", "real"),
    [("ge", "ge_multiphase/0001.dcm"), ("philips", "philips_classic/1901_0001.dcm.gz")],
)
def test_what_orders_slices_and_phases_is_what_the_real_scanner_writes(
    tmp_path: Path, shared: Path, vendor: str, real: str
) -> None:
    path = shared / "data" / "dicom" / real
    if not path.is_file():
        pytest.skip(f"{real} is not on this machine")
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    theirs = pydicom.dcmread(io.BytesIO(raw), stop_before_pixels=True)
    ours = pydicom.dcmread(_write(tmp_path, vendor=vendor)[0])
    names = (
        "Temporal",
        "TriggerTime",
        "InstanceNumber",
        "Acquisition",
        "Rescale",
        "Position",
        "Stack",
        "Slice",
        "Spacing",
    )
    kept = {n for n in theirs.dir() if any(part in n for part in names)}
    assert kept - set(ours.dir()) <= {"AcquisitionMatrix", "AcquisitionDuration"}
    for name in ("Manufacturer", "ManufacturerModelName", "BitsStored", "PixelRepresentation", "SOPClassUID"):
        assert ours[name].value == theirs[name].value


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"vendor": "simens"}, "unknown_name"), ({"transfer_syntax": "jpeg"}, "unknown_name")],
)
def test_unknown_names_are_refused(tmp_path: Path, changes: dict, code: str) -> None:
    with pytest.raises(StopRun) as caught:
        _write(tmp_path, **changes)
    assert caught.value.code == code


def test_an_encoder_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = get_encoder(JPEGLSLossless)
    monkeypatch.setattr(encoder, "_available", {})
    monkeypatch.setattr(encoder, "_unavailable", {"pyjpegls": ("numpy", "pyjpegls>=1.3")})
    with pytest.raises(StopRun, match="pyjpegls") as caught:
        _write(tmp_path / "out", transfer_syntax="jpeg-ls")
    assert caught.value.code == "extra_missing"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"phases": [volume + 100 for volume in _phases()], "vendor": "siemens"},
        {"phases": [*_phases(2), _phases()[2] - 1], "vendor": "siemens"},
        {"phases": [volume * 2 for volume in _phases()], "vendor": "philips"},
        {"phases": [volume.astype(np.int32) * 10 for volume in _phases()]},
        {"phases": [volume.astype(np.float32) for volume in _phases()]},
        {"phases": [*_phases(2), _phases()[2][1:]]},
        {"phases": []},
        {"times_s": (0.0, 1.0)},
        {"times_s": (0.0, 90.0, 90.0)},
        {"times_s": (0.0, 90.0, np.inf)},
        {"affine": _affine([(1, 0, 0), (0.1, 1, 0), (0, 0, 1)])},
        {"affine": np.zeros((4, 4))},
        {"affine": np.full((4, 4), np.nan)},
        {"patient_id": "A\\B"},
        {"patient_id": "A\nB"},
        {"patient_id": " A"},
        {"patient_id": "x" * 65},
        {"phases": [volume[:8, :8] for volume in _phases()], "transfer_syntax": "jpeg2000"},
    ],
)
def test_what_cannot_be_written_leaves_no_file(tmp_path: Path, changes: dict) -> None:
    with pytest.raises(ValueError):
        _write(tmp_path, **changes)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_slices_of_another_exam_are_not_mixed_in(tmp_path: Path) -> None:
    _write(tmp_path)
    with pytest.raises(StopRun) as caught:
        _write(tmp_path, phases=_phases(2), times_s=(0.0, 60.0))
    assert caught.value.code == "output_folder"


def test_patients_of_the_phantom_become_dicom_of_their_site(tmp_path: Path) -> None:
    quiet = Reporter(quiet=True)
    table = write_phantom(tmp_path, n_patients=3, shape=(24, 48, 48), seed=2, reporter=quiet)
    cohort = read_cohort(CohortConfig(table=table, covariates=("age",), time_unit="months"))
    for patient, vendor in zip(cohort.patients, ("siemens", "ge", "philips"), strict=True):
        paths = phantom_as_dicom(tmp_path / "dicom", patient)
        home = tmp_path / "dicom" / patient.patient_id
        assert all(path.is_relative_to(home) for path in paths)
        found = _slices(home, vendor)
        for slices, source in zip(found.values(), patient.phases.values(), strict=True):
            image = nib.load(source)
            voxels, affine = _volume(slices, np.array([0, 0, 1]))
            np.testing.assert_array_equal(voxels, np.asarray(image.dataobj))
            np.testing.assert_allclose(affine, image.affine, atol=1e-9)
