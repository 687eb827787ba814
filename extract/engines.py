"""The ways to run an extraction: on this machine's devices, or over a Ray cluster."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from extract.devices import choose_devices
from extract.embedding import Plan, embed_cohort
from extract.normalization import find_normalization
from extract.pictures import PictureRecipe
from extract.shards import Job, Lane, writing
from extract.task import Task
from triher.errors import Skipped
from triher.progress import Reporter
from triher.runfolder import library_versions
from triher.store import Header

Engine = Callable[[Task, Iterable[Job], Sequence[Path], int, Reporter], list[Skipped]]


def embed_locally(
    task: Task, jobs: Iterable[Job], stores: Sequence[Path], n_patients: int, reporter: Reporter
) -> list[Skipped]:
    """Embed on the devices of this machine, in threads.

    Args:
        task: what to do.
        jobs: the patients; may still be coming.
        stores: one an encoder.
        n_patients: about how many will come.
        reporter: where progress goes.

    Returns:
        Who was left out.

    Raises:
        StopRun: ``store_locked`` before anything is loaded when another process writes one of the stores; as
            `extract.embedding.embed_cohort` and `extract.models.Encoder`.
    """
    chosen = choose_devices(task.config.extract.device)
    names = ", ".join(choice.spec.name for choice in task.encoders)
    with writing(stores):
        reporter.say(f"loading {names} on {', '.join(map(str, chosen))}")
        devices = [[choice.load(device) for choice in task.encoders] for device in chosen]
        lanes = make_lanes(task, stores, [encoder.probe() for encoder in devices[0]])
        skipped = embed_cohort(jobs, lanes, devices, picture_recipe(task), make_plan(task), reporter, n_patients)
    for encoder in [encoder for encoders in devices for encoder in encoders]:
        for remark in encoder.remarks:
            reporter.say(f"{encoder.name} on {remark}")
    return skipped


def _embed_with_ray(
    task: Task, jobs: Iterable[Job], stores: Sequence[Path], n_patients: int, reporter: Reporter
) -> list[Skipped]:
    """Embed over a cluster."""
    from extract.ray_engine import embed_with_ray

    return embed_with_ray(task, jobs, stores, n_patients, reporter)


ENGINES: dict[str, Engine] = {"local": embed_locally, "ray": _embed_with_ray}


def picture_recipe(task: Task) -> PictureRecipe:
    """What is drawn of each slab."""
    options = task.config.extract
    return PictureRecipe(
        find_normalization(options.normalization),
        task.fusions,
        options.slices.policy,
        options.slices.n,
        options.region,
        task.standard,
        options.perturb.jitter_slices,
        options.perturb.draw,
    )


def make_plan(task: Task) -> Plan:
    """How the work is cut up."""
    options = task.config.extract
    return Plan(options.batch_size, options.shard_patients, options.readers)


def make_lanes(task: Task, stores: Sequence[Path], probes: Sequence[np.ndarray]) -> list[Lane]:
    """The way of each encoder's embeddings into its store; encoders differ in their numbers of features."""
    recipe, versions = task.recipe(), library_versions()
    return [
        Lane(store, Header(choice.facts(), recipe, versions, probe))
        for store, choice, probe in zip(stores, task.encoders, probes, strict=True)
    ]
