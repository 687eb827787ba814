"""What a run will cost in time, disk and memory, measured on a few of its own patients."""

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from extract.cache import ensure_slab, read_slab
from extract.devices import choose_devices
from extract.engines import picture_recipe
from extract.pictures import Drawing
from extract.recipe import SlabRecipe, slab_recipe
from extract.task import decide
from triher.cohort import Cohort, Patient
from triher.errors import SkipPatient, StopRun
from triher.settings import Config

_TRIED = 3  # patients that are read; one more than it takes to see that they differ


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
    """Weights and the largest activations of a batch; NaN where the weights are not there."""


def measure_cost(config: Config, cohort: Cohort) -> Cost:
    """Read a few patients spread over the cohort, embed some of their pictures, and extrapolate.

    Raises:
        StopRun: ``cohort_empty`` when none of those patients can be read; an unknown name in the configuration.
    """
    options = config.extract
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        recipe = slab_recipe(options.region, options.n4, config.cohort.mask_label, options.perturb)
        slabs = _some_slabs(Path(folder), cohort, recipe)
        per_patient_s = (time.monotonic() - start) / len(slabs)
        n_bytes = sum(path.stat().st_size for path in slabs) / len(slabs)
        embedding = _embed_some(config, slabs)
    n = len(cohort.patients)
    return Cost(
        n,
        len(slabs),
        per_patient_s * n / options.readers,
        embedding.seconds * n,
        n_bytes * n,
        embedding.store_bytes * n,
        str(choose_devices(options.device)[0]),
        embedding.device_bytes,
    )


def _some_slabs(folder: Path, cohort: Cohort, recipe: SlabRecipe) -> list[Path]:
    """Slabs of the first readable patients, taken from all parts of the cohort."""
    step = max(1, len(cohort.patients) // _TRIED)
    spread = [*cohort.patients[::step], *cohort.patients]
    slabs: dict[str, Path] = {}
    for patient in spread[: 4 * _TRIED]:
        slab = _slab(folder, patient, recipe)
        if slab is not None:
            slabs[patient.patient_id] = slab
        if len(slabs) == _TRIED:
            break
    if not slabs:
        raise StopRun("cohort_empty", "none of the patients that were tried can be read, so nothing can be estimated")
    return list(slabs.values())


def _slab(folder: Path, patient: Patient, recipe: SlabRecipe) -> Path | None:
    """The patient's slab, or none; why is said by the look at the headers."""
    try:
        return ensure_slab(folder, patient, recipe).path
    except SkipPatient:
        return None


@dataclass(frozen=True)
class _Embedding:
    """What embedding one patient costs; NaN where the weights are not there."""

    seconds: float = math.nan
    store_bytes: float = math.nan
    device_bytes: float = math.nan


def _embed_some(config: Config, slabs: list[Path]) -> _Embedding:
    """Embed the patients that were read, after a first batch that is not timed."""
    options = config.extract
    try:
        task = decide(config)
    except StopRun as error:
        if error.code not in ("weights_missing", "license_unaccepted"):
            raise
        return _Embedding()
    embedder = task.encoders[0].load(choose_devices(options.device)[0])
    embedder.probe()
    start = time.monotonic()
    prepared = [embedder.prepare(Drawing(read_slab(path), picture_recipe(task))) for path in slabs]
    rows = [embedder.embed(inputs, one.masks).cpu() for one in prepared for inputs in one.views.values()]
    seconds = (time.monotonic() - start) / len(slabs)
    n_bytes = sum(row.nbytes for row in rows) / len(slabs)
    return _Embedding(seconds, n_bytes, float(embedder.memory_bytes(options.batch_size)))
