"""What the DICOM headers of a synthetic exam say of patient, clock, protocol and geometry.

Attributes follow the modules of DICOM PS3.3 A.4, MR Image: one file a slice. No private attribute is written, and the
only text of group 0010, the patient's, is the id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from jaxtyping import Float64
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.uid import UID, MRImageStorage, generate_uid
from pydicom.valuerep import DSfloat

SYNTHETIC = "Synthetic: no patient was scanned"
_INJECTION = datetime(2000, 1, 1, 10, 0, 0)  # an invented day, on the scanner's own clock
_RIGHT_ANGLE = 1e-4  # cosine that still passes for one; PS3.3 C.7.6.2.1.1 asks for orthogonal rows and columns
# Site A of `extract.phantom.physics`; echo time as usual for it. A header needs them, no voxel depends on them.
FIELD_T, REPETITION_MS, ECHO_MS, FLIP_DEG = 1.5, 5.2, 2.4, 12.0


@dataclass(frozen=True)
class Geometry:
    """Where a volume lies, in millimeters to the left, posterior and superior (PS3.3 C.7.6.2)."""

    orientation: tuple[float, ...]
    """Direction of growing column number, then of growing row number."""
    pixel_spacing: tuple[float, float]
    """Distance of rows, distance of columns."""
    slice_spacing: float
    origin: Float64[np.ndarray, "3"]
    """Center of the first voxel."""
    slice_step: Float64[np.ndarray, "3"]

    @property
    def normal(self) -> Float64[np.ndarray, "3"]:
        """Rows cross columns: the direction in which readers order the slices."""
        return np.cross(self.orientation[:3], self.orientation[3:])

    def position(self, place: int) -> list[DSfloat]:
        """Center of the first voxel of a slice."""
        return decimals(self.origin + place * self.slice_step)


@dataclass(frozen=True)
class Exam:
    """What all images of one exam share."""

    patient_id: str
    vendor: str
    seed: int
    geometry: Geometry
    times_s: tuple[float, ...]
    """Of every phase, from the start of the injection."""
    n_slices: int

    def uid(self, *names: object) -> UID:
        """A UID under pydicom's root that follows from the seed, the id, the vendor and the names."""
        return generate_uid(entropy_srcs=["/".join(map(str, (self.seed, self.patient_id, self.vendor, *names)))])

    def moment(self, phase: int | None) -> datetime:
        """When a phase, or without one the injection, started."""
        return _INJECTION + timedelta(seconds=0.0 if phase is None else self.times_s[phase])


def lps_geometry(affine: np.ndarray) -> Geometry:
    """The geometry of a volume [column, row, slice] from its NIfTI affine (to right, anterior, superior).

    Raises:
        ValueError: the affine is not 4 x 4 and finite, or its axes are not at right angles.
    """
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise ValueError(f"a finite 4 x 4 affine was expected, not {affine.tolist()}")
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    lengths = np.linalg.norm(lps[:3, :3], axis=0)
    if not (lengths > 0).all():
        raise ValueError(f"the voxel spacing must be above 0, not {lengths.tolist()}")
    directions = lps[:3, :3] / lengths
    cosines = np.abs(directions.T @ directions - np.eye(3)).max()
    if cosines > _RIGHT_ANGLE:
        raise ValueError(f"the axes are not at right angles (largest cosine {cosines:.2g}); DICOM slices need that")
    return Geometry(
        (*directions[:, 0].tolist(), *directions[:, 1].tolist()),
        (float(lengths[1]), float(lengths[0])),
        float(lengths[2]),
        lps[:3, 3].copy(),
        lps[:3, 2].copy(),
    )


def decimals(values: Sequence[float] | np.ndarray) -> list[DSfloat]:
    """Numbers as decimal strings, which have at most 16 characters (PS3.5 6.2)."""
    return [DSfloat(float(value) + 0.0, auto_format=True) for value in values]  # + 0.0 turns -0 into 0


def dataset_of(values: Mapping[str, Any]) -> Dataset:
    """A dataset from keywords and values; the items of a sequence are mappings or datasets."""
    dataset = Dataset()
    for keyword, value in values.items():
        is_sequence = dictionary_VR(keyword) == "SQ"
        setattr(dataset, keyword, [_as_item(item) for item in value] if is_sequence else value)
    return dataset


def _as_item(item: Dataset | Mapping[str, Any]) -> Dataset:
    """An item of a sequence."""
    return item if isinstance(item, Dataset) else dataset_of(item)


def clock(prefix: str, moment: datetime) -> dict[str, str]:
    """Date and time under the keywords that start with `prefix`."""
    return {f"{prefix}Date": moment.strftime("%Y%m%d"), f"{prefix}Time": moment.strftime("%H%M%S.%f")}


def general_header(exam: Exam, instance: UID, series: int, values: Mapping[str, Any]) -> Dataset:
    """Patient, study, series and equipment, for either kind of file.

    Args:
        exam: the exam.
        instance: of this file.
        series: which series of the study, from 0; it starts with the phase of that number.
        values: keyword -> value, in addition.
    """
    return dataset_of(
        {
            "SpecificCharacterSet": "ISO_IR 192",
            "SOPInstanceUID": instance,
            **clock("Study", exam.moment(0)),
            **clock("Series", exam.moment(series)),
            "AccessionNumber": "",
            "Modality": "MR",
            "ReferringPhysicianName": "",
            "PatientName": "",
            "PatientID": exam.patient_id,
            "PatientBirthDate": "",
            "PatientSex": "",
            "BodyPartExamined": "BREAST",
            "PatientPosition": "HFP",
            "MRAcquisitionType": "3D",
            "MagneticFieldStrength": FIELD_T,
            "DeviceSerialNumber": "0",
            "SoftwareVersions": "0",
            "StudyInstanceUID": exam.uid("study"),
            "SeriesInstanceUID": exam.uid("series", series),
            "StudyID": "1",
            "FrameOfReferenceUID": exam.uid("frame of reference"),
            "PositionReferenceIndicator": "",
            "ImageComments": SYNTHETIC,
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            **values,
        }
    )


def slice_header(exam: Exam, phase: int, place: int, series: int, values: Mapping[str, Any]) -> Dataset:
    """The header of one slice of one phase as an MR Image (PS3.3 A.4)."""
    geometry = exam.geometry
    position = geometry.position(place)
    tags = {
        "SOPClassUID": MRImageStorage,
        "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
        "Laterality": "",  # both
        "ScanningSequence": "GR",
        "SequenceVariant": ["SP", "SS"],
        "ScanOptions": "FS",
        "RepetitionTime": REPETITION_MS,
        "EchoTime": ECHO_MS,
        "EchoTrainLength": 1,
        "FlipAngle": FLIP_DEG,
        **measures(geometry),
        "ImagePositionPatient": position,
        "ImageOrientationPatient": decimals(geometry.orientation),
        "SliceLocation": decimals([float(np.dot(position, geometry.normal))])[0],
    }
    return general_header(exam, exam.uid("image", phase, place), series, tags | dict(values))


def measures(geometry: Geometry) -> dict[str, Any]:
    """The voxel's size; slices of a 3-D scan touch."""
    spacing = decimals([geometry.slice_spacing])[0]
    return {
        "SliceThickness": spacing,
        "SpacingBetweenSlices": spacing,
        "PixelSpacing": decimals(geometry.pixel_spacing),
    }
