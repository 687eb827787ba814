"""DICOM segmentations, as another implementation writes them, come back as the mask they were made from."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

from extract.dicom.segments import open_segmentation
from extract.exam import read_exam
from extract.image import canonical_image
from extract.phantom.dicom import write_dicom
from extract.resampling import resample
from extract.volumes import open_mask
from triher.cohort import Patient
from triher.errors import SkipPatient, StopRun
from triher.reading import Reading

SHAPE = (20, 16, 9)  # column, row, slice
AFFINE = np.array([[0.0, 0, 2.4, -20], [-0.7, 0, 0, 30], [0, -0.9, 0, 7], [0, 0, 0, 1]])  # sagittal
RULES = {"pre": "pre", "early": "first post", "late": "last"}


def lesion(*slices: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    for place in slices:
        mask[5 : 8 + place, 4:11, place] = 1
    return mask


@pytest.fixture
def exam(tmp_path) -> Path:
    """A DICOM exam of three phases."""
    rng = np.random.default_rng(0)
    phases = [rng.integers(1, 900, SHAPE).astype(np.int16) for _ in RULES]
    write_dicom(tmp_path / "exam", phases, AFFINE, (-30.0, 90.0, 390.0), vendor="siemens", patient_id="P-1")
    return tmp_path / "exam"


def write_segmentation(
    exam: Path, path: Path, *masks: np.ndarray, kind="BINARY", syntax=ExplicitVRLittleEndian
) -> Path:
    """Write one segment a mask, with references to the images before contrast."""
    headers = [pydicom.dcmread(file) for file in sorted(exam.rglob("*PRE/*.IMA"))]
    headers.sort(key=lambda header: header.InstanceNumber)
    tumor = CodedConcept("86049000", "SCT", "Malignant neoplasm")
    described = [
        SegmentDescription(
            segment_number=number,
            segment_label=f"lesion {number}",
            segmented_property_category=CodedConcept("49755003", "SCT", "Morphologically abnormal structure"),
            segmented_property_type=tumor,
            algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
            algorithm_identification=AlgorithmIdentificationSequence(
                name="hand", version="1", family=CodedConcept("113076", "DCM", "Segmentation")
            ),
        )
        for number in range(1, len(masks) + 1)
    ]
    pixels = np.stack([mask.transpose(2, 1, 0) for mask in masks], axis=-1)
    segmentation = Segmentation(
        source_images=headers,
        pixel_array=pixels.astype(float if kind == "FRACTIONAL" else np.uint8),
        segmentation_type=SegmentationTypeValues[kind],
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=50,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="nobody",
        manufacturer_model_name="none",
        software_versions="1",
        device_serial_number="1",
        transfer_syntax_uid=syntax,
    )
    segmentation.save_as(path)
    return path


def patient(exam: Path, mask: Path, **reading: object) -> Patient:
    return Patient("P-1", "test", "A", "", dict.fromkeys(RULES, exam), mask, Reading(RULES, **reading))


CASES = {
    "neighbors": (2, 3, 4),
    "with a gap": (2, 3, 6),
    "one slice": (4,),
    "all slices": tuple(range(9)),
}


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
@pytest.mark.parametrize("case", CASES)
def test_the_mask_of_an_exam_comes_back(exam, tmp_path, case, kind):
    mask = lesion(*CASES[case])
    path = write_segmentation(exam, tmp_path / "mask.dcm", mask, kind=kind)
    found = read_exam(patient(exam, path)).mask
    assert np.array_equal(found, canonical_image(mask.astype(np.int16), AFFINE, "").voxels.astype(bool))


def test_compressed_segments(exam, tmp_path):
    mask = lesion(2, 3)
    path = write_segmentation(exam, tmp_path / "mask.dcm", mask, kind="FRACTIONAL", syntax=RLELossless)
    assert read_exam(patient(exam, path)).mask.sum() == mask.sum()


def test_a_segmentation_is_found_among_the_images_of_the_exam(exam, tmp_path):
    write_segmentation(exam, exam / "seg.dcm", lesion(3, 4))
    found = read_exam(patient(exam, exam))
    assert found.mask.sum() == lesion(3, 4).sum()
    assert "dicom_ignored" in [note.code for note in found.notes]


def test_several_segments_are_labels(exam, tmp_path):
    path = write_segmentation(exam, tmp_path / "mask.dcm", lesion(1, 2), lesion(5))
    with pytest.raises(StopRun, match="mask_labels"):
        read_exam(patient(exam, path))
    assert read_exam(patient(exam, path), mask_label=2).mask.sum() == lesion(5).sum()


def test_two_segmentations_are_not_chosen_from(exam, tmp_path):
    for name in ("one.dcm", "two.dcm"):
        write_segmentation(exam, exam / name, lesion(3, 4))
    with pytest.raises(SkipPatient, match="holds 2 segmentations") as caught:
        open_mask(exam)
    assert caught.value.code == "ambiguous_file"


def change(path: Path, **values: object) -> None:
    header = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(header, keyword, value)
    header.save_as(path)


def test_the_segmentation_of_somebody_else(exam, tmp_path):
    path = write_segmentation(exam, tmp_path / "mask.dcm", lesion(3))
    change(path, PatientID="P-2")
    with pytest.raises(SkipPatient) as caught:
        read_exam(patient(exam, path, header_id="P-1"))
    assert caught.value.code == "patient_mismatch"


def test_frames_that_lie_between_slices(exam, tmp_path):
    path = write_segmentation(exam, tmp_path / "mask.dcm", lesion(2, 3, 4))
    header = pydicom.dcmread(path)
    where = header.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    x, y, z = where.ImagePositionPatient
    where.ImagePositionPatient = [x + 0.9, y, z]
    header.save_as(path)
    with pytest.raises(SkipPatient) as caught:
        open_segmentation(path)
    assert caught.value.code == "dicom_geometry"


@pytest.mark.parametrize("size", [200, 0.5, 0.999])
def test_a_segmentation_that_is_cut_off(exam, tmp_path, size):
    path = write_segmentation(exam, tmp_path / "mask.dcm", lesion(2, 3, 4))
    data = path.read_bytes()
    path.write_bytes(data[: size if isinstance(size, int) else int(size * len(data))])
    with pytest.raises(SkipPatient) as caught:
        read_exam(patient(exam, path))
    assert caught.value.code in ("image_unreadable", "image_corrupt", "no_mr_image")


def test_the_grid_is_that_of_the_stored_slices(exam, tmp_path):
    path = write_segmentation(exam, tmp_path / "mask.dcm", lesion(2, 3, 6))
    image = open_segmentation(path).read([0])[0]
    target = canonical_image(np.zeros(SHAPE, np.int16), AFFINE, "")
    assert image.voxels.shape == (5, *target.voxels.shape[1:])
    assert resample(image, target, is_mask=True).voxels.sum() == lesion(2, 3, 6).sum()
