"""An extraction that is killed at any moment, or meets a full disk, ends as one that was left in peace.

Run as a program, this file is the process that imports everything once and forks one child a try.
"""

import errno
import json
import mmap
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from unittest import mock

import pytest
import torch

from extract.builders import Network
from extract.cache import read_slab
from extract.encoder_spec import EncoderSpec
from extract.models import Encoder
from extract.stage import extract
from triher.config import read_config
from triher.errors import StopRun
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.store import read_store
from triher.tables import write_table

ROOT = Path(__file__).parents[1]
QUIET = Reporter(quiet=True)
N_PATIENTS = 6
N_KILLS = 100
N_FULL = 12
DISK_FULL = 2  # the exit code of a child
SPEC = EncoderSpec("toy-a", "toy:build", "toy", "file:none", 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "MIT", "none")
CONFIG = (
    "cohort: {table: cohort.csv}\n"
    "extract: {encoder: toy-a, also: [toy-b], slices: {n: 3}, shard_patients: 2, batch_size: 5, readers: 2, "
    "device: cpu, fusions: [rgb]}\n"
)


# The extraction, with toys in the place of networks and a slow disk


@dataclass(frozen=True)
class Toy:
    """An encoder of the table, small and with fixed weights."""

    spec: EncoderSpec

    def facts(self):
        return self.spec.identity("0" * 64)

    def load(self, device):
        return Encoder(self.spec, Path("none"), device)


class ToyModule:
    """What the encoder table would import."""

    @staticmethod
    def build(spec, weights):
        torch.manual_seed(ord(spec.name[-1]))
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 5, stride=3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2))
        return Network(net, lambda batch, _masks: net(batch).flatten(1), None, is_convolutional=True)


@pytest.fixture
def toys(monkeypatch) -> None:
    put_toys(monkeypatch.setattr)


def put_toys(setattr_: Callable[[str, object], object]) -> None:
    """Let the configuration name the toys."""
    setattr_("extract.task.find_encoder", lambda name, *_: replace(SPEC, name=name))
    setattr_("extract.task.choose", lambda spec, _options: Toy(spec))
    setattr_("extract.builders.import_module", lambda _: ToyModule)


class Steps:
    """Counts the steps of a run in memory that parent and child share, and takes a moment for each."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.fails_at = 0
        """The step that meets a full disk, counted from 1."""
        self._memory = mmap.mmap(-1, 8)

    @property
    def n(self) -> int:
        return struct.unpack("q", self._memory)[0]

    @n.setter
    def n(self, value: int) -> None:
        self._memory[:] = struct.pack("q", value)

    def watch(self, name: str) -> None:
        """Count the calls of a function, before and after."""
        module, attribute = name.rsplit(".", 1)
        target = import_module(module)
        real = getattr(target, attribute)

        def counted(*args, **kwargs):
            self.n += 1
            if self.n == self.fails_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            time.sleep(self.seconds)
            result = real(*args, **kwargs)
            time.sleep(self.seconds)
            return result

        setattr(target, attribute, counted)


WATCHED = (
    *("os.fsync", "os.unlink", "os.posix_fallocate", "extract.shards.read_store", "extract.shards.write_store"),
    *("extract.cache.cut_slab", "extract.embedding.read_slab", "extract.engines.make_lanes", "shutil.rmtree"),
)


def in_child(work: Callable[[], object]) -> int:
    """Do it in a process of its own; exit code 0, or 2 when the run stops because the disk is full."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except StopRun as stop:
        sys.stderr.write(f"{stop}\n")
        code = DISK_FULL if stop.code == "disk_full" else 1
    except BaseException:  # noqa: BLE001 - a child must not go on as its parent
        traceback.print_exc()
    finally:
        os._exit(code)


def result_of(child: int) -> int:
    """The exit code of a child; negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# What is visible


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def visible(folder: Path) -> Counter[str]:
    """Read all that is there under its final name, and say how much of each kind that is."""
    found: Counter[str] = Counter()
    for path in folder.rglob("*"):
        kind = path.suffix[1:]
        if kind == "h5":
            read_store(path)
            kind = "shard" if path.parent.suffix == ".shards" else "store"
        elif kind == "safetensors":
            read_slab(path)
        elif kind == "json":
            json.loads(path.read_text(encoding="utf-8"))
        elif kind == "lock":
            assert "pid" in json.loads(path.read_text(encoding="utf-8")), f"{path} names nobody"
        found[kind] += path.is_file()
    return found


def phase(found: Counter[str]) -> str:
    """How far the run was."""
    if found["store"]:
        return "some store"
    if found["shard"]:
        return "some shard"
    return "some slab" if found["safetensors"] else "nothing"


def products(folder: Path) -> dict[str, bytes]:
    """What must not depend on the history: everything but the record, which holds seconds."""
    names = files_below(folder) - {"run.json"}
    # An index entry holds the stamps of the sources, which are the same for every run of this cohort.
    return {name: (folder / name).read_bytes() for name in sorted(names)}


# The program


def kill_often(config: Config, folder: Path, seed: int) -> dict[str, object]:
    """Kill at random moments and resume, extraction after extraction, until there were enough kills."""
    steps = Steps(0.0008)
    for name in WATCHED:
        steps.watch(name)

    def run(name: str) -> int:
        steps.n = 0
        return in_child(lambda: extract(config, RunFolder(folder / name), QUIET))

    assert result_of(run("whole")) == 0
    n_steps, expected = steps.n, products(folder / "whole")
    rng = random.Random(seed)
    kills: Counter[str] = Counter()
    n_runs = n_with_shards = 0
    while kills.total() < N_KILLS:
        place = folder / f"run{n_runs}"
        for step in (rng.randrange(n_steps), *(rng.randrange(n_steps * 2 // 5) for _ in range(4))):
            if not killed_at(run(place.name), steps, step, rng.uniform(0, 0.004)):
                break
            found = visible(place)
            kills[phase(found)] += 1
            n_with_shards += found["shard"] > 0
        assert result_of(run(place.name)) == 0
        visible(place)
        assert products(place) == expected, files_below(place) ^ files_below(folder / "whole")
        shutil.rmtree(place)
        n_runs += 1
    return {"kills": kills, "n_with_shards": n_with_shards, "n_runs": n_runs, "n_steps": n_steps}


def killed_at(child: int, steps: Steps, step: int, seconds: float) -> bool:
    """Kill the child some time after it began a step; False when it had ended well before."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0, "the run failed"
            return False
        if steps.n >= step:
            break
        time.sleep(0.0003)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return result_of(child) != 0


def fill_disk(config: Config, folder: Path, seed: int) -> dict[str, object]:
    """Run on a disk (the folder is one of its own) with too little space, give some back, and resume."""
    place, ballast = folder / "run", folder / "ballast"
    expected = products(folder / "first")
    n_bytes = sum(map(len, expected.values()))
    shutil.rmtree(folder / "first")
    rng = random.Random(seed)
    stops: Counter[str] = Counter()
    for _ in range(N_FULL):
        n_free = int(rng.uniform(0, n_bytes + 1_100_000))  # a store reserves a million for a moment
        with ballast.open("wb") as handle:
            os.posix_fallocate(handle.fileno(), 0, shutil.disk_usage(folder).free - n_free)
        code = result_of(in_child(lambda: extract(config, RunFolder(place), QUIET)))
        stops[stopped(place, code)] += 1
        ballast.unlink()
        resume(config, place, expected)
    return {"stops": stops}


def fail_write(config: Config, folder: Path, seed: int) -> dict[str, object]:
    """Let one of all writes meet a full disk, or a limit on the size of files, and resume."""
    place, expected = folder / "run", products(folder / "first")
    calls = Steps(0)
    for name in ("os.fsync", "os.posix_fallocate", "os.truncate"):
        calls.watch(name)
    assert result_of(in_child(lambda: extract(config, RunFolder(place), QUIET))) == 0
    n_calls = calls.n
    shutil.rmtree(place)
    stops: Counter[str] = Counter()
    for fails_at in sorted(random.Random(seed).sample(range(1, n_calls + 1), N_FULL)):
        calls.n, calls.fails_at = 0, fails_at
        code = result_of(in_child(lambda: extract(config, RunFolder(place), QUIET)))
        stops[stopped(place, code)] += 1
        calls.fails_at = 0
        resume(config, place, expected)
    for limit in (10, 1_000, 50_000, 900_000):
        code = result_of(in_child(lambda n=limit: (limit_files(n), extract(config, RunFolder(place), QUIET))))
        stops[stopped(place, code)] += 1
        resume(config, place, expected)
    return {"stops": stops, "n_calls": n_calls}


def limit_files(n_bytes: int) -> None:
    """No file of this process may grow beyond that."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


def stopped(place: Path, code: int) -> str:
    """Where a run stopped, after a look at what it left: whole files only, none of them temporary or a lock."""
    assert code in (0, DISK_FULL), code
    found = visible(place)
    assert found["part"] == found["lock"] == 0, files_below(place)
    return phase(found) if code else "nowhere"


def resume(config: Config, place: Path, expected: dict[str, bytes]) -> None:
    """Finish a run, compare and remove it."""
    assert result_of(in_child(lambda: extract(config, RunFolder(place), QUIET))) == 0
    assert products(place) == expected, files_below(place)
    shutil.rmtree(place)


PROGRAMS: dict[str, Callable[[Config, Path, int], dict[str, object]]] = {
    "kill": kill_often,
    "fill": fill_disk,
    "fail": fail_write,
}


def main(program: str, config_file: str, folder: str, seed: str) -> None:
    """Import and compile everything once in a first run, then fork."""
    torch.set_num_threads(1)
    put_toys(lambda name, value: mock.patch(name, value).start())
    config = read_config(Path(config_file))
    extract(config, RunFolder(Path(folder) / "first"), QUIET)
    sys.stdout.write(json.dumps(PROGRAMS[program](config, Path(folder), int(seed))))


# The tests


@pytest.fixture
def config_file(tmp_path, write_exam) -> Path:
    """Some patients, one of whom lacks a phase."""
    rows = []
    for i in range(N_PATIENTS):
        patient = write_exam(f"P{i}", seed=i, shape=(30, 28, 8 + i)).patient
        rows.append([patient.patient_id, "A", *(str(p) for p in (*patient.phases.values(), patient.mask))])
    Path(rows[2][3]).unlink()
    write_table(tmp_path / "cohort.csv", ["patient_id", "site", "pre", "early", "late", "mask"], rows)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path / "config.yaml"


def run_program(name: str, config_file: Path, folder: Path, *before: str, seed: int = 0) -> dict[str, object]:
    """Run this file as a program, after other words of a command."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [*before, sys.executable, __file__, name, str(config_file), str(folder), str(seed)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.fault("D1", "D2", "D4", "D11")
def test_killed_at_100_random_moments_the_stores_are_those_of_an_uninterrupted_run(config_file, tmp_path):
    report = run_program("kill", config_file, tmp_path / "runs")
    kills = report["kills"]
    assert sum(kills.values()) >= N_KILLS
    assert report["n_with_shards"] >= N_KILLS / 3, report
    assert kills.get("nothing", 0) + kills["some slab"] >= 5, report
    assert kills["some shard"] >= 5, report
    assert kills["some store"] >= 1, report


IN_SMALL_DISK = ("unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o size=24m none "$0" && exec "$@"')
"""A disk of its own for one program, which Linux lets everybody have in a namespace."""


@pytest.mark.slow
@pytest.mark.fault("D9")
def test_on_a_full_disk_a_run_stops_and_goes_on_where_there_is_space_again(config_file, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run([*IN_SMALL_DISK, str(disk), "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    stops = run_program("fill", config_file, disk, *IN_SMALL_DISK, str(disk))["stops"]
    assert sum(stops.values()) == N_FULL
    assert stops.get("nowhere", 0) <= N_FULL / 2, stops
    assert stops["some slab"] > 0, stops


@pytest.mark.slow
@pytest.mark.fault("D9")
def test_whichever_write_meets_the_full_disk_the_run_stops_and_goes_on(config_file, tmp_path):
    stops = run_program("fail", config_file, tmp_path / "runs")["stops"]
    assert "nowhere" not in stops, stops
    assert stops.keys() >= {"nothing", "some slab", "some shard", "some store"}, stops


if __name__ == "__main__":
    main(*sys.argv[1:])
