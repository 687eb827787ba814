"""An extraction over Ray: the same bytes, whoever dies; each run is a process with a cluster of its own."""

import csv
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from extract.stage import extract
from triher.config import read_config
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.store import read_index
from triher.tables import write_table

PLUGIN = Path(__file__).parent / "data" / "plugin"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed"),
]
N_PATIENTS = 11
RUN = """
import sys
from pathlib import Path
import torch
from extract.stage import extract
from triher.config import read_config
from triher.progress import Reporter
from triher.runfolder import RunFolder

if __name__ == "__main__":
    torch.set_num_threads(1)
    done = extract(read_config(Path(sys.argv[1]), sys.argv[3:]), RunFolder(Path(sys.argv[2])), Reporter())
    ray = sys.modules.get("ray")
    print(done.store, ray is not None and ray.is_initialized())
"""
RAY = ("extract.engine=ray", "extract.workers=2")


@pytest.fixture
def config_file(tmp_path, write_exam) -> Path:
    rows = []
    for i in range(N_PATIENTS):
        patient = write_exam(f"P{i:02d}", seed=i, shape=(30, 28, 8 + i % 4)).patient
        rows.append([patient.patient_id, "A", *(str(p) for p in (*patient.phases.values(), patient.mask))])
    Path(rows[3][3]).unlink()
    write_table(tmp_path / "cohort.csv", ["patient_id", "site", "pre", "early", "late", "mask"], rows)
    (tmp_path / "config.yaml").write_text(
        "cohort: {table: cohort.csv}\n"
        "extract: {encoder: toy, also: [toy-wide], fusions: [rgb, wash-in], batch_size: 7, shard_patients: 2}\n"
    )
    (tmp_path / "run.py").write_text(RUN)
    return tmp_path / "config.yaml"


def environment(**more: str) -> dict[str, str]:
    paths = [str(Path(__file__).parents[1]), str(PLUGIN)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "default"} | more


def start(config_file: Path, folder: str, **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "run.py", str(config_file), folder, *RAY]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=config_file.parent, env=environment(**more), **pipes)


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()  # one that hangs; its cluster ends with it
    assert process.returncode == code, err[-4000:]
    return out, err


def stores(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "features").glob("*.h5")}


@pytest.fixture
def expected(config_file, monkeypatch) -> dict[str, bytes]:
    """What this process makes of the cohort, with as many threads as the runs over Ray."""
    monkeypatch.syspath_prepend(PLUGIN)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    run = RunFolder(config_file.parent / "local")
    extract(read_config(config_file), run, Reporter(quiet=True))
    torch.set_num_threads(before)
    return stores(run.path)


@pytest.mark.fault("G20")
def test_two_workers_give_the_bytes_of_one_process_also_when_one_dies(config_file, expected):
    """The shards of the dead one are done by another."""
    trigger = config_file.parent / "dies"
    trigger.write_text("once")
    out, err = finish(start(config_file, "run", TOY_DIES=str(trigger)))
    assert not trigger.exists()
    assert out.split()[-1] == "False"  # Ray was shut down
    assert "2 workers of Ray" in err
    assert stores(config_file.parent / "run") == expected
    assert len(expected) == 2
    skipped = [(config_file.parent / folder / "skipped.csv").read_text() for folder in ("local", "run")]
    assert skipped[0] == skipped[1]
    assert "phase_missing" in skipped[0]


@pytest.mark.fault("G20")
def test_patients_at_whom_every_worker_dies_stop_the_run(config_file):
    trigger = config_file.parent / "dies"
    trigger.write_text("always")
    _, err = finish(start(config_file, "run", TOY_DIES=str(trigger)), code=1)
    assert "workers ended again and again at the 2 patients P0" in err
    assert "worker_died" in err


@pytest.mark.fault("G20")
def test_one_patient_at_whom_every_worker_dies_is_left_out_and_the_others_are_done(config_file):
    """As where the memory of the machine is short for one exam alone."""
    for path in (config_file.parent / "images").glob("P05_[pel]*.nii.gz"):
        image = nib.load(path)
        voxels = np.full(image.shape, 900, np.int16)
        voxels[::7, ::7] = 0
        nib.save(nib.Nifti1Image(voxels + np.int16(len(path.name)), image.affine, image.header), path)
    trigger = config_file.parent / "dies"
    trigger.write_text("bright")
    finish(start(config_file, "run", TOY_DIES=str(trigger)))
    with (config_file.parent / "run" / "skipped.csv").open(encoding="utf-8", newline="") as handle:
        skipped = [(row["patient_id"], row["code"]) for row in csv.DictReader(handle)]
    assert sorted(skipped) == [("P03", "phase_missing"), ("P05", "worker_died")]
    done = [f"P{i:02d}" for i in range(N_PATIENTS) if i not in (3, 5)]
    for store in (config_file.parent / "run" / "features").glob("*.h5"):
        assert list(read_index(store).inputs) == done


def test_a_killed_run_goes_on_and_gives_the_same_bytes(config_file, expected):
    features = config_file.parent / "run" / "features"
    process = start(config_file, "run")
    while process.poll() is None and not list(features.glob("*.shards/*.h5")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    finish(process, code=-signal.SIGKILL)
    assert not list(features.glob("*.h5"))
    finish(start(config_file, "run"))
    assert stores(config_file.parent / "run") == expected
