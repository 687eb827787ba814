"""The slab cache: per patient one file with all that any later choice needs, so each source is read once.

A slab file (safetensors, uncompressed) holds the raw lesion slab of every phase, its mask, and exact histograms
of each whole phase and of each whole slab slice, with a checksum. It is named by a hash of the source voxels, their
spacing and the region recipe, and carries no patient id. Beside the slabs lies an index: for each patient's list of
source files, their sizes and times and the slab made from them. A file whose size or time differs is read again;
equal voxels then find the same slab.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Real

from extract.exam import Exam, read_exam
from extract.histograms import Histogram, PackedHistograms, count
from extract.n4 import correct_bias
from extract.perturb import disturb, images_sha256
from extract.presence import require_files
from extract.recipe import SlabRecipe
from extract.regions import Box, lesion_of, lesion_region
from extract.sealed import read_sealed, write_sealed
from extract.volumes import source_files
from triher.cohort import Patient
from triher.errors import Note, SkipPatient
from triher.files import sha256_of_json, write_json
from triher.types import Mask, Phases, Volume

FORMAT = "triher-slab"
VERSION = 2


@dataclass(frozen=True)
class Slab:
    """The lesion of one patient in all phases, and the statistics of the volumes around it."""

    phases: tuple[str, ...]
    voxels: Phases
    """[phase, slice, row, col]"""
    mask: Mask
    volume_histograms: tuple[Histogram, ...]
    """One a phase, of the whole volume."""
    slice_histograms: tuple[Sequence[Histogram], ...]
    """``[phase][slice]``, each of the whole source slice."""
    first_slice: int
    spacing_mm: tuple[float, float, float]
    plane: str
    volume_shape: tuple[int, int, int]
    images: str = ""
    """32 hex digits of the voxels that were read; the first half of the file's name."""

    def area_mm2(self) -> np.ndarray:
        """Lesion area of each slice, in square millimeters."""
        return np.array([np.count_nonzero(part) for part in self.mask]) * (self.spacing_mm[1] * self.spacing_mm[2])

    def lesion(self) -> Real[np.ndarray, "phase voxel"]:
        """The lesion's voxels in every phase."""
        return np.stack([phase[self.mask] for phase in self.voxels])

    def acquisition(self) -> dict[str, float]:
        """Facts about the source images, for the training range and the shortcut audit."""
        facts = {
            "spacing_slice_mm": self.spacing_mm[0],
            "spacing_row_mm": self.spacing_mm[1],
            "spacing_col_mm": self.spacing_mm[2],
            "n_slices": float(self.volume_shape[0]),
            "n_rows": float(self.volume_shape[1]),
            "n_cols": float(self.volume_shape[2]),
            "n_phases": float(len(self.phases)),
            "is_axial": float(self.plane == "axial"),
            "lesion_volume_ml": float(np.count_nonzero(self.mask)) * math.prod(self.spacing_mm) / 1000,
        }
        for name, lesion, histogram in zip(self.phases, self.lesion(), self.volume_histograms, strict=True):
            facts[f"volume_p98_{name}"] = histogram.quantile(0.98)
            facts[f"lesion_mean_{name}"] = float(lesion.mean())
        return facts


@dataclass(frozen=True)
class Entry:
    """Where a patient's slab lies."""

    path: Path
    sha256: str
    """Hash of source voxels and recipe."""
    notes: tuple[Note, ...]
    was_cached: bool


def ensure_slab(folder: Path, patient: Patient, recipe: SlabRecipe) -> Entry:
    """Find the patient's slab, or read the source files once and make it.

    Raises:
        SkipPatient: as `extract.exam.read_exam` and `cut_slab`.
    """
    require_files(patient)
    sources = patient.files()
    paths = [[name, str(path)] for name, path in sources.items()]
    how = {"reading": asdict(patient.reading), "recipe": recipe.facts(), "version": VERSION}
    key = sha256_of_json({"paths": paths, **how})
    index = folder / "index" / f"{key}.json"
    stamps = _stamps(sources)
    known = _look_up(index, stamps, folder, patient)
    if known is not None:
        return known
    exam = read_exam(patient, recipe.mask_label)
    digest = _digest(exam, recipe)
    path = _slab_path(folder, digest)
    if not path.exists():
        write_slab(path, cut_slab(exam, recipe))
    notes = [[note.code, note.text] for note in exam.notes]
    write_json(index, {"stamps": stamps, "slab": digest, "notes": notes})
    return Entry(path, digest, exam.notes, was_cached=False)


def _digest(exam: Exam, recipe: SlabRecipe) -> str:
    """64 hex digits: the first half is of the phases' voxels alone, so that one exam with two masks is recognized."""
    spacing_mm = [round(s, 4) for s in exam.spacing_mm]
    rest = {"voxels": exam.sha256, "axes": exam.plane, "spacing_mm": spacing_mm, "recipe": recipe.facts()}
    order = list(exam.phases)
    whole = sha256_of_json({**rest, "phases": order, "version": VERSION})
    return images_sha256(exam) + whole[:32]


def _stamps(sources: dict[str, Path]) -> dict[str, list[list[int]]]:
    """Size, and times of modification and of change, of every file of each source, without opening it."""
    try:
        found = {name: [file.stat() for file in source_files(path)] for name, path in sources.items()}
    except OSError as error:
        raise SkipPatient("file_unreadable", f"{error.filename}: {error.strerror}") from error
    return {
        name: [[stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for stat in stats] for name, stats in found.items()
    }


def _look_up(index: Path, stamps: dict[str, list[list[int]]], folder: Path, patient: Patient) -> Entry | None:
    """The slab on record, if its sources are as they were."""
    try:
        record = json.loads(index.read_text(encoding="utf-8"))
        path = _slab_path(folder, record["slab"])
        notes = tuple(Note(patient.patient_id, code, text) for code, text in record["notes"])
        is_fresh = record["stamps"] == stamps and path.exists()
    except (OSError, ValueError, TypeError, LookupError):
        return None
    return Entry(path, record["slab"], notes, was_cached=True) if is_fresh else None


def _slab_path(folder: Path, digest: str) -> Path:
    """The name of a slab file."""
    return folder / f"{digest}.safetensors"


def cut_slab(exam: Exam, recipe: SlabRecipe) -> Slab:
    """Cut the region out of an exam and count the histograms.

    Raises:
        SkipPatient: ``region_missing`` when the exam has no such region; as `extract.perturb.disturb`.
    """
    seen = disturb(exam, recipe.perturb)
    voxels = correct_bias(seen.voxels, exam.spacing_mm, recipe.n4)
    lesion = lesion_of(seen.mask, recipe)
    box = lesion_region(lesion, exam.spacing_mm, recipe)
    histograms = tuple(count(phase) for phase in voxels)
    place = box
    if recipe.region == "control":  # without lesion, wherever a disturbed mask may say that it lies
        place = _control(replace(exam, mask=exam.mask | seen.mask), voxels[0], histograms[0], box, recipe)
    return Slab(
        exam.phases,
        np.ascontiguousarray(voxels[(slice(None), *place.index())]),
        np.ascontiguousarray(lesion[box.index()]),
        histograms,
        tuple(_slice_histograms(phase, box) for phase in voxels),
        box.slices[0],
        exam.spacing_mm,
        exam.plane,
        (voxels.shape[1], voxels.shape[2], voxels.shape[3]),
        images_sha256(exam),
    )


def _control(exam: Exam, first_phase: Volume, histogram: Histogram, box: Box, recipe: SlabRecipe) -> Box:
    """Where tissue without lesion lies; the lesion's mask moves there, so that slices and areas stay."""
    from extract.control import control_box

    row_px, col_px = (max(math.ceil(recipe.margin_mm / size), recipe.margin_px) for size in exam.spacing_mm[1:])
    mirrored = exam.plane != "sagittal"
    return control_box(first_phase, histogram, exam.mask, box, (row_px, col_px), mirrored=mirrored)


def _slice_histograms(phase: np.ndarray, box: Box) -> tuple[Histogram, ...]:
    """One histogram a slab slice, over the whole source slice."""
    return tuple(count(phase[index]) for index in range(*box.slices))


def write_slab(path: Path, slab: Slab) -> None:
    """Write a slab atomically."""
    histograms = [h for p, v in enumerate(slab.volume_histograms) for h in (v, *slab.slice_histograms[p])]
    arrays = {
        "voxels": slab.voxels,
        "mask": slab.mask,
        "histogram_values": np.concatenate([h.values for h in histograms]),
        "histogram_counts": np.concatenate([h.counts for h in histograms]).astype(np.uint32),
        "histogram_bounds": np.cumsum([0, *(len(h.values) for h in histograms)]),
    }
    facts = {
        "format": FORMAT,
        "version": VERSION,
        "phases": slab.phases,
        "first_slice": slab.first_slice,
        "spacing_mm": slab.spacing_mm,
        "plane": slab.plane,
        "volume_shape": slab.volume_shape,
    }
    write_sealed(path, arrays, facts)


def read_slab(path: Path) -> Slab:
    """Read a slab written by `write_slab`.

    Raises:
        SkipPatient: ``image_corrupt`` when the cache file is damaged.
    """
    try:
        arrays, facts = read_sealed(path)
    except (OSError, ValueError) as error:
        message = f"the cached slab {path} is damaged: {error}"
        raise SkipPatient("image_corrupt", message, remedy=f"delete {path} and run again") from error
    values, counts, bounds = (arrays[f"histogram_{part}"] for part in ("values", "counts", "bounds"))
    step = arrays["voxels"].shape[1] + 1
    of_phases = [
        PackedHistograms(values, counts, bounds[p * step : (p + 1) * step + 1]) for p in range(len(facts["phases"]))
    ]
    return Slab(
        tuple(facts["phases"]),
        arrays["voxels"],
        arrays["mask"],
        tuple(packed[0] for packed in of_phases),
        tuple(packed[1:] for packed in of_phases),
        facts["first_slice"],
        tuple(facts["spacing_mm"]),
        facts["plane"],
        tuple(facts["volume_shape"]),
        path.stem[:32],
    )
