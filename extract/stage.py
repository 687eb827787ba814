"""The extraction stage: cohort in, feature stores out, with nothing done twice."""

import contextlib
import math
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from extract.cache import read_slab
from extract.landmarks import fit_standard_scale
from extract.preflight import refuse_ambiguous
from extract.recipe import slabs_of
from extract.shards import Job, refuse_other, remove_remains
from extract.slabbing import SPREADS, Slabs
from extract.task import Task, decide
from triher.cohort import Cohort, read_cohort, sources_sha256
from triher.errors import Note, Skipped
from triher.held_out import is_held_out
from triher.memory import peak_memory_bytes
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.store import read_index
from triher.store_check import verify_whole

_MACHINE = ("device", "peak_memory_mb")


@dataclass(frozen=True)
class Extracted:
    """What the stage left."""

    store: Path
    """Of the encoder that the configuration names first."""
    did_work: bool
    n_skipped: int


def extract(config: Config, run: RunFolder, reporter: Reporter) -> Extracted:
    """Make or complete the feature stores of a cohort, one for each encoder.

    Source volumes are read only where no slab of them is cached; patients are embedded only where no store
    holds them with the same encoder, recipe and voxels. Patients who cannot be used are named in
    ``skipped.csv``.

    Raises:
        StopRun: before any work for every mistake in table, configuration, encoder or folder; ``cohort_empty``
            when nobody is left, ``phases_config`` when a phase is there for nobody.
    """
    start = time.monotonic()
    cohort = read_cohort(config.cohort, survival=False)
    refuse_ambiguous(cohort)
    task = decide(config)
    slabs = _slabs(config, run, cohort)
    run.prepare()
    # Closed in any case, or a run that is interrupted would read all volumes before it ends.
    with contextlib.closing(_reported(slabs, slabs, run, reporter)) as stream:
        jobs: Iterable[Job] = stream
        if task.needs_fit or all(store.exists() for store in task.stores(run.features)):
            with reporter.bar("lesion slabs", len(cohort.patients)) as advance:
                jobs = list(_reported(slabs.each(advance), slabs, run, reporter))
        if task.needs_fit:
            task = fit_scale(task, slabs)
        stores = task.stores(run.features)
        for choice, store in zip(task.encoders, stores, strict=True):
            refuse_other(store, choice.facts(), task.recipe())
        changed = _changed(stores, jobs)
        did_work = not _are_complete(stores, jobs)
        embedded = _embed(task, jobs, stores, len(cohort.patients), reporter) if did_work else []
    skipped = [*slabs.skipped, *embedded]
    _record(run, task, stores, slabs, skipped, changed, start if did_work else None)
    if not did_work:
        for store in stores:
            remove_remains(store)
        reporter.say(f"extract: up to date ({len(slabs.entries)} patients in {stores[0].name}), nothing computed")
    return Extracted(stores[0], did_work, len({row.patient_id for row in skipped}))


def make_slabs(config: Config, run: RunFolder, reporter: Reporter) -> Slabs:
    """Make the slabs of a cohort that are not there yet, and embed nothing.

    Raises:
        StopRun: as `extract`.
    """
    cohort = read_cohort(config.cohort, survival=False)
    refuse_ambiguous(cohort)
    slabs = _slabs(config, run, cohort)
    with reporter.bar("lesion slabs", len(cohort.patients)) as advance:
        for _ in _reported(slabs.each(advance), slabs, run, reporter):
            pass
    return slabs


def _slabs(config: Config, run: RunFolder, cohort: Cohort) -> Slabs:
    """The slabs that the configuration asks for."""
    options = config.extract
    return Slabs(run.slabs, cohort, slabs_of(config), SPREADS[options.engine](options.readers))


def _reported(jobs: Iterable[Job], slabs: Slabs, run: RunFolder, reporter: Reporter) -> Generator[Job, None, None]:
    """The patients; after the last one say what became of all, and stop when nobody is left."""
    yield from jobs
    if not slabs.entries:
        run.write_skipped("extract", slabs.skipped)
    slabs.require_somebody()
    reporter.say(slabs.summary())


def fit_scale(task: Task, slabs: Slabs) -> Task:
    """Fit Nyul's standard scale on the training patients."""
    split = task.config.classify.split
    training = [entry.path for patient, entry in slabs.entries if not is_held_out(split, patient)]
    return replace(task, standard=fit_standard_scale(read_slab(path).volume_histograms for path in training))


def _are_complete(stores: Sequence[Path], jobs: Iterable[Job]) -> bool:
    """Whether each store holds exactly these patients, in this order."""
    if not all(store.exists() for store in stores):
        return False
    wanted = [job.key for job in jobs]
    return all(list(read_index(store).inputs.items()) == wanted for store in stores)


def _changed(stores: Sequence[Path], jobs: Iterable[Job]) -> list[Note]:
    """Whose embeddings in earlier stores are of other voxels, masks or spacings than her files hold now."""
    if not all(store.exists() for store in stores):
        return []  # the patients are still to come, once
    held = read_index(stores[0]).inputs
    text = "her images, mask or geometry differ from those of the earlier extraction; she is embedded again"
    return [
        Note(job.patient_id, "source_changed", text)
        for job in jobs
        if held.get(job.patient_id, job.input_sha256) != job.input_sha256
    ]


def _embed(
    task: Task, jobs: Iterable[Job], stores: Sequence[Path], n_patients: int, reporter: Reporter
) -> list[Skipped]:
    """Embed with the engine that was asked for; torch is imported only here."""
    from extract.engines import ENGINES

    return ENGINES[task.config.extract.engine](task, jobs, stores, n_patients, reporter)


def _record(
    run: RunFolder,
    task: Task,
    stores: Sequence[Path],
    slabs: Slabs,
    skipped: list[Skipped],
    changed: list[Note],
    start: float | None,
) -> None:
    """Write down who was left out, and what the stores are."""
    config = task.config
    run.write_skipped("extract", skipped)
    odd = [note for store in stores for note in verify_whole(store)]
    run.write_notes("extract", [*slabs.cohort.notes, *slabs.notes(), *changed, *dict.fromkeys(odd)])
    index = read_index(stores[0])
    earlier = run.read_record()["stages"].get("extract", {})
    run.record_stage(
        "extract",
        index.identity,
        list(stores),
        earlier.get("seconds", 0.0) if start is None else time.monotonic() - start,
        store=stores[0].name,
        also={choice.spec.name: store.name for choice, store in zip(task.encoders[1:], stores[1:], strict=True)},
        encoder=index.encoder,
        recipe=index.recipe,
        choices=config.extract.choices(),
        sources=sources_sha256(slabs.cohort, config.cohort),
        n_patients=len(slabs.cohort.patients),
        n_done=len(index.inputs),
        n_skipped=len(slabs.cohort.patients) - len(index.inputs),
        n_slices=index.n_slices,
        n_features=index.n_features,
        **({name: earlier[name] for name in _MACHINE if name in earlier} if start is None else _machine(task)),
    )


def _machine(task: Task) -> dict[str, str | int]:
    """What computed the embeddings, and the most memory this process ever had; torch is loaded by then."""
    from extract.devices import describe_devices

    options = task.config.extract
    elsewhere = "processes of a Ray cluster; here "
    device = f"{elsewhere if options.engine == 'ray' else ''}{describe_devices(options.device)}"
    peak = peak_memory_bytes()
    return {"device": device, **({"peak_memory_mb": round(peak / 1024**2)} if math.isfinite(peak) else {})}
