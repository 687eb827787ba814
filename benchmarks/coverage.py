"""How often 95 % intervals of cross-validated AUCs hold the truth, plain and widened, where the truth is known.

Usage: ``python -P benchmarks/coverage.py [--quick] [--repeats 300] [--csv FILE]``.
Classes are normal clouds; the model is a shrunken linear discriminant without anything to tune. Its true AUC follows
from the clouds: two linear scores of a normal cloud are a normal pair, which low-discrepancy points stand for. Two
truths are asked: the mean over the models of the folds, which cross-validation estimates, and the model trained on all
patients, which a reader has in mind. A line gives, for each way to make the interval, the percentage that held.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import softmax
from scipy.stats import norm, qmc
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from analysis.bootstrap import macro_auc
from analysis.cross_validation import widened
from analysis.discrimination import conditional_positive, low_vs_positive, zero_vs_rest
from triher.estimate import Estimate
from triher.tables import write_table

CLASSES = ("zero", "low", "positive")
SHARES = np.array([0.25, 0.45, 0.30])
SIZES, FEATURES, SHIFTS = (100, 300, 800), (20, 200), (0.0, 0.4, 0.7)
CV_REPEATS = (1, 3)
FOLDS = 5
SHRINKAGE = 0.5
RESAMPLES = 400
QUANTITIES = ("auc_macro", "auc_zero_vs_rest", "auc_low_vs_positive")
POINTS = norm.ppf(qmc.Sobol(2, rng=np.random.default_rng(0)).random(1024))


@dataclass(frozen=True)
class Model:
    """Linear scores of the classes."""

    weights: np.ndarray
    offset: np.ndarray

    def predict(self, X: np.ndarray) -> np.ndarray:
        return softmax(X @ self.weights + self.offset, axis=1)


@dataclass(frozen=True)
class Trial:
    """One cohort, cross-validated some times over."""

    estimates: tuple[Estimate, ...]
    of_folds: np.ndarray
    """True AUCs, mean of the folds' models."""
    of_all: np.ndarray
    """True AUCs of the model of all patients."""


def means(shift: float, p: int) -> np.ndarray:
    """The middle of each class: two features of its own."""
    centers = np.zeros((3, p))
    for c in range(3):
        centers[c, 2 * c : 2 * c + 2] = shift
    return centers


def fit(X: np.ndarray, y: np.ndarray) -> Model:
    """Linear discriminant analysis, the covariance half way to a multiple of the identity."""
    centers = np.array([X[y == c].mean(axis=0) for c in range(3)])
    rest = X - centers[y]
    covariance = rest.T @ rest / (len(y) - 3)
    target = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    weights = np.linalg.solve((1 - SHRINKAGE) * covariance + SHRINKAGE * target, centers.T)
    return Model(weights, np.log(np.bincount(y) / len(y)) - 0.5 * np.einsum("cp,pc->c", centers, weights))


def true_aucs(model: Model, centers: np.ndarray) -> np.ndarray:
    """Macro, zero against rest, low against positive, in the population."""
    lean = model.weights[:, 1:] - model.weights[:, :1]
    spread = POINTS @ np.linalg.cholesky(lean.T @ lean + 1e-12 * np.eye(2)).T
    middles = centers @ lean + model.offset[1:] - model.offset[0]
    scores = (middles[:, None, :] + spread).reshape(-1, 2)
    p = softmax(np.column_stack([np.zeros(len(scores)), scores]), axis=1)
    y = np.repeat(np.arange(3), len(POINTS))
    each = [population_auc(y == c, p[:, c], SHARES[y]) for c in range(3)]
    among = y > 0
    return np.array([np.mean(each), each[0], population_auc(y[among] == 2, conditional_positive(p[among]), y[among])])


def population_auc(condition: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """The AUC of weighted points; ties have no weight in a continuous population."""
    order = np.argsort(score)
    condition, weight = condition[order], weight[order]
    below = np.cumsum(weight * ~condition)
    return float((weight * condition * below).sum() / ((weight * condition).sum() * below[-1]))


def judge(y: np.ndarray, p: np.ndarray, seed: int) -> tuple[Estimate, ...]:
    """The plain intervals of the report."""
    macro = macro_auc(y, p, CLASSES, resamples=RESAMPLES, seed=seed)
    return macro, zero_vs_rest(y, p), low_vs_positive(y, p)


def trials(n: int, p: int, shift: float, seed: int) -> dict[int, Trial]:
    """The same cohort with the folds drawn once and several times."""
    rng = np.random.default_rng([n, p, round(100 * shift), seed])
    centers = means(shift, p)
    y = np.repeat(np.arange(3), np.round(n * SHARES).astype(int))
    X = rng.normal(size=(len(y), p)) + centers[y]
    sums, truths, found = np.zeros((len(y), 3)), [], {}
    of_all = true_aucs(fit(X, y), centers)
    for repeat in range(1, max(CV_REPEATS) + 1):
        divided = StratifiedKFold(FOLDS, shuffle=True, random_state=int(rng.integers(2**31)))
        for train, test in divided.split(X, y):
            model = fit(X[train], y[train])
            sums[test] += model.predict(X[test])
            truths.append(true_aucs(model, centers))
        if repeat in CV_REPEATS:
            found[repeat] = Trial(judge(y, np.round(sums / repeat, 12), seed), np.mean(truths, axis=0), of_all)
    return found


def plain(estimate: Estimate, repeats: int) -> Estimate:
    return estimate


def corrected(estimate: Estimate, repeats: int) -> Estimate:
    return widened(estimate, n_folds=FOLDS, n_repeats=repeats, bounds=(0.0, 1.0))


RULES = {"plain": plain, "corrected": corrected}


def scenario(n: int, p: int, shift: float, repeats: int) -> Iterator[list[str | float | int]]:
    """The lines of one scenario."""
    done = [trials(n, p, shift, seed) for seed in range(repeats)]
    for cv_repeats, (i, quantity) in itertools.product(CV_REPEATS, enumerate(QUANTITIES)):
        of_one = [trial[cv_repeats] for trial in done]
        estimates = [trial.estimates[i] for trial in of_one]
        width = statistics.mean(e.high - e.low for e in estimates)
        line: list[str | float | int] = [n, p, shift, cv_repeats, quantity]
        line += [statistics.mean(e.value for e in estimates), statistics.mean(t.of_folds[i] for t in of_one)]
        for truth in ("of_folds", "of_all"):
            error = [e.value - getattr(t, truth)[i] for e, t in zip(estimates, of_one, strict=True)]
            line.append(statistics.stdev(error) / (width / (2 * norm.ppf(0.975))))
            for rule in RULES.values():
                wide = [rule(e, cv_repeats) for e in estimates]
                held = [e.low <= getattr(t, truth)[i] <= e.high for e, t in zip(wide, of_one, strict=True)]
                line.append(100 * statistics.mean(held))
        yield line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--quick", action="store_true", help="n = 100 and 300 with 20 features, 100 repeats")
    parser.add_argument("--csv", type=Path, help="where to write all lines")
    chosen = parser.parse_args()
    sizes, features = (SIZES[:2], FEATURES[:1]) if chosen.quick else (SIZES, FEATURES)
    repeats = 100 if chosen.quick else chosen.repeats
    columns = ["n", "features", "shift", "cv_repeats", "quantity", "estimate", "truth"]
    for truth in ("folds", "all"):
        columns += [f"sd_ratio_{truth}", *(f"{rule}_{truth}" for rule in RULES)]
    print("  ".join(columns))
    rows, start = [], time.process_time()
    with threadpool_limits(limits=1):
        for n, p, shift in itertools.product(sizes, features, SHIFTS):
            for line in scenario(n, p, shift, repeats):
                rows.append(line)
                print("  ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in line), flush=True)
    print(f"{repeats} repeats a scenario, {time.process_time() - start:.0f} s of CPU time")
    for i, name in enumerate(columns):
        if name.endswith(("_folds", "_all")):
            values = [float(row[i]) for row in rows]
            print(f"{name:24} least {min(values):.2f}, mean {statistics.mean(values):.2f}, most {max(values):.2f}")
    if chosen.csv:
        write_table(chosen.csv, columns, rows)


if __name__ == "__main__":
    main()
