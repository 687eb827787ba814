"""What training costs beside the bare steps of the network, as ratios measured in one run.

Usage: ``python -P benchmarks/finetune.py`` on a GPU (ResNet-34 and ViT-B/16 at 224 pixels, bfloat16), and with
``--small`` on a processor (-P keeps this folder from hiding the package of the same name). Weights and pictures are
random. The bare step is forward, loss, backward and optimizer on one scaled batch that lies on the device; bare steps
and trainings alternate in one process, each training is compared with the bare steps just before it, and the median
of the rounds is taken. Time is CPU time of the process on a processor, and wall time on a GPU.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch

from benchmarks.figures import at_least, show
from extract.devices import best_precision, choose_devices, device_name
from extract.encoder_spec import EncoderSpec
from extract.training.design import Design, make_design
from extract.training.learn import Where, learn
from extract.training.material import Lesson, Material
from extract.training.networks import untrained
from extract.training.outputs import loss
from extract.training.quiet import load
from triher.progress import Reporter
from triher.settings import AugmentConfig, FinetuneConfig

learner = load("extract.training.learner")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STILL = AugmentConfig(flips="none", rotate_deg=0, scale=0.0, shift=0.0, brightness=0.0, contrast=0.0)
VALIDATION_SHARE = 0.15
AIM = 0.70


@dataclass(frozen=True)
class Size:
    """What is trained on."""

    side: int
    batch: int
    n_batches: int
    epochs: int


class Told(Reporter):
    """Remembers when each epoch was committed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(quiet=True)
        self._now = clock
        self.at: list[float] = []

    def say(self, text: str) -> None:
        if "epoch" in text:
            self.at.append(self._now())


@dataclass(frozen=True)
class Bench:
    """All that the measurements of one network share."""

    design: Design
    material: Material
    lesson: Lesson
    where: Where
    size: Size
    clock: Callable[[], float]

    def bare(self) -> float:
        """Pictures a second of the bare step."""
        device = self.where.devices[0]
        classifier = untrained(self.design, None, 0).to(device, memory_format=torch.channels_last)
        optimizer = learner.make_optimizer(classifier, self.design.options)
        n, side = self.size.batch, self.size.side
        batch = torch.randn((n, 3, side, side), device=device).to(memory_format=torch.channels_last)
        y = torch.arange(n, device=device) % 3
        tasks = torch.zeros((n, 0), dtype=torch.int64, device=device)

        def step() -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=self.where.mixed):
                value = loss(classifier(batch), y, tasks, self.design, class_weights=None)
            value.backward()
            optimizer.step()
            optimizer.zero_grad()

        for _ in range(3):
            step()
        wait(device)
        start = self.clock()
        for _ in range(self.size.n_batches):
            step()
        wait(device)
        return n * self.size.n_batches / (self.clock() - start)

    def training(self, resident: str, augment: AugmentConfig) -> tuple[float, float]:
        """Pictures a second of `learn` in its steps, and in whole epochs with validation and commits."""
        options = self.design.options.model_copy(update={"augment": augment})
        told = Told(self.clock)
        clock = SimpleNamespace(monotonic=self.clock)
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(learner, "time", clock):
            where = replace(self.where, resident=resident)
            design = replace(self.design, options=options)
            learned = learn(design, None, self.material, self.lesson, where, Path(folder), told)
        return learned.pictures_per_s, self.size.batch * self.size.n_batches / float(np.mean(np.diff(told.at)))


def wait(device: torch.device) -> None:
    """Until the device has done all."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def make_bench(model: str, size: Size, device: torch.device, precision: str) -> Bench:
    """Random pictures, one a patient."""
    n_train = size.batch * size.n_batches
    n = n_train + round(VALIDATION_SHARE * n_train)
    pixels = np.random.default_rng(0).integers(0, 256, (n, 3, size.side, size.side), dtype=np.uint8)
    material = Material(pixels, np.arange(n), np.arange(n) % 3, np.zeros((n, 0), np.int64))
    spec = EncoderSpec(model, "timm", model, "file:none", size.side, MEAN, STD, "none", "none")
    options = FinetuneConfig(epochs=size.epochs, patience=size.epochs, batch_size=size.batch)
    lesson = Lesson(model, np.arange(n_train), np.arange(n_train, n), 0)
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    where = Where(device, precision)  # type: ignore[arg-type]
    return Bench(make_design(spec, options, 3), material, lesson, where, size, clock)


def measure(model: str, bench: Bench, rounds: int) -> None:
    """Alternate, and print."""
    ways = {
        "device": ("device", AugmentConfig()),
        "host": ("host", AugmentConfig()),
        "device, pictures not varied": ("device", STILL),
    }
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (resident, augment) in ways.items():
            bare = bench.bare()
            steps, whole = bench.training(resident, augment)
            found[name].append((bare, steps / bare, whole / bare))
            print(
                f"  {name}: bare step {bare:.1f} pictures/s, training {steps:.1f}, whole epochs {whole:.1f}",
                flush=True,
            )
    for name, rows in found.items():
        _, ratio, total = np.median(rows, axis=0)
        ratios = [row[1] for row in rows]
        show(f"training {model}, {name} / bare step", ratio, at_least(AIM), spread=(min(ratios), max(ratios)))
        print(f"    {total:.2f} with validation of {VALIDATION_SHARE:.0%} as many pictures and commit")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a small network at 64 pixels, for a processor")
    parser.add_argument("--model", action="append", help="of timm; may be given several times")
    parser.add_argument("--side", type=int, default=0)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--n-batches", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    chosen = parser.parse_args()
    device = choose_devices(chosen.device)[0]
    models = chosen.model or (["resnet10t"] if chosen.small else ["resnet34", "vit_base_patch16_224"])
    usual = Size(64, 16, 12, 3) if chosen.small else Size(224, 64, 150, 3)
    size = Size(
        chosen.side or usual.side, chosen.batch or usual.batch, chosen.n_batches or usual.n_batches, usual.epochs
    )
    precision = best_precision(str(device))
    for model in models:
        print(f"\n{model}, {size}, {precision}, {device_name(device)}")
        measure(model, make_bench(model, size, device, precision), chosen.rounds)


if __name__ == "__main__":
    main()
