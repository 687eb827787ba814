"""One patient's exam: all phases and the lesion mask on one grid, or the reason why not."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.ndimage import label as connected

from extract.histograms import count
from extract.image import Grid, Image, canonical_image, stack, voxels_sha256
from extract.presence import require_files
from extract.regions import bounding_box
from extract.resampling import SAME_MM, apart_mm, overlap, resample
from extract.volumes import Source, open_mask, open_source
from triher.cohort import Patient
from triher.errors import Note, SkipPatient, StopRun
from triher.phases import choose_phases, parse_rule, times_after_injection
from triher.types import Mask, Phases

MIN_LESION_VOXELS = 3
_LARGE_MASK = 0.6
_LISTED = 8
MIN_OVERLAP = 0.95  # of the first phase's field of view, below which phases are not resampled


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


@dataclass(frozen=True)
class Opened:
    """An exam known from headers: where each phase comes from."""

    phases: dict[str, tuple[Source, int]]
    """Phase -> source and place in it."""
    notes: tuple[tuple[str, str], ...]
    """Code and text."""

    def grids(self) -> dict[str, Grid]:
        """Where each phase lies, as stored."""
        return {name: source.grid for name, (source, _) in self.phases.items()}

    def read(self) -> dict[str, Image]:
        """The voxels of all phases, each source opened once."""
        images: dict[str, Image] = {}
        for source in {id(s): s for s, _ in self.phases.values()}.values():
            wanted = {name: k for name, (other, k) in self.phases.items() if other is source}
            images |= zip(wanted, source.read(list(wanted.values())), strict=True)
        return {name: images[name] for name in self.phases}


def open_phases(patient: Patient) -> Opened:
    """Read the headers of a patient's phases and find out which volume is which.

    Raises:
        SkipPatient: whatever the headers show; ``phase_duplicate`` when one file is named for two phases;
            ``image_4d`` when a file of one phase holds several volumes; as `triher.phases.choose_phases`.
    """
    reading = patient.reading
    if not reading.rules:
        _refuse_copies(patient.phases, patient, "are one file")
        sources = {name: open_source(path, reading) for name, path in patient.phases.items()}
        for name, source in sources.items():
            if source.n_volumes > 1:
                message = (
                    f"{patient.phases[name]} (phase '{name}') holds {source.n_volumes} volumes; one was expected"
                )
                raise SkipPatient("image_4d", message)
        opened = {name: (source, 0) for name, source in sources.items()}
        return Opened(opened, tuple(note for source in sources.values() for note in source.notes))
    source = open_source(patient.files()["exam"], reading)
    times_s = times_after_injection(reading.starts_s, reading.injection_s) if reading.starts_s else source.times_s
    rules = {name: parse_rule(text) for name, text in reading.rules.items()}
    choice = choose_phases(rules, source.n_volumes, times_s, missing=reading.missing_phase)
    notes = [*source.notes, ("phases_chosen", f"of {source.n_volumes} volumes: {choice.log}")]
    notes += [
        ("phase_substituted", f"phase '{name}' is not there; the last volume stands") for name in choice.substituted
    ]
    return Opened({name: (source, k) for name, k in choice.volumes.items()}, tuple(notes))


def read_exam(patient: Patient, mask_label: int | None = None) -> Exam:
    """Read every phase and the mask, each file once.

    Phases and masks on another grid are resampled to the first phase's where they cover it.

    Raises:
        SkipPatient: as `open_phases` and `extract.volumes.Source.read`; ``mask_missing``, ``phase_shape``,
            ``phase_geometry``, ``phase_duplicate``, ``image_constant``, ``mask_geometry``, ``mask_outside`` or
            ``mask_empty``.
        StopRun: ``mask_labels`` when a mask holds several labels and none was chosen.
    """
    require_files(patient)
    opened = open_phases(patient)
    images = opened.read()
    first = next(iter(images.values()))
    notes = list(opened.notes)
    for name, image in images.items():
        if image.voxels.min() == image.voxels.max():
            message = f"phase '{name}' ({patient.phases[name]}): all voxels are {image.voxels.flat[0]}"
            raise SkipPatient("image_constant", message)
        notes += [(code, f"{name}: {text}") for code, text in image.remarks]
        images[name], remarks = _onto_first(f"phase '{name}' ({patient.phases[name]})", image, first)
        notes += remarks
    mask_image, mask, remarks = _lesion(patient, opened, first, mask_label)
    notes += remarks
    voxels = stack([image.voxels for image in images.values()])
    digests = {
        name: voxels_sha256(phase.astype(image.voxels.dtype, copy=False))
        for (name, image), phase in zip(images.items(), voxels, strict=True)
    }
    _refuse_copies(digests, patient, "hold equal voxels")
    notes += _doubts(voxels, mask, tuple(images))
    return Exam(
        tuple(images),
        voxels,
        mask,
        first.affine,
        first.spacing_mm,
        first.plane,
        digests | {"mask": mask_image.sha256()},
        tuple(Note(patient.patient_id, code, text) for code, text in notes),
    )


def _onto_first(what: str, image: Image, first: Image) -> tuple[Image, list[tuple[str, str]]]:
    """The phase on the grid of the first one."""
    if image.voxels.shape != first.voxels.shape:
        message = f"{what} has the shape {image.voxels.shape}, the first phase {first.voxels.shape}"
        raise SkipPatient("phase_shape", message)
    distance = apart_mm(image, first)
    if distance <= SAME_MM:
        return image, []
    share = overlap(image, first)
    if share < MIN_OVERLAP:
        message = f"{what} lies up to {distance:.2f} mm away from the first phase and covers {share:.0%} of it"
        raise SkipPatient("phase_geometry", message)
    text = f"{what} lies up to {distance:.2f} mm away from the first phase; resampled to it"
    return resample(image, first, is_mask=False), [("phase_resampled", text)]


def _lesion(
    patient: Patient, opened: Opened, first: Image, label: int | None
) -> tuple[Image, Mask, list[tuple[str, str]]]:
    """The lesion on the first phase's grid: as an image, as a mask, and what was noticed."""
    if patient.mask is None:
        grid = next(iter(opened.grids().values()))
        image, where = _box(grid, patient.reading.box), f"the box {list(patient.reading.box)}"
    else:
        source = open_mask(patient.mask, patient.reading)
        image, where = source.read([0])[0], str(patient.mask)
    lesion, notes = _binary(image, label, where)
    if image.voxels.shape != first.voxels.shape or apart_mm(image, first) > SAME_MM:
        if overlap(image, first) == 0:
            raise SkipPatient("mask_geometry", f"{where} does not meet the first phase's field of view")
        found = resample(Image(lesion.astype(np.uint8), image.affine, image.plane), first, is_mask=True)
        notes.append(("mask_resampled", f"{where} lies on another grid; resampled to the first phase"))
        if lesion.any() and not found.voxels.any():
            raise SkipPatient("mask_outside", f"{where}: the lesion lies outside the first phase's field of view")
        lesion = found.voxels.astype(bool)
    n_voxels = int(np.count_nonzero(lesion))
    if n_voxels < MIN_LESION_VOXELS:
        labels = _listed(count(image.voxels).values)
        raise SkipPatient("mask_empty", f"{where}: the lesion has {n_voxels} voxels; found labels {labels}")
    return image, lesion, notes


def _box(grid: Grid, bounds: tuple[int, ...]) -> Image:
    """A mask that is 1 inside half-open bounds along the axes as stored."""
    pairs = list(zip(bounds[::2], bounds[1::2], strict=True))
    if any(not 0 <= low < high <= n for (low, high), n in zip(pairs, grid.shape, strict=True)):
        raise SkipPatient("mask_outside", f"the box {list(bounds)} does not fit into the volume {list(grid.shape)}")
    stored = np.zeros(grid.shape, np.int16)
    stored[tuple(slice(*pair) for pair in pairs)] = 1
    return canonical_image(stored, grid.affine, "the box")


def _binary(image: Image, label: int | None, where: str) -> tuple[Mask, list[tuple[str, str]]]:
    """The lesion's voxels: the label asked for, or all that are not 0 where there is one label."""
    values = count(image.voxels).values if label is None or image.voxels.dtype.kind == "f" else np.zeros(1)
    found = values[values != 0]
    between = found[found != np.rint(found)]
    if len(found) > 1 and len(between):
        message = f"{where} holds {len(between)} values that are no whole numbers, such as {between[0]:g}"
        remedy = "apply a threshold to a probability map; resample a mask without interpolation"
        raise StopRun("mask_labels", message, remedy=remedy)
    if label is not None:
        return np.asarray(image.voxels == label), []
    if len(found) > 1:
        raise StopRun("mask_labels", f"{where} holds the labels {_listed(found)}; one was expected")
    notes = [("mask_binarized", f"{where}: the lesion's value is {v:g}, not 1") for v in found if v != 1]
    return np.asarray(image.voxels != 0), notes


def _listed(values: np.ndarray) -> str:
    """Labels for a message."""
    return f"[{', '.join(f'{v:g}' for v in values[:_LISTED])}]"


def _refuse_copies(contents: Mapping[str, Hashable], patient: Patient, what: str) -> None:
    """Refuse one image under two phase names."""
    first_with: dict[Hashable, str] = {}
    for name, content in contents.items():
        other = first_with.setdefault(content, name)
        if other != name:
            message = f"phases '{other}' and '{name}' {what} ({patient.phases[name]})"
            raise SkipPatient("phase_duplicate", message)


def _doubts(voxels: Phases, mask: Mask, phases: tuple[str, ...]) -> list[tuple[str, str]]:
    """Remarks on what is possible but unlikely."""
    around = bounding_box(mask).index()
    signal = [float(phase[around][mask[around]].mean()) for phase in voxels]
    notes = []
    if len(signal) > 1 and signal[1] < signal[0]:
        text = f"mean lesion signal falls from {signal[0]:.0f} ({phases[0]}) to {signal[1]:.0f} ({phases[1]})"
        notes.append(("phase_order_suspect", text))
    share = np.count_nonzero(mask) / mask.size
    if share > _LARGE_MASK:
        notes.append(("mask_implausible", f"the mask covers {share:.0%} of the volume"))
    n_lesions = int(connected(mask[around], np.ones((3, 3, 3)))[1])
    if n_lesions > 1:
        notes.append(("lesions_several", f"the mask has {n_lesions} separate parts; all are taken together"))
    return notes
