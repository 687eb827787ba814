"""The habits in which three vendors write a DCE exam as DICOM, as one table.

Those of GE and Philips follow real files of their scanners (GE DV28 multi-phase; Philips R5.7, classic and enhanced),
those of Siemens the header of syngo B17 with one series a measurement; all are reduced to standard attributes. They
differ in what a reader must not rely on: which attribute tells the phases apart, the order of files, the scale of the
stored numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.valuerep import DSfloat

from extract.phantom.dicom_header import Exam, clock


@dataclass(frozen=True)
class Vendor:
    """One vendor's habits."""

    manufacturer: str
    model: str
    file_name: str
    """With the number ``n`` of the file in its folder."""
    description: Callable[[Exam, int], str]
    """Of the series that starts with a phase."""
    tags: Callable[[Exam, int, int], Mapping[str, Any]]
    """(exam, phase, slice) -> what tells the phases apart."""
    first_series: int
    bits_stored: int = 12
    is_signed: bool = False
    series_per_phase: bool = False
    """Each in its own folder, with files in no order."""
    is_rescaled: bool = False
    """Another slope and intercept in every slice."""
    phases_fastest: bool = False
    """Consecutive images are of one slice in consecutive phases."""
    is_multiframe: bool = False


def _ge_tags(exam: Exam, phase: int, place: int) -> dict[str, Any]:
    """Phases by number and by milliseconds since the first; every clock stands still.

    The standard has TriggerTime only for gated scans (PS3.3 C.8.3.1); the scanner writes it all the same.
    """
    return {
        **_clocks(exam, 0),
        "AcquisitionNumber": 1,
        "TemporalPositionIdentifier": phase + 1,
        "NumberOfTemporalPositions": len(exam.times_s),
        "TriggerTime": DSfloat(1000 * (exam.times_s[phase] - exam.times_s[0]), auto_format=True),
        "ImagesInAcquisition": len(exam.times_s) * exam.n_slices,
        "StackID": "1",
        "InStackPositionNumber": place + 1,
    }


def _siemens_tags(exam: Exam, phase: int, place: int) -> dict[str, Any]:
    """Phases by the clock alone."""
    del place
    return {**_clocks(exam, phase), "AcquisitionNumber": 1}


def _philips_tags(exam: Exam, phase: int, place: int) -> dict[str, Any]:
    """Phases by number; the clocks stand still, and the injection is known."""
    del place
    return {
        **_clocks(exam, 0),
        "AcquisitionNumber": 1,
        "TemporalPositionIdentifier": phase + 1,
        "NumberOfTemporalPositions": len(exam.times_s),
        "ContrastBolusAgent": "",
        "ContrastBolusStartTime": clock("", exam.moment(None))["Time"],
    }


def _clocks(exam: Exam, phase: int) -> dict[str, str]:
    """Acquisition and content at the moment of a phase."""
    return clock("Acquisition", exam.moment(phase)) | clock("Content", exam.moment(phase))


def _siemens_description(exam: Exam, phase: int) -> str:
    """Sequence, plane and the phase's place after the injection, as protocols are named on a Siemens scanner."""
    plane = ("sag", "cor", "tra")[int(np.argmax(np.abs(exam.geometry.normal)))]
    return f"t1_fl3d_{plane}_dyna_{f'POST_{phase}' if phase else 'PRE'}"


VENDORS = {
    "ge": Vendor(
        manufacturer="GE MEDICAL SYSTEMS",
        model="SIGNA Architect",
        file_name="{n:04d}.dcm",
        description=lambda exam, phase: "Vibrant MultiPhase",
        tags=_ge_tags,
        first_series=2,
        bits_stored=16,
        is_signed=True,
    ),
    "siemens": Vendor(
        manufacturer="SIEMENS",
        model="Aera",
        file_name="{n:04d}.IMA",
        description=_siemens_description,
        tags=_siemens_tags,
        first_series=5,
        series_per_phase=True,
    ),
    "philips": Vendor(
        manufacturer="Philips",
        model="Ingenia Elition X",
        file_name="IM_{n:04d}",
        description=lambda exam, phase: "dyn_eTHRIVE",
        tags=_philips_tags,
        first_series=301,
        is_rescaled=True,
        phases_fastest=True,
    ),
    "philips-enhanced": Vendor(
        manufacturer="Philips",
        model="Ingenia Elition X",
        file_name="IM_{n:04d}",
        description=lambda exam, phase: "dyn_eTHRIVE",
        tags=lambda exam, phase, place: {**clock("Content", exam.moment(0)), "AcquisitionNumber": 1},
        first_series=301,
        is_rescaled=True,
        phases_fastest=True,
        is_multiframe=True,
    ),
}
