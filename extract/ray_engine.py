"""An extraction over a Ray cluster: every worker embeds whole shards and commits them to the shared folder.

All machines must see run folder, weights and images under the same paths, and have TriHER installed. Shards are cut,
packed and written as on one machine, so that the stores are equal. A worker that dies is replaced and its shards are
done again; where two die at one shard, its patients are tried one by one, and whoever lets a worker die is left out.
"""

import contextlib
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from extract.devices import choose_devices
from extract.embedding import SharedShards, SkippedAt, embed_shards
from extract.engines import make_lanes, make_plan, picture_recipe
from extract.packing import Embedder
from extract.shards import Job, Lane, Shard, join_lanes, without, writing
from extract.task import Task
from triher.cluster import connected, gather
from triher.errors import SkipPatient, Skipped, StopRun
from triher.progress import Reporter

_QUEUED = 2  # shards at each worker, so that the next one is there when one is done
_TRIES = 2  # a shard at which so many workers died is not tried again as it is
_THREADS = 2  # processors for each worker without a GPU
_DEVICES = ("auto", "cpu", "cuda")


class _Worker:
    """Lives in a process of its own, with the encoders on its device."""

    def __init__(self) -> None:
        """Nothing that could fail: Ray would not say why."""
        self._encoders: list[Embedder] = []
        self._lanes: Sequence[Lane] = ()

    def load(self, task: Task, device: str, n_threads: int) -> list[np.ndarray]:
        """Build the encoders, which takes seconds; returns what they give for the fixed synthetic inputs."""
        torch.set_num_threads(n_threads)
        (chosen,) = choose_devices(device)[:1]
        self._task = task
        self._encoders = [choice.load(chosen) for choice in task.encoders]
        return [encoder.probe() for encoder in self._encoders]

    def open(self, lanes: Sequence[Lane]) -> None:
        """Learn where the embeddings go; kept, so that an earlier store is read once."""
        self._lanes = lanes

    def embed(self, shard: Shard) -> list[SkippedAt]:
        """Embed and commit a shard."""
        recipe, plan = picture_recipe(self._task), make_plan(self._task)
        return embed_shards(
            [shard], self._lanes, self._encoders, recipe=recipe, plan=plan, advance=_nothing, stop=_nothing
        )

    def remarks(self) -> list[str]:
        """What happened that the user should know."""
        return [f"{encoder.name} on {remark}" for encoder in self._encoders for remark in encoder.remarks]


def _nothing() -> None:
    """Nobody in the worker's process waits for news."""


def embed_with_ray(
    task: Task, jobs: Iterable[Job], stores: Sequence[Path], n_patients: int, reporter: Reporter
) -> list[Skipped]:
    """Embed over a cluster; as `extract.engines.embed_locally`.

    Raises:
        StopRun: ``extra_missing`` without Ray, ``config_value`` for devices or workers that the cluster cannot give,
            ``worker_died``, ``transform_drift`` when workers do not compute the same; else as there.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(writing(stores))
        crew = _Crew(stack.enter_context(connected()), task)
        names = ", ".join(choice.spec.name for choice in task.encoders)
        reporter.say(f"loading {names} in {crew.size} workers of Ray")
        lanes = crew.start(stores)
        advance = stack.enter_context(reporter.bar("embedding", n_patients))
        shards = SharedShards(jobs, lanes, task.config.extract.shard_patients, advance)
        skipped = crew.embed(shards)
        join_lanes(lanes, shards.taken, [row for _, row in skipped])
        for remark in crew.remarks():
            reporter.say(remark)
    return [row for _, row in sorted(skipped, key=itemgetter(0))]


@dataclass(frozen=True)
class _Share:
    """What each worker gets of the cluster."""

    n_workers: int
    device: str
    n_gpus: int


def _share(ray: Any, task: Task) -> _Share:  # noqa: ANN401 - an optional library
    """One worker on each GPU, or one on every few processors."""
    options, resources = task.config.extract, ray.cluster_resources()
    if options.device not in _DEVICES:
        message = f"extract.device is '{options.device}'; with extract.engine=ray it is one of {', '.join(_DEVICES)}"
        raise StopRun("config_value", message, remedy="leave it to Ray which worker gets which GPU")
    n_gpus, n_cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    if options.device == "cpu" or not n_gpus:
        return _Share(options.workers or max(1, n_cpus // _THREADS), options.device, 0)
    if options.workers > n_gpus:
        message = f"extract.workers is {options.workers}, the cluster has {n_gpus} GPUs, one for each worker"
        raise StopRun("config_value", message, remedy="use extract.workers=0")
    return _Share(options.workers or n_gpus, options.device, 1)


@dataclass(eq=False)
class _Place:
    """A worker, and the shards that were handed to it, the one it is at first."""

    actor: Any
    queue: deque[tuple[Any, Shard]] = field(default_factory=deque)


class _Crew:
    """The workers of a run."""

    def __init__(self, ray: Any, task: Task) -> None:  # noqa: ANN401 - an optional library
        """Ask for the workers; they come when the cluster has room."""
        self._ray = ray
        self._task = task
        self._share = _share(ray, task)
        # No processor is reserved: workers that hold all of them would leave none for reading volumes.
        options = {"num_cpus": 0, "num_gpus": self._share.n_gpus, "scheduling_strategy": "SPREAD"}
        self._kind = ray.remote(**options)(_Worker)
        self._lanes: list[Lane] = []
        self._deaths: Counter[int] = Counter()
        self._places: list[_Place] = []

    @property
    def size(self) -> int:
        """How many workers there are."""
        return self._share.n_workers

    def start(self, stores: Sequence[Path]) -> list[Lane]:
        """Load the encoders everywhere; returns where the embeddings go."""
        self._places = [_Place(self._kind.remote()) for _ in range(self.size)]
        probes = self._load(self._places)
        self._lanes = make_lanes(self._task, stores, probes[0])
        self._open(self._places, probes)
        return [replace(lane) for lane in self._lanes]  # which will hold what is read of an earlier store

    def _load(self, places: Sequence[_Place]) -> list[list[np.ndarray]]:
        """Let workers load the encoders; returns their probes."""
        n_threads = torch.get_num_threads()
        loading = [place.actor.load.remote(self._task, self._share.device, n_threads) for place in places]
        try:
            probes: list[list[np.ndarray]] = gather(self._ray, loading)
        except self._ray.exceptions.RayActorError as error:
            raise StopRun("worker_died", f"a worker ended while it loaded the encoders: {error}") from error
        return probes

    def _open(self, places: Sequence[_Place], probes: Sequence[Sequence[np.ndarray]]) -> None:
        """Tell workers where the embeddings go, if they compute the same as the first."""
        for i, lane in enumerate(self._lanes):
            if not all(lane.header.resembles(replace(lane.header, probe=found[i])) for found in probes):
                message = f"the workers of Ray do not compute the same with {self._task.encoders[i].spec.name}"
                raise StopRun("transform_drift", message, remedy="install the same versions on all machines")
        for place in places:
            place.actor.open.remote(self._lanes)

    def embed(self, shards: SharedShards) -> list[SkippedAt]:
        """Keep every worker supplied until all shards are done."""
        stream = iter(shards)
        skipped: list[SkippedAt] = []
        for place in self._places * _QUEUED:
            self._give(place, next(stream, None))
        while any(place.queue for place in self._places):
            place = self._next_done()
            reference, shard = place.queue[0]
            try:
                skipped += gather(self._ray, reference)
            except self._ray.exceptions.RayActorError as error:
                left_out = self._replace(place, error)
                shards.advance(len(left_out))
                skipped += left_out
                continue
            place.queue.popleft()
            shards.advance(len(shard.jobs))
            self._give(place, next(stream, None))
        return skipped

    def _give(self, place: _Place, shard: Shard | None) -> None:
        """Hand a shard to a worker, if there is one."""
        if shard is not None:
            place.queue.append((place.actor.embed.remote(shard), shard))

    def _next_done(self) -> _Place:
        """The worker that is done first; each does its shards in their order."""
        first = {place.queue[0][0]: place for place in self._places if place.queue}
        (done,), _ = self._ray.wait(list(first), num_returns=1)
        return first[done]

    def _replace(self, place: _Place, error: Exception) -> list[SkippedAt]:
        """Put another worker in the place of a dead one, with its shards; returns who is left out of them."""
        _, shard = place.queue[0]
        self._deaths[shard.start] += 1
        self._renew(place)
        deadly = self._deadly(place, shard, error) if self._deaths[shard.start] >= _TRIES else []
        left = [waiting for _, waiting in place.queue]
        place.queue.clear()
        for waiting in left:
            self._give(place, without(waiting, deadly) if waiting is shard else waiting)
        text = f"workers ended whenever they came to this patient: {error}".splitlines()[0]
        reason = SkipPatient("worker_died", text)
        return [(shard.start, reason.row(job.patient_id, job.cohort, "extract")) for job in deadly]

    def _renew(self, place: _Place) -> None:
        """Start another worker in the place of a dead one."""
        place.actor = self._kind.remote()
        self._open([place], self._load([place]))

    def _deadly(self, place: _Place, shard: Shard, error: Exception) -> list[Job]:
        """Which patients of a shard let workers die, each tried alone; the shard's file is written anew afterwards.

        Raises:
            StopRun: ``worker_died`` when all of them do, or when workers go on dying without those who did: it is no
                one patient's fault then.
        """
        deadly: list[Job] = []
        for job in shard.jobs if self._deaths[shard.start] == _TRIES else ():
            alone = without(shard, [other for other in shard.jobs if other is not job])
            try:
                gather(self._ray, place.actor.embed.remote(alone))
            except self._ray.exceptions.RayActorError:
                deadly.append(job)
                self._renew(place)
        if len(deadly) == len(shard.jobs) or self._deaths[shard.start] > _TRIES:
            names = f"{shard.jobs[0].patient_id} to {shard.jobs[-1].patient_id}"
            message = f"workers ended again and again at the {len(shard.jobs)} patients {names}: {error}"
            raise StopRun("worker_died", message) from error
        return deadly

    def remarks(self) -> list[str]:
        """What happened in the workers."""
        found = gather(self._ray, [place.actor.remarks.remote() for place in self._places])
        return sorted({remark for remarks in found for remark in remarks})
