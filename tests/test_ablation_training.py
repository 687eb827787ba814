"""Studies whose cells train their encoders: which networks there are, who shares them, and what a failure leaves."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from extract import finetune as stage
from extract.training.cost import TrainCost, measure_trainings
from triher.ablation.axes import Lattice, read_lattice
from triher.ablation.cost import measure_plan
from triher.ablation.nodes import StudyPlan, TrainNode
from triher.ablation.plan import make_plan
from triher.ablation.printing import print_plan
from triher.ablation.run import StudyOutcome, run_study
from triher.config import read_config, read_tree
from triher.errors import StopRun
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.store import read_store
from triher.study import StudyFolder
from triher.tables import write_table
from triher.trained import DEVELOPED, SAW, read_card

QUIET = Reporter(quiet=True)
N_PATIENTS = 24
BASE = (
    "cohort: {table: cohort.csv, groups: [menopause]}\n"
    "extract: {encoder: 'timm:test_resnet', slices: {n: 1}, device: cpu}\n"
    "finetune: {pretrained: false, input_size: 32, folds: 2, epochs: 1, validation_share: 0.25, batch_size: 16}\n"
    "classify: {head: majority, folds: 2, trials: 2}\n"
    "analysis: {resamples: 100}\n"
)
TOY = "toy: {finetune: null, extract.encoder: toy}"


def write_cohort(folder: Path, files: list[list[str]]) -> None:
    names = ["patient_id", "site", "ihc", "menopause", "pre", "early", "late", "mask"]
    rows = [[f"P{i:02d}", "AB"[i % 2], ("0", "1+", "3+")[i % 3], "pre", *own] for i, own in enumerate(files)]
    write_table(folder / "cohort.csv", names, rows)


@pytest.fixture
def config_file(tmp_path, toy_plugin) -> Path:
    """Whose images are no images: enough to lay out what is to be done."""
    (tmp_path / "image.nii").write_bytes(b"none")
    write_cohort(tmp_path, [["image.nii"] * 4] * N_PATIENTS)
    return tmp_path / "config.yaml"


@pytest.fixture
def real_file(tmp_path, write_exam, toy_plugin) -> Path:
    """With images."""
    exams = [write_exam(f"P{i:02d}", seed=i, shape=(26, 24, 8)).patient for i in range(N_PATIENTS)]
    write_cohort(tmp_path, [[str(path) for path in (*exam.phases.values(), exam.mask)] for exam in exams])
    return tmp_path / "config.yaml"


def lattice_of(config: Path) -> Lattice:
    return read_lattice(read_tree(config), config)


def folder_of(config: Path) -> StudyFolder:
    return StudyFolder(RunFolder(config.parent / "study"))


def plan_of(config: Path, ablation: str, base: str = BASE) -> StudyPlan:
    config.write_text(f"{base}ablation: {ablation}\n")
    return make_plan(lattice_of(config), read_config(config).ablation, folder_of(config))


def run(config: Path, ablation: str) -> StudyOutcome:
    config.write_text(f"{BASE}ablation: {ablation}\n")
    return run_study(lattice_of(config), read_config(config).ablation, folder_of(config), QUIET)


def test_cells_share_networks_that_depend_on_the_same(config_file):
    plan = plan_of(
        config_file,
        "{seeds: 2, axes: {classify.pooling: [[mean], [max]], extract.normalization: [clip99-joint, minmax-volume]},"
        f" cells: {{{TOY}, wider: {{finetune.heads: sequential, finetune.network: dual-attention}}}}}}",
    )
    assert plan.broken == {}
    assert [node.cells for node in plan.trainings] == [("base", "pooling=max")] * 2 + [
        ("normalization=minmax-volume", "pooling=max, normalization=minmax-volume")
    ] * 2 + [("wider",)] * 2
    assert [node.config.seed for node in plan.trainings] == [0, 1] * 3
    assert {(len(node.lessons), node.n_patients) for node in plan.trainings} == {(3, N_PATIENTS)}
    frozen = [node for node in plan.embeddings if not node.training]
    assert [node.cells for node in frozen] == [("toy",)]  # one store, whatever the seed
    by_key = {node.key: node for node in plan.embeddings}
    trained = {(run.cell, run.seed): by_key[run.embedding].training for run in plan.runs}
    seed_of = {node.key: node.config.seed for node in plan.trainings}
    assert all(key == "" or seed_of[key] == seed for (_, seed), key in trained.items())
    assert {trained["toy", 0], trained["toy", 1]} == {""}
    assert len({node.slabs for node in (*plan.trainings, *plan.embeddings)}) == 1


def test_disturbed_images_are_shown_to_networks_of_undisturbed_ones(config_file):
    axes = "axes: {noise: {none: {}, strong: {extract.perturb.noise: 0.3}}}"
    plan = plan_of(config_file, f"{{{axes}}}")
    assert len(plan.trainings) == 1
    assert {node.training for node in plan.embeddings} == {plan.trainings[0].key}
    assert len(plan.embeddings) == 2
    assert plan_of(config_file, f"{{{axes}, perturbed: train}}").trainings[1].extras == ["disturbed"]


def test_a_training_is_another_one_with_other_labels_patients_or_images(config_file):
    axes = "{axes: {classify.folds: [2, 3]}}"
    (first,) = plan_of(config_file, axes).trainings
    assert plan_of(config_file, axes, BASE.replace("trials: 2", "trials: 3")).trainings[0].key == first.key
    assert plan_of(config_file, axes, BASE.replace("trials: 2", "shuffle_labels: true")).trainings[0].key != first.key
    table = config_file.parent / "cohort.csv"
    whole = table.read_text()
    for changed in (whole.replace("P01,B,1+", "P01,B,3+"), whole.replace("P02,", "P99,")):
        table.write_text(changed)
        assert plan_of(config_file, axes).trainings[0].key != first.key


def test_mistakes_break_their_cells_before_anything_is_trained(config_file):
    cells = {
        "pooled features of several networks": ("extract.tokens: mean", "3 networks are to be trained"),
        "a column that nobody has": ("finetune.also_predict: [receptor]", "receptor"),
        "a column that says nothing": ("finetune.also_predict: [menopause]", "1 values"),
        "no such encoder": ("extract.encoder: toyy", "toyy"),
    }
    listed = ", ".join(f"{name}: {{{change}}}" for name, (change, _) in cells.items())
    plan = plan_of(config_file, f"{{cells: {{{listed}, one network: {{extract.tokens: mean, finetune.folds: 0}}}}}}")
    assert plan.broken.keys() == cells.keys()
    for name, (_, said) in cells.items():
        assert said in plan.broken[name][1]
    assert [len(node.lessons) for node in plan.trainings] == [3, 1]


def test_a_failed_training_breaks_its_cells_and_no_other(real_file, monkeypatch):
    asked = []

    def fail(config, run, reporter):
        asked.append(config.seed)
        raise RuntimeError("no memory") if config.seed else StopRun("training_diverged", "the loss is not finite")

    monkeypatch.setattr(stage, "finetune", fail)
    monkeypatch.setattr("analysis.ablation.stage.analyze_study", lambda *_: False)
    outcome = run(real_file, f"{{seeds: 2, axes: {{classify.pooling: [[mean], [max]]}}, cells: {{{TOY}}}}}")
    assert (outcome.n_done, outcome.n_failed) == (1, 2)
    assert asked == [0, 1]
    broken = folder_of(real_file).read_study().broken
    assert broken.keys() == {"base", "pooling=max"}
    assert re.search("not finite|RuntimeError: no memory", broken["base"][1])
    assert broken["pooling=max"] == broken["base"]


def test_a_study_trains_once_judges_everybody_out_of_fold_and_tells_what_it_took(real_file, monkeypatch):
    trained = []
    train = stage.finetune
    monkeypatch.setattr(stage, "finetune", lambda *given: trained.append(train(*given)) or trained[-1])
    ablation = f"{{axes: {{classify.pooling: [[mean], [max]]}}, cells: {{{TOY}}}}}"
    folder = folder_of(real_file)
    assert run(real_file, ablation).n_done == 3
    plan = plan_of(real_file, ablation)
    (node,) = plan.trainings
    assert node.path == trained[0].path
    record = folder.read_training(node.key)
    card = read_card(node.path)
    assert (record.n_networks, record.n_patients, record.n_learned) == (3, 24, sum(card.class_counts.values()))
    assert record.judges_development
    assert 0 < record.seconds < 600
    store = next(one for one in plan.embeddings if one.training == node.key)
    _, features = read_store(store.store)
    assert features.views["rgb"].shape == (N_PATIENTS, 3)
    assert set(features.acquisition[SAW]) == {DEVELOPED}
    results = pd.read_csv(folder.results_file).drop_duplicates("cell").set_index("cell")
    assert results.loc["base", "encoder"] == "timm:test_resnet, trained"
    assert list(results["training_seconds"] > 0) == [True, True, False]
    page = folder.run.report_file.read_text()
    assert "Encoders that were trained for the cells" in page
    assert "Seconds of training the encoder, a seed" in page

    again = run(real_file, ablation)
    assert not again.did_work
    assert [one.did_work for one in trained] == [True, False]
    assert folder.read_training(node.key) == record
    node.path.unlink()
    assert folder.read_training(node.key) is None
    assert plan_of(real_file, ablation).trainings[0].path is None


def test_training_takes_its_steps_its_judging_and_its_drawing():
    cost = TrainCost(step_s=0.5, forward_s=0.1, draw_s=2.0, n_pictures=3.0)
    # 10 patients drawn, and 4 epochs of (8 learned from, 2 told by) and (6, 1), of 3 pictures each
    assert cost.training_s([(8, 2), (6, 1)], 4, 10) == pytest.approx(10 * 2.0 + 4 * 3 * (14 * 0.5 + 3 * 0.1))
    assert cost.patient_s() == pytest.approx(2.3)


def test_a_plan_says_how_many_networks_are_to_be_trained_and_what_that_takes(real_file, monkeypatch):
    timed = []

    def timing(asked):
        timed.append(len(asked))
        return measure_trainings(asked)

    monkeypatch.setattr("extract.training.cost.measure_trainings", timing)
    plan = plan_of(real_file, "{seeds: 2, axes: {extract.normalization: [clip99-joint, minmax-volume]}}")
    cost = measure_plan(plan, folder_of(real_file), QUIET)
    assert timed == [2]  # one network, two recipes, whatever the seeds
    assert len(cost.trainings) == 4
    for part in cost.trainings.values():
        assert part.seconds > 0
        assert part.scratch_bytes == N_PATIENTS * 3 * 32**2
        assert 3 * 0.37e6 * 4 < part.disk_bytes < 3 * 0.38e6 * 4  # float32 of the network
        assert part.memory_bytes > 4 * 0.37e6 * 4
    assert all(part.seconds > 0 for part in cost.embeddings.values())
    assert all(part.seconds > 0 for part in cost.runs.values())
    console = Console(file=io.StringIO(), width=80)
    print_plan(with_one_trained(plan), replace(cost, trainings=dict(list(cost.trainings.items())[1:])), console)
    text = console.file.getvalue()
    assert "trained here: 4 encoders of 12 networks" in text
    assert re.search(r"networks: timm:test_resnet +│ +12 +│ +3 +│ +9 +│", text)
    assert "a training that stops early takes less" in text


def with_one_trained(plan: StudyPlan) -> StudyPlan:
    nodes: list[TrainNode] = list(plan.trainings)
    nodes[0] = replace(nodes[0], path=Path("there"))
    return replace(plan, trainings=tuple(nodes))
