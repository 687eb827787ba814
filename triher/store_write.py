"""Write a feature store: atomically, part after part, equal bytes for equal content."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Shaped

from triher.files import replacing
from triher.store_model import FORMAT, JSON_ATTRIBUTES, VERSION, Features, Header, content_of, origin

_PATIENT_BYTES = 200  # two hashes, where her slices begin, and an id of usual length
_METADATA_BYTES = 1_000_000  # headers, attributes and probe


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
    with replacing(path) as temporary:
        with h5py.File(temporary, "w", libver=("v108", "v108")) as file:
            _write_content(file, header, parts, n_slices)
        os.truncate(temporary, _written_bytes(temporary))  # gives back what was reserved too much


def _write_content(file: h5py.File, header: Header, parts: Iterable[Features], n_slices: int) -> None:
    """Write slices as they come, then what is known of all patients."""
    checksums: list[str] = []
    patients: list[tuple[str, str]] = []
    lengths: list[int] = []
    facts: list[dict[str, np.ndarray]] = []
    start = row_bytes = 0
    for part in parts:
        if not facts:
            row_bytes = _row_bytes(part)
            _reserve(file, n_slices * row_bytes)
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
    ids = fixed_length([patient_id for patient_id, _ in patients])
    _reserve(file, n_slices * row_bytes + ids.nbytes + len(patients) * _PATIENT_BYTES)
    file["patient_id"] = ids
    file["input_sha256"] = np.array([digest.encode() for _, digest in patients], dtype="S64")
    file["checksum"] = np.array([digest.encode() for digest in checksums], dtype="S64")
    file["indptr"] = np.concatenate([[0], np.cumsum(lengths)]).astype("<i8")
    for name in sorted(facts[0]):
        file["acquisition"][name] = np.concatenate([part[name] for part in facts]).astype("<f8")
    file["probe"] = np.asarray(header.probe, "<f4")
    _write_attributes(file, header, checksums)


def _row_bytes(part: Features) -> int:
    """Bytes for one slice, and for a patient who has no other one."""
    return 8 + 4 * sum(rows.shape[1] for rows in part.views.values()) + _PATIENT_BYTES + 8 * len(part.acquisition)


def _reserve(file: h5py.File, n_bytes: int) -> None:
    """Take the space on disk before HDF5 needs it: it crashes when the disk is full while it closes a file."""
    if hasattr(os, "posix_fallocate"):
        n_bytes += _METADATA_BYTES
        try:
            with Path(file.filename).open("rb+") as handle:
                os.posix_fallocate(handle.fileno(), 0, n_bytes)
        except OSError as error:
            error.add_note(f"{n_bytes} bytes are needed")
            raise


def _written_bytes(path: Path) -> int:
    """Where HDF5 ends the file, as its superblock of version 2 says."""
    with path.open("rb") as handle:
        return int.from_bytes(handle.read(48)[28:36], "little")


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


def fixed_length(ids: Sequence[str]) -> Shaped[np.ndarray, " patient"]:
    """The ids as bytes of one length, which must tell every patient apart."""
    raw = [patient_id.encode() for patient_id in ids]
    stored = np.array(raw, dtype=f"S{max([1, *map(len, raw)])}")
    if len(set(raw)) != len(raw) or stored.tolist() != raw or b"" in raw:
        raise ValueError("patient ids must be unique, not empty, and must not end in a zero byte")
    return stored


def _write_attributes(file: h5py.File, header: Header, checksums: list[str]) -> None:
    """Write format, version and origin."""
    facts = {name: json.dumps(getattr(header, name), sort_keys=True, allow_nan=False) for name in JSON_ATTRIBUTES}
    facts["identity"] = header.identity
    facts |= {"format": FORMAT, "content": content_of(checksums), "origin": origin(facts, header.probe)}
    for name, text in facts.items():
        file.attrs[name] = np.bytes_(text.encode())
    file.attrs["version"] = VERSION
