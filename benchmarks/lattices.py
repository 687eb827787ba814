"""How often ablations claim a winner among cells that are all alike, and find one that is not.

Usage: ``python -P benchmarks/lattices.py [--lattices 200] [--cells 13] [--only KIND ...] [--csv FILE]``.
Classes are normal clouds; a cell sees every patient's features through noise of its own beside noise that all cells
share (``shared`` is that share of the variance), so all cells are worth the same. The model is a shrunken linear
discriminant. ``cross-validated``: five folds, the same for all cells. ``held-out``: one model a cell and seed, each
seed trained on four fifths of the patients, and as many patients again to judge by. ``untrained``: the same without
training, scores drawn so that all cells have one true AUC. ``identical``: all cells predict the same. ``destroyed``:
cross-validated, and the last cell's features say nothing. ``pairs`` counts single comparisons below p = 0.05 before
any correction, the others lattices with a corrected one: a cell ``better`` than the base, ``worse``, or ``either``;
of ``destroyed``, ``found`` counts lattices that call the last cell worse.
"""

import argparse
import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import softmax
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from analysis.ablation.comparison import Compared, compare_metric
from analysis.ablation.material import Arena, StudyMaterial
from analysis.inference.cross_validation import Folds
from benchmarks.figures import at_most, show
from triher.settings import Config
from triher.study import BASE
from triher.tables import write_table

CLASSES = ("zero", "low", "positive")
SHARES = np.array([0.25, 0.45, 0.30])
FEATURES, SHIFT, SHRINKAGE, FOLDS = 20, 0.7, 0.5, 5
RESAMPLES = 500
COLUMNS = (
    "cells", "n", "shared", "seeds", "lattices", "pairs_percent", "better_percent", "worse_percent", "either_percent",
    "found_percent", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One line of the table."""

    kind: str
    n: int
    shared: float
    seeds: int = 1


SETTINGS = (
    *(Setting("cross-validated", n, shared) for n in (100, 300) for shared in (0.5, 0.9)),
    Setting("cross-validated", 800, 0.5),
    *(Setting("held-out", n, shared) for n in (100, 300) for shared in (0.5, 0.9)),
    Setting("held-out", 800, 0.5),
    *(Setting("held-out", 300, 0.5, seeds) for seeds in (3, 10)),
    Setting("untrained", 100, 0.5),
    Setting("untrained", 300, 0.5),
    Setting("identical", 300, 0.5),
    Setting("destroyed", 300, 0.5),
)

TRUE_NULLS = ("cross-validated", "untrained", "identical")
"""Kinds whose cells are truly worth the same; models trained once on noise of their own differ in truth."""


def clouds(y: np.ndarray, n_cells: int, shared: float, rng: np.random.Generator) -> np.ndarray:
    """Features of every cell: the same centers, noise in common, noise of one's own."""
    centers = np.zeros((len(CLASSES), FEATURES))
    for c in range(len(CLASSES)):
        centers[c, 2 * c : 2 * c + 2] = SHIFT
    common = rng.normal(size=(len(y), FEATURES))
    own = rng.normal(size=(n_cells, len(y), FEATURES))
    return centers[y] + np.sqrt(shared) * common + np.sqrt(1 - shared) * own


def predict(X: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Linear discriminant analysis of all cells at once, each covariance half way to a multiple of the identity."""
    known, labels = X[:, train], y[train]
    centers = np.stack([known[:, labels == c].mean(axis=1) for c in range(len(CLASSES))], axis=1)
    rest = known - centers[:, labels]
    covariance = np.swapaxes(rest, 1, 2) @ rest / (len(train) - len(CLASSES))
    target = np.trace(covariance, axis1=1, axis2=2)[:, None, None] / FEATURES * np.eye(FEATURES)
    weights = np.linalg.solve((1 - SHRINKAGE) * covariance + SHRINKAGE * target, np.swapaxes(centers, 1, 2))
    offset = np.log(np.bincount(labels) / len(labels)) - 0.5 * np.einsum("kcp,kpc->kc", centers, weights)
    return softmax(X[:, test] @ weights + offset[:, None, :], axis=2)


def simulate(setting: Setting, n_cells: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool]:
    """The truth, the probabilities of each cell and seed, and whether folds predicted them."""
    y = np.repeat(np.arange(len(CLASSES)), np.round(setting.n * SHARES).astype(int))
    if setting.kind not in ("held-out", "untrained"):
        X = clouds(y, n_cells, setting.shared, rng)
        if setting.kind == "destroyed":
            X[-1] = rng.normal(size=X[-1].shape)
        p = np.zeros((n_cells, len(y), len(CLASSES)))
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=int(rng.integers(2**31)))
        for train, test in folds.split(X[0], y):
            p[:, test] = predict(X, y, train, test)
        return y, (p[:1].repeat(n_cells, axis=0) if setting.kind == "identical" else p)[:, None], True
    if setting.kind == "untrained":
        common, own = rng.normal(size=(len(y), 3)), rng.normal(size=(n_cells, len(y), 3))
        score = np.eye(3)[y] + np.sqrt(setting.shared) * common + np.sqrt(1 - setting.shared) * own
        return y, softmax(score, axis=2)[:, None], False
    twice = np.concatenate([y, y])
    X = clouds(twice, n_cells, setting.shared, rng)
    seen, shown = np.arange(len(y)), np.arange(len(y), 2 * len(y))
    found = []
    for _ in range(setting.seeds):
        split = StratifiedKFold(FOLDS, shuffle=True, random_state=int(rng.integers(2**31))).split(seen, y)
        train, _ = next(iter(split))
        found.append(predict(X, twice, train, shown))
    return y, np.stack(found, axis=1), False


def study_of(y: np.ndarray, probabilities: np.ndarray, *, folded: bool) -> StudyMaterial:
    """A study whose only arena holds the cells."""
    names = (BASE, *(f"cell {i}" for i in range(1, len(probabilities))))
    where = np.full(len(y), "A")
    arena = Arena(
        split="oof" if folded else "test",
        classes=CLASSES,
        patient_id=tuple(f"P{i:05d}" for i in range(len(y))),
        y=y,
        strata=y,
        cohort=where,
        site=where,
        names=names,
        probabilities=probabilities,
        folds=Folds(FOLDS) if folded else None,
        n_own=dict.fromkeys(names, len(y)),
    )
    tree = {"cohort": {"table": "cohort.csv"}, "ablation": {}, "analysis": {"resamples": RESAMPLES}}
    return StudyMaterial(Config.model_validate(tree), {}, "list", (), (arena,))


def lattices(setting: Setting, count: int, n_cells: int) -> Iterator[tuple[Compared, ...]]:
    """The comparisons of one simulated study after the other."""
    for i in range(count):
        rng = np.random.default_rng([i, setting.n, round(100 * setting.shared), setting.seeds])
        y, probabilities, folded = simulate(setting, n_cells, rng)
        material = study_of(y, probabilities, folded=folded)
        yield compare_metric(material.arenas[0], material)[1:]


def claims(found: Sequence[Compared]) -> tuple[bool, bool]:
    """Whether some cell is called better than the base, and whether some is called worse."""
    called = [one.difference.value for one in found if one.difference and one.p_corrected < 0.05]
    return any(d > 0 for d in called), any(d < 0 for d in called)


def line(setting: Setting, count: int, n_cells: int) -> list[object]:
    start = time.process_time()
    studies = list(lattices(setting, count, n_cells))
    called = np.array([claims(study) for study in studies])
    pairs = np.mean([[one.p < 0.05 for one in study] for study in studies])
    last = [study[-1] for study in studies]
    found = np.mean(
        [one.p_corrected < 0.05 and one.difference is not None and one.difference.value < 0 for one in last]
    )
    shares = [pairs, *called.mean(axis=0), called.any(axis=1).mean()]
    told = [round(100 * float(share), 1) for share in shares]
    power = round(100 * float(found), 1) if setting.kind == "destroyed" else None
    seconds = round(time.process_time() - start, 1)
    return [setting.kind, setting.n, setting.shared, setting.seeds, count, *told, power, seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lattices", type=int, default=200)
    parser.add_argument("--cells", type=int, default=13, help="the base among them")
    parser.add_argument("--only", nargs="*", default=(), help="kinds of lattices; all when empty")
    parser.add_argument("--csv", type=Path)
    asked = parser.parse_args()
    gc.freeze()  # statsmodels collects garbage at every correction, which takes longer than the rest
    print(*COLUMNS, sep="  ")
    rows = []
    with threadpool_limits(1):
        for setting in [one for one in SETTINGS if not asked.only or one.kind in asked.only]:
            rows.append(line(setting, asked.lattices, asked.cells))
            print(*rows[-1], sep="  ", flush=True)
    null = [float(str(row[COLUMNS.index("either_percent")])) for row in rows if row[0] in TRUE_NULLS]
    if null:
        what = f"lattices of cells that are worth the same: % with a claim, {len(null)} settings"
        show(what, sum(null) / len(null), at_most(5), spread=(min(null), max(null)))
    if asked.csv:
        write_table(asked.csv, COLUMNS, rows)


if __name__ == "__main__":
    main()
