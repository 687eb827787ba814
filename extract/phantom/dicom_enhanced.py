"""The header of a synthetic exam in one multi-frame file, an Enhanced MR Image (DICOM PS3.3 A.36)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import EnhancedMRImageStorage

from extract.phantom.dicom_header import (
    ECHO_MS,
    FIELD_T,
    FLIP_DEG,
    REPETITION_MS,
    Exam,
    dataset_of,
    decimals,
    general_header,
    measures,
)

DIMENSIONS = ("StackID", "InStackPositionNumber", "TemporalPositionIndex")
_IMAGE_TYPE = ["ORIGINAL", "PRIMARY", "DYNAMIC", "NONE"]
_PROTON_MHZ_PER_T = 42.577  # gyromagnetic ratio of the proton over 2 pi, CODATA 2018
_BANDWIDTH_HZ = 390  # usual for this sequence; no voxel depends on it
_NO_EXPOSURE = 0.0  # nobody was in the coil
_DURATION_MS = 0.0  # of a phase: the phantom is seen at one moment

# What is demanded of an original image outside the functional groups: MR Pulse Sequence (PS3.3 C.8.13.4), MR Image
# and Spectroscopy Instance (C.8.13.2.1) and MR Image Description (C.8.13.3.1).
_MODULES = {
    "AcquisitionContrast": "T1",
    "AcquisitionDuration": _DURATION_MS,
    "ApplicableSafetyStandardAgency": "IEC",
    "BulkMotionCompensationTechnique": "NONE",
    "BurnedInAnnotation": "NO",
    "CardiacSynchronizationTechnique": "NONE",
    "ComplexImageComponent": "MAGNITUDE",
    "ContentQualification": "RESEARCH",
    "CoverageOfKSpace": "FULL",
    "EchoPlanarPulseSequence": "NO",
    "EchoPulseSequence": "GRADIENT",
    "GeometryOfKSpaceTraversal": "RECTILINEAR",
    "KSpaceFiltering": "NONE",
    "LossyImageCompression": "00",
    "MultiPlanarExcitation": "NO",
    "NumberOfKSpaceTrajectories": 1,
    "OversamplingPhase": "NONE",
    "PhaseContrast": "NO",
    "PixelPresentation": "MONOCHROME",
    "PresentationLUTShape": "IDENTITY",
    "PulseSequenceName": "T1-FFE",
    "RectilinearPhaseEncodeReordering": "LINEAR",
    "ResonantNucleus": "1H",
    "RespiratoryMotionCompensationTechnique": "NONE",
    "SaturationRecovery": "NO",
    "SegmentedKSpaceTraversal": "SINGLE",
    "SpectrallySelectedSuppression": "FAT",
    "SteadyStatePulseSequence": "NONE",
    "TimeOfFlightContrast": "NO",
    "VolumeBasedCalculationTechnique": "NONE",
    "VolumetricProperties": "VOLUME",
}
# The shared functional groups, each one item (PS3.3 table A.36-2 and C.8.13.5): a plain gradient echo.
_GROUPS: dict[str, dict[str, Any]] = {
    "MRImageFrameTypeSequence": {
        "FrameType": _IMAGE_TYPE,
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
        "ComplexImageComponent": "MAGNITUDE",
        "AcquisitionContrast": "T1",
    },
    "MRTimingAndRelatedParametersSequence": {
        "RepetitionTime": REPETITION_MS,
        "FlipAngle": FLIP_DEG,
        "EchoTrainLength": 1,
        "RFEchoTrainLength": 1,
        "GradientEchoTrainLength": 1,
        "SpecificAbsorptionRateSequence": [
            {"SpecificAbsorptionRateDefinition": "IEC_WHOLE_BODY", "SpecificAbsorptionRateValue": _NO_EXPOSURE}
        ],
        "GradientOutputType": "DB_DT",
        "GradientOutput": _NO_EXPOSURE,
        "OperatingModeSequence": [
            {"OperatingModeType": kind, "OperatingMode": "IEC_NORMAL"} for kind in ("STATIC FIELD", "RF", "GRADIENT")
        ],
    },
    "MREchoSequence": {"EffectiveEchoTime": ECHO_MS},
    "MRModifierSequence": {
        "FlowCompensation": "NONE",
        "InversionRecovery": "NO",
        "ParallelAcquisition": "NO",
        "PartialFourier": "NO",
        "SpatialPresaturation": "NONE",
        "SpectrallySelectedExcitation": "NONE",
        "Spoiling": "RF",
        "T2Preparation": "NO",
    },
    "MRImagingModifierSequence": {
        "BloodSignalNulling": "NO",
        "MagnetizationTransfer": "NONE",
        "PixelBandwidth": _BANDWIDTH_HZ,
        "Tagging": "NONE",
        "TransmitterFrequency": _PROTON_MHZ_PER_T * FIELD_T,
    },
    "MRReceiveCoilSequence": {
        "ReceiveCoilName": "BREAST",
        "ReceiveCoilManufacturerName": "",
        "ReceiveCoilType": "BODY",
        "QuadratureReceiveCoil": "NO",
    },
    "MRTransmitCoilSequence": {
        "TransmitCoilName": "BODY",
        "TransmitCoilManufacturerName": "",
        "TransmitCoilType": "BODY",
    },
    "MRAveragesSequence": {"NumberOfAverages": 1},
    "FrameAnatomySequence": {
        "FrameLaterality": "B",
        "AnatomicRegionSequence": [
            {"CodeValue": "76752008", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Breast"}
        ],
    },
}


@dataclass(frozen=True)
class Frame:
    """What a frame has of its own."""

    phase: int
    place: int
    """Number of the slice."""
    rescale: Mapping[str, Any]
    window: Mapping[str, Any]


def enhanced_header(exam: Exam, frames: Sequence[Frame], values: Mapping[str, Any]) -> Dataset:
    """All slices of all phases, in the order of the frames; `values` holds what is to be added, by keyword."""
    organization = exam.uid("dimensions")
    tags = {
        **_MODULES,
        "SOPClassUID": EnhancedMRImageStorage,
        "ImageType": _IMAGE_TYPE,
        "AcquisitionDateTime": _date_time(exam.moment(0)),
        "NumberOfFrames": len(frames),
        "AcquisitionContextSequence": [],
        "DimensionOrganizationSequence": [{"DimensionOrganizationUID": organization}],
        "DimensionIndexSequence": [
            {
                "DimensionOrganizationUID": organization,
                "DimensionIndexPointer": Tag(keyword),
                "FunctionalGroupPointer": Tag("FrameContentSequence"),
            }
            for keyword in DIMENSIONS
        ],
        "SharedFunctionalGroupsSequence": [_shared_groups(exam, (values["Rows"], values["Columns"]))],
        "PerFrameFunctionalGroupsSequence": [_frame_groups(exam, frame) for frame in frames],
    }
    return general_header(exam, exam.uid("multi-frame"), 0, tags | dict(values))


def _shared_groups(exam: Exam, shape: tuple[int, int]) -> Dataset:
    """What all frames have in common; rows are the frequency direction."""
    n_rows, n_columns = shape
    field_of_view = {
        "InPlanePhaseEncodingDirection": "COLUMN",
        "MRAcquisitionFrequencyEncodingSteps": n_columns,
        "MRAcquisitionPhaseEncodingStepsInPlane": n_rows,
        "MRAcquisitionPhaseEncodingStepsOutOfPlane": exam.n_slices,
        "PercentSampling": 100,
        "PercentPhaseFieldOfView": 100,
    }
    return dataset_of({name: [group] for name, group in (_GROUPS | {"MRFOVGeometrySequence": field_of_view}).items()})


def _frame_groups(exam: Exam, frame: Frame) -> Dataset:
    """Moment, place and scale of one frame; Philips repeats orientation and spacing in every frame."""
    moment = _date_time(exam.moment(frame.phase))
    groups = {
        "FrameContentSequence": {
            "FrameReferenceDateTime": moment,
            "FrameAcquisitionDateTime": moment,
            "FrameAcquisitionDuration": _DURATION_MS,
            "StackID": "1",
            "InStackPositionNumber": frame.place + 1,
            "TemporalPositionIndex": frame.phase + 1,
            "DimensionIndexValues": [1, frame.place + 1, frame.phase + 1],
        },
        "PlanePositionSequence": {"ImagePositionPatient": exam.geometry.position(frame.place)},
        "PlaneOrientationSequence": {"ImageOrientationPatient": decimals(exam.geometry.orientation)},
        "PixelMeasuresSequence": measures(exam.geometry),
        "PixelValueTransformationSequence": frame.rescale,
        "FrameVOILUTSequence": frame.window,
    }
    return dataset_of({name: [group] for name, group in groups.items()})


def _date_time(moment: datetime) -> str:
    """A moment as DICOM writes it."""
    return moment.strftime("%Y%m%d%H%M%S.%f")
