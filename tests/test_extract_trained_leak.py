"""Networks that know the labels of their training patients by heart: nothing of that reaches a prediction."""

import hashlib
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from classify.stage import classify
from extract.cache import Slab, read_slab, write_slab
from extract.embedding import Plan, embed_cohort
from extract.encoder_spec import EncoderSpec
from extract.engines import picture_recipe
from extract.histograms import count
from extract.pictures import Drawing
from extract.shards import Job, Lane
from extract.task import decide
from extract.trained import TrainedEncoder, write_trained
from extract.trained_spec import trained_spec
from triher.errors import StopRun
from triher.images import image_fingerprint
from triher.progress import Reporter
from triher.settings import Config, FinetuneConfig
from triher.store import Header
from triher.trained import Card, Part

PHASES = ("pre", "early", "late")
HALF = (0.5, 0.5, 0.5)
START = EncoderSpec("tiny", "timm", "test_resnet", "hub:none/none", 32, HALF, HALF, "MIT", "none")
TASK = decide(Config.model_validate({"cohort": {"table": "c.csv"}, "extract": {"normalization": "clip98-volume"}}))
N, FOLDS = 72, 4
CPU = torch.device("cpu")


class Memory(torch.nn.Module):
    """Says of every picture what it was told of the one most like it."""

    layout = None

    def __init__(self, seen: torch.Tensor, y: torch.Tensor) -> None:
        """Learn by heart."""
        super().__init__()
        self.seen, self.y = torch.nn.Parameter(seen), torch.nn.Parameter(y.float())

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Log-odds of 3 for the class remembered."""
        nearest = torch.cdist(batch.flatten(1), self.seen).argmin(dim=1)
        return 3 * torch.nn.functional.one_hot(self.y[nearest].long(), 3).float()

    last = forward


@pytest.fixture
def world(make_study, tmp_path, monkeypatch):
    """Patients whose pictures are noise, and who knows what of them."""
    monkeypatch.setattr(
        "extract.trained.from_tensors", lambda _design, tensors: Memory(tensors["seen"], tensors["y"])
    )
    study, rng = make_study(n=N, trials=1, folds=FOLDS, pooling=["median"]), np.random.default_rng(0)
    jobs, pictures = [], []
    for name in study.ids:
        voxels = rng.integers(0, 1000, (3, 1, 9, 9)).astype(np.int16)
        digest = hashlib.sha256(voxels.tobytes()).hexdigest()
        path, mask = tmp_path / f"{digest}.safetensors", np.ones((1, 9, 9), bool)
        each = [count(phase) for phase in voxels]
        slab = Slab(
            PHASES, voxels, mask, tuple(each), tuple([one] for one in each), 0, (2.0, 1.0, 1.0), "axial", (1, 9, 9)
        )
        write_slab(path, slab)
        jobs.append(Job(name, "A", path, digest))
        drawn = Drawing(read_slab(path), picture_recipe(TASK)).pictures(32).views["rgb"]
        pictures.append((drawn.float() / 255 - 0.5).flatten(1) / 0.5)
    return study, jobs, torch.cat(pictures), tmp_path


def predicted(world, patients: dict[str, Part], folds: np.ndarray, name: str) -> tuple[float, int]:
    """Write the encoder, embed everybody, classify; the mean AUC of the classes out of fold, and who is scored."""
    study, jobs, pictures, folder = world
    y = torch.from_numpy(study.y)
    parts = {f"fold-{k}": folds != k for k in range(FOLDS)} if (folds >= 0).any() else {}
    networks = {key: {"seen": pictures[rows], "y": y[rows]} for key, rows in (parts | {"final": folds >= -1}).items()}
    card = Card(
        "m", asdict(START), "", FinetuneConfig().model_dump(mode="json"), "triple", ("zero", "low", "positive"), {},
        32, TASK.recipe(), 0, tuple(networks), {}, {}, True, {}, patients,
    )  # fmt: skip
    file, store = folder / f"{name}.safetensors", folder / f"{name}.h5"
    write_trained(file, card, networks)
    encoder = TrainedEncoder(trained_spec(file), file, CPU)
    lane = Lane(store, Header(encoder.spec.identity("0"), TASK.recipe(), {}, encoder.probe()))
    embed_cohort(jobs, [lane], [[encoder]], picture_recipe(TASK), Plan(32, 32, 1), Reporter(quiet=True), N)
    run = replace(study.run, path=folder / name)
    run.prepare()
    classify(study.config, run, store, Reporter(quiet=True))
    table = pd.read_csv(run.predictions_file)
    p = table[["p_zero", "p_low", "p_positive"]].to_numpy()
    return float(roc_auc_score(table["y"], p / p.sum(axis=1, keepdims=True), multi_class="ovr")), len(table)


def test_labels_learned_by_heart_score_nobody_whom_they_were_learned_from(world):
    jobs = world[1]
    prints = [image_fingerprint(job.input_sha256) for job in jobs]
    folds = np.random.default_rng(1).permutation(np.arange(N) % FOLDS)
    kept = {name: Part(int(fold), "train") for name, fold in zip(prints, folds, strict=True)}
    apart, n = predicted(world, kept, folds, "apart")
    assert n == N
    assert abs(apart - 0.5) < 0.15  # two standard errors, of 24 patients of a class among 72
    with pytest.raises(StopRun, match=r"alone tells class 0 \(AUC 1\.0000\)"):  # by a card without names
        predicted(world, {}, folds, "told")
    half = {name: Part(-1, "train" if i < N // 2 else "") for i, name in enumerate(prints)}
    _, n = predicted(world, half, np.where(np.arange(N) < N // 2, -1, -2), "half")
    assert n == N // 2
    with pytest.raises(StopRun, match="the encoder was trained on her images"):
        predicted(world, dict.fromkeys(prints, Part(-1, "train")), np.full(N, -1), "alone")
