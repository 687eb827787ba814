"""Fixtures shared by the tests: small synthetic stores, cohorts and runs."""

import gc
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lean_checks  # noqa: F401 - before what it checks
import nibabel as nib
import numpy as np
import pytest

from triher.cohort import Patient
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.store import Features, Header, write_store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATHOLOGY = {"zero": ("0", ""), "low": ("2+", "negative"), "positive": ("3+", "")}
ENCODER = {"name": "toy", "sha256": "0" * 64, "input_px": 32}
RECIPE = {"normalization": "clip98-volume", "slices": {"policy": "all"}}

gc.disable()

LONGEST = ("test_tutorials", "test_ablation_run", "test_systems_in_small", "test_extract_ray", "test_extract_killed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes, lest one worker is left with them when the others have ended."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def pytest_collection_finish() -> None:
    """What importing everything made stays for good: not to be looked through again and again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@dataclass(frozen=True)
class Study:
    """A cohort table, a feature store and a run folder on disk."""

    config: Config
    run: RunFolder
    store: Path
    features: Features
    header: Header
    ids: tuple[str, ...]
    y: np.ndarray

    def __iter__(self):
        """Unpack as the arguments of the stage."""
        return iter((self.config, self.run, self.store, Reporter(quiet=True)))


def synthetic_features(
    ids: tuple[str, ...], y: np.ndarray, *, n_features: int, effect: float, seed: int, views: tuple[str, ...]
) -> Features:
    """Noise with a planted shift of other features for each class, 1 to 4 slices a patient."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 5, len(ids))
    owner = np.repeat(np.arange(len(ids)), lengths)
    shift = np.zeros((len(ids), n_features))
    width = n_features // 6
    for label in range(3):
        shift[y == label, width * label : width * (label + 1)] = effect
    patient = rng.normal(size=(len(ids), n_features)) + shift
    embeddings = {
        view: (patient[owner] + 0.3 * rng.normal(size=(len(owner), n_features))).astype(np.float32) for view in views
    }
    return Features(
        ids,
        tuple(hashlib.sha256(name.encode()).hexdigest() for name in ids),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.arange(len(owner), dtype=np.int32),
        rng.uniform(20, 200, len(owner)).astype(np.float32),
        embeddings,
        {"spacing_row_mm": rng.uniform(0.6, 0.9, len(ids)), "n_slices": np.full(len(ids), 80.0)},
    )


@pytest.fixture
def make_features() -> Callable[..., Features]:
    """Build synthetic embeddings of some patients."""

    def build(n=12, n_features=6, effect=0.0, seed=0, views=("rgb",)):
        ids = tuple(f"SUBJECT-{i:03d}" for i in range(n))
        y = np.arange(n) % 3
        return synthetic_features(ids, y, n_features=n_features, effect=effect, seed=seed, views=views)

    return build


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Study]:
    """Write a synthetic cohort and store, and configure a run on them."""

    def build(
        n=36, n_features=24, effect=1.5, seed=0, order=None, name="run", table=None, covariates=None, **classify
    ):
        ids = tuple(f"SUBJECT-{i:03d}" for i in range(n))
        y = np.arange(n) % 3
        features = synthetic_features(ids, y, n_features=n_features, effect=effect, seed=seed, views=("rgb",))
        header = Header(ENCODER, RECIPE, {"torch": "0"}, np.ones((2, n_features), np.float32))
        store = tmp_path / f"{name}-store.h5"
        write_store(store, header, [features], n_slices=len(features.slice_index))
        made = covariates or {}
        rows = [",".join(["patient_id,cohort,site,split,ihc,ish", *made])]
        for i in range(n) if order is None else order:
            ihc, ish = PATHOLOGY[("zero", "low", "positive")[y[i]]]
            row = {
                "cohort": "AB"[i // 3 % 2],
                "site": f"site{i // 3 % 3}",
                "split": "test" if i // 3 % 4 == 0 else "train",
            }
            row |= {"ihc": ihc, "ish": ish, **((table or {}).get(ids[i], {}))}
            row |= {covariate: str(value(i)) for covariate, value in made.items()}
            rows.append(",".join([ids[i], *row.values()]))
        path = tmp_path / f"{name}-cohort.csv"
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        settings = {"trials": 3, "folds": 3, "covariates": list(made)} | classify
        files = {"phases": {"pre": "{patient_id}_0.nii"}, "mask": "{patient_id}_mask.nii"}
        own = {"table": path, "root": tmp_path, "covariates": list(made), **files}
        config = Config.model_validate({"cohort": own, "classify": settings})
        run = RunFolder(tmp_path / name)
        run.prepare()
        return Study(config, run, store, features, header, ids, y)

    return build


@pytest.fixture
def golden_folder() -> Path:
    """The referee values; skips where they are not there."""
    folder = Path(__file__).parents[2] / "shared" / "golden"
    if not folder.is_dir():
        pytest.skip("the referee values are not on this machine")
    return folder


@pytest.fixture
def golden(golden_folder: Path) -> Callable[[str], Any]:
    """The value that R gives, by the name of its check; use with ``pytest.mark.golden``."""
    checks = json.loads((golden_folder / "expected.json").read_text(encoding="utf-8"))["checks"]
    return lambda name: checks[name]["value"]


@dataclass(frozen=True)
class ExamFiles:
    """A small exam on disk, and what was written."""

    patient: Patient
    voxels: dict[str, np.ndarray]
    mask: np.ndarray


@pytest.fixture
def write_exam(tmp_path: Path) -> Callable[..., ExamFiles]:
    """Write a three-phase exam with an ellipsoid lesion as NIfTI; arrays are (x, y, z)."""

    def write(
        patient_id: str = "P1", *, seed: int = 0, shape: tuple[int, int, int] = (40, 36, 12), folder: str = "images"
    ) -> ExamFiles:
        rng = np.random.default_rng(seed)
        grid = np.indices(shape)
        center = np.array(shape) / 2 + rng.integers(-2, 3, 3)
        distance = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, center, (7, 6, 3), strict=True))
        mask = distance < 1
        affine = np.diag([1.2, 1.2, 2.5, 1.0])
        affine[:3, 3] = (-20, -30, 5)
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        voxels, paths = {}, {}
        for gain, name in zip((1.0, 2.5, 2.0), ("pre", "early", "late"), strict=True):
            noise = rng.normal(300, 20, shape)
            voxels[name] = (noise + mask * 200 * gain + gain).astype(np.int16)
            paths[name] = place / f"{patient_id}_{name}.nii.gz"
            save_nifti(voxels[name], affine, paths[name])
        mask_path = place / f"{patient_id}_mask.nii.gz"
        save_nifti(mask.astype(np.uint8), affine, mask_path)
        return ExamFiles(Patient(patient_id, "test", "A", "train", paths, mask_path), voxels, mask)

    return write


def save_nifti(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    """Write with sform and qform."""
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nib.save(image, path)


@pytest.fixture
def opened_sources(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every source file that is opened from now on."""
    opened: list[Path] = []
    read = Path.read_bytes

    def counting(path: Path) -> bytes:
        if ".nii" in path.name:
            opened.append(path)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", counting)
    return opened


@pytest.fixture
def shared() -> Path:
    """The folder of real data and golden values beside the project; tests that need it skip where it is not."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no folder ../shared with real data and golden values")
    return folder


@pytest.fixture(autouse=True)
def eager_torch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Translating a network to ONNX takes seconds, so only the tests of that do it, and the command line's."""
    if "runtime" not in request.node.name:
        monkeypatch.setattr("extract.lanes._runtime", lambda name: "torch" if name == "auto" else name)


PLUGIN = Path(__file__).parent / "data" / "plugin"


@pytest.fixture
def toy_plugin(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The encoders ``toy``, ``toy-wide`` and ``toy-cubes``, as if a package had added them; the folder for others."""
    monkeypatch.syspath_prepend(PLUGIN)
    return PLUGIN


CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """A browser for the tests of one module; TRIHER_CHROMIUM may name its program."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = os.environ.get("TRIHER_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if program is None:
        pytest.skip("no chromium on this machine: install it, or let TRIHER_CHROMIUM name it")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def watched() -> "Callable[[Page], list[str]]":
    """Listen to a page; what it complains of, every dialog that it opens, and every address that it asks for.

    Complaints begin with ``console:``, ``error:`` or ``dialog:``, addresses with ``request:``.
    """

    def watch(page: "Page") -> list[str]:
        seen: list[str] = []
        page.on("console", lambda m: seen.append(f"console: {m.text}") if m.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: seen.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (seen.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: seen.append(f"request: {request.url[:200]}"))
        return seen

    return watch
