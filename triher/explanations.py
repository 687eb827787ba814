"""The maps of a run: written by the explaining stage, read by report, browser and DICOM.

``explanations/maps.h5``, format ``triher-maps`` version 1. The file has the attributes ``format``, ``version``,
``classes`` (JSON) and ``method``. A group a patient, named by a number, holds ``maps`` float32 [class, slice, row,
col], ``slice_index`` int32 [slice] and ``log_odds`` float64 [class]; the patient's id is an attribute, never a name.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float32, Float64, Int32

from triher.files import replacing
from triher.store_guard import open_guarded

FORMAT, VERSION = "triher-maps", 1


@dataclass(frozen=True)
class PatientMaps:
    """What in the slices of one patient speaks for each class."""

    patient_id: str
    maps: Float32[np.ndarray, "class slice row col"]
    """On the pixels of the lesion slab, in its chosen slices; above 0 speaks for the class, below 0 against it. In
    log-odds where the method has that unit, so that maps of one patient may be compared and added."""
    slice_index: Int32[np.ndarray, " slice"]
    """Positions of the slices in the source volume."""
    log_odds: Float64[np.ndarray, " class"]
    """Of each class against the others, as the locked model says of the undisturbed slices."""
    in_training: bool
    """Whether the model that is explained was trained on this patient."""


@dataclass(frozen=True)
class MapsIndex:
    """Who has maps, and of what kind."""

    patient_ids: tuple[str, ...]
    classes: tuple[str, ...]
    method: str


def write_maps(path: Path, patients: Iterable[PatientMaps], *, classes: Sequence[str], method: str) -> None:
    """Write the maps of a run; the file appears when it is complete, and equal maps give equal bytes."""
    with replacing(path) as part, h5py.File(part, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["classes"] = json.dumps(list(classes))
        file.attrs["method"] = method
        for number, patient in enumerate(patients):
            group = file.create_group(f"{number:06d}")
            group.attrs["patient_id"] = patient.patient_id
            group.attrs["in_training"] = patient.in_training
            group.create_dataset("maps", data=patient.maps, compression="gzip", shuffle=True, fletcher32=True)
            group.create_dataset("slice_index", data=patient.slice_index)
            group.create_dataset("log_odds", data=patient.log_odds)


def read_maps_index(path: Path) -> MapsIndex:
    """Who has maps, in the order of writing.

    Raises:
        StopRun: as `triher.store_guard.open_guarded`.
    """
    with open_guarded(path, FORMAT, VERSION) as file:
        ids = tuple(str(file[name].attrs["patient_id"]) for name in sorted(file))
        return MapsIndex(ids, tuple(json.loads(file.attrs["classes"])), str(file.attrs["method"]))


def read_maps(path: Path, patient_id: str) -> PatientMaps | None:
    """The maps of one patient, None where there are none.

    Raises:
        StopRun: as `triher.store_guard.open_guarded`.
    """
    with open_guarded(path, FORMAT, VERSION) as file:
        for name in sorted(file):
            group = file[name]
            if str(group.attrs["patient_id"]) == patient_id:
                return PatientMaps(
                    patient_id,
                    group["maps"][:].astype(np.float32),
                    group["slice_index"][:].astype(np.int32),
                    group["log_odds"][:].astype(np.float64),
                    bool(group.attrs["in_training"]),
                )
    return None
