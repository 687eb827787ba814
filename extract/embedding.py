"""Slabs in, feature store out: readers, forward pass and writer overlap, and a killed run goes on.

The patients are cut into shards by their position. Batches are packed across the patients of a shard and never
across shards, so that a shard's bytes do not depend on where an earlier run was killed. Each shard is a small
store that appears atomically; at the end they are joined, and the join appears atomically.
"""

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from extract.cache import read_slab
from extract.models import Encoder
from extract.pictures import ChosenSlices, PictureRecipe, Prepared, prepare
from triher.errors import SkipPatient, Skipped, StopRun
from triher.files import locked, sha256_of_json
from triher.progress import Reporter
from triher.store import Features, Header, concatenate, read_index, read_store, write_store
from triher.types import Embeddings

_AHEAD = 2  # patients prepared in advance for each reader


@dataclass(frozen=True)
class Job:
    """One patient to embed."""

    patient_id: str
    cohort: str
    slab: Path
    input_sha256: str


@dataclass(frozen=True)
class Plan:
    """How the work is cut up; nothing of it changes an embedding."""

    batch_size: int
    shard_patients: int
    readers: int


@dataclass(frozen=True)
class Shard:
    """Patients that are committed together."""

    path: Path
    jobs: tuple[Job, ...]

    def is_done(self, header: Header) -> bool:
        """Whether an earlier run embedded all its patients with the same encoder and recipe."""
        features = _read_like(self.path, header)
        wanted = [(job.patient_id, job.input_sha256) for job in self.jobs]
        return features is not None and list(zip(features.patient_id, features.input_sha256, strict=True)) == wanted


def embed_cohort(
    jobs: Sequence[Job],
    encoder: Encoder,
    recipe: PictureRecipe,
    header: Header,
    target: Path,
    plan: Plan,
    reporter: Reporter,
) -> list[Skipped]:
    """Embed the patients and write the store `target`.

    Finished shards of an earlier run, and patients of an earlier store with equal identity and input, are kept.

    Returns:
        Patients who were left out, because the encoder gave NaN or infinity or their cached slab is damaged.

    Raises:
        StopRun: ``store_locked`` when another process writes the same store, ``cohort_empty`` when no patient
            is left.
    """
    skipped: list[Skipped] = []
    with locked(target.with_suffix(".lock")):
        known = _known_patients(target, jobs, header)
        shards = cut_shards(jobs, target, plan.shard_patients)
        open_shards = [shard for shard in shards if not shard.is_done(header)]
        todo = [job for shard in open_shards for job in shard.jobs if job not in known]
        with (
            ThreadPoolExecutor(plan.readers) as pool,
            ThreadPoolExecutor(1) as writer,
            reporter.bar(f"embedding with {encoder.spec.name}", len(todo)) as advance,
        ):
            stream = _prepare_ahead(pool, todo, recipe, plan.readers * _AHEAD)
            writes = []
            for shard in open_shards:
                fresh = [job for job in shard.jobs if job not in known]
                found = known | _embed_patients(
                    islice(stream, len(fresh)), encoder, plan.batch_size, advance, skipped
                )
                parts = [found[job] for job in shard.jobs if job in found]
                writes.append(writer.submit(_write_shard, shard.path, header, parts))
            for write in writes:
                write.result()
        _join([shard.path for shard in shards if shard.path.exists()], target, header)
        shutil.rmtree(_shard_folder(target), ignore_errors=True)
    return skipped


def cut_shards(jobs: Sequence[Job], target: Path, size: int) -> list[Shard]:
    """Cut the patients into shards; each one's name holds a hash of who is in it."""
    shards = []
    for start in range(0, len(jobs), size):
        mine = tuple(jobs[start : start + size])
        digest = sha256_of_json([[job.patient_id, job.input_sha256] for job in mine])
        shards.append(Shard(_shard_folder(target) / f"{start:08d}-{digest[:16]}.h5", mine))
    return shards


def _read_like(store: Path, header: Header) -> Features | None:
    """The embeddings of a store made with the same encoder and recipe, by libraries that give the same probe."""
    if not store.exists() or read_index(store).identity != header.identity:
        return None
    found, features = read_store(store)
    return features if found.resembles(header) else None


def _shard_folder(target: Path) -> Path:
    """Where the shards of a store lie until they are joined."""
    return target.with_suffix(".shards")


def _known_patients(target: Path, jobs: Sequence[Job], header: Header) -> dict[Job, Features]:
    """The patients of an earlier store that can be taken over."""
    features = _read_like(target, header)
    if features is None:
        return {}
    held = {pair: i for i, pair in enumerate(zip(features.patient_id, features.input_sha256, strict=True))}
    keys = {job: (job.patient_id, job.input_sha256) for job in jobs}
    return {job: features.select([held[key]]) for job, key in keys.items() if key in held}


def _prepare_ahead(
    pool: ThreadPoolExecutor, jobs: Sequence[Job], recipe: PictureRecipe, ahead: int
) -> Iterator[tuple[Job, Prepared | SkipPatient]]:
    """Prepare patients in the pool, a bounded number ahead, in their order."""
    waiting: deque[tuple[Job, Future[Prepared | SkipPatient]]] = deque()
    for job in jobs:
        waiting.append((job, pool.submit(_prepare_job, job, recipe)))
        if len(waiting) > ahead:
            first, future = waiting.popleft()
            yield first, future.result()
    for job, future in waiting:
        yield job, future.result()


def _prepare_job(job: Job, recipe: PictureRecipe) -> Prepared | SkipPatient:
    """The pictures of a patient, or why there are none."""
    try:
        return prepare(read_slab(job.slab), recipe)
    except SkipPatient as reason:
        return reason


def _embed_patients(
    items: Iterable[tuple[Job, Prepared | SkipPatient]],
    encoder: Encoder,
    batch_size: int,
    advance: Callable[[], None],
    skipped: list[Skipped],
) -> dict[Job, Features]:
    """Embed the patients of one shard, in full batches whatever their numbers of slices."""
    kept: list[tuple[Job, ChosenSlices, list[str]]] = []

    def pictures() -> Iterator[torch.Tensor]:
        for job, prepared in items:
            if isinstance(prepared, SkipPatient):
                skipped.append(prepared.row(job.patient_id, job.cohort, "extract"))
            else:
                kept.append((job, prepared.slices, list(prepared.views)))
                yield from prepared.views.values()
            advance()

    rows = _embed_stream(pictures(), encoder, batch_size)
    found = {}
    for job, slices, names in kept:
        n = len(slices.index)
        views = {name: rows[i * n : (i + 1) * n] for i, name in enumerate(names)}
        rows = rows[n * len(names) :]
        if all(np.isfinite(block).all() for block in views.values()):
            found[job] = _features(job, slices, views)
        else:
            reason = SkipPatient("embedding_nonfinite", f"{encoder.spec.name} returned NaN or infinity")
            skipped.append(reason.row(job.patient_id, job.cohort, "extract"))
    return found


def _embed_stream(chunks: Iterable[torch.Tensor], encoder: Encoder, batch_size: int) -> Embeddings:
    """Embed pictures that come in chunks of any size, in their order."""
    pending = torch.zeros((0, 3, encoder.spec.input_size, encoder.spec.input_size), dtype=torch.uint8)
    done: list[Embeddings] = []
    for chunk in chunks:
        pending = torch.cat([pending, chunk])
        while len(pending) >= batch_size:
            done.append(encoder.embed(pending[:batch_size]))
            pending = pending[batch_size:]
    if len(pending):
        done.append(encoder.embed(pending))
    return np.concatenate(done) if done else np.zeros((0, 0), np.float32)


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


def _write_shard(path: Path, header: Header, parts: list[Features]) -> None:
    """Commit the patients of a shard; a shard without any leaves no file."""
    path.unlink(missing_ok=True)
    if parts:
        features = concatenate(parts)
        write_store(path, header, [features], n_slices=len(features.slice_index))


def _join(paths: Sequence[Path], target: Path, header: Header) -> None:
    """Join the shards, one at a time in memory."""
    if not paths:
        raise StopRun("cohort_empty", f"no patient could be embedded for {target}")
    n_slices = sum(read_index(path).n_slices for path in paths)
    write_store(target, header, (read_store(path)[1] for path in paths), n_slices=n_slices)
