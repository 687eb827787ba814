"""Whether large cohorts fit: memory and time of heads, statistics, checks and long extractions.

Usage: ``python -P benchmarks/scale.py [--only people check steady] [--patients 10000]``.
``people``: ``triher classify`` and ``triher analysis`` as they are, on a store of 10,000 synthetic patients of 10
slices, each in a process of its own, whose memory is looked at ten times a second. ``check``: ``triher cohort check``
of 2,000 patients whose files have real headers and sizes of volumes (the voxels compress well). ``steady``: as many
patients as a processor embeds in two hours at 3 s each (19 slices of ViT-S), from their volumes through slabs into a
store, with a stand-in for the network, so that the two hours pass in minutes; memory is looked at twice a second, and
the last tenth of the run is compared with the second.
"""

import argparse
import gzip
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.extract import PHASES, PICTURES, PLAN, QUIET, SHAPE, SLABS, SPACING_MM, NoNetwork
from benchmarks.figures import at_most, between, show
from extract.embedding import embed_cohort
from extract.shards import Lane
from extract.slabbing import Slabs, in_threads
from triher.cohort import Cohort, Patient
from triher.config import write_config
from triher.settings import Config
from triher.store import Features, Header, write_store
from triher.tables import write_table

ENTRY = "from triher.cli import main; main()"
PATHOLOGY = (("0", ""), ("2+", "negative"), ("3+", ""))
N_SLICES, N_FEATURES = 10, 768
N_LATENT, SIGNAL = 60, 0.55
N_CHECKED = 2_000
REAL_S_PER_PATIENT = 3.0
GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=tuple(PARTS))
    parser.add_argument("--patients", type=int, default=10_000, help="of people")
    parser.add_argument("--hours", type=float, default=2.0, help="of input, for steady")
    options = parser.parse_args()
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[name](Path(folder), options)


def measure_people(folder: Path, options: argparse.Namespace) -> None:
    """Heads and statistics of many patients."""
    config = write_people(folder, options.patients)
    for stage in ("classify", "analysis"):
        seconds, peak = spent_by(stage, str(config), "--out", str(folder / "run"), "--quiet")
        print(f"    {stage}: {seconds:.0f} s, {peak / GIB:.2f} GiB", flush=True)
        what = f"{stage} of {options.patients} patients, {options.patients * N_SLICES} slices: GiB at most"
        show(what, peak / GIB, at_most(8))


def write_people(folder: Path, n: int) -> Path:
    """A table with survival, a store of correlated vectors with a signal, a run folder; the configuration."""
    rng = np.random.default_rng(0)
    y = rng.choice(3, n, p=(0.2, 0.55, 0.25))
    ids = tuple(f"PATIENT-{i:05d}" for i in range(n))
    latent = rng.normal(size=(n, N_LATENT)) + SIGNAL * np.eye(3, N_LATENT)[y]
    seen = latent @ rng.normal(size=(N_LATENT, N_FEATURES)) / N_LATENT**0.5
    embeddings = np.repeat(seen.astype(np.float32), N_SLICES, axis=0)
    embeddings += rng.normal(size=embeddings.shape, scale=0.5).astype(np.float32)
    indptr = np.arange(0, n * N_SLICES + 1, N_SLICES, dtype=np.int64)
    index = np.tile(np.arange(N_SLICES, dtype=np.int32), n)
    features = Features(ids, tuple(hashlib.sha256(name.encode()).hexdigest() for name in ids), indptr, index,
                        rng.uniform(20, 200, len(index)).astype(np.float32), {"rgb": embeddings})  # fmt: skip
    header = Header({"name": "synthetic"}, {}, {}, np.ones((2, N_FEATURES), np.float32))
    write_store(folder / "store.h5", header, [features], n_slices=len(index))
    months = rng.exponential(60 / np.exp(0.3 * latent[:, 0]))
    followed = [(f"{month + 0.1:.2f}", int(month < 90)) for month in months]
    rows = [(ids[i], "AB"[i % 2], f"site{i % 12}", *PATHOLOGY[y[i]], 30 + i % 50, *followed[i]) for i in range(n)]
    write_table(folder / "cohort.csv", ["patient_id", "cohort", "site", "ihc", "ish", "age", "time", "event"], rows)
    own = {"table": folder / "cohort.csv", "covariates": ["age"], "time_unit": "months"}
    classify = {"features": folder / "store.h5", "covariates": []}
    write_config(Config.model_validate({"cohort": own, "classify": classify}), folder / "config.yaml")
    return folder / "config.yaml"


def spent_by(*arguments: str) -> tuple[float, float]:
    """Seconds and the most bytes of memory of a command; what the system tells afterward begins with its parent's."""
    start, peak = time.perf_counter(), 0.0
    with subprocess.Popen([sys.executable, "-c", ENTRY, *arguments]) as process:  # noqa: S603
        while process.poll() is None:
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
            peak = max([peak, *(1024.0 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))])
            time.sleep(0.1)
    assert process.returncode in (0, 3), process.returncode
    return time.perf_counter() - start, peak


def measure_check(folder: Path, _: argparse.Namespace) -> None:
    """Headers of all files of a cohort."""
    rng = np.random.default_rng(0)
    write_exams(folder, N_CHECKED)
    rows = [(f"P{i}", "bench", "A", *PATHOLOGY[i % 3]) for i in rng.permutation(N_CHECKED)]
    write_table(folder / "cohort.csv", ["patient_id", "cohort", "site", "ihc", "ish"], rows)
    phases = {name: f"{{patient_id}}_{name}.nii.gz" for name in PHASES}
    own = {"table": folder / "cohort.csv", "root": folder, "phases": phases, "mask": "{patient_id}_mask.nii.gz"}
    write_config(Config.model_validate({"cohort": own}), folder / "config.yaml")
    seconds, peak = spent_by("cohort", "check", str(folder / "config.yaml"))
    print(f"    {peak / GIB:.2f} GiB", flush=True)
    show(f"cohort check of {N_CHECKED} patients, {N_CHECKED * 4} files: seconds", seconds, at_most(60))


def write_exams(folder: Path, n: int) -> list[Patient]:
    """Exams of real size that differ in one row of voxels, as gzip streams of two members, of which one is shared."""
    rng = np.random.default_rng(0)
    grid = np.indices(SHAPE)
    body = 400.0 * (((grid[0] - 128) / 110) ** 2 + ((grid[1] - 150) / 100) ** 2 < 1)
    mask = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, (110, 128, 40), (22, 18, 10), strict=True)) < 1
    volumes = {name: (body * (1 + 0.1 * k) + 300 * k * mask).astype(np.int16) for k, name in enumerate(PHASES)}
    start = 352 + 2 * SHAPE[0]
    patients, shared = [], {}
    for name, voxels in {**volumes, "mask": mask.astype(np.uint8)}.items():
        whole = nib.Nifti1Image(voxels, np.diag([*SPACING_MM, 1.0])).to_bytes()
        shared[name] = whole[:352], gzip.compress(whole[start:] if name != "mask" else whole[352:], 6)
    for i in range(n):
        paths = {name: folder / f"P{i}_{name}.nii.gz" for name in shared}
        for name, (header, rest) in shared.items():
            own = b"" if name == "mask" else rng.integers(0, 50, SHAPE[0]).astype("<i2").tobytes()
            paths[name].write_bytes(gzip.compress(header + own, 1) + rest)
        patients.append(Patient(f"P{i}", "bench", "A", "", {name: paths[name] for name in PHASES}, paths["mask"]))
    return patients


def measure_steady(folder: Path, options: argparse.Namespace) -> None:
    """Memory over a long extraction."""
    n = round(options.hours * 3600 / REAL_S_PER_PATIENT)
    patients = write_exams(folder, n)
    nothing, seen, done = NoNetwork(), [], threading.Event()

    def look() -> None:
        while not done.wait(0.5):
            seen.append(resident_bytes())

    made = Slabs(folder / "slabs", Cohort(tuple(patients), (), frozenset()), SLABS, in_threads(PLAN.readers))
    watcher = threading.Thread(target=look, daemon=True)
    start = time.perf_counter()
    watcher.start()
    lane = Lane(folder / "store.h5", Header({}, {}, {}, nothing.probe()))
    assert not embed_cohort(made, [lane], [[nothing]], PICTURES, PLAN, QUIET, 0)
    done.set()
    watcher.join()
    tenth = len(seen) // 10
    early, late = np.median(seen[tenth : 2 * tenth]), np.median(seen[-tenth:])
    told = f"{early / GIB:.2f} GiB early, {late / GIB:.2f} late, {max(seen) / GIB:.2f} at most"
    print(f"    {n} patients in {time.perf_counter() - start:.0f} s; {told}", flush=True)
    show(f"memory late / early in an extraction of {options.hours:g} hours of input", late / early, between(0.9, 1.1))


def resident_bytes() -> int:
    """What this process holds in memory now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


PARTS = {"people": measure_people, "check": measure_check, "steady": measure_steady}

if __name__ == "__main__":
    main()
