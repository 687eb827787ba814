"""An extraction over Ray: the same bytes, whoever dies. Each run is a process of its own, with a cluster of its own."""

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

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


def start(config_file: Path, folder: str, *overrides: str, **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "run.py", str(config_file), folder, *overrides]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=config_file.parent, env=environment(**more), **pipes)


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err[-4000:]
    return out, err


def stores(config_file: Path, folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (config_file.parent / folder / "features").glob("*.h5")}


def test_two_workers_give_the_bytes_of_one_process(config_file):
    one = start(config_file, "local")
    finish(one)
    began = time.monotonic()
    out, err = finish(start(config_file, "ray", *RAY))
    print(time.monotonic() - began, err)
    assert out.split()[-1] == "False"  # Ray was shut down
    assert "2 workers of Ray" in err
    assert stores(config_file, "ray") == stores(config_file, "local")
    assert len(stores(config_file, "ray")) == 2
    skipped = [(config_file.parent / folder / "skipped.csv").read_text() for folder in ("local", "ray")]
    assert skipped[0] == skipped[1]
    assert "phase_missing" in skipped[0]
