"""What the heads cost, against the scripts that people write, as ratios measured in one run.

Usage: ``python -P benchmarks/classify.py`` (-P keeps this folder from hiding the package of the same name).
Features are synthetic: correlated as those of an encoder are, three classes of unequal size, and a signal that gives
an AUC of about 0.77. Wall clock and CPU time of the process are both shown; the wall clock means something on a quiet
machine only. What the script's XGBoost does with several threads depends on the machine (see ``--script-threads``).
"""

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from benchmarks.figures import at_least, at_most, show
from classify.applicability import fit_range
from classify.apply import apply_bundle
from classify.boosting import ROUNDS
from classify.bundle import Bundle, read_bundle, write_bundle
from classify.cases import Cases
from classify.design import one_row_each
from classify.heads import HEADS, find_head
from classify.inputs import Inputs
from classify.manifest import TrainingFacts
from classify.source import Source
from classify.training import fit_model
from classify.tuning import InnerFold, Search, Tuned, tune
from triher.cohort import Cohort, Patient
from triher.folds import Split, stratified_folds
from triher.labels import scheme_classes
from triher.settings import ClassifyConfig
from triher.store import Features, Header

PARTS = ("boosting", "logistic", "retrain", "apply")
SHARES = (0.2, 0.55, 0.25)
N_LATENT = 60
N_APPLIED, N_SLICES = 1000, 20
SIGNAL = 0.55  # gives an AUC of about 0.77
XGB_NAMES = {"eta": "learning_rate", "rounds": "n_estimators"}


@dataclass(frozen=True)
class Data:
    """A cohort of vectors, and folds that everybody uses."""

    X: np.ndarray
    y: np.ndarray
    splits: list[Split]

    @property
    def folds(self) -> list[InnerFold]:
        """For ours."""
        return [
            InnerFold(
                one_row_each(self.X[s.train]),
                self.y[s.train],
                None,
                one_row_each(self.X[s.test]),
                self.y[s.test],
                s.test,
            )
            for s in self.splits
        ]

    @property
    def cv(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For scikit-learn."""
        return [(s.train, s.test) for s in self.splits]


@dataclass(frozen=True)
class Spent:
    """Seconds."""

    wall: float
    cpu: float


def make_data(n: int, p: int) -> Data:
    """Correlated features with a planted signal."""
    rng = np.random.default_rng(0)
    y = rng.choice(len(SHARES), size=n, p=SHARES)
    loadings = rng.normal(size=(N_LATENT, p)) / np.sqrt(N_LATENT)
    latent = rng.normal(size=(n, N_LATENT)) * np.geomspace(3, 0.5, N_LATENT)
    latent += 0.3 * SIGNAL * rng.normal(size=(len(SHARES), N_LATENT))[y]
    X = (latent @ loadings + 0.5 * rng.normal(size=(n, p))).astype(np.float32)
    cohort = np.array(["A"] * n, dtype=object)
    return Data(X, y, stratified_folds(y, cohort, np.arange(n), folds=5, n_classes=len(SHARES), seed=0))


def timed(function: Callable[[], Any]) -> tuple[Any, Spent]:
    """The result, and what it cost."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, Spent(time.perf_counter() - wall, time.process_time() - cpu)


def search(trials: int, objective: str = "log-loss") -> Search:
    return Search(trials, 0, objective)


def measure_boosting(data: Data, options: argparse.Namespace) -> None:
    """A study of XGBoost: the script against ours, and both winners scored by the script."""
    head = find_head("xgboost")
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def score(params: dict[str, Any]) -> float:
        named = {XGB_NAMES.get(name, name): value for name, value in params.items()}
        model = XGBClassifier(**named, random_state=0, n_jobs=options.script_threads or None)
        pipeline = Pipeline([("scale", StandardScaler()), ("head", model)])
        return float(cross_val_score(pipeline, data.X, data.y, cv=data.cv, scoring="roc_auc_ovr").mean())

    def objective(trial: optuna.Trial) -> float:
        params: dict[str, Any] = {"rounds": trial.suggest_int("rounds", ROUNDS[0], ROUNDS[-1])}
        for name, where in head.space.items():
            draw = trial.suggest_int if where.whole else trial.suggest_float
            params[name] = draw(name, where.low, where.high, log=where.log)
        return score(params)

    def script() -> dict[str, Any]:
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
        study.optimize(objective, n_trials=options.trials)
        return dict(study.best_params)

    tuned, ours = timed(lambda: tune(head, data.folds, n_classes=3, search=search(options.trials, "auc")))
    counts = tuned.counts
    print(f"    ours: {ours.wall:.1f} s wall, {ours.cpu:.1f} s CPU; {counts}; {tuned.params}", flush=True)
    theirs_params, theirs = timed(script)
    print(f"    script: {theirs.wall:.1f} s wall, {theirs.cpu:.1f} s CPU; {theirs_params}", flush=True)
    how = f"{options.trials} trials of XGBoost, script / ours"
    show(f"{how}, wall clock", theirs.wall / ours.wall, at_least(8))
    show(f"{how}, CPU time", theirs.cpu / ours.cpu)
    aucs = [score(tuned.params), score(theirs_params)]
    print(f"    AUC of our winner {aucs[0]:.4f}, of theirs {aucs[1]:.4f}", flush=True)
    show("AUC of our winner minus AUC of theirs, scored by the script", aucs[0] - aucs[1], at_least(-0.005))


def measure_logistic(data: Data, options: argparse.Namespace) -> None:
    """The path of the logistic head against a grid search over the same penalties."""
    head = find_head("logistic")
    penalties = [float(value) for value in head.dial.values]
    # Our C is of vectors of length about 1; on standardized features it is divided by their number.
    grid = {"head__C": [value / data.X.shape[1] for value in penalties]}
    pipeline = Pipeline([("scale", StandardScaler()), ("head", LogisticRegression(max_iter=5000))])
    tuned, ours = timed(lambda: tune(head, data.folds, n_classes=3, search=search(1)))
    print(f"    ours: {ours.wall:.2f} s wall, {ours.cpu:.2f} s CPU; {len(penalties)} penalties", flush=True)
    for jobs in options.jobs:
        found = GridSearchCV(pipeline, grid, cv=data.cv, scoring="neg_log_loss", n_jobs=jobs, refit=False)
        _, theirs = timed(lambda found=found: found.fit(data.X.astype(np.float64), data.y))
        show(f"logistic, GridSearchCV with n_jobs={jobs} / ours, wall clock", theirs.wall / ours.wall, at_least(8))
        if jobs == 1:
            show("logistic, GridSearchCV / ours, CPU time", theirs.cpu / ours.cpu, at_least(8))
            show("log loss of ours minus theirs", tuned.log_loss + found.best_score_, at_most(0.0005))


def measure_retrain(data: Data, options: argparse.Namespace) -> None:
    """The final model of every head: search and refit."""

    def retrain(name: str) -> Tuned:
        head = find_head(name)
        tuned = tune(head, data.folds, n_classes=3, search=search(options.trials))
        design = one_row_each(data.X)
        head.prepare(design, data.y, 3, weights=None, exact=True).fit(tuned.params, 0)
        return tuned

    total = 0.0
    names = [name for name, head in HEADS.items() if not head.takes_probabilities]
    for name in names:
        tuned, spent = timed(lambda name=name: retrain(name))
        total += spent.wall
        loss = log_loss(data.y, tuned.held_out)
        print(f"    {name}: {spent.wall:.1f} s wall, {spent.cpu:.1f} s CPU, log loss {loss:.4f}", flush=True)
    show(f"final models of {len(names)} heads, {options.trials} trials each: seconds", total, at_most(60))


def trained_bundle(data: Data, folder: Path) -> Path:
    """A bundle of the logistic head on these vectors."""
    n, p = data.X.shape
    indptr, names = np.arange(n + 1), tuple(f"rgb/mean/{i}" for i in range(p))
    everywhere = np.array(["A"] * n, dtype=object)
    inputs = Inputs(data.X, indptr, names, np.zeros((n, 0)), (), everywhere)
    cases = Cases(inputs, data.y, everywhere, np.arange(n), scheme_classes("triple"))
    model = fit_model(cases, ClassifyConfig(), 0)
    header = Header({"name": "synthetic"}, {}, {}, np.ones((2, p), np.float32))
    facts = TrainingFacts(n=n, class_counts={}, split="none", seed=0, labels_shuffled=False)
    bundle = Bundle(model, fit_range({}, data.X), header, "triple", ("rgb",), ("mean",), (), (), facts)
    write_bundle(folder / "bundle", bundle)
    return folder / "bundle"


def measure_apply(data: Data) -> None:
    """A bundle on 1,000 patients of a store, after the import: reading the bundle, pooling, predicting."""
    with tempfile.TemporaryDirectory() as folder:
        path = trained_bundle(data, Path(folder))
        bundle, read = timed(lambda: read_bundle(path))
    rng = np.random.default_rng(0)
    ids = tuple(f"P{i:04d}" for i in range(N_APPLIED))
    patients = tuple(Patient(name, "new", "A", "", {}, None) for name in ids)
    n_rows = N_APPLIED * N_SLICES
    features = Features(
        ids,
        tuple(hashlib.sha256(name.encode()).hexdigest() for name in ids),
        np.arange(0, n_rows + 1, N_SLICES, dtype=np.int64),
        np.tile(np.arange(N_SLICES, dtype=np.int32), N_APPLIED),
        rng.uniform(20, 200, n_rows).astype(np.float32),
        {"rgb": rng.normal(size=(n_rows, data.X.shape[1])).astype(np.float32)},
        {},
    )
    source, cohort = Source(bundle.header, features, {}), Cohort(patients, (), frozenset())
    _, spent = timed(lambda: apply_bundle(bundle, source, cohort, labels=None))
    show(f"bundle on {N_APPLIED} patients of {N_SLICES} slices: seconds", read.wall + spent.wall, at_most(2))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--patients", type=int, default=1149)
    parser.add_argument("--features", type=int, default=768)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2], help="of GridSearchCV")
    parser.add_argument("--script-threads", type=int, default=0, help="of the script's XGBoost; 0 for its default")
    options = parser.parse_args()
    data = make_data(options.patients, options.features)
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f}; {data.X.shape[0]} patients x {data.X.shape[1]}", flush=True)
    if "boosting" in options.only:
        measure_boosting(data, options)
    if "logistic" in options.only:
        measure_logistic(data, options)
    if "retrain" in options.only:
        measure_retrain(data, options)
    if "apply" in options.only:
        measure_apply(data)


if __name__ == "__main__":
    main()
