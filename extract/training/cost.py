"""What training an encoder will take in time, disk and memory, measured by a few steps on pictures of noise."""

import contextlib
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.optim import AdamW

from extract.cache import read_slab
from extract.devices import choose_devices
from extract.encoders import find_encoder
from extract.engines import picture_recipe
from extract.inputs import PictureInputs
from extract.landmarks import fit_standard_scale
from extract.lanes import resolved_precision
from extract.pictures import Drawing
from extract.task import decide_pictures
from extract.training.augment import vary
from extract.training.design import Design, make_design
from extract.training.networks import Classifier, untrained
from extract.training.outputs import loss, probabilities
from triher.errors import SkipPatient
from triher.labels import scheme_classes
from triher.settings import Config, FinetuneConfig

_ENOUGH_S = 2.0  # for the step that is timed
_FEW = 4  # pictures in the first step, which says how many can be afforded in the second
_COPIES = 4  # of each weight: itself, its gradient, and the two moments of Adam


@dataclass(frozen=True)
class TrainCost:
    """What one encoder takes to be trained and to embed afterwards, with one recipe; NaN where not measured."""

    step_s: float = math.nan
    """Of one picture in a step of training: varied, forward, backward, and the optimizer's share."""
    forward_s: float = math.nan
    """Of one picture that is judged or embedded."""
    draw_s: float = math.nan
    """Of the pictures of one patient, wall clock."""
    n_pictures: float = math.nan
    """A patient's."""
    network_bytes: float = math.nan
    """Of one network in the file."""
    picture_bytes: float = math.nan
    """Of one picture, which lies on the disk until all networks are trained."""
    device_bytes: float = math.nan
    """Weights, gradients, the optimizer's moments, and what a batch keeps for the backward pass."""
    reason: str = ""
    """Why it could not be measured."""

    def training_s(self, lessons: Sequence[tuple[int, int]], epochs: int, n_patients: int) -> float:
        """Seconds until all networks are trained, if none stops early.

        Args:
            lessons: for each network, patients who are learned from and patients who tell when to stop.
            epochs: at most.
            n_patients: whose pictures are drawn.
        """
        in_epoch = sum(learned * self.step_s + told * self.forward_s for learned, told in lessons)
        return n_patients * self.draw_s + epochs * self.n_pictures * in_epoch

    def patient_s(self) -> float:
        """Seconds to draw and embed a patient afterwards."""
        return self.draw_s + self.n_pictures * self.forward_s


def measure_trainings(asked: Sequence[tuple[Config, Sequence[Path]]]) -> list[TrainCost]:
    """Time one network, with random weights, and the drawing of pictures for every recipe.

    Args:
        asked: configurations that train the same network in the same way, each with slabs of its recipe.

    Returns:
        One for each configuration.

    Raises:
        StopRun: an unknown name in the configuration; ``config_value`` for an encoder that cannot be trained.
    """
    if not asked:
        return []
    config = asked[0][0]
    options = config.finetune or FinetuneConfig()
    tasks = tuple(2 for _ in options.also_predict)
    design = make_design(find_encoder(config.extract.encoder), options, len(scheme_classes(config.scheme)), tasks)
    network = _measure_network(design, config)
    return [_with_pictures(network, design, config, slabs) for config, slabs in asked]


def _measure_network(design: Design, config: Config) -> TrainCost:
    """Time steps of training and forward passes of one network."""
    devices = choose_devices(config.extract.device)
    running = _Running(design, untrained(design, None, 0), devices[0], config)
    n_devices = min(design.options.devices or len(devices), len(devices))
    few = min(_FEW, max(2, design.options.batch_size))
    kept_bytes = running.kept_bytes(few) / few
    step_s = _paced(running.step, few, design.options.batch_size)
    weights = sum(tensor.nbytes for tensor in running.classifier.state_dict().values())
    learned = sum(parameter.nbytes for parameter in running.classifier.parameters())
    return TrainCost(
        step_s=step_s / n_devices,
        forward_s=_paced(running.forward, few, config.extract.batch_size) / n_devices,
        network_bytes=float(weights),
        picture_bytes=float(3 * design.spec.input_size**2),
        device_bytes=float(_COPIES * learned + kept_bytes * math.ceil(design.options.batch_size / n_devices)),
    )


def _paced(work: Callable[[int], None], few: int, most: int) -> float:
    """Seconds a picture, in the largest batch that does not take long."""
    work(few)  # chooses kernels
    n = max(few, min(most, int(_ENOUGH_S / max(_seconds(work, few) / few, 1e-9))))
    work(n)  # takes the memory
    return _seconds(work, n) / n


def _seconds(work: Callable[[int], None], n: int) -> float:
    """Wall clock of some work."""
    start = time.monotonic()
    work(n)
    return time.monotonic() - start


class _Running:
    """A network on its device, with pictures of noise."""

    def __init__(self, design: Design, classifier: Classifier, device: torch.device, config: Config) -> None:
        """Put it there."""
        self.design, self._device = design, device
        self.classifier = classifier.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = AdamW(self.classifier.parameters(), design.options.learning_rate)
        self._inputs = PictureInputs(design.spec, device)
        self._generator = torch.Generator(device).manual_seed(0)
        self._is_mixed = device.type == "cuda" and resolved_precision(config.extract) == "bfloat16"

    def step(self, n: int) -> None:
        """One step on n pictures."""
        self.classifier.train()
        self._optimizer.zero_grad()
        torch.autograd.backward(self._loss(n))
        self._optimizer.step()
        self._wait()

    def forward(self, n: int) -> None:
        """The probabilities of n pictures."""
        self.classifier.eval()
        with torch.inference_mode(), self._precision():
            probabilities(self.classifier(self._inputs.scaled(self._noise(n))), self.design)
        self._wait()

    def kept_bytes(self, n: int) -> int:
        """What n pictures keep for the backward pass, beside the weights."""
        own = {parameter.untyped_storage().data_ptr() for parameter in self.classifier.parameters()}
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            mean = self._loss(n)
        torch.autograd.backward(mean)
        return sum(n_bytes for place, n_bytes in kept.items() if place not in own)

    def _loss(self, n: int) -> torch.Tensor:
        """Of n pictures of the first class."""
        none = torch.zeros(n, dtype=torch.int64, device=self._device)
        labels = torch.zeros((n, len(self.design.tasks)), dtype=torch.int64, device=self._device)
        varied = vary(self._noise(n), self.design.options.augment, self._generator)
        with self._precision():
            return loss(self.classifier(self._inputs.scaled(varied)), none, labels, self.design, class_weights=None)

    def _noise(self, n: int) -> torch.Tensor:
        """Pictures as bytes."""
        shape = (n, 3, self.design.spec.input_size, self.design.spec.input_size)
        return torch.randint(0, 256, shape, dtype=torch.uint8, device=self._device, generator=self._generator)

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        """Mixed on GPUs that compute in it."""
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_mixed)

    def _wait(self) -> None:
        """Until the device is done."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _with_pictures(network: TrainCost, design: Design, config: Config, slabs: Sequence[Path]) -> TrainCost:
    """With what drawing takes, and how many pictures a patient has."""
    task = decide_pictures(config)
    if task.needs_fit:
        task = replace(task, standard=fit_standard_scale(read_slab(path).volume_histograms for path in slabs))
    recipe = picture_recipe(task)
    start, counts = time.monotonic(), []
    for path in slabs:
        with contextlib.suppress(SkipPatient):
            drawn = Drawing(read_slab(path), recipe).pictures(design.spec.input_size, mode=design.spec.interpolation)
            counts.append(len(drawn.slices.index))
    if not counts:
        return replace(network, reason="the patients that were tried cannot be used")
    lanes = min(config.extract.readers, os.cpu_count() or 1)
    draw_s = (time.monotonic() - start) / len(slabs) / lanes
    return replace(network, draw_s=draw_s, n_pictures=sum(counts) / len(counts))
