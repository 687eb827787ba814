"""A study as it is computed: equal work once, nothing twice, one failure alone, and whatever interrupts it."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from triher.ablation.axes import Lattice, read_lattice
from triher.ablation.nodes import StudyPlan
from triher.ablation.plan import make_plan
from triher.ablation.run import StudyOutcome, run_study
from triher.config import read_config, read_tree
from triher.errors import StopRun
from triher.pipeline import run_stages
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.study import StudyFolder
from triher.tables import write_table

PLUGIN = Path(__file__).parent / "data" / "plugin"
N_PATIENTS = 24
QUIET = Reporter(quiet=True)
BASE = (
    "cohort: {table: cohort.csv}\n"
    "extract: {encoder: toy, slices: {n: 2}}\n"
    "classify: {folds: 2, trials: 2}\n"
    "analysis: {resamples: 100}\n"
)
AXES = "ablation: {axes: {extract.normalization: [clip99-joint, minmax-volume], classify.pooling: [[mean], [max]]}}\n"
RUN = "import sys\nfrom triher.cli import main\nif __name__ == '__main__':\n    main(sys.argv[1:])\n"


@pytest.fixture
def config_file(tmp_path, write_exam) -> Path:
    rows = []
    for i in range(N_PATIENTS):
        patient = write_exam(f"P{i:02d}", seed=i, shape=(26, 24, 8)).patient
        files = [str(path) for path in (*patient.phases.values(), patient.mask)]
        rows.append([patient.patient_id, "AB"[i % 2], ("0", "1+", "3+")[i % 3], *files])
    write_table(tmp_path / "cohort.csv", ["patient_id", "site", "ihc", "pre", "early", "late", "mask"], rows)
    return write_config(tmp_path, AXES)


def write_config(folder: Path, ablation: str, base: str = BASE) -> Path:
    (folder / "config.yaml").write_text(base + ablation)
    return folder / "config.yaml"


def lattice_of(config: Path) -> Lattice:
    return read_lattice(read_tree(config), config)


def folder_of(config: Path, name: str = "study") -> StudyFolder:
    return StudyFolder(RunFolder(config.parent / name))


def run(config: Path, name: str = "study", engine: str = "local") -> StudyOutcome:
    own = read_config(config).ablation
    return run_study(lattice_of(config), own, folder_of(config, name), QUIET, engine=engine)


def plan_of(config: Path) -> StudyPlan:
    return make_plan(lattice_of(config), read_config(config).ablation, folder_of(config))


def cells_on_disk(config: Path, name: str = "study") -> dict[str, int]:
    files = (config.parent / name / "cells").glob("*/cell.json")
    return {
        path.parent.name: path.stat().st_mtime_ns for path in files if json.loads(path.read_text())["state"] == "done"
    }


def test_equal_work_is_done_once_and_new_levels_compute_only_what_is_new(config_file, toy_plugin, opened_sources):
    before = plan_of(config_file)
    assert [node.store for node in before.embeddings] == [None, None]
    assert len({node.slabs for node in before.embeddings}) == 1
    first = run(config_file)
    assert (first.n_done, first.n_failed, first.did_work) == (4, 0, True)
    assert len(opened_sources) == len(set(opened_sources)) == N_PATIENTS * 4
    stores = list((config_file.parent / "study" / "features").glob("*.h5"))
    assert len(stores) == 2
    done = cells_on_disk(config_file)
    assert len(done) == 4
    assert all(node.is_done for node in plan_of(config_file).runs)

    again = run(config_file)
    assert (again.n_done, again.did_work) == (4, False)
    assert cells_on_disk(config_file) == done

    damaged = folder_of(config_file).predictions(next(iter(done)))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: whole.rfind(b"\n", 0, -1) + 1])
    folder_of(config_file).study_file.unlink()
    write_config(
        config_file.parent,
        "ablation: {axes: {extract.normalization: [clip99-joint, minmax-volume],"
        " classify.pooling: [[mean], [max], [std]]}}\n",
    )
    del done[damaged.parent.name]
    assert sum(not node.is_done for node in plan_of(config_file).runs) == 3
    assert run(config_file).n_done == 6
    assert damaged.read_bytes() == whole
    assert done.items() <= cells_on_disk(config_file).items()
    assert len(opened_sources) == N_PATIENTS * 4
    results = pd.read_csv(config_file.parent / "study" / "results.csv")
    assert results["cell"].nunique() == 6


def test_a_failed_cell_is_a_row_with_its_reason_and_the_rest_is_done(config_file, toy_plugin):
    ablation = (
        "ablation:\n  axes: {extract.encoder: [toy, 'file:resnet18@nowhere.pth']}\n"
        "  cells: {no such head: {classify.head: oracle}, four folds: {classify.folds: 4},"
        " no table: {classify.features: nowhere.csv}}\n"
    )
    write_config(config_file.parent, ablation)
    outcome = run(config_file)
    assert (outcome.n_done, outcome.n_failed) == (2, 3)
    results = pd.read_csv(config_file.parent / "study" / "results.csv", keep_default_na=False)
    reasons = results.drop_duplicates("cell").set_index("cell")["reason"]
    assert "nowhere.pth" in reasons["encoder=file:resnet18@nowhere.pth"]
    assert "oracle" in reasons["no such head"]
    assert "nowhere.csv" in reasons["no table"]
    assert reasons["base"] == reasons["four folds"] == ""


def test_a_study_in_which_nothing_works_stops(config_file, toy_plugin):
    write_config(config_file.parent, AXES, BASE.replace("encoder: toy", "encoder: 'file:resnet18@nowhere.pth'"))
    with pytest.raises(StopRun, match=r"none of the 4 cells.*nowhere\.pth"):
        run(config_file)


def test_the_folder_of_a_run_is_no_study(config_file, toy_plugin):
    folder = folder_of(config_file).run
    folder.prepare()
    folder.record_stage("extract", "key", [], 0.0)
    with pytest.raises(StopRun, match="no ablation study"):
        run(config_file)


def test_a_run_does_not_write_into_a_study(config_file, toy_plugin):
    folder = folder_of(config_file)
    folder.run.prepare()
    folder.study_file.write_text("{}")
    with pytest.raises(StopRun, match="holds an ablation study"):
        run_stages(read_config(config_file), folder.run, QUIET)


def test_models_of_undisturbed_images_are_shown_disturbed_ones(config_file, toy_plugin):
    axes = "axes: {noise: {none: {}, strong: {extract.perturb.noise: 0.3}}}"
    write_config(config_file.parent, f"ablation: {{{axes}}}\n")
    plan = plan_of(config_file)
    base, noisy = plan.runs
    assert (base.embedding, base.shown) == (plan.embeddings[0].key, "")
    assert (noisy.embedding, noisy.shown) == (plan.embeddings[0].key, plan.embeddings[1].key)
    write_config(config_file.parent, f"ablation: {{{axes}, perturbed: train}}\n")
    assert [(node.embedding, node.shown) for node in plan_of(config_file).runs] == [
        (plan.embeddings[0].key, ""),
        (plan.embeddings[1].key, ""),
    ]


def start(config: Path, name: str, *more: str) -> subprocess.Popen[bytes]:
    (config.parent / "run.py").write_text(RUN)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PLUGIN), *filter(None, sys.path)])}
    command = [
        sys.executable,
        str(config.parent / "run.py"),
        "ablate",
        str(config),
        "--out",
        str(config.parent / name),
    ]
    return subprocess.Popen([*command, *more], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.slow
def test_a_killed_study_goes_on_and_loses_at_most_the_cell_in_flight(config_file, toy_plugin):
    killed = start(config_file, "killed")
    while len(cells_on_disk(config_file, "killed")) < 2:
        assert killed.poll() is None, killed.stdout.read()
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    before = cells_on_disk(config_file, "killed")
    assert run(config_file, "killed").n_done == 4
    assert before.items() <= cells_on_disk(config_file, "killed").items()
    run(config_file, "whole")
    tables = [pd.read_csv(config_file.parent / name / "results.csv") for name in ("killed", "whole")]
    timed = [name for name in tables[0].columns if "seconds" in name]
    pd.testing.assert_frame_equal(*(table.drop(columns=timed) for table in tables))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_two_workers_of_ray_give_the_same_table(config_file, toy_plugin):
    spread = start(config_file, "spread", "--engine", "ray", "--workers", "2")
    text, _ = spread.communicate(timeout=300)
    assert spread.returncode == 0, text.decode()
    run(config_file, "here")
    for key in cells_on_disk(config_file, "here"):
        files = [config_file.parent / name / "cells" / key / "predictions.csv" for name in ("here", "spread")]
        assert files[0].read_bytes() == files[1].read_bytes()
    tables = [pd.read_csv(config_file.parent / name / "results.csv") for name in ("spread", "here")]
    timed = [name for name in tables[0].columns if "seconds" in name]
    pd.testing.assert_frame_equal(*(table.drop(columns=timed) for table in tables))
