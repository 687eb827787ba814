"""What extraction costs beside its forward pass, as ratios measured in one run.

Usage: ``python -P benchmarks/extract.py`` (-P keeps this folder from hiding the package of the same name), on a GPU
with ``--model vit_large_patch16_224 --precision bfloat16``; ``--only growth`` goes up to 10^5 slices.
Weights are random. Baseline and ours alternate in one process, and what they compute is compared before anything is
timed. Figures are the least CPU time of the process over the rounds, as neighbors only add to it; on a GPU wall time.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.figures import NONE, at_least, at_most, between, show
from extract.cache import Entry, ensure_slab, read_slab
from extract.devices import choose_devices
from extract.embedding import Plan, embed_cohort
from extract.encoder_spec import EncoderSpec
from extract.encoders import find_encoder
from extract.fusion import find_fusion
from extract.inputs import PictureInputs
from extract.models import Encoder, Running
from extract.normalization import find_normalization
from extract.packing import Embedder
from extract.pictures import Drawing, PictureRecipe, Prepared
from extract.recipe import SlabRecipe
from extract.regions import lesion_region
from extract.shards import Job, Lane
from extract.slabbing import Slabs, in_threads
from extract.torchvision_cure import import_torchvision
from extract.weights import locate_weights
from triher.cohort import Cohort, Patient
from triher.progress import Reporter
from triher.store import Header, read_store

import_torchvision()
import timm  # noqa: E402 - it imports torchvision

SHAPE = (256, 256, 80)
SPACING_MM = (0.7, 0.7, 2.0)
PHASES = ("pre", "early", "late")
SLABS = SlabRecipe("box", 5.0)
PICTURES = PictureRecipe(find_normalization("clip98-volume"), (find_fusion("rgb", PHASES),), "all", 8)
PLAN = Plan(batch_size=32, shard_patients=32, readers=2)
QUIET = Reporter(quiet=True)
DEVICE_RATE = 3000  # slices a second that the stand-in accelerator takes
FEATURES = 384
PARTS = ("forward", "runtimes", "second", "scripts", "feeding", "growth")


def write_patients(folder: Path, n: int) -> list[Patient]:
    """Exams of real size with a lesion of about 20 slices."""
    rng = np.random.default_rng(0)
    affine = np.diag([*SPACING_MM, 1.0])
    grid = np.indices(SHAPE)
    body = 400.0 * (((grid[0] - 128) / 110) ** 2 + ((grid[1] - 150) / 100) ** 2 < 1)
    patients = []
    for i in range(n):
        center = [100 + 4 * i, 128, 40]
        mask = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, center, (22, 18, 10), strict=True)) < 1
        paths = {name: folder / f"P{i}_{name}.nii.gz" for name in (*PHASES, "mask")}
        for k, name in enumerate(PHASES):
            noise = np.abs(rng.normal(0, 12, SHAPE)) + body * (1 + 0.1 * k) + 300 * k * mask
            nib.save(nib.Nifti1Image(noise.astype(np.int16), affine), paths[name])
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), paths["mask"])
        mask_path = paths.pop("mask")
        patients.append(Patient(f"P{i}", "bench", "A", "", paths, mask_path))
    return patients


@dataclass(frozen=True)
class Bench:
    """All that the measurements share."""

    folder: Path
    patients: list[Patient]
    entries: list[Entry]
    clock: Callable[[], float]
    rounds: int
    probes: dict[str, np.ndarray] = field(default_factory=dict)
    """Of each encoder, which a run embeds once, whatever its length."""

    def jobs(self, copies: int = 1) -> list[Job]:
        """The patients, several times over under other names."""
        pairs = list(zip(self.patients, self.entries, strict=True))
        return [Job(f"{p.patient_id}-{k}", "bench", e.path, e.sha256) for k in range(copies) for p, e in pairs]

    def alternate(self, *functions: Callable[[], object]) -> list[float]:
        """Least seconds of some functions, measured in turns."""
        spent: list[list[float]] = [[] for _ in functions]
        for _ in range(self.rounds):
            for function, times in zip(functions, spent, strict=True):
                start = self.clock()
                function()
                times.append(self.clock() - start)
        return [min(times) for times in spent]

    def embed(self, jobs: Iterable[Job], encoders: Sequence[Embedder], name: str = "store") -> list[Path]:
        """Extract into new stores."""
        for encoder in encoders:
            if encoder.name not in self.probes:
                self.probes[encoder.name] = encoder.probe()
        lanes = [
            Lane(self.folder / f"{name}{i}.h5", Header({"i": i}, {}, {}, self.probes[encoder.name]))
            for i, encoder in enumerate(encoders)
        ]
        for lane in lanes:
            lane.target.unlink(missing_ok=True)
        assert not embed_cohort(jobs, lanes, [list(encoders)], PICTURES, PLAN, QUIET, 0)
        return [lane.target for lane in lanes]


class NoNetwork:
    """Takes pictures and gives ones: everything but the forward pass; or at the rate of an accelerator."""

    name = "nothing"
    remarks: tuple[str, ...] = ()

    def __init__(self, rate: float = math.inf) -> None:
        spec = EncoderSpec("nothing", "", "", "", 224, (0.5,) * 3, (0.5,) * 3, "", "")
        self._inputs = PictureInputs(spec, torch.device("cpu"))
        self._rate = rate
        self._free_at = 0.0

    def prepare(self, drawing: Drawing) -> Prepared:
        return self._inputs.prepare(drawing)

    def embed(self, inputs: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
        """Wait until the stand-in has done the batch before, then hand it this one."""
        assert masks is None
        if self._rate < math.inf:
            time.sleep(max(0.0, self._free_at - time.perf_counter()))
            self._free_at = max(self._free_at, time.perf_counter()) + len(inputs) / self._rate
        return torch.ones((len(inputs), FEATURES))

    def probe(self) -> np.ndarray:
        return np.zeros((1, FEATURES), np.float32)

    def memory_bytes(self, batch_size: int) -> int:
        return batch_size


def random_encoder(folder: Path, model: str, how: Running) -> Encoder:
    """A network of timm with random weights, loaded as any other."""
    torch.manual_seed(0)
    path = folder / f"{model}.safetensors"
    options = {"img_size": 224} if model.startswith("vit_") else {}
    save_file(timm.create_model(model, num_classes=0, **options).state_dict(), path)
    half = (0.5, 0.5, 0.5)
    spec = EncoderSpec(model, "timm", model, f"file:{path}", 224, half, half, "random weights", "none")
    return Encoder(spec, path, choose_devices("auto")[0], how)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="vit_small_patch16_224")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS[:-1], help="growth takes ten minutes")
    parser.add_argument("--copies", type=int, help=argparse.SUPPRESS)  # in a process of its own, for its memory
    parser.add_argument("--slabs", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.slabs:
        grow(options.slabs, options.copies)
        return
    is_gpu = choose_devices("auto")[0].type == "cuda"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        patients = write_patients(folder, options.patients)
        entries = [ensure_slab(folder / "slabs", patient, SLABS) for patient in patients]
        bench = Bench(folder, patients, entries, time.perf_counter if is_gpu else time.process_time, options.rounds)
        device = torch.cuda.get_device_name() if is_gpu else f"CPU, {torch.get_num_threads()} threads"
        print(f"{device}; {len(patients)} patients of {SHAPE} x 3 phases", flush=True)
        measure(bench, options, is_gpu=is_gpu)


def measure(bench: Bench, options: argparse.Namespace, *, is_gpu: bool) -> None:
    """The parts that were asked for."""
    encoder = random_encoder(bench.folder, options.model, Running(options.precision, compiles=options.compile))
    if "forward" in options.only:
        measure_forward(bench, encoder)
    if "runtimes" in options.only and not is_gpu:
        measure_runtimes(bench)
    if "second" in options.only:
        measure_second(bench, encoder, random_encoder(bench.folder, "resnet50", Running(options.precision)))
    if "scripts" in options.only:
        measure_scripts(bench, encoder)
    if "feeding" in options.only:
        measure_feeding(bench)
    if "growth" in options.only:
        measure_growth(bench)


def measure_forward(bench: Bench, encoder: Encoder) -> None:
    """Whole runs from slabs and from volumes against the forward pass on batches that are there."""
    jobs = bench.jobs()
    pictures = torch.cat([encoder.prepare(Drawing(read_slab(job.slab), PICTURES)).views["rgb"] for job in jobs])
    resident = [part.to(encoder.device) for part in pictures.split(PLAN.batch_size)]

    def forward() -> None:
        rows = [encoder.embed(batch) for batch in resident]
        torch.cat(rows).cpu()

    def cold() -> None:
        with tempfile.TemporaryDirectory() as slabs:
            made = Slabs(Path(slabs), Cohort(tuple(bench.patients), (), frozenset()), SLABS, in_threads(PLAN.readers))
            bench.embed(made, [encoder], "cold")

    (store,) = bench.embed(jobs, [encoder])
    found = read_store(store)[1].views["rgb"]
    np.testing.assert_allclose(found, torch.cat([encoder.embed(b) for b in resident]).cpu(), atol=1e-3)
    whole, alone, from_volumes = bench.alternate(lambda: bench.embed(jobs, [encoder]), forward, cold)
    is_gpu = encoder.device.type == "cuda"
    how = f"{encoder.name}, {encoder.how.precision if is_gpu else encoder.how.runtime}"
    show(f"forward alone / whole run from a warm cache, {how}", alone / whole, at_least(0.90 if is_gpu else 0.95))
    show(
        f"forward alone / whole run from gzip NIfTI, {how}", alone / from_volumes, NONE if is_gpu else at_least(0.90)
    )
    print(
        f"    {len(pictures)} slices, {1000 * alone / len(pictures):.2f} ms a slice in the forward pass", flush=True
    )


def measure_runtimes(bench: Bench) -> None:
    """The default encoder by eager torch and by ONNX Runtime."""
    spec = find_encoder("efficientnet-lite0")
    weights = locate_weights(spec, None)[0]
    encoders = [Encoder(spec, weights, torch.device("cpu"), Running(runtime=name)) for name in ("torch", "onnx")]
    for encoder in encoders:
        measure_forward(bench, encoder)
    batch = torch.cat([encoders[0].prepare(Drawing(read_slab(bench.entries[0].path), PICTURES)).views["rgb"]])
    rows = [encoder.embed(batch).double() for encoder in encoders]
    cosine = float(torch.nn.functional.cosine_similarity(*rows).min())
    assert cosine > 0.9999, cosine
    eager, onnx = bench.alternate(*(lambda encoder=encoder: encoder.embed(batch) for encoder in encoders))
    show(f"{spec.name}: eager torch / ONNX Runtime (least cosine {cosine:.6f})", eager / onnx, at_least(1.5))


def measure_second(bench: Bench, first: Encoder, second: Encoder) -> None:
    """What a second encoder adds to a run."""
    jobs = bench.jobs()
    pictures = torch.cat([second.prepare(Drawing(read_slab(job.slab), PICTURES)).views["rgb"] for job in jobs])
    resident = [part.to(second.device) for part in pictures.split(PLAN.batch_size)]

    def forward() -> None:
        torch.cat([second.embed(batch) for batch in resident]).cpu()

    one, both, alone = bench.alternate(
        lambda: bench.embed(jobs, [first]), lambda: bench.embed(jobs, [first, second]), forward
    )
    show(f"second encoder in one pass ({second.name}) / its forward alone", (both - one) / alone, at_most(1.05))


def measure_scripts(bench: Bench, encoder: Encoder) -> None:
    """The scripts that people write against ours, in time a slice."""
    patient, n_few = bench.patients[0], 3
    (store,) = bench.embed(bench.jobs()[:1], [encoder])
    features = read_store(store)[1]
    slices = [int(i) for i in features.slice_index]
    usual = usual_script(bench.folder / "usual.h5", patient, slices[:n_few], encoder)
    careful = careful_script(patient, slices, encoder)
    for rows, ours in ((usual, features.views["rgb"][:n_few]), (careful, features.views["rgb"])):
        cosine = (rows * ours).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(ours, axis=1)
        assert cosine.min() >= 0.999, cosine.min()
    nothing = NoNetwork()

    def cold() -> None:
        with tempfile.TemporaryDirectory() as slabs:
            made = Slabs(Path(slabs), Cohort((patient,), (), frozenset()), SLABS, in_threads(PLAN.readers))
            bench.embed(made, [encoder], "cold")

    def cold_without() -> None:
        with tempfile.TemporaryDirectory() as slabs:
            made = Slabs(Path(slabs), Cohort((patient,), (), frozenset()), SLABS, in_threads(PLAN.readers))
            bench.embed(made, [nothing], "cold")

    seconds = bench.alternate(
        lambda: usual_script(bench.folder / "usual.h5", patient, slices[:n_few], encoder),
        cold,
        lambda: careful_script(patient, slices, nothing),
        cold_without,
        lambda: bench.embed(bench.jobs()[:1], [nothing]),
    )
    a_slice = [s / n for s, n in zip(seconds, (n_few, *[len(slices)] * 4), strict=True)]
    show(
        "script (volume a slice, PIL, batch of 1, a dataset a slice) / ours from volumes",
        a_slice[0] / a_slice[1],
        at_least(5),
    )
    show("all but the forward pass: careful script / ours from volumes", a_slice[2] / a_slice[3])
    show("all but the forward pass: careful script / ours from a warm cache", a_slice[2] / a_slice[4], at_least(10))
    print(
        f"    {1000 * a_slice[3]:.2f} ms a slice from volumes, {1000 * a_slice[4]:.2f} ms from the cache", flush=True
    )


def usual_script(path: Path, patient: Patient, slices: Sequence[int], encoder: Embedder) -> np.ndarray:
    """Reads each volume again for every slice, embeds one picture at a time, writes one dataset a slice."""
    rows = []
    with h5py.File(path, "w") as file:
        for index in slices:
            volumes = [nib.load(patient.phases[name]).get_fdata() for name in PHASES]
            mask = nib.load(patient.mask).get_fdata() > 0
            rows.append(encoder.embed(by_pil(volumes, mask, index)[None]).cpu().numpy()[0])
            file[f"{patient.patient_id}/{index}"] = rows[-1]
    return np.stack(rows)


def careful_script(patient: Patient, slices: Sequence[int], encoder: Embedder) -> np.ndarray:
    """Reads each volume once a patient, and embeds in batches."""
    volumes = [nib.load(patient.phases[name]).get_fdata() for name in PHASES]
    mask = nib.load(patient.mask).get_fdata() > 0
    bounds = [(volume.min(), np.percentile(volume, 98)) for volume in volumes]
    pictures = torch.stack([by_pil(volumes, mask, index, bounds) for index in slices])
    return torch.cat([encoder.embed(part) for part in pictures.split(32)]).cpu().numpy()


def by_pil(
    volumes: Sequence[np.ndarray], mask: np.ndarray, index: int, bounds: Sequence[tuple[float, float]] | None = None
) -> torch.Tensor:
    """One slice as scripts draw it."""
    low_high = bounds or [(volume.min(), np.percentile(volume, 98)) for volume in volumes]
    lesion = np.ascontiguousarray(mask.transpose(2, 1, 0)[:, ::-1, ::-1])
    box = lesion_region(lesion, (SPACING_MM[2], SPACING_MM[1], SPACING_MM[0]), SLABS)
    channels = []
    for volume, (low, high) in zip(volumes, low_high, strict=True):
        plane = volume.transpose(2, 1, 0)[index, ::-1, ::-1][box.index()[1:]]
        channels.append(np.rint(255 * np.clip((plane - low) / (high - low), 0, 1)).astype(np.uint8))
    picture = Image.fromarray(np.stack(channels, axis=-1)).resize((224, 224), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy())


def measure_feeding(bench: Bench) -> None:
    """How near the feeding comes to an accelerator's rate, in wall time."""
    jobs = bench.jobs(copies=max(1, 600 // len(bench.patients)))
    n_slices = sum(len(Drawing(read_slab(job.slab), PICTURES).chosen) for job in bench.jobs()) * (
        len(jobs) // len(bench.patients)
    )
    reached = []
    for _ in range(bench.rounds):
        stand_in = NoNetwork(DEVICE_RATE)
        start = time.perf_counter()
        bench.embed(jobs, [stand_in])
        reached.append(n_slices / (time.perf_counter() - start) / DEVICE_RATE)
    what = f"share of {DEVICE_RATE:.0f} slices/s that a stand-in is fed from a warm cache, wall clock"
    show(what, statistics.median(reached), at_least(0.90), spread=(min(reached), max(reached)))


def measure_growth(bench: Bench) -> None:
    """Peak memory and time at 10^3, 10^4 and 10^5 slices, each in a process of its own."""
    found = {}
    for target in (1_000, 10_000, 100_000):
        copies = max(1, round(target / (19 * len(bench.patients))))
        command = [sys.executable, "-P", __file__, "--slabs", str(bench.folder / "slabs"), "--copies", str(copies)]
        told = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        found[target] = json.loads(told.stdout)
        print(f"    {found[target]}", flush=True)
    show("peak memory at 10^5 / at 10^3 slices", found[100_000]["mb"] / found[1_000]["mb"], between(0.90, 1.10))
    more = found[100_000]["slices"] / found[10_000]["slices"]
    slope = math.log(found[100_000]["cpu_s"] / found[10_000]["cpu_s"]) / math.log(more)
    show("slope of CPU time over slices, 10^4 to 10^5", slope, between(0.97, 1.03))


def grow(slabs: Path, copies: int) -> None:
    """Extract a cohort of the slabs that are there, and print what it took."""
    paths = sorted(slabs.glob("*.safetensors"))
    jobs = [Job(f"{i}-{k}", "bench", path, path.stem) for k in range(copies) for i, path in enumerate(paths)]
    nothing = NoNetwork()
    plan = replace(PLAN, shard_patients=8)
    with tempfile.TemporaryDirectory() as name:
        first, lane = (Lane(Path(name) / f"{i}.h5", Header({}, {}, {}, nothing.probe())) for i in range(2))
        embed_cohort(jobs[: len(paths)], [first], [[nothing]], PICTURES, plan, QUIET, 0)  # compiles what is compiled
        start = time.process_time()
        embed_cohort(jobs, [lane], [[nothing]], PICTURES, plan, QUIET, 0)
        spent = time.process_time() - start
        with h5py.File(lane.target) as file:
            n = int(file["indptr"][-1])
    print(json.dumps({"slices": n, "cpu_s": round(spent, 2), "mb": peak_mb()}))


def peak_mb() -> float:
    """The most memory that this process held; what getrusage tells begins with that of its parent."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024, 1)


if __name__ == "__main__":
    main()
