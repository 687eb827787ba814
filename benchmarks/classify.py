"""What the heads cost, against the scripts that people write, as ratios measured in one run.

Usage: ``python -P benchmarks/classify.py`` (-P keeps this folder from hiding the package of the same name); ``--only
apply --bundle FOLDER`` for a bundle of one's own.
Features are synthetic: correlated as those of an encoder are, three classes of unequal size, and a signal that gives
an AUC of about 0.77. Wall clock and CPU time of the process are both shown; the wall clock means something on a quiet
machine only. What the script's XGBoost does with several threads depends on the machine (see ``--script-threads``).
"""

import argparse
import os
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

from classify.apply import apply_bundle
from classify.boosting import ROUNDS
from classify.bundle import read_bundle
from classify.design import one_row_each
from classify.heads import HEADS, find_head
from classify.splits import Split, stratified_folds
from classify.tuning import InnerFold, Search, Tuned, tune
from triher.cohort import Cohort, Patient
from triher.store import Features

PARTS = ("boosting", "logistic", "retrain", "apply")
SHARES = (0.2, 0.55, 0.25)
N_LATENT = 60
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


def show(what: str, value: float, aim: str) -> None:
    """One line of the table."""
    print(f"{what:<88} {value:8.3f}   {aim}", flush=True)


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
    show(f"{how}, wall clock", theirs.wall / ours.wall, ">= 8")
    show(f"{how}, CPU time", theirs.cpu / ours.cpu, "-")
    aucs = [score(tuned.params), score(theirs_params)]
    show(
        f"AUC of our winner minus AUC of theirs ({aucs[1]:.4f}), scored by the script", aucs[0] - aucs[1], ">= -0.005"
    )


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
        show(f"GridSearchCV, n_jobs={jobs} / ours, wall clock", theirs.wall / ours.wall, ">= 8")
        if jobs == 1:
            show("GridSearchCV / ours, CPU time", theirs.cpu / ours.cpu, ">= 8")
        show("log loss of ours minus theirs", tuned.log_loss + found.best_score_, "<= 0.0005")


def measure_retrain(data: Data, options: argparse.Namespace) -> None:
    """The final model of every head: search and refit."""

    def retrain(name: str) -> Tuned:
        head = find_head(name)
        tuned = tune(head, data.folds, n_classes=3, search=search(options.trials))
        design = one_row_each(data.X)
        head.prepare(design, data.y, 3, weights=None, exact=True).fit(tuned.params, 0).to_bytes()
        return tuned

    total = 0.0
    for name in HEADS:
        tuned, spent = timed(lambda name=name: retrain(name))
        total += spent.wall
        loss = log_loss(data.y, tuned.held_out)
        print(f"    {name}: {spent.wall:.1f} s wall, {spent.cpu:.1f} s CPU, log loss {loss:.4f}", flush=True)
    show(f"final models of {len(HEADS)} heads, {options.trials} trials each: seconds", total, "< 60 on two cores")


def measure_apply(options: argparse.Namespace) -> None:
    """A bundle on 1,000 patients, after the import."""
    if options.bundle is None:
        print("    apply: left out, as no --bundle is given", flush=True)
        return
    rng = np.random.default_rng(0)
    bundle, read = timed(lambda: read_bundle(options.bundle))
    ids = tuple(f"P{i:04d}" for i in range(options.patients))
    patients = tuple(Patient(name, "new", "A", "", {}, Path(f"{name}.nii.gz")) for name in ids)
    n_features = len(bundle.seen.subspace.mean) // (len(bundle.views) * len(bundle.pooling))
    n_slices = 20
    n_rows = len(ids) * n_slices
    features = Features(
        ids,
        tuple(f"{i:064x}" for i in range(len(ids))),
        np.arange(0, n_rows + 1, n_slices, dtype=np.int64),
        np.tile(np.arange(n_slices, dtype=np.int32), len(ids)),
        rng.uniform(20, 200, n_rows).astype(np.float32),
        {view: rng.normal(size=(n_rows, n_features)).astype(np.float32) for view in bundle.views},
        {},
    )
    cohort = Cohort(patients, (), frozenset())
    _, spent = timed(lambda: apply_bundle(bundle, bundle.header, features, cohort, labels=None))
    show(f"bundle on {len(ids)} patients of {n_slices} slices: seconds", read.wall + spent.wall, "< 2")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--patients", type=int, default=1149)
    parser.add_argument("--features", type=int, default=768)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2], help="of GridSearchCV")
    parser.add_argument("--script-threads", type=int, default=0, help="of the script's XGBoost; 0 for its default")
    parser.add_argument("--bundle", type=Path, help="a bundle folder, for apply")
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
        measure_apply(options)


if __name__ == "__main__":
    main()
