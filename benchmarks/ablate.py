"""What an ablation costs against its configurations run one after the other, as a ratio of CPU time.

Usage: ``python -P benchmarks/ablate.py`` (-P keeps this folder from hiding packages of the same names).
The lattice is 3 encoders x 4 normalizations x 3 poolings x 3 heads: 108 cells on a phantom cohort. Both ways are the
command line in processes of their own, whose CPU time is taken from the system, with start-up, imports and report.
The 108 configurations would take hours, so a balanced fraction of them is run (each encoder with each normalization,
every pooling and head equally often) and counted for all; ``--all`` runs all. Their predictions must be equal to
those of the cells, byte for byte. Two encoders have random weights, as their cost is what counts. What a study saves
is embeddings and what stands beside a model; dear heads (``--heads logistic elastic-net xgboost``) save less.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.figures import at_least, show
from extract.phantom.cohort import write_phantom
from extract.torchvision_cure import import_torchvision
from triher.ablation.axes import read_lattice
from triher.config import build_config, read_tree, write_config
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.study import StudyFolder

import_torchvision()
import timm  # noqa: E402 - it imports torchvision

MODELS = ("resnet18", "vit_tiny_patch16_224")
NORMALIZATIONS = ("clip99-joint", "minmax-volume", "zscore-volume", "clip98-slice")
POOLINGS = (["mean"], ["max"], ["mean", "std"])
HEADS = ("logistic", "ordinal", "hierarchical-logistic")


def main() -> None:
    """Run both ways and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=120)
    parser.add_argument("--heads", nargs=3, default=HEADS, help="whose cost tells how much the embedding matters")
    parser.add_argument("--all", action="store_true", help="run all configurations, not a fraction")
    parser.add_argument("--fraction", type=int, default=12, choices=(12, 36), help="configurations to run alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """The study, and some or all of its configurations alone."""
    path = write_study(folder, options.patients, options.heads)
    study = StudyFolder(RunFolder(folder / "study"))
    shared_s = cpu_of("ablate", str(path), "--out", str(study.run.path))
    tree = read_tree(path)
    lattice = read_lattice(tree, path)
    chosen = [cell for cell in lattice.cells if options.all or is_chosen(cell.changes, tree, options.fraction)]
    keys = study.read_study().runs
    alone_s, n_equal = 0.0, 0
    for number, cell in enumerate(chosen):
        config = folder / f"cell{number}.yaml"
        write_config(build_config({k: v for k, v in tree.items() if k != "ablation"}, cell.changes, path), config)
        run = RunFolder(folder / f"alone{number}")
        seconds = cpu_of("run", str(config), "--out", str(run.path))
        equal = run.predictions_file.read_bytes() == study.predictions(keys[cell.name][0]).read_bytes()
        print(f"{cell.name}: {seconds:.1f} s alone, predictions {'equal' if equal else 'DIFFER'}", flush=True)
        alone_s, n_equal = alone_s + seconds, n_equal + equal
    whole_s = alone_s * len(lattice.cells) / len(chosen)
    print(f"{len(lattice.cells)} cells, {options.patients} patients")
    print(f"one after the other: {whole_s:.0f} s of CPU, from {len(chosen)} configurations run alone")
    print(f"as one study: {shared_s:.0f} s of CPU")
    show("configurations one after the other / one study, CPU time", whole_s / shared_s, at_least(8))
    show("share of them whose predictions are equal, byte for byte", n_equal / len(chosen), at_least(1))


def write_study(folder: Path, n_patients: int, heads: Sequence[str]) -> Path:
    """The phantom, the weights and the configuration."""
    table = write_phantom(folder / "phantom", n_patients=n_patients, seed=0, reporter=Reporter(quiet=True))
    encoders = ["efficientnet-lite0"]
    for name in MODELS:
        torch.manual_seed(0)
        weights = folder / f"{name}.safetensors"
        save_file(timm.create_model(name, pretrained=False).state_dict(), weights)
        encoders.append(f"file:{name}@{weights}")
    axes: dict[str, list[Any]] = {
        "extract.encoder": encoders,
        "extract.normalization": list(NORMALIZATIONS),
        "classify.pooling": [list(pooling) for pooling in POOLINGS],
        "classify.head": list(heads),
    }
    config = {
        "cohort": {"table": str(table), "name": "phantom", "time_unit": "months"},
        "extract": {"encoder": encoders[0], "normalization": NORMALIZATIONS[0]},
        "classify": {"head": heads[0], "split": {"kind": "sites", "test": ["C"]}},
        "ablation": {"axes": axes},
    }
    path = folder / "study.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML, too
    return path


def is_chosen(changes: dict[str, Any], tree: dict[str, Any], fraction: int) -> bool:
    """Whether a cell belongs to the balanced fraction: poolings and heads are dealt by Latin squares."""
    axes = tree["ablation"]["axes"]
    place = {key: values.index(changes.get(key, values[0])) for key, values in axes.items()}
    encoder, normalization = place["extract.encoder"], place["extract.normalization"]
    pooling, head = place["classify.pooling"], place["classify.head"]
    if fraction > len(axes["extract.encoder"]) * len(axes["extract.normalization"]):
        return bool((encoder + normalization + pooling + head) % 3 == 0)
    return bool(pooling == (encoder + normalization) % 3 and head == (encoder + 2 * normalization) % 3)


def cpu_of(*arguments: str) -> float:
    """CPU seconds of a command of ours and of all processes that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [str(Path(sys.executable).with_name("triher")), *arguments, "--quiet"]
    done = subprocess.run(command, check=False, env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"})  # noqa: S603
    if done.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


if __name__ == "__main__":
    main()
