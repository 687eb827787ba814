"""How long `triher view` takes from the command to a page that can be used, on a run of 500 synthetic patients.

The clock starts when the program starts, and stops when a real chromium has drawn the list and the first patient's
slice. The browser runs already, as a user's does.

    python -P benchmarks/view.py --patients 500 --repeats 5
"""

import argparse
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.sync_api import Browser, sync_playwright

from benchmarks.figures import NONE, at_most, show
from extract.cache import Slab, write_slab
from extract.histograms import count
from triher.config import dump_config
from triher.explanations import PatientMaps, write_maps
from triher.predictions import write_predictions
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.store import Features, Header, write_store
from triher.tables import write_table

CLASSES = ("zero", "low", "positive")
PHASES = ("pre", "early", "late")
SHAPE = (15, 72, 72)
N_MAPS, N_SLICES, N_FEATURES = 24, 8, 1280
ENTRY = "from triher.cli import main; main()"


def make_run(folder: Path, n: int) -> RunFolder:
    """A run folder with a cohort table, slabs, a store, predictions and maps; the numbers mean nothing."""
    rng, run = np.random.default_rng(0), RunFolder(folder)
    run.prepare()
    ids = tuple(f"PATIENT-{i:04d}" for i in range(n))
    y = np.arange(n) % 3
    pathology = (("0", ""), ("2+", "negative"), ("3+", ""))
    rows = [(ids[i], f"cohort{i % 3}", f"site{i % 7}", *pathology[y[i]], 40 + i % 40) for i in range(n)]
    table = folder / "cohort.csv"
    write_table(table, ["patient_id", "cohort", "site", "ihc", "ish", "age"], rows)
    phases = {name: f"{{patient_id}}_{name}.nii.gz" for name in PHASES}
    own = {
        "table": table,
        "root": folder,
        "phases": phases,
        "mask": "{patient_id}_mask.nii.gz",
        "covariates": ["age"],
    }
    run.record_command("triher run", dump_config(Config.model_validate({"cohort": own})))
    digests = tuple(f"{i:064x}" for i in range(n))
    mask = lesion()
    for digest in digests:
        write_slab(run.slabs / f"{digest}.safetensors", slab(rng, mask))
    embeddings = rng.normal(size=(n * N_SLICES, N_FEATURES)).astype(np.float32)
    index = np.tile(np.arange(3, 3 + N_SLICES, dtype=np.int32), n)
    indptr = np.arange(0, n * N_SLICES + 1, N_SLICES, dtype=np.int64)
    features = Features(ids, digests, indptr, index, np.ones(len(index), np.float32), {"rgb": embeddings})
    header = Header({"name": "synthetic"}, {}, {}, np.ones((2, N_FEATURES), np.float32))
    write_store(run.features / "store.h5", header, [features], n_slices=len(index))
    run.record_stage("extract", "key", [], 1.0, store="store.h5")
    p = rng.dirichlet(np.ones(3), n)
    frame = pd.DataFrame(p, columns=[f"p_{name}" for name in CLASSES]).assign(
        patient_id=ids,
        cohort="c",
        site=[row[2] for row in rows],
        split="oof",
        repeat=0,
        fold=0,
        seed=0,
        y=y,
        set="zero|low",
    )
    write_predictions(run.predictions_file, frame, "triple")
    chosen = np.arange(3, 3 + N_SLICES, dtype=np.int32)
    maps = [
        PatientMaps(
            name, rng.normal(size=(3, N_SLICES, *SHAPE[1:])).astype(np.float32), chosen, np.zeros(3), in_training=True
        )
        for name in ids[:N_MAPS]
    ]
    write_maps(run.explanations / "maps.h5", maps, classes=CLASSES, method="hirescam")
    return run


def lesion() -> np.ndarray:
    """An ellipsoid."""
    grid = np.indices(SHAPE)
    return sum(((g - s / 2) / (s / 3)) ** 2 for g, s in zip(grid, SHAPE, strict=True)) < 1


def slab(rng: np.random.Generator, mask: np.ndarray) -> Slab:
    """Noise and a lesion that takes up contrast; the histograms are of the slab."""
    voxels = rng.normal(400, 40, (3, *SHAPE)) + mask * np.array([0, 400, 300])[:, None, None, None]
    volumes = voxels.astype(np.int16)
    slices = tuple(tuple(count(one) for one in phase) for phase in volumes)
    wholes = tuple(count(phase) for phase in volumes)
    return Slab(PHASES, volumes, mask, wholes, slices, 0, (2.5, 0.8, 0.8), "axial", (60, 256, 256))


@dataclass(frozen=True)
class Opening:
    """Seconds from the start of the command."""

    printed_s: float
    usable_s: float
    """List and first picture are drawn."""
    blank_s: float
    """For an empty page in the same browser: no page opens faster."""
    complete_s: float
    """Neighbors are there, too."""
    cpu_s: float
    """Of the command, until the page was usable."""


def open_once(run: RunFolder, browser: Browser) -> Opening:
    """Start the command, open its page, end it."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    start = time.monotonic()
    command = [sys.executable, "-c", ENTRY, "view", str(run.path), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:  # noqa: S603
        address = server.stdout.readline().strip()
        printed = time.monotonic() - start
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("body[data-shown]")
        page.wait_for_selector("[role=option]")
        usable, cpu = time.monotonic() - start, cpu_s_of(server.pid)
        page.wait_for_selector("#near button")
        complete = time.monotonic() - start
        page.close()
        began = time.monotonic()
        browser.new_page().goto("data:text/html,<p>nothing</p>")
        blank = time.monotonic() - began
        server.send_signal(signal.SIGINT)
        server.wait()
    return Opening(printed, usable, blank, complete, cpu)


def cpu_s_of(process: int) -> float:
    """CPU time of a process so far, from Linux's table of processes."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def import_s(module: str) -> float:
    """CPU time of importing a module in a new process, the least of three."""
    least = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)  # noqa: S603
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        least = min(least, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        run = make_run(Path(folder) / "run", options.patients)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        found = [open_once(run, browser) for _ in range(options.repeats + 1)][
            1:
        ]  # the first one fills the disk's cache
        browser.close()
    print(f"{options.patients} patients, {options.repeats} openings, load {os.getloadavg()[0]:.1f}")
    for name in ("printed_s", "usable_s", "blank_s", "complete_s", "cpu_s"):
        values = [getattr(one, name) for one in found]
        target = at_most(2) if name == "usable_s" else NONE
        show(f"triher view: {name}", statistics.median(values), target, spread=(min(values), max(values)))
    for module in ("pandas", "triher.cli", "triher.cli,triher.view.viewed,triher.view.server"):
        show(f"CPU seconds of importing {module}", import_s(module))


if __name__ == "__main__":
    main()
