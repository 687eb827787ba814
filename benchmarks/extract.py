"""What extraction costs beside its forward pass, as ratios measured in one run.

Usage: ``python -P benchmarks/extract.py`` (-P keeps this folder from hiding the package of the same name).
Baseline and ours alternate in one process, and what they compute is compared before anything is timed. Figures are
CPU time of the process, medians over rounds.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from extract.cache import ensure_slab, read_slab
from extract.embedding import Job, Plan, embed_cohort
from extract.encoders import find_encoder
from extract.fusion import find_fusion
from extract.models import Encoder, choose_device
from extract.normalization import find_normalization
from extract.pictures import PictureRecipe, prepare
from extract.recipe import SlabRecipe
from extract.weights import locate_weights
from triher.cohort import Patient
from triher.progress import Reporter
from triher.store import Header

SHAPE = (256, 256, 80)
PHASES = ("pre", "early", "late")
ROUNDS = 5


def write_patients(folder: Path, n: int) -> list[Patient]:
    """Exams of real size with a lesion of about 20 slices."""
    rng = np.random.default_rng(0)
    affine = np.diag([0.7, 0.7, 2.0, 1.0])
    grid = np.indices(SHAPE)
    patients = []
    for i in range(n):
        center = [128 + 5 * i, 128, 40]
        mask = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, center, (22, 18, 10), strict=True)) < 1
        paths = {name: folder / f"P{i}_{name}.nii.gz" for name in (*PHASES, "mask")}
        for k, name in enumerate(PHASES):
            noise = rng.gamma(2.0, 150, SHAPE) + 300 * k * mask
            nib.save(nib.Nifti1Image(noise.astype(np.int16), affine), paths[name])
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), paths["mask"])
        mask_path = paths.pop("mask")
        patients.append(Patient(f"P{i}", "bench", "A", "", paths, mask_path))
    return patients


def alternate(first: Callable[[], object], second: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median CPU seconds of two functions, measured in turns."""
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for function, times in zip((first, second), spent, strict=True):
            start = time.process_time()
            function()
            times.append(time.process_time() - start)
    return statistics.median(spent[0]), statistics.median(spent[1])


def show(what: str, ratio: float, aim: str) -> None:
    """One line of the table."""
    print(f"{what:<72} {ratio:8.2f}   {aim}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=6)
    n = parser.parse_args().patients
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        patients = write_patients(folder, n)
        measure(folder, patients)


def measure(folder: Path, patients: list[Patient]) -> None:
    """All ratios."""
    slabs = folder / "slabs"
    entries = [ensure_slab(slabs, patient, SlabRecipe("box", 5.0)) for patient in patients]
    spec = find_encoder("efficientnet-lite0")
    encoder = Encoder(spec, locate_weights(spec, None)[0], choose_device("auto"))
    recipe = PictureRecipe(
        find_normalization("clip98-volume"), (find_fusion("rgb", PHASES),), "all", 8, spec.input_size
    )
    prepared = [prepare(read_slab(entry.path), recipe) for entry in entries]
    pictures = torch.cat([p.views["rgb"] for p in prepared])
    again, warm = alternate(
        lambda: [prepare(read_slab_from_volumes(p), recipe) for p in patients[:2]],
        lambda: [prepare(read_slab(e.path), recipe) for e in entries[:2]],
        rounds=3,
    )
    show("pictures of two patients: from volumes / from the slab cache", again / warm, "-")

    jobs = [Job(p.patient_id, p.cohort, e.path, e.sha256) for p, e in zip(patients, entries, strict=True)]
    header = Header(spec.identity("0" * 64), {}, {}, encoder.probe())
    plan = Plan(batch_size=32, shard_patients=32, readers=2)
    target = folder / "store.h5"

    def end_to_end() -> None:
        target.unlink(missing_ok=True)
        embed_cohort(jobs, encoder, recipe, header, target, plan, Reporter(quiet=True))

    def forward() -> None:
        for start in range(0, len(pictures), 32):
            encoder.embed(pictures[start : start + 32])

    whole, alone = alternate(end_to_end, forward, rounds=3)
    show(f"forward alone / whole run from a warm cache, {spec.name}, {encoder.device}", alone / whole, ">= 0.95")
    print(
        f"{len(patients)} patients of {SHAPE} x 3 phases, {len(pictures)} slices, {torch.get_num_threads()} threads"
    )


def read_slab_from_volumes(patient: Patient) -> object:
    """What every run would do without the cache."""
    from extract.cache import cut_slab
    from extract.exam import read_exam

    return cut_slab(read_exam(patient), SlabRecipe("box", 5.0))


if __name__ == "__main__":
    main()
