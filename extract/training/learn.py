"""Train one network to its best epoch, going on where a killed run stopped."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from extract.training.design import Design
from extract.training.feeding import Resident
from extract.training.history import History, Kept, best_of, finish, is_over, read_done
from extract.training.material import Learned, Lesson, Material
from extract.training.orders import check, slices_of
from extract.training.quiet import load
from triher.files import remove_leftovers, sha256_of_file, sha256_of_json
from triher.progress import Reporter

_VERSION = 1  # of what a key means; raise it when the same choices give other weights
_UNUSED = ("folds", "validation", "validation_share", "resident", "devices", "pretrained")
"""Options that decide nothing here: the lesson and the weights say it, or it is only where things lie."""
_CHUNK = 256  # pictures that are hashed at a time


@dataclass(frozen=True)
class Where:
    """Which devices train, and how exactly."""

    device: torch.device | tuple[torch.device, ...]
    """Several GPUs train one network together; each takes its share of every batch."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """``bfloat16``: mixed, on GPUs; processors always compute in float32."""
    resident: Resident = "auto"

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """One or several."""
        return self.device if isinstance(self.device, tuple) else (self.device,)

    @property
    def mixed(self) -> bool:
        """Whether parts are computed in bfloat16."""
        return self.precision == "bfloat16" and self.devices[0].type == "cuda"


def learn(
    design: Design,
    weights: Path | None,
    material: Material,
    lesson: Lesson,
    where: Where,
    folder: Path,
    reporter: Reporter,
) -> Learned:
    """Train a network and keep the weights of its best epoch.

    Epochs are committed one by one. The same call after a kill goes on with the first that was not, and on a
    processor ends with the same weights and losses, bit for bit, as one that was left in peace. Afterwards the folder
    holds ``done.safetensors``, the best weights, and ``curve.csv``; a further call reads these. What another lesson,
    other pictures or other options left there is not used.

    Args:
        design: what the network is, and how it is trained.
        weights: the encoder's; None for random ones.
        material: the pictures.
        lesson: whose are learned from, whose tell when to stop, and the seed.
        where: the devices.
        folder: of this lesson alone.
        reporter: where progress goes.

    Raises:
        StopRun: ``training_diverged``, ``extra_missing`` without Lightning, ``split_empty``, ``config_value``,
            ``disk_full``, ``device_memory``, ``worker_died`` for a process of several GPUs, or as
            `extract.training.networks.untrained`.
    """
    check(material, lesson, design.options, len(where.devices))
    kept = Kept(folder, lesson_key(design, weights, material, lesson, where))
    if (done := read_done(kept)) is not None:
        return done
    fitting: Any = load("extract.training.fitting")
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    before, options = kept.history(), design.options
    kept.remove_others(best_of(before.rows).epoch if before.rows else 0)
    if is_over(before.rows, options.epochs, options.patience):
        return finish(kept, before, 0.0)
    history = fitting.fit(design, weights, material, lesson, where, kept, reporter)
    return finish(kept, history, _throughput(history, len(slices_of(material, lesson.train))))


def _throughput(history: History, n_pictures: int) -> float:
    """Pictures a second, without the first epoch, in which memory is reserved and kernels are chosen."""
    seconds = history.seconds[1:] or history.seconds
    return n_pictures * len(seconds) / sum(seconds)


def lesson_key(design: Design, weights: Path | None, material: Material, lesson: Lesson, where: Where) -> str:
    """Hash of all that decides the result: network, options, weights, pictures, labels, patients, seed, precision.

    The number and kind of the devices are not in it, so that a training goes on elsewhere; its further losses then
    differ by rounding from those that it would have had.
    """
    options = {name: value for name, value in design.options.model_dump(mode="json").items() if name not in _UNUSED}
    facts = {
        "version": _VERSION,
        "spec": asdict(design.spec),
        "options": options,
        "outputs": [design.n_classes, *design.tasks],
        "weights": sha256_of_file(weights) if weights else "",
        "lesson": [lesson.name, lesson.train.tolist(), lesson.validation.tolist(), lesson.seed],
        "material": _digest(material, lesson),
        "mixed": where.mixed,
    }
    return sha256_of_json(facts)


def _digest(material: Material, lesson: Lesson) -> str:
    """Of the pictures of a lesson's patients, and of what is known of these."""
    patients = np.concatenate([lesson.train, lesson.validation])
    slices = slices_of(material, patients)
    digest = hashlib.sha256()
    for known in (material.patient[slices], material.y[patients], material.tasks[patients]):
        digest.update(np.ascontiguousarray(known).data)
    for start in range(0, len(slices), _CHUNK):
        digest.update(material.pixels[slices[start : start + _CHUNK]].data)
    return digest.hexdigest()
