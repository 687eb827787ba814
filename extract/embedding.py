"""Slabs in, feature stores out: readers, forward pass and writer overlap, and a killed run goes on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from threading import Lock
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Shaped, UInt8

from extract.cache import read_slab
from extract.pictures import ChosenSlices, Drawing, PictureRecipe, Prepared
from extract.shards import Job, Lane, Shard, cut_shards, join_lanes
from triher.errors import SkipPatient, Skipped
from triher.progress import Reporter
from triher.store import Features
from triher.types import Embeddings

_AHEAD = 2  # patients prepared in advance for each reader
_UNWRITTEN = 2  # shards that may wait for the writer before the forward pass waits for it

Rows = Float32[torch.Tensor, "row feature"]
SkippedAt = tuple[int, Skipped]
"""The start of the shard, and who was left out of it."""


@runtime_checkable
class Embedder(Protocol):
    """What turns a patient's drawing into rows of features; `prepare` is called by several threads at once."""

    @property
    def name(self) -> str:
        """For messages."""

    def prepare(self, drawing: Drawing) -> Prepared:
        """What goes into the network, on the host."""

    def embed(
        self, inputs: Shaped[torch.Tensor, "row ..."], masks: UInt8[torch.Tensor, "row row_px col_px"] | None
    ) -> Rows:
        """One row of features for each input, on whatever device; the computation may still be under way."""

    def probe(self) -> Embeddings:
        """The rows of fixed synthetic inputs, which show drift."""

    @property
    def remarks(self) -> list[str]:
        """What happened that the user should know."""


@dataclass(frozen=True)
class Plan:
    """How the work is cut up; nothing of it changes what an embedding means."""

    batch_size: int
    shard_patients: int
    readers: int


def embed_cohort(
    jobs: Iterable[Job],
    lanes: Sequence[Lane],
    devices: Sequence[Sequence[Embedder]],
    recipe: PictureRecipe,
    plan: Plan,
    reporter: Reporter,
    n_jobs: int,
) -> list[Skipped]:
    """Embed the patients with every encoder in one pass over their slabs, and write a store for each.

    Finished shards of an earlier run, and patients of an earlier store with equal identity and input, are kept.

    The caller holds the locks of the stores (`extract.shards.writing`).

    Args:
        jobs: the patients in their order; may still be coming while the first are embedded.
        lanes: where each encoder's embeddings go.
        devices: for each device the encoders, in the order of the lanes.
        recipe: what is drawn of each slab.
        plan: sizes of batches and shards, and how many threads read.
        reporter: where progress goes.
        n_jobs: about how many patients will come.

    Returns:
        Patients who were left out, because an encoder gave NaN or infinity or their cached slab is damaged.

    Raises:
        StopRun: ``cohort_empty`` when no patient is left, ``store_corrupt`` when an earlier store is damaged or a
            shard vanished, ``store_stale`` when a store of other choices has the name, ``disk_full``.
    """
    names = ", ".join(encoder.name for encoder in devices[0])
    with reporter.bar(f"embedding with {names}", n_jobs) as advance:
        shards = SharedShards(cut_shards(jobs, lanes, plan.shard_patients), advance)
        embed = partial(embed_shards, shards, lanes, recipe=recipe, plan=plan, advance=shards.advance)
        skipped = embed(devices[0]) if len(devices) == 1 else _side_by_side(embed, devices, shards)
    join_lanes(lanes, shards.taken, [row for _, row in skipped])
    return [row for _, row in sorted(skipped, key=itemgetter(0))]


class SharedShards:
    """The shards that are not done in every lane, for several devices to take from, each once."""

    def __init__(self, shards: Iterator[Shard], advance: Callable[[], None]) -> None:
        """Nothing is cut before the first is taken."""
        self._shards = shards
        self._advance = advance
        self._lock = Lock()
        self.taken: list[Shard] = []
        self.is_stopped = False

    def __iter__(self) -> Iterator[Shard]:
        """Take shards as long as there are any."""
        while True:
            with self._lock:
                shard = None if self.is_stopped else next(self._shards, None)
                if shard is None:
                    return
                self.taken.append(shard)
            if all(shard.is_done):
                self.advance(len(shard.jobs))
            else:
                yield shard

    def advance(self, n: int = 1) -> None:
        """Tell that patients are done."""
        with self._lock:
            for _ in range(n):
                self._advance()


def _side_by_side(
    embed: Callable[[Sequence[Embedder]], list[SkippedAt]],
    devices: Sequence[Sequence[Embedder]],
    shards: SharedShards,
) -> list[SkippedAt]:
    """Let every device take shards in a thread of its own; the first that fails stops all."""
    with ThreadPoolExecutor(len(devices)) as pool:
        try:
            futures = [pool.submit(embed, encoders) for encoders in devices]
            wait(futures, return_when=FIRST_EXCEPTION)
            shards.is_stopped = any(future.done() and future.exception() for future in futures)
            return [row for future in futures for row in future.result()]
        except BaseException:
            shards.is_stopped = True
            raise


def embed_shards(
    shards: Iterable[Shard],
    lanes: Sequence[Lane],
    encoders: Sequence[Embedder],
    *,
    recipe: PictureRecipe,
    plan: Plan,
    advance: Callable[[], None],
) -> list[SkippedAt]:
    """Embed shards one after the other and commit each.

    Returns:
        Who was left out, with the start of the shard.
    """
    skipped: list[SkippedAt] = []
    with ThreadPoolExecutor(plan.readers) as readers, ThreadPoolExecutor(1) as writer:
        unwritten: deque[Future[list[SkippedAt]]] = deque()
        stream = _prepare_ahead(readers, shards, encoders, recipe, plan.readers * _AHEAD)
        for _, work in groupby(stream, key=lambda item: item.shard.start):
            packers = [_Packer(encoder, plan.batch_size) for encoder in encoders]
            for item in work:
                skipped += _pack(item, packers)
                advance()
            unwritten.append(writer.submit(_commit, item.shard, lanes, [packer.finish() for packer in packers]))
            if len(unwritten) > _UNWRITTEN:
                skipped += unwritten.popleft().result()
        for future in unwritten:
            skipped += future.result()
    return skipped


@dataclass(frozen=True)
class _Item:
    """One patient on the way into the encoders."""

    shard: Shard
    job: Job
    prepared: "dict[int, Prepared] | SkipPatient"
    """For each lane that lacks the patient."""


def _prepare_ahead(
    pool: ThreadPoolExecutor,
    shards: Iterable[Shard],
    encoders: Sequence[Embedder],
    recipe: PictureRecipe,
    ahead: int,
) -> Iterator[_Item]:
    """Prepare patients in the pool, a bounded number ahead, in their order."""
    waiting: deque[Future[_Item]] = deque()
    try:
        for shard in shards:
            for job in shard.jobs:
                waiting.append(pool.submit(_prepare, shard, job, encoders, recipe))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _prepare(shard: Shard, job: Job, encoders: Sequence[Embedder], recipe: PictureRecipe) -> _Item:
    """What goes into each encoder that lacks the patient, or why there is nothing."""
    lacking = [lane for lane, missing in enumerate(shard.missing) if job in missing]
    if not lacking:
        return _Item(shard, job, {})
    try:
        drawing = Drawing(read_slab(job.slab), recipe)
        return _Item(shard, job, {lane: encoders[lane].prepare(drawing) for lane in lacking})
    except SkipPatient as reason:
        return _Item(shard, job, reason)


def _pack(item: _Item, packers: "Sequence[_Packer]") -> list[SkippedAt]:
    """Hand a patient to the encoders."""
    if isinstance(item.prepared, SkipPatient):
        return [(item.shard.start, item.prepared.row(item.job.patient_id, item.job.cohort, "extract"))]
    for lane, prepared in item.prepared.items():
        packers[lane].add(item.job, prepared)
    return []


@dataclass(frozen=True)
class _Kept:
    """One patient among the rows of a shard."""

    job: Job
    slices: ChosenSlices
    places: dict[str, tuple[torch.Size, int]]
    """View -> which rows and where they start."""


@dataclass(frozen=True)
class _Embedded:
    """The patients of one shard in one lane."""

    encoder: str
    kept: list[_Kept]
    rows: dict[torch.Size, list[torch.Tensor]]
    """For each shape of input; on the device, perhaps still being computed."""


class _Packer:
    """Packs full batches across patients, whatever their numbers of slices."""

    def __init__(self, encoder: Embedder, batch_size: int) -> None:
        """Nothing is allocated before the first patient comes."""
        self._encoder = encoder
        self._batch_size = batch_size
        self._kept: list[_Kept] = []
        self._batches: dict[torch.Size, _Batches] = {}

    def add(self, job: Job, prepared: Prepared) -> None:
        """Take a patient's rows; full batches go to the encoder at once."""
        places = {}
        for name, inputs in prepared.views.items():
            shape = inputs.shape[1:]
            batches = self._batches.setdefault(shape, _Batches(self._encoder, self._batch_size))
            places[name] = (shape, batches.n_rows)
            batches.add(inputs, prepared.masks)
        self._kept.append(_Kept(job, prepared.slices, places))

    def finish(self) -> _Embedded:
        """Embed what is left."""
        rows = {shape: batches.finish() for shape, batches in self._batches.items()}
        return _Embedded(self._encoder.name, self._kept, rows)


class _Batches:
    """Inputs of one shape, packed and embedded."""

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


def _commit(shard: Shard, lanes: Sequence[Lane], embedded: Sequence[_Embedded]) -> list[SkippedAt]:
    """Wait for the rows of a shard and write it in every lane that lacks it."""
    skipped: list[SkippedAt] = []
    for lane, path, done, one in zip(lanes, shard.paths, shard.is_done, embedded, strict=True):
        if done:
            continue
        found, bad = _by_patient(one)
        skipped += [(shard.start, row) for row in bad]
        parts = [found.get(job) or lane.known(job) for job in shard.jobs]
        lane.commit(path, [part for part in parts if part is not None])
    return skipped


def _by_patient(embedded: _Embedded) -> tuple[dict[Job, Features], list[Skipped]]:
    """Cut the rows up; patients with values that are not finite are left out."""
    found, skipped = {}, []
    rows = {shape: torch.cat(parts).cpu().numpy() for shape, parts in embedded.rows.items()}
    for kept in embedded.kept:
        n = len(kept.slices.index)
        views = {name: rows[shape][start : start + n] for name, (shape, start) in kept.places.items()}
        if all(np.isfinite(block).all() for block in views.values()):
            found[kept.job] = _features(kept.job, kept.slices, views)
        else:
            reason = SkipPatient("embedding_nonfinite", f"{embedded.encoder} returned NaN or infinity")
            skipped.append(reason.row(kept.job.patient_id, kept.job.cohort, "extract"))
    return found, skipped


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
