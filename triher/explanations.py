"""The maps of a run: written by the explaining stage, read by report, browser and DICOM.

``explanations/maps.h5``, format ``triher-maps`` version 1. The file has the attributes ``format``, ``version``,
``classes`` (JSON) and ``method``. Its datasets are flat, so that one patient is read without a look at the others:
``patient_id`` bytes of one length, ``in_training`` uint8, ``log_odds`` float64 [patient, class], ``shape`` int64
[patient, 3] of (slice, row, col), ``slice_index`` int32 of all slices, and ``values`` float32 of all maps one behind
the other, each in the order [class, slice, row, col]. Nothing is compressed, as such data would have to be trusted.
"""

import json
import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import h5py
import numpy as np
from jaxtyping import Float32, Float64, Int32

from triher.files import replacing
from triher.store_guard import open_guarded, read_text
from triher.store_write import fixed_length

NAME = "maps.h5"
FORMAT, VERSION = "triher-maps", 1
_VALUES_AT_ONCE = 4_000_000


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


@dataclass(frozen=True)
class _Facts:
    """What of a patient is held in memory until all are there."""

    patient_id: str
    in_training: bool
    log_odds: Float64[np.ndarray, " class"]
    slice_index: Int32[np.ndarray, " slice"]
    shape: tuple[int, ...]


def write_maps(path: Path, patients: Iterable[PatientMaps], *, classes: Sequence[str], method: str) -> None:
    """Write the maps of a run; the file appears when it is complete, and equal maps give equal bytes.

    Args:
        path: of the file, in whose folder the values wait on the disk until their number is known.
        patients: taken one after the other, so that no more than one patient's maps need be in memory.
        classes: names, in the order of the maps.
        method: that made them.

    Raises:
        StopRun: ``disk_full``.
    """
    texts = {"format": FORMAT, "classes": json.dumps(list(classes)), "method": method}
    with replacing(path) as part, tempfile.TemporaryFile(dir=path.parent) as waiting:
        facts = [_put_aside(patient, waiting) for patient in patients]
        waiting.seek(0)
        with h5py.File(part, "w") as file:
            for name, text in texts.items():
                file.attrs[name] = np.bytes_(text.encode())
            file.attrs["version"] = VERSION
            file["patient_id"] = fixed_length([one.patient_id for one in facts])
            file["in_training"] = np.array([one.in_training for one in facts], np.uint8)
            file["log_odds"] = np.array([one.log_odds for one in facts]).reshape(-1, len(classes))
            file["shape"] = np.array([one.shape for one in facts], np.int64).reshape(-1, 3)
            file["slice_index"] = np.concatenate([np.empty(0, np.int32), *(one.slice_index for one in facts)])
            _take_back(waiting, file, len(classes) * sum(math.prod(one.shape) for one in facts))


def _put_aside(patient: PatientMaps, waiting: IO[bytes]) -> _Facts:
    """The values to the disk, and the rest."""
    waiting.write(np.ascontiguousarray(patient.maps, np.float32).tobytes())
    rest = (patient.in_training, patient.log_odds, patient.slice_index)
    return _Facts(patient.patient_id, *rest, patient.maps.shape[1:])


def _take_back(waiting: IO[bytes], file: h5py.File, n: int) -> None:
    """All values into the file."""
    values = file.create_dataset("values", (n,), np.float32)
    for start in range(0, n, _VALUES_AT_ONCE):
        some = np.frombuffer(waiting.read(4 * min(_VALUES_AT_ONCE, n - start)), np.float32)
        values[start : start + len(some)] = some


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
