"""An encoder trained end to end, from volumes to predictions."""

import csv
import shutil
import subprocess
import sys

import numpy as np
import pytest

from extract.cost import measure_cost
from extract.finetune import finetune
from extract.phantom.cohort import write_phantom
from triher.cli import main
from triher.cohort import read_cohort
from triher.config import read_config
from triher.effective import effective
from triher.errors import Skipped, StopRun
from triher.files import sha256_of_file
from triher.pipeline import run_stages
from triher.predictions import read_predictions
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.store import read_store
from triher.trained import DEVELOPED, FINAL, LEARNED_FROM, SAW, read_card

QUIET = Reporter(quiet=True)
CONFIG = """
cohort: {table: cohort.csv, name: phantom, time_unit: months}
scheme: binary
extract: {encoder: "timm:test_resnet", slices: {n: 2}, shard_patients: 8}
finetune: {pretrained: false, input_size: 32, folds: 2, epochs: 2, batch_size: 16, learning_rate: 0.001}
classify: {head: network, pooling: [median], split: {kind: sites, test: [C]}, folds: 2}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small phantom cohort with a trained encoder, its configuration and its run."""
    folder = tmp_path_factory.mktemp("finetune")
    write_phantom(folder, n_patients=48, shape=(24, 48, 48), reporter=QUIET)
    path = folder / "config.yaml"
    path.write_text(CONFIG)
    run = RunFolder(folder / "run")
    run_stages(read_config(path), run, QUIET, ("finetune", "extract", "classify"))
    return path, run


def encoder_of(run):
    return run.encoders / run.read_record()["stages"]["finetune"]["encoder"]


def test_everybody_is_embedded_by_a_network_that_did_without_them(trained):
    path, run = trained
    card = read_card(encoder_of(run))
    _, features = read_store(run.features / run.read_record()["stages"]["extract"]["store"])
    cohort = {p.patient_id: p for p in read_cohort(read_config(path).cohort, survival=False).patients}
    for patient_id, digest in zip(features.patient_id, features.input_sha256, strict=True):
        route = card.route(digest)
        assert (route.network == FINAL) == (cohort[patient_id].split == "test")
        saw = features.acquisition[SAW][features.patient_id.index(patient_id)]
        assert saw == (0 if cohort[patient_id].split == "test" else DEVELOPED)
    assert set(features.patient_id) == set(cohort)


def test_slices_are_embedded_as_probabilities_and_patients_by_their_median(trained):
    _, run = trained
    _, features = read_store(run.features / run.read_record()["stages"]["extract"]["store"])
    (slices,) = features.views.values()
    np.testing.assert_allclose(slices.sum(axis=1), 1, atol=1e-6)
    predictions = read_predictions(run.predictions_file, "binary")
    temperature = {"test": run.read_record()["stages"]["classify"]["temperature"]}
    held_out = predictions[predictions["split"] == "test"].set_index("patient_id")
    for i, patient_id in enumerate(features.patient_id):
        if patient_id in held_out.index:
            pooled = np.median(slices[features.rows(i)].astype(float), axis=0)
            scaled = (pooled / pooled.sum()) ** (1 / temperature["test"])
            expected = scaled / scaled.sum()
            found = held_out.loc[patient_id, ["p_negative", "p_positive"]].to_numpy(float)
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_is_there_is_not_trained_again(trained, monkeypatch):
    path, run = trained
    before = sha256_of_file(encoder_of(run))

    def refuse(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("extract.training.learn.learn", refuse)
    assert not run_stages(read_config(path), run, QUIET, ("finetune", "extract", "classify")).did_work
    assert sha256_of_file(encoder_of(run)) == before


def test_the_same_seed_gives_the_same_file(trained, tmp_path):
    path, run = trained
    again = RunFolder(tmp_path / "again")
    found = finetune(read_config(path), again, QUIET)
    assert found.did_work
    assert found.path.name == encoder_of(run).name
    assert found.path.read_bytes() == encoder_of(run).read_bytes()
    assert found.path.with_suffix(".csv").read_bytes() == encoder_of(run).with_suffix(".csv").read_bytes()


def test_the_curves_and_the_card_are_left_and_nothing_else(trained):
    cohort_file, run = trained
    path = encoder_of(run)
    left = {path.with_suffix(suffix).name for suffix in (".safetensors", ".csv", ".md")}
    assert {found.name for found in run.encoders.iterdir()} == left
    assert len({found.stat().st_mode for found in run.encoders.iterdir()}) == 1, "all may be read by the same people"
    curves = list(csv.DictReader(path.with_suffix(".csv").read_text().splitlines()))
    assert {row["network"] for row in curves} == {"fold-0", "fold-1", FINAL}
    card = path.with_suffix(".md").read_text()
    assert "Research use only" in card
    cohort = read_cohort(read_config(cohort_file).cohort, survival=False)
    assert not [patient_id for patient_id in cohort.ids() if patient_id in card]


def test_other_choices_are_refused_before_anything_is_embedded(trained):
    path, run = trained
    other = read_config(path, ["finetune.learning_rate=0.01"])
    with pytest.raises(StopRun, match=r"finetune\.learning_rate: 0\.001 -> 0\.01") as stopped:
        run_stages(other, run, QUIET, ("extract",))
    assert stopped.value.code == "encoder_stale"


def test_a_run_that_was_moved_goes_on(trained, tmp_path):
    path, _ = trained
    shutil.copytree(path.parent, tmp_path / "moved")
    moved = RunFolder(tmp_path / "moved" / "run")
    config = read_config(tmp_path / "moved" / "config.yaml")
    assert not run_stages(config, moved, QUIET, ("finetune", "extract", "classify")).did_work


def test_nothing_is_embedded_before_an_encoder_is_trained(trained, tmp_path):
    path, _ = trained
    with pytest.raises(StopRun, match="triher finetune") as stopped:
        run_stages(read_config(path), RunFolder(tmp_path / "new"), QUIET, ("extract",))
    assert stopped.value.code == "weights_missing"


def test_one_network_alone_scores_nobody_it_was_trained_on(trained, tmp_path):
    path, _ = trained
    alone = read_config(path, ["finetune.folds=0", "finetune.validation_share=0.5", "finetune.epochs=1"])
    run = RunFolder(tmp_path / "alone")
    outcome = run_stages(alone, run, QUIET, ("finetune", "extract", "classify"))
    card = read_card(encoder_of(run))
    predicted = set(read_predictions(run.predictions_file, "binary")["patient_id"])
    _, features = read_store(run.features / run.read_record()["stages"]["extract"]["store"])
    learned = {n for n, d in zip(features.patient_id, features.input_sha256, strict=True) if card.route(d).saw == 1}
    assert learned
    assert predicted.isdisjoint(learned)
    skipped = {row.patient_id for row in run.read_skipped() if row.code == "encoder_trained_on"}
    assert skipped == learned
    assert outcome.n_skipped == len(learned)
    assert "encoder_validated" in {note.code for note in run.read_notes()}


def test_whom_the_encoder_was_trained_on_is_no_loss_of_the_run(trained, tmp_path, capsys):
    path, _ = trained
    shutil.copytree(path.parent, tmp_path / "copy")
    run = RunFolder(tmp_path / "copy" / "run")
    learned = [Skipped(p, "phantom", "classify", LEARNED_FROM, "trained on", "") for p in ("P1", "P2")]
    run.write_skipped("classify", learned)
    arguments = ["finetune", str(tmp_path / "copy" / "config.yaml"), "--out", str(run.path), "--strict"]
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 0
    assert "2 patients trained the encoder and are not scored" in " ".join(capsys.readouterr().err.split())
    run.write_skipped("classify", [*learned, Skipped("P3", "phantom", "classify", "her2_unknown", "no IHC", "")])
    with pytest.raises(SystemExit) as left:
        main(arguments[:-1])
    assert left.value.code == 3
    assert "1 left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        (["finetune.heads=phases"], "config_value", "network=plain has no such heads"),
        (["finetune.combine=concatenate"], "config_value", "one head alone"),
        (["finetune.network=dual-attention", "finetune.heads=tasks"], "config_value", "names no further label"),
        (["finetune.also_predict=[hr]"], "config_value", "which only heads=tasks learns"),
        (["finetune.validation=split=x"], "unknown_name", "known: none"),
        (["extract.fusions=[rgb, early]"], "config_value", "a network is trained on one of them"),
        (["extract.encoder=radiomics"], "config_value", "no network that could be trained"),
    ],
)
def test_mistakes_are_refused_before_a_volume_is_read(trained, tmp_path, changes, code, said):
    path, _ = trained
    run = RunFolder(tmp_path / "run")
    with pytest.raises(StopRun, match=said) as stopped:
        finetune(read_config(path, changes), run, QUIET)
    assert stopped.value.code == code
    assert not run.slabs.exists()


def test_lightning_is_loaded_in_a_process_of_its_own():
    """Beside a CPU build of torch its import fails unless torchvision is cured first."""
    text = "from extract.training.quiet import load; load('extract.training.lightning_parts')"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("override", "code", "text"),
    [
        ("finetune=null", "config_value", "no section finetune"),
        ("extract.encoder=radiomics", "config_value", "radiomics"),
        ("extract.fusions=[early, late]", "config_value", "one of them"),
        ("extract.tokens=mean", "config_value", "3 networks are to be trained"),
        ("finetune.network=triple", "config_value", "dual-attention"),
    ],
)
def test_mistakes_stop_the_training(trained, tmp_path, override, code, text):
    path, _ = trained
    with pytest.raises(StopRun, match=text) as stopped:
        run_stages(read_config(path, [override]), RunFolder(tmp_path / "run"), QUIET, ("finetune",))
    assert stopped.value.code == code


def test_later_stages_go_by_the_trained_encoder(trained):
    path, run = trained
    config = effective(read_config(path), run)
    assert config.extract.encoder == f"file:{encoder_of(run)}"
    assert config.extract.choices()["encoder"] == f"file:{encoder_of(run).name}"
    bare = config.extract.model_copy(update={"encoder": f"file:{encoder_of(run).name}"})
    assert bare.choices() == config.extract.choices()


def test_the_price_of_a_training_is_told_beforehand(trained):
    config = read_config(trained[0])
    cost = measure_cost(config, read_cohort(config.cohort, survival=False))
    assert cost.n_networks == 3
    assert 0 < cost.train_s < 3600
    assert 0 < cost.store_bytes < cost.slab_bytes
