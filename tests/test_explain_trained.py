"""A run with a trained encoder, from images to maps and another cohort: a patient's own network explains her."""

from dataclasses import asdict

import pytest
import yaml

from extract.encoder_spec import EncoderSpec
from extract.phantom.cohort import write_phantom
from extract.stage import make_slabs
from extract.task import decide
from extract.trained import TrainedEncoder, write_trained
from extract.training.design import make_design
from extract.training.networks import tensors_of, untrained
from triher.applying import apply_to_cohort
from triher.cli import main
from triher.errors import StopRun
from triher.explanations import read_maps_index
from triher.images import image_fingerprint
from triher.pipeline import run_stages
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config, FinetuneConfig
from triher.trained import FINAL, Card, Part, Route

pytestmark = pytest.mark.slow
HALF = (0.5, 0.5, 0.5)
START = EncoderSpec("tiny", "timm", "test_resnet", "hub:none/none", 64, HALF, HALF, "MIT", "none")
QUIET = Reporter(quiet=True)
NETWORKS = ("fold-0", "fold-1", "final")


def configured(table, encoder: str) -> Config:
    return Config.model_validate(
        {
            "cohort": {"table": table, "time_unit": "months"},
            "extract": {"encoder": encoder, "slices": {"n": 2}, "runtime": "torch", "device": "cpu"},
            "classify": {"split": {"kind": "sites", "test": ["C"]}, "trials": 1, "folds": 2},
            "explain": {"patients": 3, "sanity_patients": 2},
        }
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A classified and explained run with an encoder that knows the phantom's patients of A and B in two folds."""
    folder = tmp_path_factory.mktemp("trained")
    table = write_phantom(folder / "cohort", n_patients=24, shape=(24, 48, 48), reporter=QUIET)
    run, plain = RunFolder(folder / "run"), configured(table, "radiomics")
    run.prepare()
    slabs = make_slabs(plain, run, QUIET)
    known = sorted(entry.path.stem for patient, entry in slabs.entries if patient.site != "C")
    people = {image_fingerprint(digest): Part(i % 2, "train") for i, digest in enumerate(known)}
    options = FinetuneConfig(network="dual-attention", pretrained=False)
    card = Card(
        "tiny", asdict(START), "", options.model_dump(mode="json"), "triple", ("zero", "low", "positive"), {}, 64,
        decide(plain).recipe(), 0, NETWORKS, {}, {"zero": len(known)}, False, {}, people,
    )  # fmt: skip
    design = make_design(START, options, 3)
    networks = {name: tensors_of(untrained(design, None, seed)) for seed, name in enumerate(NETWORKS)}
    file = run.encoders / "tiny.safetensors"
    write_trained(file, card, networks)
    config = configured(table, f"file:{file}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("triher.explain.attributed.METHODS", {})  # projections are compiled for long
        run_stages(config, run, QUIET, ("extract", "classify", "explain"))
    return config, run, table


def test_maps_are_those_of_the_network_that_embedded_the_patient(world, monkeypatch):
    config, run, _ = world
    entry = run.read_record()["stages"]["explain"]
    assert (entry["method"], entry["n_maps"], entry["n_tested"]) == ("hirescam", 3, 2)
    assert len(read_maps_index(run.explanations / "maps.h5").patient_ids) == 3
    monkeypatch.setattr(TrainedEncoder, "route", lambda *_: Route(FINAL, 0.0))
    monkeypatch.setattr("triher.explain.attributed.METHODS", {})
    other = config.model_copy(update={"seed": 1})
    with pytest.raises(StopRun, match="the embeddings of view 'rgb' differ from the store's"):
        run_stages(other, run, QUIET, ("explain",))


def test_the_store_is_verified_with_the_encoder_beside_it(world):
    _, run, _ = world
    [store] = run.features.glob("*.h5")
    assert store.name.startswith("file-tiny.safetensors-")
    with pytest.raises(SystemExit) as left:
        main(["store", "verify", str(store), "--probe", "--device", "cpu"])
    assert not left.value.code


def test_a_bundle_finds_its_encoder_beside_it_or_where_it_is_told(world, tmp_path):
    _, run, table = world
    cohort = tmp_path / "cohort.yaml"
    facts = {"cohort": {"table": str(table)}, "extract": {"runtime": "torch", "device": "cpu"}}
    cohort.write_text(yaml.safe_dump(facts), encoding="utf-8")
    found = apply_to_cohort(run.bundle, cohort, RunFolder(tmp_path / "applied"), QUIET)
    assert len(found) == 24
    away = (run.encoders / "tiny.safetensors").rename(tmp_path / "tiny.safetensors")
    try:
        with pytest.raises(StopRun, match=r"trained encoder tiny\.safetensors, which was looked for in") as stopped:
            apply_to_cohort(run.bundle, cohort, RunFolder(tmp_path / "without"), QUIET)
        assert stopped.value.code == "weights_missing"
        assert "extract.weights_dir" in stopped.value.remedy
        facts["extract"]["weights_dir"] = str(tmp_path)
        cohort.write_text(yaml.safe_dump(facts), encoding="utf-8")
        again = apply_to_cohort(run.bundle, cohort, RunFolder(tmp_path / "again"), QUIET)
    finally:
        away.rename(run.encoders / "tiny.safetensors")
    assert again.equals(found)
