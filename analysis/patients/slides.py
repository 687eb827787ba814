"""Slices of a run's patients for people: all phases in one window, the lesion's outline, what speaks for a class.

Everything is read from what the run left, its slabs and maps; no source volume is opened.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Real

from analysis.figures.overlay import Color, Gray, enlarged, gray, png, with_heat, with_outline
from analysis.page import Picture
from extract.cache import Slab, read_slab
from triher.errors import SkipPatient
from triher.explanations import NAME as MAPS
from triher.explanations import PatientMaps, read_maps, read_maps_index
from triher.runfolder import RunFolder
from triher.slab_files import slabs_of_store
from triher.window import window_of

_FEWEST_PX, _MOST_PX = 96, 192  # of a picture's longer side; the page stretches it

Heat = Float32[np.ndarray, "class row col"]


@dataclass(frozen=True)
class Slide:
    """One slice of a patient: the one with most lesion, of those with a map where there is one."""

    phases: tuple[str, ...]
    voxels: Real[np.ndarray, "phase row col"]
    window: tuple[float, float]
    """Of the whole slab in all phases, so that enhancement is seen."""
    mask: Bool[np.ndarray, "row col"]
    number: int
    """Position in the source volume, from 0."""
    maps: PatientMaps | None = None
    """Of all its slices."""
    heat: Heat | None = None
    """Of this slice."""

    @property
    def middle(self) -> int:
        """The phase to show alone: the first after contrast, where there is one."""
        return min(1, len(self.phases) - 1)

    def picture(self, who: str, phase: int) -> Picture:
        """A phase with the lesion's outline.

        Args:
            who: the patient's id, for those who cannot see the picture.
            phase: position among the phases.
        """
        name = self.phases[phase]
        alternative = f"Slice {self.number + 1} of {who}, phase {name}, with the outline of the lesion"
        return Picture(self._drawn(self._gray(phase)), alternative, f"{name}, slice {self.number + 1}")

    def heated(self, who: str, said: str, c: int, against: int | None = None) -> Picture:
        """The middle phase under what speaks for a class; full color is the most of all slices with a map.

        Args:
            who: the patient's id.
            said: what the map speaks for, in words.
            c: position of the class.
            against: of another class; then what speaks for the one rather than the other, and the color means the
                same when the two are exchanged.

        Raises:
            ValueError: without a map.
        """
        if self.maps is None or self.heat is None:
            raise ValueError("this slice has no map")
        heat, every = self.heat[c], self.maps.maps[c]
        hottest = float(every.max())
        if against is not None:
            heat = heat - self.heat[against]
            hottest = float(np.abs(every - self.maps.maps[against]).max())
        color = with_heat(self._gray(self.middle), _sized(heat), hottest)
        alternative = f"The same slice of {who} under a map of what speaks for {said}"
        return Picture(self._drawn(color), alternative, f"Speaks for {said}")

    def _gray(self, phase: int) -> Gray:
        """A phase at the size to be shown."""
        return gray(_sized(self.voxels[phase]), self.window)

    def _drawn(self, picture: Gray | Color) -> bytes:
        """With the outline, as a file."""
        return png(with_outline(picture, _sized(self.mask) >= 0.5))


def _sized(array: np.ndarray) -> Float64[np.ndarray, "row col"]:
    """Repeat the pixels of small slices, and average blocks of large ones."""
    longest = max(array.shape)
    if longest <= _MOST_PX:
        return np.asarray(enlarged(array, math.ceil(_FEWEST_PX / longest)), dtype=np.float64)
    step = math.ceil(longest / _MOST_PX)
    margins = [(0, -length % step) for length in array.shape]
    whole = np.pad(array.astype(np.float64), margins, mode="edge")
    rows, cols = (length // step for length in whole.shape)
    return np.asarray(whole.reshape(rows, step, cols, step).mean(axis=(1, 3)))


@dataclass(frozen=True)
class Slides:
    """The slices of a run."""

    run: RunFolder
    _known: dict[str, Slide | None] = field(default_factory=dict, repr=False)

    def of(self, patient_id: str) -> Slide | None:
        """A patient's slice; None where the run keeps no slab of her, or a damaged one."""
        if patient_id not in self._known:
            self._known[patient_id] = self._read(patient_id)
        return self._known[patient_id]

    @cached_property
    def _slabs(self) -> dict[str, Path]:
        """Patient -> slab of whom the run's feature store holds embeddings."""
        name = self.run.read_record()["stages"].get("extract", {}).get("store", "")
        store = self.run.features / str(name)
        return slabs_of_store(store) if name and store.is_file() else {}

    @cached_property
    def _mapped(self) -> frozenset[str]:
        """Who has maps."""
        path = self.run.explanations / MAPS
        return frozenset(read_maps_index(path).patient_ids) if path.is_file() else frozenset()

    def _read(self, patient_id: str) -> Slide | None:
        """Read slab and maps of a patient."""
        if patient_id not in self._slabs:
            return None
        try:
            slab = read_slab(self._slabs[patient_id])
        except SkipPatient:
            return None
        maps = read_maps(self.run.explanations / MAPS, patient_id) if patient_id in self._mapped else None
        return slide_of(slab, maps)


def slide_of(slab: Slab, maps: PatientMaps | None = None) -> Slide:
    """The slice with most lesion, of those with a map where there are any.

    Args:
        slab: of the patient.
        maps: of the same patient; left aside where they are not of the slab's slices and pixels.
    """
    area = slab.area_mm2()
    if maps is None or not _fit(slab, maps):
        place = int(area.argmax())
        return _slide(slab, place)
    places = maps.slice_index - slab.first_slice
    which = int(area[places].argmax())
    slide = _slide(slab, int(places[which]))
    return Slide(slide.phases, slide.voxels, slide.window, slide.mask, slide.number, maps, maps.maps[:, which].copy())


def _fit(slab: Slab, maps: PatientMaps) -> bool:
    """Whether maps lie on the pixels of a slab."""
    places = maps.slice_index - slab.first_slice
    inside = bool((places >= 0).all() and (places < slab.mask.shape[0]).all())
    return inside and len(places) > 0 and maps.maps.shape[2:] == slab.mask.shape[1:]


def _slide(slab: Slab, place: int) -> Slide:
    """A slice without map."""
    return Slide(
        slab.phases, slab.voxels[:, place], window_of(slab.voxels), slab.mask[place], slab.first_slice + place
    )
