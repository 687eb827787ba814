"""What a study will cost, and how its plan is printed."""

import io
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from extract.stage import extract
from triher.ablation.axes import Lattice, read_lattice
from triher.ablation.cost import PlanCost, measure_plan
from triher.ablation.head_cost import Shape, alike, draw_features
from triher.ablation.keys import Cohorts
from triher.ablation.nodes import RunNode, StudyPlan
from triher.ablation.part_cost import PartCost
from triher.ablation.printing import print_plan
from triher.config import read_tree
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.study import StudyFolder
from triher.tables import write_table

QUIET = Reporter(quiet=True)
BASE = (
    "cohort: {table: cohort.csv}\nextract: {encoder: toy, runtime: torch, slices: {n: 2}}\n"
    "classify: {head: majority, folds: 2, trials: 2}\n"
)
AXES = (
    "ablation:\n  axes:\n    extract.normalization: [clip99-joint, minmax-volume]\n"
    "    extract.encoder: [toy, toy-wide]\n    classify.head: [majority, knn]\n"
)
N_PATIENTS = 24


@pytest.fixture
def config_file(tmp_path, write_exam, toy_plugin) -> Path:
    rows = []
    for i in range(N_PATIENTS):
        patient = write_exam(f"P{i:02d}", seed=i, shape=(26, 24, 8)).patient
        files = [str(path) for path in (*patient.phases.values(), patient.mask)]
        rows.append([patient.patient_id, "AB"[i % 2], ("0", "1+", "3+")[i % 3], *files])
    write_table(tmp_path / "cohort.csv", ["patient_id", "site", "ihc", "pre", "early", "late", "mask"], rows)
    (tmp_path / "config.yaml").write_text(BASE + AXES)
    return tmp_path / "config.yaml"


def plan_of(lattice: Lattice, seeds: int = 1) -> StudyPlan:
    """The graph, without looking for what is there."""
    known, nodes, runs = Cohorts(), {}, []
    for cell in lattice.cells:
        config = lattice.configs[cell.name]
        node = known.embedding(config)
        nodes[node.key] = replace(nodes.get(node.key, node), cells=(*nodes.get(node.key, node).cells, cell.name))
        runs += [RunNode(cell.name, seed, config, node.key, "", "", is_done=False) for seed in range(seeds)]
    return StudyPlan(lattice, (), tuple(nodes.values()), tuple(runs), {})


def read_plan(config_file: Path) -> StudyPlan:
    return plan_of(read_lattice(read_tree(config_file), config_file))


def folder_of(config_file: Path) -> StudyFolder:
    return StudyFolder(RunFolder(config_file.parent / "study"))


def with_store(plan: StudyPlan, place: int, store: Path) -> StudyPlan:
    nodes = list(plan.embeddings)
    nodes[place] = replace(nodes[place], store=store)
    return replace(plan, embeddings=tuple(nodes))


def test_each_thing_is_measured_once_and_disk_is_foreseen(config_file, monkeypatch, opened_sources):
    loaded = []
    load = "extract.lanes.Choice.load"
    from extract.lanes import Choice

    original = Choice.load
    monkeypatch.setattr(load, lambda self, device: loaded.append(self.spec.name) or original(self, device))
    plan, folder = read_plan(config_file), folder_of(config_file)
    cost = measure_plan(plan, folder, QUIET)
    assert loaded == ["toy", "toy-wide"]  # 4 stores
    assert len(set(opened_sources)) <= 5 * 4  # of 5 patients at most, whatever the number of recipes
    assert not folder.run.path.exists()
    assert (len(cost.slabs), len(cost.embeddings), len(cost.runs)) == (1, 4, 8)
    assert all(part.seconds > 0 and part.reason == "" for part in cost.parts)
    assert cost.process_bytes > 50e6
    assert cost.device.startswith("cpu")

    run = RunFolder(config_file.parent / "run")
    done = extract(plan.embeddings[0].config, run, QUIET)
    slabs = sum(path.stat().st_size for path in run.slabs.glob("*.safetensors"))
    assert next(iter(cost.slabs.values())).disk_bytes == pytest.approx(slabs, rel=0.3)
    there = with_store(plan, 0, done.store)
    second = measure_plan(there, folder, QUIET)
    assert not second.slabs  # a store was drawn from them
    assert set(second.embeddings) == {node.key for node in there.embeddings[1:]}
    assert all(part.seconds > 0 for part in second.parts)


def test_an_encoder_without_weights_is_unknown_with_its_reason_and_the_rest_is_measured(config_file):
    axes = "ablation: {axes: {extract.encoder: [toy, vit]}}\n"
    config_file.write_text(BASE + axes.replace("vit", "toy-wide"))
    plan = read_plan(config_file)
    lost = plan.embeddings[1].config.extract.model_copy(update={"encoder": "file:resnet18@nowhere.pth"})
    config = plan.embeddings[1].config.model_copy(update={"extract": lost})
    node = replace(plan.embeddings[1], config=config, encoder=lost.encoder)
    run = replace(plan.runs[1], config=config)
    cost = measure_plan(
        replace(plan, embeddings=(plan.embeddings[0], node), runs=(plan.runs[0], run)), folder_of(config_file), QUIET
    )
    fine, unknown = (cost.embeddings[one.key] for one in plan.embeddings)
    assert fine.seconds > 0
    assert math.isnan(unknown.seconds)
    assert "nowhere.pth" in unknown.reason
    assert "nowhere.pth" in cost.runs[plan.runs[1].cell, 0].reason
    assert cost.runs["base", 0].seconds > 0


def test_a_cohort_of_which_nothing_can_be_read_is_said(config_file):
    for path in config_file.parent.glob("images/*_pre.nii.gz"):
        path.write_bytes(b"no image")
    plan = read_plan(config_file)
    cost = measure_plan(plan, folder_of(config_file), QUIET)
    assert all("none of the patients that were tried can be read" in p.reason for p in cost.slabs.values())
    assert all(math.isnan(part.seconds) for part in cost.embeddings.values())


def test_cells_are_alike_that_differ_in_what_costs_nothing(config_file):
    plan = read_plan(config_file)
    config, shape = plan.runs[0].config, Shape(("rgb",), 1000, 2)
    mine = alike(config, shape)

    def changed(**update: object) -> str:
        return alike(config.model_copy(update={"classify": config.classify.model_copy(update=update)}), shape)

    assert changed(pooling=("max",)) == mine
    assert changed(pooling=("mean", "std")) != mine
    assert changed(trials=50) != mine
    assert changed(head="xgboost") != mine
    assert alike(config, Shape(("rgb",), 1100, 2)) == mine


def test_drawn_features_are_the_same_every_time_and_correlated(config_file):
    cohort = Cohorts().read(read_plan(config_file).runs[0].config)
    shape = Shape(("rgb", "late"), 64, 3)
    found, again = (draw_features(cohort, "triple", shape) for _ in range(2))
    assert found.views["rgb"].shape == (N_PATIENTS * 3, 64)
    assert not np.array_equal(found.views["rgb"], found.views["late"])
    assert np.array_equal(found.views["late"], again.views["late"])
    variances = np.linalg.svd(found.views["rgb"] - found.views["rgb"].mean(axis=0), compute_uv=False) ** 2
    assert variances[:20].sum() > 0.9 * variances.sum()


def cost_of(plan: StudyPlan, free_bytes: float = 1e12) -> PlanCost:
    """Every slab cache takes 60 s and 2 GB, every store 600 s and 1 GB, every run 30 s."""
    left = [run for run in plan.runs if not run.is_done]
    return PlanCost(
        {node.slabs: PartCost(60.0, 2e9, 0.0) for node in plan.embeddings},
        {node.key: PartCost(600.0, 1e9, 3e8) for node in plan.embeddings if node.store is None},
        {(run.cell, run.seed): PartCost(30.0, 0.0, 0.0) for run in left if run.cell not in plan.broken},
        3,
        12.0,
        "cpu, 2 threads",
        5e8,
        free_bytes,
    )


def printed(plan: StudyPlan, cost: PlanCost) -> str:
    console = Console(file=io.StringIO(), width=80)
    print_plan(plan, cost, console)
    text = console.file.getvalue()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    return text


def row_of(text: str, start: str) -> list[str]:
    """The cells of the first row that starts so."""
    line = next(line for line in text.splitlines() if line.strip("│ ").startswith(start))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_a_small_plan_lists_its_cells(config_file):
    plan = read_plan(config_file)
    runs = [replace(run, is_done=run.cell == "base") for run in plan.runs]
    done = with_store(replace(plan, runs=tuple(runs)), 0, Path("there.h5"))
    text = printed(done, cost_of(done))
    assert "shared: 4 embeddings instead of 8, 1 slab cache instead of 8" in text
    assert row_of(text, "slabs: box") == ["slabs: box", "1", "0", "1", "60 s", "2.0 GB"]
    assert row_of(text, "embedding: toy ") == ["embedding: toy", "2", "1", "1", "10 min", "1.0 GB"]
    assert row_of(text, "embedding: toy-wide") == ["embedding: toy-wide", "2", "0", "2", "20 min", "2.0 GB"]
    assert row_of(text, "models: majority") == ["models: majority", "4", "1", "3", "90 s", ""]
    assert row_of(text, "all") == ["all", "13", "2", "11", "34 min", "5.0 GB"]  # 60 + 3 x 600 + 7 x 30 s
    assert row_of(text, "base") == ["base", "majority", "done", ""]
    assert row_of(text, "head=knn") == ["head=knn", "knn", "to do", "30 s"]
    assert "device: cpu, 2 threads, at most 300.0 MB" in text
    assert "disk: 5.0 GB needed, 1000.0 GB free" in text
    assert "WARNING" not in text


def test_a_disk_that_is_too_small_is_warned_of(config_file):
    plan = read_plan(config_file)
    text = printed(plan, cost_of(plan, free_bytes=6e9))
    assert "disk: 6.0 GB needed, 6.0 GB free" in text
    assert "WARNING: the disk is too small" in text


def test_a_large_plan_is_counted_by_axis_and_says_what_is_broken_and_unknown(config_file):
    normalizations = ("clip99-joint", "minmax-volume", "zscore-volume", "clahe-joint")
    axes = (
        f"ablation:\n  seeds: 2\n  axes:\n    extract.normalization: [{', '.join(normalizations)}]\n"
        "    extract.encoder: [toy, toy-wide]\n    classify.pooling: [[mean], [max], [std]]\n"
        "    classify.head: [majority, xgboost]\n"
    )
    config_file.write_text(BASE + axes)
    whole = plan_of(read_lattice(read_tree(config_file), config_file), seeds=2)
    lost = {run.cell for run in whole.runs if run.config.extract.encoder == "toy-wide"}
    plan = replace(
        whole,
        embeddings=tuple(node for node in whole.embeddings if node.encoder == "toy"),
        runs=tuple(run for run in whole.runs if run.cell not in lost),
        broken=dict.fromkeys(sorted(lost), ("weights_missing", "the weights of 'toy-wide' [are] not here")),
    )
    cost = cost_of(plan)
    first = plan.embeddings[0].key
    unknown = PartCost(memory_bytes=math.nan, reason="the network is not known")
    text = printed(plan, replace(cost, embeddings={**cost.embeddings, first: unknown}))
    assert "48 cells with 2 seeds each: 4 normalization x 2 encoder x 3 pooling x 2 head" in re.sub(r"\s+", " ", text)
    assert row_of(text, "embedding: toy") == ["embedding: toy", "4", "0", "4", "> 30 min", "3.0 GB"]
    assert row_of(text, "encoder") == ["encoder", "toy", "24", "0", "24", "0", "24 min"]
    assert row_of(text, "toy-wide") == ["", "toy-wide", "24", "0", "0", "24", ""]
    assert row_of(text, "all ") == ["all", "53", "0", "53", "> 55 min", "5.0 GB"]
    assert "24 cells cannot be computed" in text
    assert "[are]" in text
    assert "not measured (1 x): the network is not known" in text
    assert "and what was not measured" in text


def test_a_finished_study_says_that_nothing_is_left(config_file):
    plan = read_plan(config_file)
    nodes = tuple(replace(node, store=Path("there.h5")) for node in plan.embeddings)
    runs = tuple(replace(run, is_done=True) for run in plan.runs)
    done = replace(plan, embeddings=nodes, runs=runs)
    text = printed(done, replace(cost_of(done), slabs={}, device="", n_measured=0))
    assert row_of(text, "all") == ["all", "13", "13", "0", "", ""]
    assert "nothing is left to be done" in text
