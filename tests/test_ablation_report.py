"""The report of a study: synthetic studies of all kinds, the pages made of them, and what the pages say."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from triher.ablation.axes import read_lattice
from triher.config import build_config, dump_config
from triher.labels import scheme_classes
from triher.predictions import write_predictions
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.study import Cell, CellRun, Embedding, LeftOut, Study, StudyFolder

COST = {"efficientnet-lite0": 4.0, "dinov2-vitb14": 40.0, "medsam": 400.0}
BACKBONES = {
    "extract.encoder": list(COST),
    "extract.normalization": ["clip99-joint", "zscore-volume", "clahe-slice", "nyul-volume"],
    "classify.pooling": [["mean"], ["max"], ["mean", "max"]],
    "classify.head": ["logistic", "elastic-net", "xgboost"],
}
NORMALIZATIONS = {
    "extract.normalization": [
        "clip99-joint", "minmax-slice", "zscore-volume", "clahe-slice", "percentile99-joint", "clip95-mask",
        "nyul-volume",
    ],
    "extract.n4": ["none", "shared"],
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What a synthetic study is like."""

    ablation: Mapping[str, Any]
    scheme: str = "triple"
    n: int = 90
    sites: tuple[str, ...] = ("site A", "site B", "site C")
    split: str = "test"
    seeds: int = 1
    failed: tuple[str, ...] = ()
    signal: Callable[[Cell], float] = lambda _: 1.2
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Cell -> patients that it could not predict."""
    resamples: int = 100


def make_study(path: Path, plan: Plan) -> tuple[Config, StudyFolder]:
    """Write a study as `triher ablate` leaves it: what the cells predict is drawn, with a planted signal."""
    tree = {
        "cohort": {"table": "cohort.csv"},
        "scheme": plan.scheme,
        "analysis": {"resamples": plan.resamples},
        "ablation": {"seeds": plan.seeds, **plan.ablation},
    }
    lattice = read_lattice(tree, path / "config.yaml")
    config = build_config(tree, {}, path / "config.yaml")
    folder = StudyFolder(RunFolder(path / "run"))
    folder.run.prepare()
    runs, broken = {}, {}
    for cell in lattice.cells:
        keys = [_key(cell.name, seed) for seed in range(plan.seeds)]
        runs[cell.name] = tuple(keys)
        for seed, key in enumerate(keys):
            _write_run(folder, plan, cell, seed, key, lattice.configs[cell.name])
    design = config.ablation.design if config.ablation else "list"
    folder.write_study(
        Study(
            axes=lattice.axes,
            design=design,
            cells=lattice.cells,
            runs=runs,
            broken=broken,
            config=dump_config(config),
        )
    )
    return config, folder


def _key(*parts: object) -> str:
    """A key of ours."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _write_run(folder: StudyFolder, plan: Plan, cell: Cell, seed: int, key: str, config: Config) -> None:
    """One cell with one seed."""
    embedding = _key(config.extract.encoder, config.extract.normalization, config.extract.n4)
    _write_embedding(folder, plan, embedding, config)
    if cell.name in plan.failed:
        reason = "the fit did not converge: 2 classes of 3 have patients"
        folder.write_cell(CellRun(key=key, seed=seed, state="failed", code="class_missing", reason=reason))
        return
    n_left = plan.left_out.get(cell.name, 0)
    rows = _predictions(plan, cell, seed)
    skipped = tuple(
        LeftOut(
            patient_id=name, cohort="main", stage="extract", code="mask_empty", reason="the mask is empty", remedy=""
        )
        for name in rows["patient_id"].iloc[:n_left]
    )
    write_predictions(folder.predictions(key), rows.iloc[n_left:], plan.scheme)
    run = CellRun(
        key=key, seed=seed, state="done", embedding=embedding, head=config.classify.head, n=plan.n - n_left,
        seconds=3.0, cpu_seconds=5.0, skipped=skipped,
    )  # fmt: skip
    folder.write_cell(run)


def _write_embedding(folder: StudyFolder, plan: Plan, key: str, config: Config) -> None:
    """A feature store by name; nothing of it is read."""
    store = f"{key}.h5"
    folder.run.features.mkdir(exist_ok=True)
    (folder.run.features / store).write_bytes(b"")
    cost = COST.get(config.extract.encoder, 10.0)
    folder.write_embedding(
        Embedding(
            key=key, store=store, encoder=config.extract.encoder, n_patients=plan.n, n_slices=8 * plan.n,
            n_features=384, n_bytes=10**6, seconds=cost * plan.n / 100, device="NVIDIA H100 80GB HBM3",
        )
    )  # fmt: skip


def _predictions(plan: Plan, cell: Cell, seed: int) -> pd.DataFrame:
    """Probabilities from a signal that all cells share, and noise of each."""
    n_classes = len(scheme_classes(plan.scheme))
    common, own = np.random.default_rng(0), np.random.default_rng(int(_key(cell.name, seed), 16))
    y = np.arange(plan.n) % n_classes
    logits = common.normal(size=(plan.n, n_classes)) + 0.35 * own.normal(size=(plan.n, n_classes))
    logits[np.arange(plan.n), y] += plan.signal(cell)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    site = [plan.sites[i % len(plan.sites)] if plan.sites else "" for i in range(plan.n)]
    rows = {
        "patient_id": [f"P{i:03d}" for i in range(plan.n)], "cohort": "main", "site": site, "split": plan.split,
        "repeat": 0, "fold": np.arange(plan.n) % 5 if plan.split == "oof" else 0, "seed": seed, "y": y,
    }  # fmt: skip
    names = [f"p_{name}" for name in scheme_classes(plan.scheme)]
    return pd.DataFrame({**rows, **dict(zip(names, p.T, strict=True))})


PLANS = {
    "four": Plan({"axes": {"extract.n4": ["none", "shared"], "classify.head": ["logistic", "xgboost"]}}),
    "fourteen": Plan(
        {"axes": NORMALIZATIONS, "primary": ["normalization=clahe-slice", "n4=shared"]},
        signal=lambda cell: 0.1 if cell.levels["normalization"] == "clahe-slice" else 1.2,
        failed=("normalization=nyul-volume, n4=shared",),
        left_out={"n4=shared": 3, "normalization=clip95-mask": 2},
        seeds=2,
        split="oof",
    ),
    "hundred": Plan(
        {"axes": BACKBONES, "primary": ["encoder=medsam"]},
        signal=lambda cell: 1.0 + 0.2 * list(COST).index(cell.levels["encoder"]),
        failed=("encoder=medsam, head=xgboost", "normalization=clahe-slice, pooling=max"),
        n=180,
    ),
    "no-base": Plan(
        {"axes": {"extract.n4": ["none", "shared", "per-phase"], "classify.head": ["logistic", "xgboost"]}},
        failed=("base",),
    ),
    "one-at-a-time": Plan(
        {
            "design": "one-at-a-time",
            "axes": {
                "extract.region": {
                    "the lesion and 5 mm around it, all other tissue black": {"extract.region.kind": "mask"},
                    "a ring": {"extract.region.kind": "ring"},
                },
                "extract.encoder": ["open_clip:ViT-B-16/laion2b_s34b_b88k", "file:a-long-model-name@/runs/best.pt"],
            },
        },
        sites=(),
        scheme="binary",
        n=40,
    ),
    "listed": Plan(
        {
            "design": "list",
            "cells": {"big": {"extract.encoder": "dinov2-vitb14"}, 'a <b> & "c"': {"extract.n4": "shared"}},
        },
        scheme="ultralow",
        n=80,
    ),
}  # fmt: skip
