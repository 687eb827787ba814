"""What is committed together: patients of a cohort in shards, one store for each encoder.

The patients are cut into shards by their position. Batches are packed across the patients of a shard and never
across shards, so that a shard's bytes do not depend on where an earlier run was killed. Each shard is a small
store that appears atomically; at the end they are joined, and the join appears atomically.
"""

import contextlib
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from triher.errors import Skipped, StopRun
from triher.files import locked, sha256_of_json
from triher.store import Features, Header, concatenate, identity, read_index, read_store, write_store
from triher.store_compare import differing_keys
from triher.store_guard import DAMAGE_CODES


@dataclass(frozen=True)
class Job:
    """One patient to embed."""

    patient_id: str
    cohort: str
    slab: Path
    input_sha256: str

    @property
    def key(self) -> tuple[str, str]:
        """Embeddings of an equal key by the same encoder and recipe are the same."""
        return self.patient_id, self.input_sha256


@dataclass(frozen=True)
class Lane:
    """One encoder's way: the store that its embeddings go to, and what is already there."""

    target: Path
    header: Header

    @property
    def shard_folder(self) -> Path:
        """Where the shards lie until they are joined."""
        return _shard_folder(self.target)

    @cached_property
    def _earlier(self) -> tuple[Features, dict[tuple[str, str], int]] | None:
        """An earlier store's embeddings and where each patient is in them."""
        refuse_other(self.target, self.header.encoder, self.header.recipe)
        features = _read_like(self.target, self.header)
        if features is None:
            return None
        keys = zip(features.patient_id, features.input_sha256, strict=True)
        return features, {key: i for i, key in enumerate(keys)}

    def known(self, job: Job) -> Features | None:
        """The patient's embeddings in an earlier store of equal encoder and recipe."""
        if self._earlier is None or job.key not in self._earlier[1]:
            return None
        features, place = self._earlier
        return features.select([place[job.key]])

    def commit(self, path: Path, parts: Sequence[Features]) -> None:
        """Write a shard; one without patients leaves no file."""
        if parts:
            features = concatenate(parts)
            write_store(path, self.header, [features], n_slices=len(features.slice_index))
        else:
            path.unlink(missing_ok=True)

    def join(self, paths: Iterable[Path], patients: Iterable[str]) -> None:
        """Join the shards into the store, one at a time in memory.

        Args:
            paths: of the shards; those of which nobody was left have no file.
            patients: who must be in them.

        Raises:
            StopRun: ``cohort_empty`` when there is none, ``store_corrupt`` when one vanished.
        """
        present = [path for path in paths if path.exists()]
        indexes = [read_index(path) for path in present]
        lost = sorted(set(patients).difference(*(index.inputs for index in indexes)))
        if lost:
            message = f"shards of {self.target} vanished while it was made, with {len(lost)} patients: "
            remedy = "give the same command again"
            raise StopRun("store_corrupt", message + ", ".join(lost[:5]), remedy=remedy)
        if not present:
            raise StopRun("cohort_empty", f"no patient could be embedded for {self.target}")
        n_slices = sum(index.n_slices for index in indexes)
        write_store(self.target, self.header, (read_store(path)[1] for path in present), n_slices=n_slices)
        shutil.rmtree(self.shard_folder, ignore_errors=True)


@contextlib.contextmanager
def writing(stores: Sequence[Path]) -> Iterator[None]:
    """Be the only process that writes these stores.

    Raises:
        StopRun: ``store_locked`` when another one does.
    """
    with contextlib.ExitStack() as locks:
        for store in stores:
            locks.enter_context(locked(_lock(store)))
        yield


def remove_remains(store: Path) -> None:
    """Remove what a run left that was killed after its store was complete; what a living one needs stays."""
    if _lock(store).exists() or _shard_folder(store).exists():
        with contextlib.suppress(StopRun), writing([store]):
            shutil.rmtree(_shard_folder(store), ignore_errors=True)


def _shard_folder(store: Path) -> Path:
    """Where the shards lie until they are joined."""
    return store.with_suffix(".shards")


def _lock(store: Path) -> Path:
    """Held by the process that writes the store."""
    return store.with_suffix(".lock")


def refuse_other(store: Path, encoder: dict[str, Any], recipe: dict[str, Any]) -> None:
    """Leave a store alone that lies under the name of another one.

    Raises:
        StopRun: ``store_stale`` with the keys that differ.
    """
    if not store.exists():
        return
    index = read_index(store)
    if index.identity != identity(encoder, recipe):
        differing = [
            *differing_keys(index.encoder, encoder, "encoder."),
            *differing_keys(index.recipe, recipe, "recipe."),
        ]
        message = f"{store} was made with other choices: {'; '.join(differing)}"
        raise StopRun("store_stale", message, remedy="give it its former name again, or move it away")


@dataclass(frozen=True)
class Shard:
    """Patients that are committed together, in every lane."""

    start: int
    """Position of the first among all patients."""
    jobs: tuple[Job, ...]
    paths: tuple[Path, ...]
    """One a lane."""
    missing: tuple[frozenset[Job], ...] = field(repr=False)
    """For each lane the patients that are still to be embedded."""
    is_done: tuple[bool, ...]
    """For each lane whether its file is there and holds them all."""


def cut_shards(jobs: Iterable[Job], lanes: Sequence[Lane], size: int) -> Iterator[Shard]:
    """Cut the patients into shards as they come; each file's name holds a hash of who is in it."""
    stream = iter(jobs)
    start = 0
    while mine := tuple(islice(stream, size)):
        digest = sha256_of_json([list(job.key) for job in mine])
        paths = tuple(lane.shard_folder / f"{start:08d}-{digest[:16]}.h5" for lane in lanes)
        is_done = tuple(_holds(path, mine, lane.header) for path, lane in zip(paths, lanes, strict=True))
        missing = tuple(
            frozenset() if done else frozenset(job for job in mine if lane.known(job) is None)
            for done, lane in zip(is_done, lanes, strict=True)
        )
        yield Shard(start, mine, paths, missing, is_done)
        start += size


def without(shard: Shard, left_out: Collection[Job]) -> Shard:
    """The same shard, under the same file names, without some patients; lanes that are done stay as they are."""
    jobs = tuple(job for job in shard.jobs if job not in left_out)
    missing = tuple(frozenset(mine.difference(left_out)) for mine in shard.missing)
    return replace(shard, jobs=jobs, missing=missing)


def join_lanes(lanes: Sequence[Lane], shards: Sequence[Shard], skipped: Iterable[Skipped]) -> None:
    """Join the shards of every lane; whoever was not skipped must be in them.

    Raises:
        StopRun: as `Lane.join`.
    """
    left_out = {row.patient_id for row in skipped}
    patients = {job.patient_id for shard in shards for job in shard.jobs} - left_out
    for i, lane in enumerate(lanes):
        lane.join([shard.paths[i] for shard in shards], patients)


def _holds(path: Path, jobs: Sequence[Job], header: Header) -> bool:
    """Whether an earlier run embedded all of them with the same encoder and recipe; a damaged file holds none."""
    try:
        features = _read_like(path, header)
    except StopRun as error:
        if error.code not in (*DAMAGE_CODES, "store_unknown"):
            raise
        return False
    wanted = [job.key for job in jobs]
    return features is not None and list(zip(features.patient_id, features.input_sha256, strict=True)) == wanted


def _read_like(store: Path, header: Header) -> Features | None:
    """The embeddings of a store made with the same encoder and recipe, by libraries that give the same probe."""
    if not store.exists() or read_index(store).identity != header.identity:
        return None
    found, features = read_store(store)
    return features if found.resembles(header) else None
