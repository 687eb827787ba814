"""Slabs in, feature stores out: readers, forward pass and writer overlap, and a killed run goes on."""

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from threading import Event, Lock

from extract.cache import read_slab
from extract.packing import Embedded, Embedder, Packer, by_patient
from extract.pictures import Drawing, PictureRecipe, Prepared
from extract.shards import Job, Lane, Shard, cut_shards, join_lanes
from triher.errors import SkipPatient, Skipped
from triher.progress import Reporter

_AHEAD = 2  # patients prepared in advance for each reader
_UNWRITTEN = 2  # shards that may wait for the writer before the forward pass waits for it

SkippedAt = tuple[int, Skipped]
"""The start of the shard, and who was left out of it."""


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
        Patients who were left out, because their cached slab is damaged, or, of the store of one encoder, because
        that encoder could not use them or gave NaN or infinity; a row for each encoder, which its reason names.

    Raises:
        StopRun: ``cohort_empty`` when no patient is left, ``store_corrupt`` when an earlier store is damaged or a
            shard vanished, ``store_stale`` when a store of other choices has the name, ``disk_full``.
    """
    names = ", ".join(encoder.name for encoder in devices[0])
    with reporter.bar(f"embedding with {names}", n_jobs) as advance:
        shards = SharedShards(jobs, lanes, plan.shard_patients, advance)
        embed = partial(
            embed_shards, shards, lanes, recipe=recipe, plan=plan, advance=shards.advance, stop=shards.stop
        )
        skipped = _side_by_side(embed, devices, shards)
    join_lanes(lanes, shards.taken, [row for _, row in skipped])
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
    packers: list[Packer] = []
    for item in stream:
        packers = packers or [Packer(encoder, batch_size) for encoder in encoders]
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


def _pack(item: _Item, packers: Sequence[Packer]) -> list[SkippedAt]:
    """Hand a patient to the encoders."""
    for lane, prepared in item.prepared.items():
        packers[lane].add(item.job, prepared)
    return [(item.shard.start, why.row(item.job.patient_id, item.job.cohort, "extract")) for why in item.reasons]


def _commit(shard: Shard, lanes: Sequence[Lane], embedded: Sequence[Embedded]) -> list[SkippedAt]:
    """Wait for the rows of a shard and write it in every lane that lacks it."""
    skipped: list[SkippedAt] = []
    for lane, path, done, one in zip(lanes, shard.paths, shard.is_done, embedded, strict=True):
        if done:
            continue
        found, bad = by_patient(one)
        skipped += [(shard.start, row) for row in bad]
        parts = [found.get(job) or lane.known(job) for job in shard.jobs]
        lane.commit(path, [part for part in parts if part is not None])
    return skipped
