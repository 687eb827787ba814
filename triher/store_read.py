"""Read a feature store, and compare what was read with its checksums."""

import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Shaped

from triher.errors import StopRun
from triher.store_guard import open_guarded, read_text
from triher.store_model import FORMAT, JSON_ATTRIBUTES, VERSION, Features, Header, Index, content_of, origin


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
    facts = {name: read_text(file, name) for name in (*JSON_ATTRIBUTES, "identity", "origin")}
    if origin(facts, header.probe) != facts["origin"]:
        raise StopRun("store_corrupt", f"{path}: encoder, recipe, versions or probe differ from their checksum")
    return header


def index_of(file: h5py.File) -> Index:
    """Read the attributes and the patients' ids."""
    facts = {name: json.loads(read_text(file, name)) for name in JSON_ATTRIBUTES}
    if not all(isinstance(fact, dict) for fact in facts.values()):
        raise TypeError(f"{', '.join(JSON_ATTRIBUTES)} must be JSON objects")
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
