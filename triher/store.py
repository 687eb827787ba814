"""The feature store, format ``triher-features`` version 1.

A store is one HDF5 file for one cohort, one encoder and one recipe. Words in capitals as in RFC 2119.

Root attributes
    ``format`` MUST be ``triher-features`` and ``version`` MUST be 1. ``encoder``, ``recipe`` and ``versions``
    MUST be JSON objects. ``identity`` MUST be the SHA-256 of encoder and recipe in canonical JSON, without the
    keys of the encoder that change no embedding (`COSMETIC`); it decides whether embeddings can be reused.
    ``content`` MUST be the SHA-256 over the patients' checksums in order. ``origin`` MUST be the SHA-256 over
    ``encoder``, ``recipe``, ``versions`` and ``identity`` as written, a zero byte after each, and the probe's
    bytes. Text MUST be of fixed length and UTF-8 (the heap of variable-length strings has no checksum).
Datasets (all MUST be contiguous, without filters, little-endian)
    - ``patient_id [patient]`` fixed-length UTF-8 bytes; ids are data, never names of groups or files.
    - ``input_sha256 [patient]`` 64 hex digits: the slab that the embeddings were computed from; the first 32 are of
      the images alone, without mask and recipe, so that one exam under two ids is recognized.
    - ``checksum [patient]`` 64 hex digits over all that the store holds of the patient; readers MUST check it.
    - ``indptr [patient + 1]`` int64: the slices of patient *i* are rows ``indptr[i]:indptr[i + 1]``.
    - ``slice_index [slice]`` int32, position in the source volume; ``area_mm2 [slice]`` float32, lesion area.
    - ``views/<view>/embeddings [slice, feature]`` float32, one group for each phase or fusion.
    - ``acquisition/<field> [patient]`` float64, facts about the source images (spacing, matrix, signal).
    - ``probe [picture, feature]`` float32: the embedding of the fixed synthetic pictures, which shows drift.

Readers MUST refuse soft and external links, external or virtual data, and datasets larger than the file; they
MAY ignore datasets and attributes that they do not know. A store MUST appear under its name only when complete.
Writers SHOULD use the file layout of HDF5 1.8, in which the library checks its own metadata as it reads them.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float, Float64, Int32, Int64, Shaped

from triher.errors import StopRun
from triher.files import replacing, sha256_of_json
from triher.store_guard import open_guarded, read_text
from triher.types import Embeddings

FORMAT = "triher-features"
VERSION = 1
PROBE_TOLERANCE = 1e-3  # of the probe's largest value; other thread counts and devices stay far below
COSMETIC = ("name", "license", "citation", "weights", "revision")
"""Keys of the encoder that say where it is from; its weights' hash and its architecture say what it is."""
_JSON_ATTRIBUTES = ("encoder", "recipe", "versions")


def identity(encoder: dict[str, Any], recipe: dict[str, Any]) -> str:
    """SHA-256 of what embeddings depend on besides the input."""
    essential = {key: value for key, value in encoder.items() if key not in COSMETIC}
    return sha256_of_json({"encoder": essential, "recipe": recipe})


@dataclass(frozen=True)
class Header:
    """What made the embeddings."""

    encoder: dict[str, Any]
    recipe: dict[str, Any]
    versions: dict[str, str]
    probe: Float[np.ndarray, "picture feature"]

    @property
    def identity(self) -> str:
        """Embeddings of equal identity and equal input are the same."""
        return identity(self.encoder, self.recipe)

    def drift(self, other: "Header") -> float:
        """Largest difference of the two probes, as a share of the largest value; infinite for other shapes."""
        if self.probe.shape != other.probe.shape:
            return float("inf")
        largest = max(float(np.abs(self.probe).max()), float(np.finfo(np.float32).tiny))
        return float(np.abs(self.probe - other.probe).max()) / largest

    def resembles(self, other: "Header") -> bool:
        """Whether both give the same embeddings, up to what threads and devices change."""
        return self.drift(other) <= PROBE_TOLERANCE


@dataclass(frozen=True)
class Features:
    """The embeddings of some patients, in flat arrays."""

    patient_id: tuple[str, ...]
    input_sha256: tuple[str, ...]
    indptr: Int64[np.ndarray, " patient_plus_1"]
    slice_index: Int32[np.ndarray, " slice"]
    area_mm2: Float[np.ndarray, " slice"]
    views: dict[str, Embeddings]
    acquisition: dict[str, Float64[np.ndarray, " patient"]] = field(default_factory=dict)

    def rows(self, index: int) -> slice:
        """The rows of the patient at a position."""
        return slice(int(self.indptr[index]), int(self.indptr[index + 1]))

    def select(self, positions: Sequence[int]) -> "Features":
        """The patients at the given positions, in that order."""
        spans = [self.rows(i) for i in positions]
        lengths = [span.stop - span.start for span in spans]
        chosen = np.concatenate([np.arange(s.start, s.stop) for s in spans] or [np.zeros(0, int)])
        return Features(
            tuple(self.patient_id[i] for i in positions),
            tuple(self.input_sha256[i] for i in positions),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            self.slice_index[chosen],
            self.area_mm2[chosen],
            {name: rows[chosen] for name, rows in self.views.items()},
            {name: column[list(positions)] for name, column in self.acquisition.items()},
        )

    def checksum(self, index: int) -> str:
        """SHA-256 over all that is held of one patient."""
        rows = self.rows(index)
        digest = hashlib.sha256()
        digest.update(self.patient_id[index].encode() + b"\0" + self.input_sha256[index].encode())
        digest.update(self.slice_index[rows].astype("<i4").tobytes())
        digest.update(self.area_mm2[rows].astype("<f4").tobytes())
        for name in sorted(self.views):
            digest.update(name.encode() + b"\0")
            digest.update(self.views[name][rows].astype("<f4").tobytes())
        for name in sorted(self.acquisition):
            digest.update(name.encode() + b"\0" + np.float64(self.acquisition[name][index]).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Index:
    """What a store says of itself, without its embeddings."""

    identity: str
    content: str
    encoder: dict[str, Any]
    recipe: dict[str, Any]
    versions: dict[str, str]
    inputs: dict[str, str]
    """Patient id -> SHA-256 of the slab."""
    slices: dict[str, int]
    """Patient id -> number of slices."""
    n_features: int
    views: tuple[str, ...]
    acquisition: tuple[str, ...]
    storage: dict[str, str]
    """View -> type of its numbers in the file; ours is ``float32``."""

    @property
    def n_slices(self) -> int:
        """The slices of all patients."""
        return sum(self.slices.values())


def concatenate(parts: Sequence[Features]) -> Features:
    """Put the patients of several parts one after the other.

    Raises:
        ValueError: when the parts have different views or facts.
    """
    first = parts[0]
    if any(p.views.keys() != first.views.keys() or p.acquisition.keys() != first.acquisition.keys() for p in parts):
        raise ValueError("parts with different views cannot be joined")
    lengths = np.concatenate([np.diff(p.indptr) for p in parts])
    return Features(
        tuple(name for p in parts for name in p.patient_id),
        tuple(digest for p in parts for digest in p.input_sha256),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([p.slice_index for p in parts]),
        np.concatenate([p.area_mm2 for p in parts]),
        {name: np.concatenate([p.views[name] for p in parts]) for name in first.views},
        {name: np.concatenate([p.acquisition[name] for p in parts]) for name in first.acquisition},
    )


def write_store(path: Path, header: Header, parts: Iterable[Features], *, n_slices: int) -> None:
    """Write a store atomically, part after part, so that memory holds one part at a time.

    Equal input gives equal bytes, however the patients are cut into parts.

    Args:
        path: the file to appear.
        header: what made the embeddings.
        parts: the patients in their final order; at least one part.
        n_slices: how many slices the parts hold in all.

    Raises:
        ValueError: when the parts do not fit together or a name cannot be stored, a fault of the program.
    """
    checksums: list[str] = []
    patients: list[tuple[str, str]] = []
    lengths: list[int] = []
    facts: list[dict[str, np.ndarray]] = []
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=("v108", "v108")) as file:
        start = 0
        for part in parts:
            if not facts:
                _create_slice_datasets(file, part, n_slices)
            elif part.views.keys() != file["views"].keys() or part.acquisition.keys() != facts[0].keys():
                raise ValueError("parts with different views cannot be joined")
            stop = start + len(part.slice_index)
            file["slice_index"][start:stop] = part.slice_index
            file["area_mm2"][start:stop] = part.area_mm2
            for name, rows in part.views.items():
                file[f"views/{name}/embeddings"][start:stop] = rows
            start = stop
            patients += zip(part.patient_id, part.input_sha256, strict=True)
            lengths += [int(n) for n in np.diff(part.indptr)]
            checksums += [part.checksum(i) for i in range(len(part.patient_id))]
            facts.append(part.acquisition)
        if start != n_slices:
            raise ValueError(f"{n_slices} slices were announced and {start} came")
        file["patient_id"] = _fixed_length([patient_id for patient_id, _ in patients])
        file["input_sha256"] = np.array([digest.encode() for _, digest in patients], dtype="S64")
        file["checksum"] = np.array([digest.encode() for digest in checksums], dtype="S64")
        file["indptr"] = np.concatenate([[0], np.cumsum(lengths)]).astype("<i8")
        for name in sorted(facts[0]):
            file["acquisition"][name] = np.concatenate([part[name] for part in facts]).astype("<f8")
        file["probe"] = np.asarray(header.probe, "<f4")
        _write_attributes(file, header, checksums)


def _create_slice_datasets(file: h5py.File, part: Features, n_slices: int) -> None:
    """Reserve the arrays that are filled part by part."""
    # Groups that HDF5 makes on its own while it follows a path carry the time of day.
    views, _ = file.create_group("views"), file.create_group("acquisition")
    file.create_dataset("slice_index", (n_slices,), "<i4")
    file.create_dataset("area_mm2", (n_slices,), "<f4")
    for name in (*part.views, *part.acquisition):
        if "/" in name or name in ("", ".", ".."):
            raise ValueError(f"'{name}' cannot be the name of a view or fact")
    for name, rows in sorted(part.views.items()):
        views.create_group(name).create_dataset("embeddings", (n_slices, rows.shape[1]), "<f4")


def _fixed_length(ids: Sequence[str]) -> Shaped[np.ndarray, " patient"]:
    """The ids as bytes of one length, which must tell every patient apart."""
    raw = [patient_id.encode() for patient_id in ids]
    stored = np.array(raw, dtype=f"S{max(1, *map(len, raw))}")
    if len(set(raw)) != len(raw) or stored.tolist() != raw or b"" in raw:
        raise ValueError("patient ids must be unique, not empty, and must not end in a zero byte")
    return stored


def _write_attributes(file: h5py.File, header: Header, checksums: list[str]) -> None:
    """Write format, version and origin."""
    facts = {name: json.dumps(getattr(header, name), sort_keys=True, allow_nan=False) for name in _JSON_ATTRIBUTES}
    facts["identity"] = header.identity
    facts |= {"format": FORMAT, "content": content_of(checksums), "origin": origin(facts, header.probe)}
    for name, text in facts.items():
        file.attrs[name] = np.bytes_(text.encode())
    file.attrs["version"] = VERSION


def content_of(checksums: Sequence[str]) -> str:
    """One hash for all patients in their order."""
    return hashlib.sha256("".join(checksums).encode()).hexdigest()


def origin(facts: dict[str, str], probe: Float[np.ndarray, "picture feature"]) -> str:
    """One hash for what made the embeddings."""
    digest = hashlib.sha256()
    for name in (*_JSON_ATTRIBUTES, "identity"):
        digest.update(facts[name].encode() + b"\0")
    digest.update(probe.astype("<f4").tobytes())
    return digest.hexdigest()


def read_index(path: Path) -> Index:
    """Read what a store says of itself; cheap, for deciding whether it can be used.

    Raises:
        StopRun: ``file_unreadable``, ``store_corrupt``, ``store_unknown``, ``store_version`` or
            ``store_external``.
    """
    with open_guarded(path, FORMAT, VERSION) as file:
        return index_of(file)


def read_header(path: Path) -> Header:
    """Read what made the embeddings, and check it against its own checksum.

    Raises:
        StopRun: as `read_index`, and ``store_corrupt`` when encoder, recipe, versions or probe were changed.
    """
    with open_guarded(path, FORMAT, VERSION) as file:
        return _header(file, index_of(file), path)


def read_store(path: Path) -> tuple[Header, Features]:
    """Read a whole store and check every patient's checksum.

    Raises:
        StopRun: as `read_index`, and ``store_corrupt`` naming the damaged patients.
    """
    with open_guarded(path, FORMAT, VERSION) as file:
        index = index_of(file)
        checksums = checked_lengths(file, index)
        header = _header(file, index, path)
        features = features_of(file, index, range(len(index.inputs)))
    refuse_damaged(path, damaged_patients(features, checksums), len(checksums))
    return header, features


def damaged_patients(features: Features, checksums: Sequence[str]) -> list[str]:
    """The patients whose data differ from the checksums that the store keeps of them."""
    pairs = zip(features.patient_id, checksums, strict=True)
    return [name for i, (name, checksum) in enumerate(pairs) if features.checksum(i) != checksum]


def refuse_damaged(path: Path, damaged: Sequence[str], n_patients: int) -> None:
    """Name the patients whose data were changed.

    Raises:
        StopRun: ``store_corrupt`` when there are any.
    """
    if damaged:
        listed = ", ".join(damaged[:5]) + (", ..." if len(damaged) > 5 else "")
        message = f"{path}: {len(damaged)} of {n_patients} patients differ from their checksums: {listed}"
        raise StopRun("store_corrupt", message)


def features_of(file: h5py.File, index: Index, positions: Sequence[int]) -> Features:
    """Read some patients out of an open store; those that lie side by side are read at once."""
    ids, inputs, lengths = tuple(index.inputs), tuple(index.inputs.values()), tuple(index.slices.values())
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    spans = _joined([(int(starts[i]), int(starts[i + 1])) for i in positions])

    def gather(name: str, kind: type[np.generic]) -> Shaped[np.ndarray, "slice ..."]:
        blocks = [file[name][start:stop].astype(kind) for start, stop in spans]
        return np.concatenate(blocks) if len(blocks) != 1 else blocks[0]

    return Features(
        tuple(ids[i] for i in positions),
        tuple(inputs[i] for i in positions),
        np.concatenate([[0], np.cumsum([lengths[i] for i in positions])]).astype(np.int64),
        gather("slice_index", np.int32),
        gather("area_mm2", np.float32),
        {name: gather(f"views/{name}/embeddings", np.float32) for name in index.views},
        {name: file[f"acquisition/{name}"][:].astype(np.float64)[list(positions)] for name in index.acquisition},
    )


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of rows, those that follow one another as one; an empty one when there is none."""
    joined: list[tuple[int, int]] = []
    for start, stop in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined or [(0, 0)]


def _header(file: h5py.File, index: Index, path: Path) -> Header:
    """What made the embeddings, proved by its checksum."""
    header = Header(index.encoder, index.recipe, index.versions, file["probe"][:].astype(np.float32))
    facts = {name: read_text(file, name) for name in (*_JSON_ATTRIBUTES, "identity", "origin")}
    if origin(facts, header.probe) != facts["origin"]:
        raise StopRun("store_corrupt", f"{path}: encoder, recipe, versions or probe differ from their checksum")
    return header


def index_of(file: h5py.File) -> Index:
    """Read the attributes and the patients' ids."""
    facts = {name: json.loads(read_text(file, name)) for name in _JSON_ATTRIBUTES}
    if not all(isinstance(fact, dict) for fact in facts.values()):
        raise TypeError(f"{', '.join(_JSON_ATTRIBUTES)} must be JSON objects")
    ids = [value.decode() for value in file["patient_id"][:]]
    inputs = [value.decode() for value in file["input_sha256"][:]]
    pairs = dict(zip(ids, inputs, strict=True))
    if len(pairs) < len(ids):
        raise ValueError("one patient id is there twice")
    indptr = file["indptr"][:]
    if indptr[0] != 0 or (np.diff(indptr) < 0).any():
        raise ValueError("the arrays do not fit together: indptr")
    views = tuple(sorted(file["views"]))
    blocks = {name: file[f"views/{name}/embeddings"] for name in views}
    return Index(
        read_text(file, "identity"),
        read_text(file, "content"),
        **facts,
        inputs=pairs,
        slices=dict(zip(ids, (int(n) for n in np.diff(indptr)), strict=True)),
        n_features=int(blocks[views[0]].shape[1]),
        views=views,
        acquisition=tuple(sorted(file["acquisition"])),
        storage={name: block.dtype.name for name, block in blocks.items()},
    )


def checked_lengths(file: h5py.File, index: Index) -> list[str]:
    """Demand that the arrays fit together before slices are cut from them.

    Returns:
        The patients' checksums, which are themselves proved by ``content``.
    """
    n_patients, n_slices = len(index.inputs), index.n_slices
    lengths = {
        "checksum": (n_patients,),
        "slice_index": (n_slices,),
        "area_mm2": (n_slices,),
        **{f"acquisition/{name}": (n_patients,) for name in index.acquisition},
    }
    odd = [name for name, shape in lengths.items() if file[name].shape != shape]
    odd += [name for name in index.views if file[f"views/{name}/embeddings"].shape[:-1] != (n_slices,)]
    odd += ["probe"] * (file["probe"].ndim != 2)
    if odd:
        raise ValueError(f"the arrays do not fit together: {', '.join(odd)}")
    checksums = [digest.decode() for digest in file["checksum"][:]]
    if content_of(checksums) != index.content:
        raise ValueError("the patients' checksums differ from the checksum over them")
    return checksums
