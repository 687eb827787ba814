"""Full batches across patients, and their rows cut up again by patient; a batch goes to one network."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Shaped, UInt8

from extract.pictures import ChosenSlices, Drawing, Prepared
from extract.shards import Job
from triher.errors import SkipPatient, Skipped
from triher.store import Features
from triher.types import Embeddings

Rows = Float32[torch.Tensor, "row feature"]
Kind = tuple[str, torch.Size]
"""Which network, empty where the encoder has one, and the shape of its inputs."""


@runtime_checkable
class Embedder(Protocol):
    """What turns a patient's drawing into rows of features; `prepare` is called by several threads at once."""

    @property
    def name(self) -> str:
        """For messages."""

    def prepare(self, drawing: Drawing) -> Prepared:
        """What goes into the network, on the host."""

    def embed(self, inputs: Shaped[torch.Tensor, "row ..."], masks: UInt8[torch.Tensor, "row ..."] | None) -> Rows:
        """One row of features for each input, on whatever device; the computation may still be under way."""

    def probe(self) -> Embeddings:
        """The rows of fixed synthetic inputs, which show drift."""

    def memory_bytes(self, batch_size: int) -> int:
        """What weights and the largest layer take on the device for a batch."""

    @property
    def remarks(self) -> list[str]:
        """What happened that the user should know."""


@runtime_checkable
class Several(Embedder, Protocol):
    """An encoder of several networks; `prepare` says which of them embeds a patient."""

    def network(self, name: str) -> Embedder:
        """One of them; the first call takes seconds."""


@dataclass(frozen=True)
class _Kept:
    """One patient among the rows of a shard."""

    job: Job
    slices: ChosenSlices
    places: dict[str, tuple[Kind, int]]
    """View -> which rows and where they start."""


@dataclass(frozen=True)
class Embedded:
    """The patients of one shard in one lane."""

    encoder: str
    kept: list[_Kept]
    rows: dict[Kind, list[torch.Tensor]]
    """On the device, perhaps still being computed."""


class Packer:
    """Packs full batches across patients, whatever their numbers of slices."""

    def __init__(self, encoder: Embedder, batch_size: int) -> None:
        """Nothing is allocated before the first patient comes."""
        self._encoder = encoder
        self._batch_size = batch_size
        self._kept: list[_Kept] = []
        self._batches: dict[Kind, _Batches] = {}

    def add(self, job: Job, prepared: Prepared) -> None:
        """Take a patient's rows; full batches go to the encoder at once."""
        places = {}
        for name, inputs in prepared.views.items():
            kind = prepared.network, inputs.shape[1:]
            if kind not in self._batches:
                self._batches[kind] = _Batches(self._network(prepared.network), self._batch_size)
            places[name] = (kind, self._batches[kind].n_rows)
            self._batches[kind].add(inputs, prepared.masks)
        self._kept.append(_Kept(job, prepared.slices, places))

    def _network(self, name: str) -> Embedder:
        """The encoder, or one network of it."""
        return self._encoder.network(name) if isinstance(self._encoder, Several) else self._encoder

    def finish(self) -> Embedded:
        """Embed what is left."""
        rows = {kind: batches.finish() for kind, batches in self._batches.items()}
        return Embedded(self._encoder.name, self._kept, rows)


class _Batches:
    """Inputs of one kind, packed and embedded."""

    def __init__(self, encoder: Embedder, size: int) -> None:
        """Start an empty batch."""
        self._encoder = encoder
        self._size = size
        self._columns: list[torch.Tensor] = []
        self._filled = 0
        self._rows: list[torch.Tensor] = []
        self.n_rows = 0

    def add(self, inputs: torch.Tensor, masks: torch.Tensor | None) -> None:
        """Copy inputs into the batch, and embed it whenever it is full."""
        columns = [inputs] if masks is None else [inputs, masks]
        start = 0
        while start < len(inputs):
            if not self._columns:
                self._columns = [_empty_batch(column, self._size) for column in columns]
            n = min(self._size - self._filled, len(inputs) - start)
            for batch, column in zip(self._columns, columns, strict=True):
                batch[self._filled : self._filled + n].copy_(column[start : start + n])
            start, self._filled = start + n, self._filled + n
            if self._filled == self._size:
                self._embed()
        self.n_rows += len(inputs)

    def _embed(self) -> None:
        """Give the batch to the encoder; the next one gets memory of its own, as this may still be copied."""
        inputs, *masks = (column[: self._filled] for column in self._columns)
        self._rows.append(self._encoder.embed(inputs, masks[0] if masks else None))
        self._columns, self._filled = [], 0

    def finish(self) -> list[torch.Tensor]:
        """Embed what is left."""
        if self._filled:
            self._embed()
        return self._rows


def _empty_batch(like: torch.Tensor, size: int) -> torch.Tensor:
    """Memory for a batch, from which a GPU can copy while the processor goes on."""
    layout = torch.channels_last if like.ndim == 4 else torch.contiguous_format
    batch = torch.empty((size, *like.shape[1:]), dtype=like.dtype, memory_format=layout)
    return batch.pin_memory() if torch.cuda.is_available() else batch


def by_patient(embedded: Embedded) -> tuple[dict[Job, Features], list[Skipped]]:
    """Cut the rows up; patients with values that are not finite, or with nothing but zeros, are left out."""
    found, skipped = {}, []
    rows = {kind: torch.cat(parts).cpu().numpy() for kind, parts in embedded.rows.items()}
    for kept in embedded.kept:
        n = len(kept.slices.index)
        views = {name: rows[kind][start : start + n] for name, (kind, start) in kept.places.items()}
        reason = _unusable(views.values(), embedded.encoder)
        if reason is None:
            found[kept.job] = _features(kept.job, kept.slices, views)
        else:
            skipped.append(reason.row(kept.job.patient_id, kept.job.cohort, "extract"))
    return found, skipped


def _unusable(blocks: Iterable[Embeddings], encoder: str) -> SkipPatient | None:
    """Why a patient's embeddings say nothing of the patient."""
    for block in blocks:
        if not np.isfinite(block).all():
            return SkipPatient("embedding_nonfinite", f"{encoder} returned NaN or infinity")
        if not block.any():
            return SkipPatient("embedding_zero", f"{encoder} returned zeros alone for every slice")
    return None


def _features(job: Job, slices: ChosenSlices, views: dict[str, Embeddings]) -> Features:
    """One patient in the form of the store."""
    return Features(
        (job.patient_id,),
        (job.input_sha256,),
        np.array([0, len(slices.index)], np.int64),
        slices.index,
        slices.area_mm2.astype(np.float32),
        views,
        {name: np.array([value], np.float64) for name, value in slices.acquisition.items()},
    )
