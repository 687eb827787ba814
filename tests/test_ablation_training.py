"""Studies whose cells train their encoders: which networks there are, what shares them, and what is left when one fails."""

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from triher.ablation.axes import Lattice, read_lattice
from triher.ablation.cost import measure_plan
from triher.ablation.nodes import StudyPlan
from triher.ablation.plan import make_plan
from triher.ablation.printing import print_plan
from triher.ablation.run import StudyOutcome, run_study
from triher.config import read_config, read_tree
from triher.errors import StopRun
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.study import StudyFolder
from triher.tables import write_table

QUIET = Reporter(quiet=True)
N_PATIENTS = 24
BASE = (
    "cohort: {table: cohort.csv}\n"
    "extract: {encoder: 'timm:resnet10t', slices: {n: 1}, device: cpu}\n"
    "finetune: {pretrained: false, input_size: 32, folds: 2, epochs: 1, validation_share: 0.25, batch_size: 16}\n"
    "classify: {head: majority, folds: 2, trials: 2}\n"
    "analysis: {resamples: 100}\n"
)
PROBE = "toy: {finetune: null, extract.encoder: toy}"
AXES = f"ablation: {{axes: {{classify.pooling: [[mean], [max]]}}, cells: {{{PROBE}}}}}\n"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cohort")


@pytest.fixture
def config_file(tmp_path, write_exam, toy_plugin) -> Path:
    rows = []
    for i in range(N_PATIENTS):
        patient = write_exam(f"P{i:02d}", seed=i, shape=(26, 24, 8)).patient
        files = [str(path) for path in (*patient.phases.values(), patient.mask)]
        rows.append([patient.patient_id, "AB"[i % 2], ("0", "1+", "3+")[i % 3], *files])
    write_table(tmp_path / "cohort.csv", ["patient_id", "site", "ihc", "pre", "early", "late", "mask"], rows)
    return write(tmp_path, AXES)


def write(folder: Path, ablation: str, base: str = BASE) -> Path:
    (folder / "config.yaml").write_text(base + ablation)
    return folder / "config.yaml"


def lattice_of(config: Path) -> Lattice:
    return read_lattice(read_tree(config), config)


def folder_of(config: Path) -> StudyFolder:
    return StudyFolder(RunFolder(config.parent / "study"))


def run(config: Path, reporter: Reporter = QUIET) -> StudyOutcome:
    return run_study(lattice_of(config), read_config(config).ablation, folder_of(config), reporter)


def plan_of(config: Path) -> StudyPlan:
    return make_plan(lattice_of(config), read_config(config).ablation, folder_of(config))
