"""What maps cost, as multiples of one forward pass of the same pictures.

Usage: ``python -P benchmarks/saliency.py`` (-P keeps this folder from hiding the package of the same name).
Weights are random; the patient has 8 slices of 80 x 80 mm in one view, and three classes are explained. Figures are
the least CPU time of the process over the rounds, as neighbors only add to it.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.figures import show
from extract.cache import Slab
from extract.encoders import find_encoder
from extract.fusion import find_fusion
from extract.histograms import count
from extract.models import Encoder, Running
from extract.normalization import find_normalization
from extract.pictures import Drawing, PictureRecipe
from extract.saliency.maps import embed_pictures, explain
from extract.saliency.methods import METHODS, kind_of
from extract.saliency.occlusion import occlude
from extract.torchvision_cure import import_torchvision

import_torchvision()
import timm  # noqa: E402 - it imports torchvision

SHAPE, SPACING_MM = (8, 80, 80), (2.0, 1.0, 1.0)
CLASSES = 3


def make_patient() -> Drawing:
    """Noise with a bright square."""
    rng = np.random.default_rng(0)
    voxels = rng.integers(50, 150, (3, *SHAPE)).astype(np.int16)
    mask = np.zeros(SHAPE, bool)
    mask[:, 30:50, 30:50] = True
    counts = tuple(tuple(count(plane) for plane in phase) for phase in voxels)
    names = ("pre", "early", "late")
    slab = Slab(names, voxels, mask, tuple(map(count, voxels)), counts, 0, SPACING_MM, "axial", SHAPE)
    return Drawing(slab, PictureRecipe(find_normalization("clip98-volume"), (find_fusion("rgb", names),), "all", 8))


def make_encoder(model: str, folder: Path) -> Encoder:
    """A network of timm with random weights, run by torch."""
    torch.manual_seed(0)
    weights = folder / f"{model}.safetensors"
    save_file(timm.create_model(model, num_classes=0).state_dict(), weights)
    spec = replace(find_encoder("resnet50"), name=model, model=model, weights=f"file:{weights}", sha256="")
    return Encoder(spec, weights, torch.device("cpu"), Running(runtime="torch"))


def least_cpu_s(work: Callable[[], object], rounds: int) -> float:
    """CPU time of the process, the least of some rounds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def measure(encoder: Encoder, drawing: Drawing, rounds: int) -> dict[str, float]:
    """Each method against one forward pass of the same pictures."""
    prepared = encoder.prepare(drawing)
    rows = embed_pictures(encoder, prepared)
    n_slices, n_features = rows["rgb"].shape
    gradient = {"rgb": np.random.default_rng(1).normal(size=(CLASSES, n_slices, n_features)).astype(np.float32)}

    def log_odds(views):  # noqa: ANN001, ANN202 - as the callback of occlude
        return np.einsum("ysf,vsf->vy", gradient["rgb"], views["rgb"]).astype(np.float64)

    forward = least_cpu_s(lambda: embed_pictures(encoder, prepared), rounds)
    found = {"CPU seconds of a forward pass": forward}
    for method in METHODS[kind_of(encoder)]:
        if method == "occlusion":
            seconds = least_cpu_s(lambda: occlude(encoder, drawing, log_odds, 16, 16), 1)
            found["occlusion, each hidden place / forward pass"] = seconds / forward / (80 // 16) ** 2
        else:
            work = lambda method=method: explain(encoder, drawing, gradient, method)  # noqa: E731
            found[f"{method} / forward pass"] = least_cpu_s(work, rounds) / forward
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["resnet18", "efficientnet_lite0", "vit_tiny_patch16_224"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    drawing = make_patient()
    with tempfile.TemporaryDirectory() as folder:
        for model in arguments.models:
            for what, value in measure(make_encoder(model, Path(folder)), drawing, arguments.rounds).items():
                show(f"{what} of one patient, {model}", value)


if __name__ == "__main__":
    main()
