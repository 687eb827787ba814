"""What an extraction will cost in time, disk and memory, measured on a few of its own patients."""

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from extract.cache import ensure_slab, read_slab
from extract.devices import choose_devices
from extract.engines import picture_recipe
from extract.landmarks import fit_standard_scale
from extract.packing import Embedder
from extract.pictures import Drawing, Prepared
from extract.recipe import SlabRecipe, slabs_of
from extract.task import Task, decide
from extract.volumes import source_files
from triher.cohort import Cohort, Patient
from triher.effective import trains
from triher.errors import SkipPatient, StopRun
from triher.labels import scheme_classes
from triher.settings import Config, FinetuneConfig

Item = TypeVar("Item")
Result = TypeVar("Result")

_TRIED = 3  # patients that are read; one more than it takes to see that they differ
_SLABS_ENOUGH_S = 30.0  # no further patients are read after that; N4 takes up to a minute for one
_FORWARD_ENOUGH_S = 2.0
_FLOAT_BYTES = 4
_FEW = 4  # inputs in the first batch, which says how many can be afforded in the second
_UNKNOWN = ("weights_missing", "license_unaccepted", "extra_missing")
"""What keeps an encoder from being measured here and not from being used on another machine."""


@dataclass(frozen=True)
class SlabCost:
    """What the slabs of one recipe take, a patient."""

    paths: tuple[Path, ...]
    """Those of the patients that were read."""
    seconds: float
    """Wall clock, with the configured reader threads."""
    n_bytes: float


@dataclass(frozen=True)
class EmbedCost:
    """What one encoder takes with one recipe; NaN where it could not be measured."""

    load_s: float = math.nan
    """Once."""
    seconds: float = math.nan
    """Wall clock of drawing and embedding a patient."""
    store_bytes: float = math.nan
    """A patient's."""
    device_bytes: float = math.nan
    """Weights and the largest activations of a batch."""
    n_features: int = 0
    """Of a row; 0 where not known."""
    n_rows: float = math.nan
    """A patient's in each view."""
    reason: str = ""
    """Why it could not be measured."""


@dataclass(frozen=True)
class Cost:
    """What is to be expected for all patients, on this machine."""

    n_patients: int
    n_measured: int
    read_s: float
    """Reading volumes and cutting slabs, with the configured reader threads."""
    embed_s: float
    """The network, over all pictures; NaN where its weights are not there."""
    slab_bytes: float
    store_bytes: float
    """NaN where the network's weights are not there."""
    device: str
    device_bytes: float
    """Weights and what a batch needs beside them; NaN where the weights are not there."""
    n_networks: int = 0
    """Networks that are trained first."""
    train_s: float = 0.0
    """Training all of them, if none stops early."""


def measure_cost(config: Config, cohort: Cohort) -> Cost:
    """Read a few patients spread over the cohort, embed some of their pictures, and extrapolate.

    Raises:
        StopRun: ``cohort_empty`` when none of those patients can be read; an unknown name in the configuration.
    """
    with tempfile.TemporaryDirectory() as folder:
        slabs = measure_slabs(Path(folder), cohort, [slabs_of(config)], config.extract.readers)[0]
        if trains(config):
            return _cost_of_training(config, cohort, slabs)
        embedding = measure_embeddings([(config, slabs.paths)])[0]
    n = len(cohort.patients)
    return Cost(
        n,
        len(slabs.paths),
        slabs.seconds * n,
        embedding.load_s + embedding.seconds * n,
        slabs.n_bytes * n,
        embedding.store_bytes * n,
        str(choose_devices(config.extract.device)[0]),
        embedding.device_bytes,
    )


def _cost_of_training(config: Config, cohort: Cohort, slabs: SlabCost) -> Cost:
    """The same where the encoder is trained first."""
    from extract.training.cost import measure_trainings
    from extract.training.parts import expected_roster

    one, roster, n = (
        measure_trainings([(config, slabs.paths)])[0],
        expected_roster(config, cohort),
        len(cohort.patients),
    )
    lessons = [(len(lesson.train), len(lesson.validation)) for lesson in roster.lessons]
    epochs = (config.finetune or FinetuneConfig()).epochs
    return Cost(
        n,
        len(slabs.paths),
        slabs.seconds * n,
        one.patient_s() * n,
        slabs.n_bytes * n,
        one.n_pictures * n * _FLOAT_BYTES * len(scheme_classes(config.scheme)),
        str(choose_devices(config.extract.device)[0]),
        one.device_bytes,
        len(lessons),
        one.training_s(lessons, epochs, len(roster.patients)),
    )


def measure_slabs(folder: Path, cohort: Cohort, recipes: Sequence[SlabRecipe], readers: int) -> list[SlabCost]:
    """Make the slabs of a few patients spread over the cohort, the same ones for every recipe.

    Their files are read once beforehand, and every recipe is charged with the time of that: from the second recipe
    on they come out of the system's memory, which does not hold a whole cohort.

    Args:
        folder: where these slabs go.
        cohort: all patients.
        recipes: how slabs are cut.
        readers: threads.

    Raises:
        StopRun: ``cohort_empty`` when none of the patients that were tried can be read.
    """
    n = len(cohort.patients)
    places = dict.fromkeys([*range(0, n, max(1, n // _TRIED)), *range(n)])
    tried = [cohort.patients[place] for place in places][: 4 * _TRIED]
    _slab(folder / "untimed", replace(recipes[0], n4="none"), tried[-1])  # imports and compiles
    files_s = _seconds(partial(_side_by_side, _read_files, tried[:_TRIED], readers)) / len(tried[:_TRIED])
    found = [_measure_recipe(folder / str(place), tried, recipe, readers) for place, recipe in enumerate(recipes)]
    return [replace(one, seconds=one.seconds + files_s) for one in found]


def _seconds(work: Callable[[], object]) -> float:
    """Wall clock of some work."""
    start = time.monotonic()
    work()
    return time.monotonic() - start


def _side_by_side(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> list[Result]:
    """Apply a function as the readers of an extraction do."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


def _read_files(patient: Patient) -> None:
    """Read all source files; why one cannot be read is found out by who makes the slab."""
    with contextlib.suppress(OSError, SkipPatient):
        for source in patient.files().values():
            for file in source_files(source):
                file.read_bytes()


def _measure_recipe(folder: Path, tried: Sequence[Patient], recipe: SlabRecipe, readers: int) -> SlabCost:
    """Make slabs, as many at a time as there are readers, until there are enough or it takes too long."""
    paths: list[Path] = []
    n_tried, start, elapsed_s = 0, time.monotonic(), 0.0
    while n_tried < len(tried) and len(paths) < _TRIED and not (paths and elapsed_s > _SLABS_ENOUGH_S):
        patients = tried[n_tried : n_tried + readers]
        found = _side_by_side(partial(_slab, folder, recipe), patients, readers)
        paths += [path for path in found if path is not None]
        n_tried += len(patients)
        elapsed_s = time.monotonic() - start
    if not paths:
        raise StopRun("cohort_empty", "none of the patients that were tried can be read, so nothing can be estimated")
    n_bytes = sum(path.stat().st_size for path in paths) / len(paths)
    return SlabCost(tuple(paths), elapsed_s / n_tried, n_bytes)


def _slab(folder: Path, recipe: SlabRecipe, patient: Patient) -> Path | None:
    """The patient's slab, or none; why is said by the look at the headers."""
    try:
        return ensure_slab(folder, patient, recipe).path
    except SkipPatient:
        return None


def measure_embeddings(asked: Sequence[tuple[Config, Sequence[Path]]]) -> list[EmbedCost]:
    """Embed patients by one encoder with several recipes: it is loaded and timed once, and drawing for every recipe.

    Args:
        asked: configurations that name the same encoder, run in the same way, each with slabs of its recipe.

    Returns:
        One for each configuration.

    Raises:
        StopRun: an unknown name in the configuration.
    """
    if not asked:
        return []
    try:
        tasks = [_complete(decide(config), slabs) for config, slabs in asked]
    except StopRun as error:
        if error.code not in _UNKNOWN:
            raise
        return [EmbedCost(reason=error.message) for _ in asked]
    options = tasks[0].config.extract
    devices = choose_devices(options.device)
    start = time.monotonic()
    embedder = tasks[0].encoders[0].load(devices[0])
    n_features = embedder.probe().shape[1]
    running = _Running(embedder, devices, options.batch_size, n_features, time.monotonic() - start)
    return [running.measure(task, slabs) for task, (_, slabs) in zip(tasks, asked, strict=True)]


def _complete(task: Task, slabs: Sequence[Path]) -> Task:
    """With Nyul's standard scale, of whatever patients there are, where it is asked for."""
    if not task.needs_fit:
        return task
    return replace(task, standard=fit_standard_scale(read_slab(path).volume_histograms for path in slabs))


@dataclass
class _Running:
    """An encoder on its device."""

    embedder: Embedder
    devices: Sequence[torch.device]
    batch_size: int
    n_features: int
    load_s: float
    input_s: float = math.nan
    """Of the forward pass, in full batches; known after the first patient."""

    def measure(self, task: Task, slabs: Sequence[Path]) -> EmbedCost:
        """Draw some patients, and embed those of the first recipe."""
        readers = task.config.extract.readers
        prepare = partial(_prepare, self.embedder, task)
        prepare(slabs[0])  # imports
        start = time.monotonic()
        found = [one for one in _side_by_side(prepare, slabs, readers) if one is not None]
        drawing_s = (time.monotonic() - start) / len(slabs)
        if not found:
            return EmbedCost(self.load_s, reason=f"{self.embedder.name} cannot use the patients that were tried")
        if math.isnan(self.input_s):
            self.input_s = _input_s(self.embedder, found, self.batch_size)
        n_rows = sum(len(one.slices.index) for one in found) / len(found)
        n_inputs = n_rows * len(found[0].views)
        return EmbedCost(
            self.load_s,
            _together(drawing_s, n_inputs * self.input_s, self.devices, readers),
            n_inputs * self.n_features * 4.0,
            float(self.embedder.memory_bytes(self.batch_size)),
            self.n_features,
            n_rows,
        )


def _prepare(embedder: Embedder, task: Task, slab: Path) -> Prepared | None:
    """What goes into the encoder for one patient; None when it cannot use her."""
    try:
        return embedder.prepare(Drawing(read_slab(slab), picture_recipe(task)))
    except SkipPatient:
        return None


def _input_s(embedder: Embedder, found: Sequence[Prepared], batch_size: int) -> float:
    """Seconds of the forward pass for one input, in the largest batch that does not take long."""
    inputs = torch.cat([view for one in found for view in one.views.values()])
    lesions = [one.masks for one in found for _ in one.views if one.masks is not None]
    masks = torch.cat(lesions) if lesions else None

    def embed(n: int) -> float:
        rows = torch.arange(n) % len(inputs)
        batch = inputs[rows], None if masks is None else masks[rows]
        return _seconds(lambda: embedder.embed(*batch).cpu()) / n

    few = min(_FEW, batch_size)
    n = max(few, min(batch_size, int(_FORWARD_ENOUGH_S / max(embed(few), 1e-9))))
    embed(n)  # takes the memory
    return embed(n)


def _together(drawing_s: float, forward_s: float, devices: Sequence[torch.device], readers: int) -> float:
    """Wall clock of drawing and forward pass of a patient, which overlap where they do not share the processors."""
    if devices[0].type != "cpu":
        return max(drawing_s, forward_s / len(devices))
    n_cores = os.cpu_count() or 1
    return max(drawing_s, forward_s + drawing_s * min(readers, n_cores) / n_cores)
