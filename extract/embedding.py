"""Slabs in, feature stores out: readers, forward pass and writer overlap, and a killed run goes on."""

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from threading import Event, Lock
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Shaped, UInt8

from extract.cache import read_slab
from extract.pictures import ChosenSlices, Drawing, PictureRecipe, Prepared
from extract.shards import Job, Lane, Shard, cut_shards
from triher.errors import SkipPatient, Skipped
from triher.files import locked
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

    Args:
        jobs: the patients in their order; may still be coming while the first are embedded.
        lanes: where each encoder's embeddings go.
        devices: for each device the encoders, in the order of the lanes.
        recipe: what is drawn of each slab.
        plan: sizes of batches and shards, and how many threads read.
        reporter: where progress goes.
        n_jobs: about how many patients will come.

    Returns:
        Patients who were left out, because their cached slab is damaged, or, of the store of one encoder, because
        that encoder could not use them or gave NaN or infinity; a row for each encoder, which its reason names.

    Raises:
        StopRun: ``store_locked`` when another process writes the same store, ``cohort_empty`` when no patient
            is left, ``store_corrupt`` when an earlier store is damaged.
    """
    with contextlib.ExitStack() as locks:
        for lane in lanes:
            locks.enter_context(locked(lane.lock))
        names = ", ".join(encoder.name for encoder in devices[0])
        with reporter.bar(f"embedding with {names}", n_jobs) as advance:
            shards = SharedShards(jobs, lanes, plan.shard_patients, advance)
            embed = partial(
                embed_shards, shards, lanes, recipe=recipe, plan=plan, advance=shards.advance, stop=shards.stop
            )
            skipped = _side_by_side(embed, devices, shards)
        for i, lane in enumerate(lanes):
            lane.join(shard.paths[i] for shard in shards.taken)
    return [row for _, row in sorted(skipped, key=itemgetter(0))]


class Stopped(Exception):
    """Another device failed, so that this one's work is given up."""


class SharedShards:
    """The shards that are not done in every lane, for several devices to take from, each once."""

    def __init__(self, jobs: Iterable[Job], lanes: Sequence[Lane], size: int, advance: Callable[[], None]) -> None:
        """Nothing is cut before the first is taken."""
        self._shards = cut_shards(self._until_stopped(jobs), lanes, size)
        self._advance = advance
        # Two locks, as taking a shard may wait for its slabs, and devices that have work must not wait with it.
        self._taking, self._telling = Lock(), Lock()
        self._stop = Event()
        self.taken: list[Shard] = []

    def __iter__(self) -> Iterator[Shard]:
        """Take shards as long as there are any."""
        while True:
            with self._taking:
                shard = next(self._shards, None)
                if shard is None or self._stop.is_set():
                    return
                self.taken.append(shard)
            if all(shard.is_done):
                self.advance(len(shard.jobs))
            else:
                yield shard

    def _until_stopped(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """The patients, so that nobody waits for the slabs of a whole shard that is not wanted any more."""
        for job in jobs:
            if self._stop.is_set():
                return
            yield job

    def advance(self, n: int = 1) -> None:
        """Tell that patients are done.

        Raises:
            Stopped: after `stop`.
        """
        if self._stop.is_set():
            raise Stopped
        with self._telling:
            for _ in range(n):
                self._advance()

    def stop(self) -> None:
        """Let every device give up after the patient it is at."""
        self._stop.set()


def _side_by_side(
    embed: Callable[[Sequence[Embedder]], list[SkippedAt]],
    devices: Sequence[Sequence[Embedder]],
    shards: SharedShards,
) -> list[SkippedAt]:
    """Let every device take shards in a thread of its own; the first that fails, or an interrupt, stops all."""
    with ThreadPoolExecutor(len(devices)) as pool:
        try:
            futures = [pool.submit(embed, encoders) for encoders in devices]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:  # before any other is looked at, which may just have been stopped
                future.result()
            return [row for future in futures for row in future.result()]
        finally:
            shards.stop()


def embed_shards(
    shards: Iterable[Shard],
    lanes: Sequence[Lane],
    encoders: Sequence[Embedder],
    *,
    recipe: PictureRecipe,
    plan: Plan,
    advance: Callable[[], None],
    stop: Callable[[], None],
) -> list[SkippedAt]:
    """Embed shards one after the other and commit each.

    Args:
        shards: may wait for their slabs when the next is asked for; what was prepared is embedded meanwhile.
        lanes: where each encoder's embeddings go.
        encoders: in the order of the lanes.
        recipe: what is drawn of each slab.
        plan: sizes of batches, and how many threads read.
        advance: called after each patient.
        stop: called on an error, so that nobody waits for shards any more.

    Returns:
        Who was left out, with the start of the shard.
    """
    with contextlib.ExitStack() as stack:
        readers, taker, writer = (stack.enter_context(ThreadPoolExecutor(n)) for n in (plan.readers, 1, 1))
        ahead = plan.readers * _AHEAD
        stream = _prepare_ahead(readers, taker, shards, encoders, recipe, ahead)
        try:
            return _embed_stream(stream, writer, lanes, encoders, plan.batch_size, advance)
        except BaseException:
            stop()
            stream.close()
            raise


def _embed_stream(
    stream: "Iterable[_Item]",
    writer: ThreadPoolExecutor,
    lanes: Sequence[Lane],
    encoders: Sequence[Embedder],
    batch_size: int,
    advance: Callable[[], None],
) -> list[SkippedAt]:
    """Embed prepared patients; a shard is committed with its last one, while the next is embedded."""
    skipped: list[SkippedAt] = []
    unwritten: deque[Future[list[SkippedAt]]] = deque()
    packers: list[_Packer] = []
    for item in stream:
        packers = packers or [_Packer(encoder, batch_size) for encoder in encoders]
        skipped += _pack(item, packers)
        advance()
        if item.job is item.shard.jobs[-1]:
            unwritten.append(writer.submit(_commit, item.shard, lanes, [packer.finish() for packer in packers]))
            packers = []
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
    prepared: dict[int, Prepared]
    """For each lane that lacks the patient and can have her."""
    reasons: tuple[SkipPatient, ...] = ()
    """Why the others cannot."""


def _prepare_ahead(
    readers: ThreadPoolExecutor,
    taker: ThreadPoolExecutor,
    shards: Iterable[Shard],
    encoders: Sequence[Embedder],
    recipe: PictureRecipe,
    ahead: int,
) -> Generator[_Item, None, None]:
    """Prepare patients in threads, a bounded number ahead, in their order."""
    stream = iter(shards)
    waiting: deque[Future[_Item]] = deque()
    try:
        while (shard := (yield from _while_taking(taker, stream, waiting))) is not None:
            for job in shard.jobs:
                waiting.append(readers.submit(_prepare, shard, job, encoders, recipe))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _while_taking(
    taker: ThreadPoolExecutor, stream: Iterator[Shard], waiting: deque[Future[_Item]]
) -> Generator[_Item, None, Shard | None]:
    """Take the next shard; what is prepared is handed on as long as its slabs are still being made."""
    coming: Future[Shard | None] = taker.submit(next, stream, None)
    while waiting and not coming.done():
        yield waiting.popleft().result()
    return coming.result()


def _prepare(shard: Shard, job: Job, encoders: Sequence[Embedder], recipe: PictureRecipe) -> _Item:
    """What goes into each encoder that lacks the patient, or why there is nothing."""
    lacking = [lane for lane, missing in enumerate(shard.missing) if job in missing]
    if not lacking:
        return _Item(shard, job, {})
    try:
        drawing = Drawing(read_slab(job.slab), recipe)
    except SkipPatient as reason:
        return _Item(shard, job, {}, (reason,))
    prepared, reasons = {}, []
    for lane in lacking:
        try:
            prepared[lane] = encoders[lane].prepare(drawing)
        except SkipPatient as reason:
            message = f"{encoders[lane].name}: {reason.message}"
            reasons.append(SkipPatient(reason.code, message, remedy=reason.remedy))
    return _Item(shard, job, prepared, tuple(reasons))


def _pack(item: _Item, packers: "Sequence[_Packer]") -> list[SkippedAt]:
    """Hand a patient to the encoders."""
    for lane, prepared in item.prepared.items():
        packers[lane].add(item.job, prepared)
    return [(item.shard.start, why.row(item.job.patient_id, item.job.cohort, "extract")) for why in item.reasons]


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
