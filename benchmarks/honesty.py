"""Whether the numbers of a training are true: random labels, and data whose best possible AUC is known.

Usage: ``python -P benchmarks/honesty.py [--only random known] [--seeds 20] [--repeats 50]``.
``random``: labels without any relation to more features than patients, for every head and every pooling, with and
without harmonization; the mean macro AUC over the seeds must be 0.50 +- 0.03. ``known``: normal classes, where the
true AUC of a model can be computed on 20,000 fresh patients; the nested estimate must be within 0.01 of it on
average, and its 95 % interval must hold it in 90 to 98 % of the repeats. The truth is the mean over the models of the
outer folds, whose AUC the nested estimate estimates.
"""

import argparse
import hashlib
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import multivariate_normal
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from analysis.inference.bootstrap import macro_micro_auc
from analysis.inference.cross_validation import Folds, widened
from benchmarks.figures import between, show
from classify.cases import Cases, inputs_of
from classify.heads import HEADS
from classify.inputs import Inputs
from classify.plan import make_plan
from classify.predicting import Task, predict_plan
from classify.training import fit_model
from triher.cohort import Patient
from triher.folds import image_groups
from triher.predictions import one_row_a_patient, probability_columns
from triher.settings import ClassifyConfig, HarmonizeConfig
from triher.store import Features

CLASSES = ("zero", "low", "positive")
COLUMNS = probability_columns("triple")
POOLINGS = ("mean", "max", "median", "std", "min", "q25", "q75", "top3", "area")
HARMONIZATIONS = ("none", "combat")
N_RANDOM, P_RANDOM = 90, 200
N_KNOWN, P_KNOWN, N_FRESH = 300, 20, 20_000
SHIFT = 0.55  # of each class's own features in the known simulation


@dataclass(frozen=True)
class Row:
    """A line of the result."""

    name: str
    values: Sequence[float]

    def text(self) -> str:
        error = statistics.stdev(self.values) / len(self.values) ** 0.5
        mean, n = statistics.mean(self.values), len(self.values)
        return f"{self.name:40} {mean:.3f} (standard error {error:.3f}, {n} seeds)"


def people(n: int, rng: np.random.Generator) -> tuple[Patient, ...]:
    """Patients of two sites."""
    site = rng.integers(0, 2, n)
    return tuple(Patient(f"P{i:04d}", "one", f"site {site[i]}", "", {}, None) for i in range(n))


def random_features(n: int, rng: np.random.Generator) -> Features:
    """Several slices a patient, of noise that a patient's slices share."""
    lengths = rng.integers(2, 7, n)
    owner = np.repeat(np.arange(n), lengths)
    rows = rng.normal(size=(n, P_RANDOM))[owner] + 0.5 * rng.normal(size=(len(owner), P_RANDOM))
    return Features(
        tuple(f"P{i:04d}" for i in range(n)),
        tuple(hashlib.sha256(b"%d" % i).hexdigest() for i in range(n)),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.arange(len(owner), dtype=np.int32),
        rng.uniform(20, 200, len(owner)).astype(np.float32),
        {"rgb": rows.astype(np.float32)},
    )


def nested_auc(cases: Cases, patients: Sequence[Patient], config: ClassifyConfig, seed: int) -> tuple[float, ...]:
    """The macro AUC of nested cross-validation, and its interval as the analysis gives it."""
    plan = make_plan(cases, patients, config, seed)
    task = Task("honesty", cases, patients, config, "triple", seed, cases.y)
    table = one_row_a_patient(predict_plan(task, plan, plan.folds).predictions, "triple")
    y, p = table["y"].to_numpy(int), table[COLUMNS].to_numpy(float)
    found, _ = macro_micro_auc(y, p, CLASSES, resamples=1000, seed=seed)
    interval = widened(found, Folds(config.folds), bounds=(0.0, 1.0))
    return interval.value, interval.low, interval.high


def settings() -> Iterator[tuple[str, ClassifyConfig]]:
    """Every head, every pooling, every harmonization."""
    base = ClassifyConfig(trials=3, folds=3)
    for head in (name for name, known in HEADS.items() if not known.takes_probabilities):
        for method in HARMONIZATIONS:
            harmonize = HarmonizeConfig(method=method, unseen="pass")
            trials = 1 if HEADS[head].takes_bags else base.trials
            chosen = {"head": head, "harmonize": harmonize, "trials": trials}
            yield f"{head}, {method}", base.model_copy(update=chosen)
    sitewise = HarmonizeConfig(method="sitewise", unseen="pass")
    yield "logistic, sitewise", base.model_copy(update={"harmonize": sitewise})
    for pooling in POOLINGS:
        yield f"logistic of {pooling}", base.model_copy(update={"pooling": (pooling,)})
    every = base.model_copy(update={"pooling": POOLINGS, "components": 10})
    yield "logistic of all poolings, 10 components", every


def random_labels(seeds: int) -> None:
    means = []
    for name, config in settings():
        start, values = time.perf_counter(), []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            patients, features = people(N_RANDOM, rng), random_features(N_RANDOM, rng)
            y = rng.permutation(np.arange(N_RANDOM) % 3)
            cohort = np.array(["one"] * N_RANDOM, dtype=object)
            inputs = inputs_of(features, patients, config, {})
            cases = Cases(inputs, y, cohort, image_groups(features.input_sha256), CLASSES)
            values.append(nested_auc(cases, patients, config, seed)[0])
        means.append(statistics.mean(values))
        print(f"    {Row(name, values).text()}  {time.perf_counter() - start:.0f} s", flush=True)
    furthest = max(means, key=lambda mean: abs(mean - 0.5))
    what = f"random labels: mean macro AUC of the setting furthest from 0.5, {len(means)} settings"
    show(what, furthest, between(0.47, 0.53), spread=(min(means), max(means)))


def known_sample(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Features and classes; a normal cloud each."""
    y = rng.choice(3, n, p=(0.25, 0.45, 0.3))
    X = rng.normal(size=(n, P_KNOWN)) + means()[y]
    return X.astype(np.float32), y


def means() -> np.ndarray:
    """The middle of each class."""
    centers = np.zeros((3, P_KNOWN))
    for c in range(3):
        centers[c, 2 * c : 2 * c + 2] = SHIFT
    return centers


def as_inputs(X: np.ndarray) -> Inputs:
    n = len(X)
    site = np.array(["one"] * n, dtype=object)
    return Inputs(X, np.arange(n + 1), tuple(map(str, range(P_KNOWN))), np.zeros((n, 0)), (), site)


def macro_auc(y: np.ndarray, p: np.ndarray) -> float:
    return float(roc_auc_score(y, p, multi_class="ovr"))


def best_auc(X: np.ndarray, y: np.ndarray) -> float:
    """Of the true class probabilities (Bayes)."""
    density = np.column_stack([multivariate_normal(m, np.eye(P_KNOWN)).pdf(X) for m in means()])
    p = density * np.array([0.25, 0.45, 0.3])
    return macro_auc(y, p / p.sum(axis=1, keepdims=True))


def known_truth(repeats: int, head: str, cv_repeats: int) -> None:
    fresh, fresh_y = known_sample(N_FRESH, np.random.default_rng(10**6))
    best = best_auc(fresh, fresh_y)
    config = ClassifyConfig(head=head, trials=10, repeats=cv_repeats)
    estimates, truths, held, widths = [], [], [], []
    for seed in range(repeats):
        X, y = known_sample(N_KNOWN, np.random.default_rng(seed))
        patients = people(N_KNOWN, np.random.default_rng(seed))
        cohort = np.array(["one"] * N_KNOWN, dtype=object)
        cases = Cases(as_inputs(X), y, cohort, np.arange(N_KNOWN), CLASSES)
        value, low, high = nested_auc(cases, patients, config, seed)
        folds = make_plan(cases, patients, config, seed).folds[: config.folds]
        models = [fit_model(cases.take(fold.sides.train), config, seed) for fold in folds]
        truth = statistics.mean(macro_auc(fresh_y, model.predict(as_inputs(fresh))) for model in models)
        estimates.append(value)
        truths.append(truth)
        held.append(low <= truth <= high)
        widths.append(high - low)
    bias = [a - b for a, b in zip(estimates, truths, strict=True)]
    error = statistics.stdev(bias) / len(bias) ** 0.5
    print(
        f"    {head}, {cv_repeats} repeats of the folds: best possible {best:.3f}; "
        f"nested estimate {statistics.mean(estimates):.3f}, true AUC of the models "
        f"{statistics.mean(truths):.3f}; bias {statistics.mean(bias):+.4f} (standard error {error:.4f}); "
        f"standard deviation of the error {statistics.stdev(bias):.4f}, mean width of the 95 % interval "
        f"{statistics.mean(widths):.4f}, which holds the truth in {sum(held)} of {len(held)} repeats",
        flush=True,
    )
    mean = statistics.mean(bias)
    spread = (mean - 2 * error, mean + 2 * error)
    show(f"known truth, {head}: nested AUC minus true AUC", mean, between(-0.01, 0.01), spread=spread)
    show(f"known truth, {head}: share of 95 % intervals that hold it", statistics.mean(held), between(0.90, 0.98))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("random", "known"), default=("random", "known"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--cv-repeats", type=int, default=1, help="of known: how often the outer folds are drawn")
    parser.add_argument("--heads", nargs="+", choices=tuple(HEADS), default=("logistic", "xgboost"), help="of known")
    chosen = parser.parse_args()
    with threadpool_limits(limits=1):
        if "random" in chosen.only:
            random_labels(chosen.seeds)
        if "known" in chosen.only:
            for head in chosen.heads:
                known_truth(chosen.repeats, head, chosen.cv_repeats)


if __name__ == "__main__":
    main()
