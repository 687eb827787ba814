"""One patient's exam: all phases and the lesion mask on one grid, or the reason why not."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from extract.volumes import Image, read_volume
from triher.cohort import Patient
from triher.errors import Note, SkipPatient
from triher.types import Mask, Phases

_SAME_MM = 1e-2  # headers written by different tools differ by rounding
_MIN_LESION_VOXELS = 3
_LARGE_MASK = 0.6


@dataclass(frozen=True)
class Exam:
    """All that is read from the source files of a patient."""

    phases: tuple[str, ...]
    voxels: Phases
    """[phase, slice, row, col]"""
    mask: Mask
    affine: Float64[np.ndarray, "4 4"]
    """(slice, row, col) to RAS millimeters."""
    spacing_mm: tuple[float, float, float]
    plane: str
    sha256: dict[str, str]
    """Hash of the voxels of each phase and of the mask."""
    notes: tuple[Note, ...]


def read_exam(patient: Patient, mask_label: int | None = None) -> Exam:
    """Read every phase and the mask, each file once.

    Raises:
        SkipPatient: as `extract.volumes.read_volume`; ``phase_missing``, ``mask_missing``, ``phase_shape``,
            ``phase_geometry``, ``phase_duplicate``, ``image_constant``, ``mask_geometry``, ``mask_labels`` or
            ``mask_empty``.
    """
    require_files(patient)
    images = {name: read_volume(path) for name, path in patient.phases.items()}
    first = next(iter(images.values()))
    for name, image in images.items():
        _check_grid(image, first, f"phase '{name}' ({patient.phases[name]})", "phase_shape", "phase_geometry")
        if image.voxels.min() == image.voxels.max():
            raise SkipPatient("image_constant", f"{patient.phases[name]}: all voxels are {image.voxels.flat[0]}")
    mask_image = read_volume(patient.mask)
    _check_grid(mask_image, first, f"mask ({patient.mask})", "mask_geometry", "mask_geometry")
    mask = _lesion(mask_image, mask_label, patient.mask)
    digests = {name: image.sha256() for name, image in images.items()}
    _refuse_copies(digests, patient)
    common = np.result_type(*[image.voxels.dtype for image in images.values()])
    voxels = np.stack([image.voxels.astype(common, copy=False) for image in images.values()])
    remarks = [f"{name}: {text}" for name, image in images.items() for text in image.remarks]
    notes = [Note(patient.patient_id, "image_scaled", text) for text in remarks]
    notes += _doubts(patient.patient_id, voxels, mask, tuple(images))
    return Exam(
        tuple(images),
        voxels,
        mask,
        first.affine,
        first.spacing_mm,
        first.plane,
        digests | {"mask": mask_image.sha256()},
        tuple(notes),
    )


def require_files(patient: Patient) -> None:
    """Look whether every file of the patient is there, without opening any."""
    try:
        for name, path in patient.phases.items():
            if not path.is_file():
                raise SkipPatient("phase_missing", f"phase '{name}' is not there: looked for {path}")
        if not patient.mask.is_file():
            raise SkipPatient("mask_missing", f"looked for {patient.mask}")
    except OSError as error:
        raise SkipPatient("file_unreadable", f"{error.filename}: {error.strerror}") from error


def _check_grid(image: Image, first: Image, what: str, shape_code: str, geometry_code: str) -> None:
    """Demand the shape and the position of the first phase."""
    if image.voxels.shape != first.voxels.shape:
        message = f"{what} has the shape {image.voxels.shape}, the first phase {first.voxels.shape}"
        raise SkipPatient(shape_code, message)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in first.voxels.shape])).reshape(3, -1)
    homogeneous = np.vstack([corners, np.ones(corners.shape[1])])
    apart = float(np.abs((image.affine - first.affine) @ homogeneous).max())
    if apart > _SAME_MM:
        raise SkipPatient(geometry_code, f"{what} lies up to {apart:.2f} mm away from the first phase")


def _lesion(image: Image, label: int | None, path: Path) -> Mask:
    """The lesion's voxels: the label asked for, or all that are not 0 where there is one label."""
    labels = [int(v) for v in np.unique(image.voxels) if v != 0]
    if label is None and len(labels) > 1:
        raise SkipPatient("mask_labels", f"{path} holds the labels {labels[:8]}; one was expected")
    lesion = image.voxels == label if label is not None else image.voxels != 0
    n_voxels = int(lesion.sum())
    if n_voxels < _MIN_LESION_VOXELS:
        raise SkipPatient("mask_empty", f"{path}: the lesion has {n_voxels} voxels; found labels {labels[:8]}")
    return np.asarray(lesion)


def _refuse_copies(digests: Mapping[str, str], patient: Patient) -> None:
    """Refuse one image under two phase names."""
    first_with: dict[str, str] = {}
    for name, digest in digests.items():
        other = first_with.setdefault(digest, name)
        if other != name:
            message = f"phases '{other}' and '{name}' hold equal voxels ({patient.phases[name]})"
            raise SkipPatient("phase_duplicate", message)


def _doubts(patient_id: str, voxels: Phases, mask: Mask, phases: tuple[str, ...]) -> list[Note]:
    """Remarks on what is possible but unlikely."""
    signal = [float(phase[mask].mean()) for phase in voxels]
    notes = []
    if len(signal) > 1 and signal[1] < signal[0]:
        text = f"mean lesion signal falls from {signal[0]:.0f} ({phases[0]}) to {signal[1]:.0f} ({phases[1]})"
        notes.append(Note(patient_id, "phase_order_suspect", text))
    share = float(mask.mean())
    if share > _LARGE_MASK:
        notes.append(Note(patient_id, "mask_implausible", f"the mask covers {share:.0%} of the volume"))
    return notes
