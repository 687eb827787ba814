"""Put the maps of a patient back to where they belong in the images that they were computed from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int, Real

from extract.cache import Slab
from extract.exam import Exam
from extract.perturb import images_sha256
from extract.recipe import SlabRecipe
from extract.regions import lesion_of, lesion_region
from triher.dicom_results.originals import Originals, as_stored
from triher.errors import SkipPatient
from triher.explanations import PatientMaps


@dataclass(frozen=True)
class Placed:
    """Maps on the pixels of the source images."""

    positions: Int[np.ndarray, " image"]
    """Of the images with maps, among the frames of the phase."""
    maps: Float32[np.ndarray, "class image row col"]
    """0 outside the region that the model saw."""
    pixels: Real[np.ndarray, "image row col"]
    """The phase itself."""
    lesion: Bool[np.ndarray, "image row col"]


def place(maps: PatientMaps, slab: Slab, exam: Exam, recipe: SlabRecipe, originals: Originals, phase: str) -> Placed:
    """Find the images that the maps' slices are, and put the maps on their pixels.

    Args:
        maps: on the pixels of the slab.
        slab: what the maps were computed from.
        exam: the volumes, read from the source again.
        recipe: how the slab was cut.
        originals: the source images of the phase.
        phase: a name of the exam.

    Raises:
        SkipPatient: ``source_changed`` when the source holds other voxels or another lesion than the slab;
            ``config_value`` when the region shows no lesion.
    """
    if recipe.region == "control":
        raise SkipPatient("control_region", "maps of a control region have no place beside the lesion")
    lesion = lesion_of(exam.mask, recipe)
    box = lesion_region(lesion, exam.spacing_mm, recipe)
    found = lesion[box.index()]
    if images_sha256(exam) != slab.images or found.shape != slab.mask.shape or not np.array_equal(found, slab.mask):
        raise SkipPatient("source_changed", "images or mask are others than those that the maps were computed from")
    marked = np.zeros(exam.mask.shape, bool)
    marked[maps.slice_index] = True
    positions = np.flatnonzero(as_stored(marked, exam, originals.source).all(axis=(1, 2)))
    if len(positions) != len(maps.slice_index):
        message = "the slices of the maps do not lie in the planes of the source images"
        raise SkipPatient("dicom_geometry", message)

    def turned(heat: Float32[np.ndarray, "slice row col"]) -> Float32[np.ndarray, "image pixel_row pixel_col"]:
        volume = np.zeros(exam.mask.shape, np.float32)  # of one class at a time, as volumes can be large
        volume[maps.slice_index, slice(*box.rows), slice(*box.cols)] = heat
        return as_stored(volume, exam, originals.source)[positions]

    voxels = exam.voxels[exam.phases.index(phase)]
    return Placed(
        positions,
        np.stack([turned(heat) for heat in maps.maps]),
        as_stored(voxels, exam, originals.source)[positions],
        as_stored(exam.mask, exam, originals.source)[positions],
    )
