"""The maps of a run: written by the explaining stage, read by report, browser and DICOM.

``explanations/maps.h5``, format ``triher-maps`` version 1. The file has the attributes ``format``, ``version``,
``classes`` (JSON) and ``method``. Its datasets are flat, so that one patient is read without a look at the others:
``patient_id`` bytes of one length, ``in_training`` uint8, ``log_odds`` float64 [patient, class], ``shape`` int64
[patient, 3] of (slice, row, col), ``slice_index`` int32 of all slices, and ``values`` float32 of all maps one behind
the other, each in the order [class, slice, row, col]. Nothing is compressed, as such data would have to be trusted.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float32, Float64, Int32

from triher.files import replacing
from triher.store_guard import open_guarded, read_text
from triher.store_write import fixed_length

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


def write_maps(path: Path, patients: Sequence[PatientMaps], *, classes: Sequence[str], method: str) -> None:
    """Write the maps of a run; the file appears when it is complete, and equal maps give equal bytes."""
    texts = {"format": FORMAT, "classes": json.dumps(list(classes)), "method": method}
    with replacing(path) as part, h5py.File(part, "w") as file:
        for name, text in texts.items():
            file.attrs[name] = np.bytes_(text.encode())
        file.attrs["version"] = VERSION
        file["patient_id"] = fixed_length([patient.patient_id for patient in patients])
        file["in_training"] = np.array([patient.in_training for patient in patients], np.uint8)
        file["log_odds"] = np.array([patient.log_odds for patient in patients]).reshape(-1, len(classes))
        file["shape"] = np.array([patient.maps.shape[1:] for patient in patients], np.int64).reshape(-1, 3)
        file["slice_index"] = _joined([patient.slice_index for patient in patients], np.int32)
        file["values"] = _joined([patient.maps.ravel() for patient in patients], np.float32)


def _joined(arrays: Sequence[np.ndarray], dtype: type[np.generic]) -> np.ndarray:
    """The arrays one behind the other."""
    return np.concatenate([np.empty(0, dtype), *arrays])


def read_maps_index(path: Path) -> MapsIndex:
    """Who has maps, in the order of writing.

    Raises:
        StopRun: as `triher.store_guard.open_guarded`.
    """
    with open_guarded(path, FORMAT, VERSION) as file:
        return _index(file)


def _index(file: h5py.File) -> MapsIndex:
    """What the attributes say."""
    ids = tuple(value.decode() for value in file["patient_id"][:])
    return MapsIndex(ids, tuple(json.loads(read_text(file, "classes"))), read_text(file, "method"))


def read_maps(path: Path, patient_id: str) -> PatientMaps | None:
    """The maps of one patient, None where there are none.

    Raises:
        StopRun: as `triher.store_guard.open_guarded`.
    """
    with open_guarded(path, FORMAT, VERSION) as file:
        index = _index(file)
        if patient_id not in index.patient_ids:
            return None
        row, n_classes = index.patient_ids.index(patient_id), len(index.classes)
        shapes = file["shape"][:]
        slices, values = (
            np.concatenate([[0], np.cumsum(n)]) for n in (shapes[:, 0], n_classes * shapes.prod(axis=1))
        )
        maps = file["values"][values[row] : values[row + 1]]
        return PatientMaps(
            patient_id,
            maps.astype(np.float32).reshape(n_classes, *shapes[row]),
            file["slice_index"][slices[row] : slices[row + 1]].astype(np.int32),
            file["log_odds"][row].astype(np.float64),
            bool(file["in_training"][row]),
        )
