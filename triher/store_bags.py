"""Export a feature store as one HDF5 file a patient, in the layouts of TRIDENT, CLAM and STAMP.

These programs read bags of patches of whole-slide images. A bag here holds the slices of one patient, and the
slices lie side by side in a row: the first coordinate grows with the slice index, the second is 0.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float32, Int32, Int64, Real

from triher.errors import StopRun
from triher.files import replacing
from triher.store import Features, Index, read_index
from triher.store_export import chosen_view, provenance
from triher.store_parts import read_parts
from triher.tables import write_table
from triher.types import Embeddings

_SPACING_MM = 1.0  # stands for the distance of slices in stores that do not say it
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_MAX_NAME = 80


@dataclass(frozen=True)
class Bag:
    """The slices of one patient."""

    name: str
    embeddings: Embeddings
    slice_index: Int32[np.ndarray, " slice"]
    spacing_mm: float
    """Distance of the slices of the volume."""
    side_px: int
    """Side of the picture that the encoder saw."""
    encoder: str


@dataclass(frozen=True)
class Layout:
    """Where another program looks for a bag, and what it calls its parts."""

    folder: Callable[[str], str]
    """From the encoder's name to the folder that holds the files."""
    features: str
    """Name of the dataset of embeddings; the other is ``coords``."""
    coords: Callable[[Bag], Real[np.ndarray, "slice 2"]]
    """Position of each slice."""
    attributes: Callable[[Bag], dict[str, dict[str, Any]]]
    """Attributes of the root (empty name) and of the datasets."""


def _pixels(bag: Bag) -> Int64[np.ndarray, "slice 2"]:
    """Corners of the slices, in pixels, as if they lay side by side."""
    return np.stack(
        [bag.slice_index.astype(np.int64) * bag.side_px, np.zeros(len(bag.slice_index), np.int64)], axis=1
    )


def _micrometers(bag: Bag) -> Float32[np.ndarray, "slice 2"]:
    """Positions of the slices along the axis of the volume."""
    along = bag.slice_index * np.float32(bag.spacing_mm * 1000)
    return np.stack([along, np.zeros_like(along)], axis=1).astype(np.float32)


def _trident(bag: Bag) -> dict[str, dict[str, Any]]:
    """What TRIDENT writes beside features and coordinates; magnifications do not exist here."""
    patch = {"patch_size": bag.side_px, "patch_size_level0": bag.side_px, "overlap": 0, "name": bag.name}
    return {"features": {"name": bag.name, "encoder": bag.encoder}, "coords": patch}


def _clam(bag: Bag) -> dict[str, dict[str, Any]]:
    """What CLAM writes beside coordinates."""
    return {"coords": {"patch_size": bag.side_px, "patch_level": 0, "name": bag.name}}


def _stamp(bag: Bag) -> dict[str, dict[str, Any]]:
    """What STAMP 2 writes at the root; its version is left out, because it did not write the file."""
    facts = {"extractor": bag.encoder, "unit": "um", "feat_type": "tile", "tile_size_px": bag.side_px}
    return {"": facts | {"tile_size_um": bag.spacing_mm * 1000}}


LAYOUTS: dict[str, Layout] = {
    "trident": Layout(lambda encoder: f"features_{encoder}", "features", _pixels, _trident),
    "clam": Layout(lambda _: "h5_files", "features", _pixels, _clam),
    "stamp": Layout(lambda encoder: encoder, "feats", _micrometers, _stamp),
}
"""Read from the programs' own writers and readers, November 2026."""


def export_bags(path: Path, out: Path, layout_name: str, view: str = "") -> Path:
    """Write one file a patient, and ``patients.csv`` with patient, file and number of slices, which comes last.

    Args:
        path: the store.
        out: a folder that is not there yet, or empty.
        layout_name: one of `LAYOUTS`.
        view: which view to export; may be left out when the store has one.

    Returns:
        The folder with the files.

    Raises:
        StopRun: as `triher.store.read_store`; ``unknown_name`` or ``config_value`` for the view, ``output_folder``
            when something is in the folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StopRun("output_folder", f"{out} is not empty", remedy="choose another folder with --out")
    index, layout = read_index(path), LAYOUTS[layout_name]
    name = chosen_view(index, view)
    encoder = _safe(str(index.encoder.get("name", "encoder")))
    folder = out / layout.folder(encoder)
    files = file_names(list(index.inputs))
    facts = json.dumps(provenance(index) | {"view": name}, sort_keys=True)
    for part in read_parts(path):
        for i, patient_id in enumerate(part.patient_id):
            _write(folder, layout, _bag(part, i, files[patient_id], name, index, encoder), facts)
    rows = [(patient_id, f"{files[patient_id]}.h5", n) for patient_id, n in index.slices.items()]
    write_table(out / "patients.csv", ["patient_id", "file", "n_slices"], rows)
    return folder


def file_names(ids: Sequence[str]) -> dict[str, str]:
    """A name for each patient's file, without ending: her id where that is safe, else with a hash behind it.

    No two names are equal, not even where upper and lower case are the same.

    >>> file_names(["P1", "../P1", "p1"])
    {'P1': 'P1', '../P1': 'P1-55dc22cc', 'p1': 'p1-f64551fc'}
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for patient_id in sorted(ids, key=lambda name: _safe(name) != name):
        digest = hashlib.sha256(patient_id.encode()).hexdigest()
        stem = _safe(patient_id)
        choices = [stem] if stem == patient_id else []
        choices += [f"{stem}-{digest[:n]}".strip("-") for n in (8, 64)]
        names[patient_id] = next(name for name in choices if name.lower() not in taken)
        taken.add(names[patient_id].lower())
    return {patient_id: names[patient_id] for patient_id in ids}


def _safe(text: str) -> str:
    """Letters, digits, dot, dash and underscore of a text; no file of any system is refused for such a name."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:_MAX_NAME]
    return f"{name}_" if _RESERVED.fullmatch(name) else name


def _bag(part: Features, i: int, name: str, view: str, index: Index, encoder: str) -> Bag:
    """The slices of the patient at a position."""
    rows = part.rows(i)
    spacing = part.acquisition.get("spacing_slice_mm")
    return Bag(
        name,
        part.views[view][rows],
        part.slice_index[rows],
        _SPACING_MM if spacing is None else float(spacing[i]),
        int(index.encoder.get("input_size", 1)),
        encoder,
    )


def _write(folder: Path, layout: Layout, bag: Bag, facts: str) -> None:
    """One patient's file, made in memory, because HDF5 crashes when the disk is full while it closes a file."""
    with h5py.File(f"{bag.name}.h5", "w", driver="core", backing_store=False) as file:
        file[layout.features] = bag.embeddings
        file["coords"] = layout.coords(bag)
        for name, values in layout.attributes(bag).items():
            target = file[name] if name else file
            for key, value in values.items():
                target.attrs[key] = value
        file.attrs["triher"] = facts
        file.flush()
        image = file.id.get_file_image()
    with replacing(folder / f"{bag.name}.h5") as part:
        part.write_bytes(image)
