"""An extraction over a Ray cluster: every worker embeds whole shards and commits them to the shared folder.

All machines must see run folder, weights and images under the same paths, and have TriHER installed. Shards are cut,
packed and written as on one machine, so that the stores are equal.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from extract.devices import choose_devices
from extract.embedding import SharedShards, SkippedAt, embed_shards
from extract.engines import make_lanes, make_plan, picture_recipe
from extract.shards import Job, Lane, Shard, cut_shards, join_lanes, writing
from extract.slabbing import Made
from extract.task import Task
from triher.cohort import Patient
from triher.errors import Skipped, StopRun
from triher.progress import Reporter
from triher.types import Embeddings

_QUEUED = 2  # shards at each worker, so that the next one is there when one is done
_PATIENTS_A_TASK = 8  # as many as make the cost of handing over a task small
_THREADS = 2


class _Worker:
    """Lives in a process of its own, with the encoders on its device."""

    def __init__(self, task: Task, n_threads: int) -> None:
        """Build the encoders; takes seconds."""
        torch.set_num_threads(n_threads)
        device = choose_devices(task.config.extract.device)[0]
        self._task = task
        self._encoders = [choice.load(device) for choice in task.encoders]

    def probes(self) -> list[Embeddings]:
        """What the encoders give for the fixed synthetic pictures."""
        return [encoder.probe() for encoder in self._encoders]

    def embed(self, shard: Shard, lanes: Sequence[Lane]) -> list[SkippedAt]:
        """Embed and commit a shard."""
        recipe, plan = picture_recipe(self._task), make_plan(self._task)
        return embed_shards([shard], lanes, self._encoders, recipe=recipe, plan=plan, advance=lambda: None)


def embed_with_ray(
    task: Task, jobs: Iterable[Job], stores: Sequence[Path], n_patients: int, reporter: Reporter
) -> list[Skipped]:
    """Embed over a cluster; as `extract.engines.embed_locally`.

    Raises:
        StopRun: ``extra_missing`` without Ray; else as there.
    """
    ray = _connect()
    with writing(stores):
        workers = _start_workers(ray, task)
        reporter.say(f"{len(workers)} workers of Ray on {len(ray.nodes())} machines")
        lanes = make_lanes(task, stores, ray.get(workers[0].probes.remote()))
        with reporter.bar("embedding", n_patients) as advance:
            shards = SharedShards(cut_shards(jobs, lanes, task.config.extract.shard_patients), advance)
            skipped = _hand_out(ray, workers, shards, lanes)
        join_lanes(lanes, shards.taken, [row for _, row in skipped])
    return [row for _, row in sorted(skipped, key=lambda at: at[0])]


def spread(make: Callable[[Patient], Made], patients: Sequence[Patient]) -> Iterator[Made]:
    """Apply a function to patients on all machines, and give the results in their order."""
    ray = _connect()
    task = ray.remote(partial(_make_all, make))
    n_ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting: deque[Any] = deque()
    for start in range(0, len(patients), _PATIENTS_A_TASK):
        waiting.append(task.remote(patients[start : start + _PATIENTS_A_TASK]))
        if len(waiting) > n_ahead:
            yield from ray.get(waiting.popleft())
    while waiting:
        yield from ray.get(waiting.popleft())


def _make_all(make: Callable[[Patient], Made], patients: Sequence[Patient]) -> list[Made]:
    """The work of one task."""
    return [make(patient) for patient in patients]


def _connect() -> Any:  # noqa: ANN401 - the module itself
    """Ray, connected to the cluster that ``RAY_ADDRESS`` names, or to one that lives as long as this process."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise StopRun("extra_missing", "extract.engine is 'ray', which is not installed") from error
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        has_cluster = "RAY_ADDRESS" in os.environ
        ray.init(log_to_driver=False, include_dashboard=None if has_cluster else False)
    return ray


def _start_workers(ray: Any, task: Task) -> list[Any]:  # noqa: ANN401 - an optional library
    """One worker on each GPU, or one on every few processors."""
    resources = ray.cluster_resources()
    n_gpus, n_cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    options = task.config.extract
    uses_gpus = n_gpus > 0 and options.device != "cpu"
    n_workers = options.workers or (n_gpus if uses_gpus else max(1, n_cpus // _THREADS))
    share = {"num_gpus": 1} if uses_gpus else {"num_cpus": max(1, n_cpus // n_workers)}
    actor = ray.remote(**share)(_Worker)
    return [actor.remote(task, torch.get_num_threads()) for _ in range(n_workers)]


def _hand_out(ray: Any, workers: list[Any], shards: SharedShards, lanes: list[Lane]) -> list[SkippedAt]:  # noqa: ANN401
    """Keep every worker supplied until all shards are done."""
    fresh = [replace(lane) for lane in lanes]  # without what was read of earlier stores, which stays on this side
    stream = iter(shards)
    running = {}
    skipped: list[SkippedAt] = []
    for worker in workers * _QUEUED:
        shard = next(stream, None)
        if shard is not None:
            running[worker.embed.remote(shard, fresh)] = (worker, shard)
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        worker, shard = running.pop(done)
        skipped += ray.get(done)
        shards.advance(len(shard.jobs))
        following = next(stream, None)
        if following is not None:
            running[worker.embed.remote(following, fresh)] = (worker, following)
    return skipped
