"""Writes a DCE exam as DICOM in the habits of three vendors.

A reader that gets the same voxels, geometry and order of phases from every entry of `VENDORS` can read what hospitals
mostly export. The exam is its volumes as nibabel gives them: ``[column, row, slice]`` with an affine to right,
anterior, superior; the voxels are written in that order, no axis is turned.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.random import default_rng
from pydicom.dataset import Dataset

from extract.phantom.dicom_enhanced import Frame, enhanced_header
from extract.phantom.dicom_header import Exam, lps_geometry, slice_header
from extract.phantom.dicom_pixels import TRANSFER_SYNTAXES, Stored, find_encoding, store, write_file
from extract.phantom.dicom_vendors import VENDORS, Vendor
from extract.phantom.physics import SCANNERS
from triher.cohort import Patient
from triher.errors import StopRun, unknown_name

__all__ = ["TRANSFER_SYNTAXES", "VENDORS", "VENDOR_OF_SITE", "phantom_as_dicom", "write_dicom"]

VENDOR_OF_SITE = {"A": "siemens", "B": "ge", "C": "philips"}
"""Of the phantom's sites: only B is so loud that 12 bits could be too few."""
PRE_CONTRAST_S = -1.0  # when `extract.phantom.physics.acquire` sees the tissue without contrast agent
_MAX_ID = 64  # characters, of an attribute of type LO (PS3.5 6.2)


def write_dicom(
    folder: Path,
    phases: Sequence[np.ndarray],
    affine: np.ndarray,
    times_s: Sequence[float],
    *,
    vendor: str,
    patient_id: str,
    seed: int = 0,
    transfer_syntax: str = "explicit",
) -> list[Path]:
    """Write the phases of one exam; equal arguments give equal bytes.

    Args:
        folder: of this exam; files that the same call wrote before are replaced.
        phases: whole numbers [column, row, slice], pre-contrast first, all of one shape.
        affine: voxel numbers to millimeters right, anterior, superior; any orientation, axes at right angles.
        times_s: start of every phase in seconds from the start of the injection, ascending.
        vendor: one of `VENDORS`.
        patient_id: the only text about the patient.
        seed: of the UIDs and of the order of files; 0 or more.
        transfer_syntax: one of `TRANSFER_SYNTAXES`.

    Returns:
        The files, phase after phase and in each slice after slice; one file for ``philips-enhanced``.

    Raises:
        StopRun: ``unknown_name`` for the vendor or the transfer syntax; ``extra_missing`` when no encoder for it is
            installed; ``output_folder`` when the folder holds files of another exam; ``disk_full``.
        ValueError: the exam cannot be written so: arrays of other shapes or types, values outside the bits of the
            vendor, times that do not ascend, axes not at right angles, an id that DICOM cannot hold.
    """
    if vendor not in VENDORS:
        raise unknown_name("vendor", vendor, VENDORS)
    encoding = find_encoding(transfer_syntax)
    habits = VENDORS[vendor]
    _check_voxels(phases)
    _check_times(times_s, len(phases))
    _check_id(patient_id)
    exam = Exam(patient_id, vendor, seed, lps_geometry(affine), tuple(map(float, times_s)), phases[0].shape[2])
    paths = _paths(folder, habits, exam)
    _refuse_other_files(folder, paths)
    make = _enhanced if habits.is_multiframe else _classic
    files = list(make(exam, habits, phases))  # all, before one is written: what does not fit leaves no half exam
    for path, (header, stored) in zip(paths, files, strict=True):
        write_file(path, header, stored, encoding)
    return paths


def phantom_as_dicom(folder: Path, patient: Patient, *, vendor: str = "", seed: int = 0) -> list[Path]:
    """Write the phases of one patient of the phantom as ``<folder>/<patient_id>``; the mask stays as it is.

    Args:
        folder: of all patients' DICOM.
        patient: a row of the cohort that `extract.phantom.cohort.write_phantom` wrote.
        vendor: one of `VENDORS`; by default that of the patient's site, see `VENDOR_OF_SITE`.
        seed: as in `write_dicom`, whose exceptions apply.
    """
    scanner = SCANNERS[patient.site]
    images = [nib.load(path) for path in patient.phases.values()]
    return write_dicom(
        folder / patient.patient_id,
        [np.asarray(image.dataobj) for image in images],
        images[0].affine,
        (PRE_CONTRAST_S, scanner.early_s, scanner.late_s),
        vendor=vendor or VENDOR_OF_SITE[patient.site],
        patient_id=patient.patient_id,
        seed=seed,
    )


def _check_voxels(phases: Sequence[np.ndarray]) -> None:
    """Refuse what is not volumes of whole numbers on one grid."""
    found = [f"{volume.dtype}{list(volume.shape)}" for volume in phases]
    shapes = {volume.shape for volume in phases}
    if len(shapes) != 1 or {len(shape) for shape in shapes} != {3} or not phases[0].size:
        raise ValueError(f"volumes of one shape were expected, found {found}")
    if any(volume.dtype.kind not in "iu" for volume in phases):
        raise ValueError(f"whole numbers were expected, found {found}")


def _check_times(times_s: Sequence[float], n_phases: int) -> None:
    """Refuse times that do not fit the phases or do not ascend."""
    if len(times_s) != n_phases or not np.isfinite(times_s).all() or not (np.diff(times_s) > 0).all():
        raise ValueError(f"{n_phases} ascending times in seconds were expected, found {list(times_s)}")


def _check_id(patient_id: str) -> None:
    """Refuse an id that would not come back as it is from an attribute of type LO (PS3.5 6.2)."""
    is_plain = patient_id.isprintable() and "\\" not in patient_id and patient_id == patient_id.strip()
    if len(patient_id) > _MAX_ID or not is_plain:
        raise ValueError(
            f"DICOM cannot hold the patient id {patient_id!r}: at most {_MAX_ID} characters, no backslash"
        )


def _paths(folder: Path, habits: Vendor, exam: Exam) -> list[Path]:
    """Where every image goes, phase after phase and in each slice after slice."""
    if habits.is_multiframe:
        return [folder / habits.file_name.format(n=1)]
    paths = []
    for phase in range(len(exam.times_s)):
        numbers = [_instance(habits, exam, phase, place) for place in range(exam.n_slices)]
        home = folder
        if habits.series_per_phase:
            home = folder / f"{habits.first_series + phase}-{habits.description(exam, phase)}"
            numbers = [int(n) for n in default_rng([exam.seed, phase]).permutation(numbers)]
        paths += [home / habits.file_name.format(n=n) for n in numbers]
    return paths


def _instance(habits: Vendor, exam: Exam, phase: int, place: int) -> int:
    """The number of an image in its series, from 1."""
    if habits.series_per_phase:
        return place + 1
    return 1 + (place * len(exam.times_s) + phase if habits.phases_fastest else phase * exam.n_slices + place)


def _refuse_other_files(folder: Path, paths: Sequence[Path]) -> None:
    """Never leave slices of an earlier exam beside those of this one."""
    others = sorted({path for path in folder.rglob("*") if path.is_file()} - set(paths))
    if others:
        raise StopRun("output_folder", f"{folder} holds {len(others)} other files ({others[0].name}, ...)")


def _classic(exam: Exam, habits: Vendor, phases: Sequence[np.ndarray]) -> Iterator[tuple[Dataset, Stored]]:
    """Header and stored values of every slice, in the order of `_paths`."""
    window = _window(phases)
    for phase, volume in enumerate(phases):
        series = phase if habits.series_per_phase else 0
        for place in range(exam.n_slices):
            stored, rescale = store(volume[:, :, place].T, habits, turn=phase + place)
            values = {
                **_series_values(exam, habits, series),
                **_pixel_values(habits, stored),
                **habits.tags(exam, phase, place),
                "InstanceNumber": _instance(habits, exam, phase, place),
                **rescale,
                **window,
            }
            yield slice_header(exam, phase, place, series, values), stored


def _enhanced(exam: Exam, habits: Vendor, phases: Sequence[np.ndarray]) -> Iterator[tuple[Dataset, Stored]]:
    """Header and stored values of the one file, whose frames go in the order of `_instance`."""
    window = _window(phases)
    places = [(phase, place) for phase in range(len(phases)) for place in range(exam.n_slices)]
    frames, slices = [], []
    for phase, place in sorted(places, key=lambda at: _instance(habits, exam, *at)):
        stored, rescale = store(phases[phase][:, :, place].T, habits, turn=phase + place)
        slices.append(stored)
        frames.append(Frame(phase, place, rescale, window))
    values = {
        **_series_values(exam, habits, 0),
        **_pixel_values(habits, slices[0]),
        **habits.tags(exam, 0, 0),
        "InstanceNumber": 1,
    }
    yield enhanced_header(exam, frames, values), np.concatenate(slices)


def _series_values(exam: Exam, habits: Vendor, series: int) -> dict[str, Any]:
    """Whose scanner it is, and which of its series."""
    description = habits.description(exam, series)
    return {
        "Manufacturer": habits.manufacturer,
        "ManufacturerModelName": habits.model,
        "SeriesNumber": habits.first_series + series,
        "SeriesDescription": description,
        "ProtocolName": description,
    }


def _pixel_values(habits: Vendor, stored: Stored) -> dict[str, Any]:
    """The layout of the stored values of a slice."""
    return {
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "BitsStored": habits.bits_stored,
        "HighBit": habits.bits_stored - 1,
        "PixelRepresentation": int(habits.is_signed),
    }


def _window(phases: Sequence[np.ndarray]) -> dict[str, Any]:
    """One window for all images, so that enhancement is seen."""
    peak = max(1, *(int(volume.max()) for volume in phases))
    return {"WindowCenter": peak / 2, "WindowWidth": peak}
