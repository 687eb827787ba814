"""The nouns of the feature store: what made the embeddings, and the embeddings themselves."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int32, Int64

from triher.files import sha256_of_json
from triher.types import Embeddings

FORMAT = "triher-features"
VERSION = 1
# Of the probe's largest value; other thread counts and devices stay far below. bfloat16 has 8 bits of mantissa.
_TOLERANCE = {"float32": 1e-3, "bfloat16": 3e-2}
COSMETIC = ("name", "license", "citation", "weights", "revision")
"""Keys of the encoder that say where it is from; its weights' hash and its architecture say what it is."""
JSON_ATTRIBUTES = ("encoder", "recipe", "versions")


def identity(encoder: dict[str, Any], recipe: dict[str, Any]) -> str:
    """SHA-256 of what embeddings depend on besides the input."""
    essential = {key: value for key, value in encoder.items() if key not in COSMETIC}
    return sha256_of_json({"encoder": essential, "recipe": recipe})


def relative_drift(before: Float[np.ndarray, "..."], now: Float[np.ndarray, "..."]) -> float:
    """Largest difference of embeddings, as a share of the largest value before; infinite for other shapes."""
    if before.shape != now.shape:
        return float("inf")
    largest = max(float(np.abs(before).max()), float(np.finfo(np.float32).tiny))
    return float(np.abs(before - now).max()) / largest


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

    @property
    def tolerance(self) -> float:
        """Largest difference of two probes, as a share of the largest value, that threads and devices may make."""
        return _TOLERANCE[self.encoder.get("precision", "float32")]

    def drift(self, other: "Header") -> float:
        """Largest difference of the two probes, as a share of the largest value; infinite for other shapes."""
        return relative_drift(self.probe, other.probe)

    def resembles(self, other: "Header") -> bool:
        """Whether both give the same embeddings, up to what threads and devices change."""
        return self.drift(other) <= self.tolerance


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


def content_of(checksums: Sequence[str]) -> str:
    """One hash for all patients in their order."""
    return hashlib.sha256("".join(checksums).encode()).hexdigest()


def origin(facts: dict[str, str], probe: Float[np.ndarray, "picture feature"]) -> str:
    """One hash for what made the embeddings."""
    digest = hashlib.sha256()
    for name in (*JSON_ATTRIBUTES, "identity"):
        digest.update(facts[name].encode() + b"\0")
    digest.update(probe.astype("<f4").tobytes())
    return digest.hexdigest()
