"""Verify a feature store: checksums, and what is odd about embeddings that are stored as they were written."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from triher.errors import Note
from triher.images import images_of
from triher.store import Features, read_header, read_index
from triher.store_parts import scan_store
from triher.store_read import refuse_damaged


@dataclass(frozen=True)
class Verified:
    """What a look at every number of a store found."""

    n_patients: int
    n_slices: int
    damaged: tuple[str, ...]
    notes: tuple[Note, ...]


def verify_store(path: Path) -> Verified:
    """Check origin and every patient's checksum, in memory that does not grow with the store.

    Raises:
        StopRun: as `triher.store.read_header`; damaged patients are named in the result.
    """
    read_header(path)
    index = read_index(path)
    damaged: list[str] = []
    notes = [
        Note("", "store_half", f"view '{view}' is kept as float16: numbers have three digits")
        for view, kind in index.storage.items()
        if kind == "float16"
    ]
    digests: list[tuple[str, str]] = []
    for part in scan_store(path):
        damaged += part.damaged
        notes += odd_embeddings(part.features)
        digests += _digests(part.features)
    notes += [
        Note(a, "embedding_duplicate", f"the embeddings of {a} and {b} are equal to the bit")
        for a, b in _pairs(digests)
    ]
    notes += [Note(a, "image_duplicate", f"{a} and {b} have the same images") for a, b in same_images(index.inputs)]
    return Verified(len(index.inputs), index.n_slices, tuple(damaged), tuple(notes))


def verify_whole(path: Path) -> tuple[Note, ...]:
    """What is odd about a store, which must be whole.

    Raises:
        StopRun: as `verify_store`, and ``store_corrupt`` naming the damaged patients.
    """
    found = verify_store(path)
    refuse_damaged(path, found.damaged, found.n_patients)
    return found.notes


def odd_embeddings(features: Features) -> Iterator[Note]:
    """Patients with NaN, infinity, or a slice of zeros alone."""
    for i, patient_id in enumerate(features.patient_id):
        rows = features.rows(i)
        for view, block in features.views.items():
            if not np.isfinite(block[rows]).all():
                yield Note(patient_id, "embedding_nonfinite", f"view '{view}' holds NaN or infinity")
            elif (block[rows] == 0).all(axis=1).any():
                yield Note(patient_id, "embedding_zero", f"view '{view}' has a slice of zeros alone")


def same_images(inputs: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pairs of patients with the same images, whatever their masks.

    >>> same_images({"a": "1" * 64, "b": "2" * 64, "c": "1" * 32 + "3" * 32})
    [('a', 'c')]
    """
    return _pairs((patient_id, images_of(digest)) for patient_id, digest in inputs.items())


def _digests(features: Features) -> Iterator[tuple[str, str]]:
    """A hash of each patient's embeddings alone; patients without a slice have none."""
    for i, patient_id in enumerate(features.patient_id):
        rows = features.rows(i)
        digest = hashlib.sha256()
        for view in sorted(features.views):
            digest.update(features.views[view][rows].astype("<f4").tobytes())
        if rows.stop > rows.start:
            yield patient_id, digest.hexdigest()


def _pairs(digests: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each patient whose hash an earlier one has, with that one."""
    first: dict[str, str] = {}
    return [(first[digest], name) for name, digest in digests if first.setdefault(digest, name) != name]
