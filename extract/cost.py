"""What a run will cost in time, disk and memory, measured on a few of its own patients."""

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from extract.cache import ensure_slab, read_slab
from extract.devices import choose_devices
from extract.encoders import find_encoder
from extract.fusion import find_fusions
from extract.models import Encoder
from extract.normalization import find_normalization
from extract.pictures import Drawing, PictureRecipe
from extract.recipe import SlabRecipe, slab_recipe
from extract.weights import locate_weights
from triher.cohort import Cohort, Patient
from triher.config import Config
from triher.errors import SkipPatient, StopRun

_TRIED = 3  # patients that are read; one more than it takes to see that they differ
_FLOAT_BYTES = 4


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
    recipe = slab_recipe(options.region, options.n4, config.cohort.mask_label)
    spec = find_encoder(options.encoder, options.tokens)
    fusions = find_fusions(options.fusions, tuple(config.cohort.phases))
    picture = PictureRecipe(
        find_normalization(options.normalization), fusions, options.slices.policy, options.slices.n, options.region
    )
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        slabs = _some_slabs(Path(folder), cohort, recipe)
        per_patient_s = (time.monotonic() - start) / len(slabs)
        n_bytes = sum(path.stat().st_size for path in slabs) / len(slabs)
        views = [Drawing(read_slab(path), picture).pictures(spec.input_size).views for path in slabs]
    pictures = [view for of_patient in views for view in of_patient.values()]
    n, n_pictures = len(cohort.patients), sum(map(len, pictures)) / len(slabs)
    embed_s, device_bytes, device, n_features = _network(config, torch.cat(pictures))
    return Cost(
        n,
        len(slabs),
        per_patient_s * n / options.readers,
        embed_s * n_pictures * n,
        n_bytes * n,
        n_pictures * n * n_features * _FLOAT_BYTES,
        device,
        device_bytes,
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


def _network(config: Config, pictures: torch.Tensor) -> tuple[float, float, str, float]:
    """Seconds a picture, bytes on the device, the device's name, and features a picture."""
    options = config.extract
    spec = find_encoder(options.encoder, options.tokens)
    device = choose_devices(options.device)[0]
    try:
        weights, _ = locate_weights(spec, options.weights_dir)
    except StopRun:
        return math.nan, math.nan, str(device), math.nan
    encoder = Encoder(spec, weights, device)
    batch = pictures[: options.batch_size]
    encoder.embed(batch)
    start = time.monotonic()
    n_features = float(encoder.embed(batch).shape[1])
    seconds = (time.monotonic() - start) / len(batch)
    return seconds, float(encoder.memory_bytes(options.batch_size)), str(device), n_features
