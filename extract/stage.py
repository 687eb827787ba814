"""The extraction stage: cohort in, feature store out, with nothing done twice."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extract.cache import VERSION as SLAB_VERSION
from extract.cache import Entry, ensure_slab
from extract.encoders import EncoderSpec, find_encoder
from extract.fusion import Fusion, find_fusions
from extract.normalization import find_normalization
from extract.preflight import refuse_ambiguous
from extract.problems import code_for_nobody
from extract.recipe import slab_recipe
from extract.weights import locate_weights, slug
from triher.cohort import Cohort, Patient, read_cohort, sources_sha256
from triher.config import Config
from triher.errors import Note, SkipPatient, Skipped, StopRun
from triher.progress import Reporter
from triher.runfolder import RunFolder, library_versions
from triher.store import Header, identity, read_index

PICTURE_VERSION = 1  # raised when normalization, fusion, slice choice or resizing changes what the encoder sees
_RECIPE_KEYS = ("region", "slices", "normalization", "n4")


@dataclass(frozen=True)
class Extracted:
    """What the stage left."""

    store: Path
    did_work: bool
    n_skipped: int


@dataclass(frozen=True)
class _Task:
    """All that the stage decided before it reads an image."""

    config: Config
    spec: EncoderSpec
    weights: Path
    weights_sha256: str
    fusions: tuple[Fusion, ...]

    def recipe(self) -> dict[str, Any]:
        """What the embeddings depend on besides the encoder, as JSON values."""
        chosen = self.config.extract.model_dump(mode="json")
        recipe = {key: chosen[key] for key in _RECIPE_KEYS}
        recipe["fusions"] = {fusion.name: [list(channel) for channel in fusion.channels] for fusion in self.fusions}
        recipe["phases"] = list(self.config.cohort.phases)
        return recipe | {"slab_version": SLAB_VERSION, "picture_version": PICTURE_VERSION}

    def header_facts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Encoder and recipe for the header of the store."""
        return self.spec.identity(self.weights_sha256), self.recipe()


def extract(config: Config, run: RunFolder, reporter: Reporter) -> Extracted:
    """Make or complete the feature store of a cohort.

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
    task = _decide(config)
    run.prepare()
    entries, skipped = _ensure_slabs(cohort, config, run, reporter)
    encoder_facts, recipe = task.header_facts()
    wanted = identity(encoder_facts, recipe)
    store = run.features / f"{slug(task.spec.name)}-{wanted[:10]}.h5"
    inputs = {patient.patient_id: entry.sha256 for patient, entry in entries}
    did_work = not _is_complete(store, wanted, inputs)
    if did_work:
        skipped += _embed(task, entries, store, reporter)
    notes = [*cohort.notes, *(note for _, entry in entries for note in entry.notes)]
    sources = sources_sha256(cohort, config.cohort)
    _record(run, store, config, sources, len(cohort.patients), notes, skipped, start if did_work else None)
    if not did_work:
        reporter.say(f"extract: up to date ({len(inputs)} patients in {store.name}), nothing computed")
    return Extracted(store, did_work, len(skipped))


def _decide(config: Config) -> _Task:
    """Check every choice before work begins."""
    spec = find_encoder(config.extract.encoder, config.extract.tokens)
    find_normalization(config.extract.normalization)
    fusions = find_fusions(config.extract.fusions, tuple(config.cohort.phases))
    weights, digest = locate_weights(spec, config.extract.weights_dir)
    return _Task(config, spec, weights, digest, fusions)


def _ensure_slabs(
    cohort: Cohort, config: Config, run: RunFolder, reporter: Reporter
) -> tuple[list[tuple[Patient, Entry]], list[Skipped]]:
    """A slab for everybody who has one; the others with the reason."""
    recipe = slab_recipe(config.extract.region, config.extract.n4, config.cohort.mask_label)

    def ensure(patient: Patient) -> Entry | SkipPatient:
        try:
            return ensure_slab(run.slabs, patient, recipe)
        except SkipPatient as reason:
            return reason

    entries, skipped = [], []
    with ThreadPoolExecutor(config.extract.readers) as pool:
        results = pool.map(ensure, cohort.patients)
        tracked = reporter.track(results, "lesion slabs", len(cohort.patients))
        for patient, result in zip(cohort.patients, tracked, strict=True):
            if isinstance(result, SkipPatient):
                skipped.append(result.row(patient.patient_id, patient.cohort, "extract"))
            else:
                entries.append((patient, result))
    _stop_if_nobody(entries, skipped, cohort, run)
    n_cached = sum(entry.was_cached for _, entry in entries)
    n_made = len(entries) - n_cached
    reporter.say(f"slab cache: {n_cached} reused, {n_made} made from volumes, {len(skipped)} patients skipped")
    return entries, skipped


def _stop_if_nobody(
    entries: list[tuple[Patient, Entry]], skipped: list[Skipped], cohort: Cohort, run: RunFolder
) -> None:
    """Stop when no patient is left, saying what most of them lack."""
    if entries:
        return
    run.write_skipped("extract", skipped)
    codes = [row.code for row in skipped]
    common = max(set(codes), key=codes.count)
    example = next(row for row in skipped if row.code == common)
    message = (
        f"0 of {len(cohort.patients)} patients can be used; {codes.count(common)} times {common}, for instance "
        f"{example.patient_id}: {example.reason}"
    )
    raise StopRun(code_for_nobody(codes), message)


def _is_complete(store: Path, wanted: str, inputs: dict[str, str]) -> bool:
    """Whether the store holds exactly these patients, in this order, with this identity."""
    if not store.exists():
        return False
    index = read_index(store)
    return index.identity == wanted and list(index.inputs.items()) == list(inputs.items())


def _embed(task: _Task, entries: list[tuple[Patient, Entry]], store: Path, reporter: Reporter) -> list[Skipped]:
    """Load the network and embed; torch is imported only here."""
    from extract.embedding import Job, Plan, embed_cohort
    from extract.models import Encoder, choose_device
    from extract.pictures import PictureRecipe

    options = task.config.extract
    device = choose_device(options.device)
    reporter.say(f"loading {task.spec.name} on {device}")
    encoder = Encoder(task.spec, task.weights, device)
    recipe = PictureRecipe(
        find_normalization(options.normalization),
        task.fusions,
        options.slices.policy,
        options.slices.n,
        task.spec.input_size,
    )
    header = Header(*task.header_facts(), library_versions(), encoder.probe())
    jobs = [Job(p.patient_id, p.cohort, entry.path, entry.sha256) for p, entry in entries]
    plan = Plan(options.batch_size, options.shard_patients, options.readers)
    return embed_cohort(jobs, encoder, recipe, header, store, plan, reporter)


def _record(
    run: RunFolder,
    store: Path,
    config: Config,
    sources: str,
    n_patients: int,
    notes: list[Note],
    skipped: list[Skipped],
    start: float | None,
) -> None:
    """Write down who was left out, and what the store is."""
    run.write_skipped("extract", skipped)
    run.write_notes("extract", notes)
    index = read_index(store)
    earlier = run.read_record()["stages"].get("extract", {}).get("seconds", 0.0)
    run.record_stage(
        "extract",
        index.identity,
        [store],
        earlier if start is None else time.monotonic() - start,
        store=store.name,
        encoder=index.encoder,
        recipe=index.recipe,
        choices=config.extract.choices(),
        sources=sources,
        n_patients=n_patients,
        n_done=len(index.inputs),
        n_skipped=len(skipped),
        n_slices=index.n_slices,
        n_features=index.n_features,
    )
