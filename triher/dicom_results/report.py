"""The prediction as a DICOM structured report (TID 1500, Measurement Report)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from highdicom.sr import (
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from triher import __version__
from triher.dicom_results.labels import MAKER, NO_UNITS, NOTICE, SERIES_NUMBERS, Origin, describe, own_code, own_uid

_BREAST_MRI = CodedConcept("241615005", "SCT", "Magnetic resonance imaging of breast")
_BY = {
    "test": ("held-out", "by a model that was not trained on this patient (held-out)"),
    "oof": ("out-of-fold", "by a model of a fold that was not trained on this patient"),
    "new": ("new", "by a locked model, for a new patient"),
}
_FAILED = ("failed", "failed: not to be read as the model's reasons")


@dataclass(frozen=True)
class Statement:
    """What was predicted of one patient."""

    probabilities: Mapping[str, float]
    """Class -> probability."""
    prediction_set: Sequence[str]
    """Classes that cannot be ruled out at the stated coverage; empty where none was made."""
    split: str
    """``test``, ``oof`` or ``new``."""
    outside: str
    """What of the images lies outside the training range, in words; empty where nothing does."""
    maps_failed: bool = False
    """Whether the report names maps that failed a sanity test of the run."""

    @property
    def predicted(self) -> str:
        """The class of the highest probability."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])


def structured_report(statement: Statement, evidence: Sequence[Dataset], origin: Origin) -> Comprehensive3DSR:
    """Write a prediction as a report that names the images it comes from.

    The report is marked as not verified, and says in its first evaluation that it is for research.

    Args:
        statement: the prediction.
        evidence: headers of the images, and of the maps if there are any.
        origin: the model.
    """
    study = str(evidence[0].StudyInstanceUID)
    said = [__version__, repr(statement), *(str(one.SOPInstanceUID) for one in evidence)]
    key = (study, str(evidence[0].SeriesInstanceUID), origin.bundle_sha256, "report", *said)
    device = ObserverContext(
        codes.DCM.Device,
        DeviceObserverIdentifyingAttributes(own_uid(origin.bundle_sha256), MAKER, MAKER, __version__),
    )
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(own_uid(*key, "lesion"), "lesion"),
        algorithm_id=origin.algorithm(),
        measurements=[
            Measurement(own_code(f"p-{name}", f"Probability of HER2-{name}"), round(p, 6), NO_UNITS)
            for name, p in statement.probabilities.items()
        ],
        qualitative_evaluations=[QualitativeEvaluation(concept, value) for concept, value in _evaluations(statement)],
    )
    content = MeasurementReport(ObservationContext(observer_device_context=device), _BREAST_MRI, [group])
    report = Comprehensive3DSR(
        evidence=list(evidence),
        content=content,
        series_instance_uid=own_uid(*key),
        series_number=SERIES_NUMBERS["report"],
        sop_instance_uid=own_uid(*key, "1"),
        instance_number=1,
        manufacturer=MAKER,
        is_complete=True,
        is_final=False,
        is_verified=False,
    )
    describe(report, "report", evidence[0])
    return report


def _evaluations(statement: Statement) -> list[tuple[CodedConcept, CodedConcept]]:
    """What is no number, and its value."""
    cannot = own_code("set", "HER2 class that cannot be ruled out")
    beyond = ("outside", "outside, see the table of predictions") if statement.outside else ("inside", "inside")
    return [
        (own_code("use", "Intended use"), own_code("research", NOTICE)),
        (own_code("predicted", "Predicted HER2 class"), _class(statement.predicted)),
        (own_code("made-by", "Predicted"), own_code(*_BY[statement.split])),
        *((cannot, _class(name)) for name in statement.prediction_set),
        (own_code("range", "Images and embedding against the training range"), own_code(*beyond)),
        *([(own_code("maps", "Sanity tests of the maps"), own_code(*_FAILED))] if statement.maps_failed else []),
    ]


def _class(name: str) -> CodedConcept:
    """A class as a concept."""
    return own_code(f"HER2-{name}", f"HER2-{name}")
