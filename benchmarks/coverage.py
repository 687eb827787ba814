"""How often 95 % intervals of cross-validated AUCs hold the truth, and tests of interaction cry wolf.

Usage: ``python -P benchmarks/coverage.py [--quick] [--only intervals tests] [--repeats 300] [--csv FILE]``.
``intervals``: classes are normal clouds; the model is a shrunken linear discriminant without anything to tune. Its
true AUC follows from the clouds: two linear scores of a normal cloud are a normal pair, which low-discrepancy points
stand for. Two truths are asked: the mean over the models of the folds, which cross-validation estimates, and the
model of all patients, which a reader has in mind. A line gives the percentage that held for each way to make the
interval: ``plain``; the variance ``doubled``; ``repeats``, Nadeau & Bengio's correction with repeats of the folds
counted as test parts of their own; ``corrected``, as `analysis.inference.cross_validation` does. ``tests``: how often
the test of interaction rejects at 5 % what is true, that all levels have the same AUC, for one model and for those of
folds.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import softmax
from scipy.stats import chi2, norm, qmc
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from analysis.discrimination.aucs import conditional_positive, delong, low_vs_positive, zero_vs_rest
from analysis.discrimination.subgroups import heterogeneity
from analysis.inference.bootstrap import macro_auc
from analysis.inference.cross_validation import Folds, widened
from analysis.inference.intervals import FEWEST
from benchmarks.figures import NONE, at_least, at_most, show
from triher.estimate import Estimate
from triher.tables import write_table

CLASSES = ("zero", "low", "positive")
SHARES = np.array([0.25, 0.45, 0.30])
SIZES, FEATURES, SHIFTS = (100, 300, 800), (20, 200), (0.0, 0.4, 0.7)
CV_REPEATS = (1, 3)
RULES = ("plain", "doubled", "repeats", "corrected")
SHRINKAGE = 0.5
THIRD = 3
RESAMPLES = 400
QUANTITIES = {"auc_macro": 0, "auc_zero_vs_rest": 1, "auc_low_vs_positive": 2, "auc_macro_third": 0}
"""Name -> position among the true AUCs; the last is judged on every third patient alone."""
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


def clouds(n: int, p: int, shift: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, classes, and the middles of the classes."""
    centers = means(shift, p)
    y = np.repeat(np.arange(3), np.round(n * SHARES).astype(int))
    return rng.normal(size=(len(y), p)) + centers[y], y, centers


def models_of_folds(
    X: np.ndarray, y: np.ndarray, folds: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, Model]]:
    """Each fold, and the model of all others."""
    divided = StratifiedKFold(folds, shuffle=True, random_state=int(rng.integers(2**31)))
    for train, test in divided.split(X, y):
        yield test, fit(X[train], y[train])


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
    macro, third = (macro_auc(y[::k], p[::k], CLASSES, resamples=RESAMPLES, seed=seed) for k in (1, THIRD))
    return macro, zero_vs_rest(y, p), low_vs_positive(y, p), third


def trials(n: int, p: int, shift: float, folds: int, seed: int) -> dict[int, Trial]:
    """The same cohort with the folds drawn once and several times."""
    rng = np.random.default_rng([n, p, round(100 * shift), seed])
    X, y, centers = clouds(n, p, shift, rng)
    predicted, truths, found = np.zeros((len(y), 3)), [], {}
    of_all = true_aucs(fit(X, y), centers)
    for repeat in range(1, max(CV_REPEATS) + 1):
        for test, model in models_of_folds(X, y, folds, rng):
            predicted[test] += model.predict(X[test])
            truths.append(true_aucs(model, centers))
        if repeat in CV_REPEATS:
            found[repeat] = Trial(judge(y, np.round(predicted / repeat, 12), seed), np.mean(truths, axis=0), of_all)
    return found


def scaled(estimate: Estimate, factor: float) -> Estimate:
    low, high = (estimate.value + factor * (limit - estimate.value) for limit in (estimate.low, estimate.high))
    return replace(estimate, low=low, high=high)


def by_rule(estimate: Estimate, quantity: str, folds: int, repeats: int) -> dict[str, Estimate]:
    """The interval as each rule makes it."""
    share = 1 / THIRD if quantity.endswith("third") else 1.0
    return {
        "plain": estimate,
        "doubled": scaled(estimate, (1 + share) ** 0.5),
        "repeats": scaled(estimate, (1 / repeats + share * folds / (folds - 1)) ** 0.5),
        "corrected": widened(estimate, Folds(folds, share), bounds=(0.0, 1.0)),
    }


def scenario(n: int, p: int, shift: float, folds: int, repeats: int) -> Iterator[list[str | float | int]]:
    """The lines of one scenario."""
    done = [trials(n, p, shift, folds, seed) for seed in range(repeats)]
    for cv_repeats, (i, (quantity, position)) in itertools.product(CV_REPEATS, enumerate(QUANTITIES.items())):
        of_one = [trial[cv_repeats] for trial in done]
        estimates = [trial.estimates[i] for trial in of_one]
        width = statistics.mean(e.high - e.low for e in estimates)
        line: list[str | float | int] = [n, p, shift, folds, cv_repeats, quantity]
        line += [statistics.mean(e.value for e in estimates)]
        for truth in ("of_folds", "of_all"):
            true = [float(getattr(trial, truth)[position]) for trial in of_one]
            error = [e.value - t for e, t in zip(estimates, true, strict=True)]
            line += [statistics.mean(true), statistics.stdev(error) / (width / (2 * norm.ppf(0.975)))]
            line += coverages([by_rule(e, quantity, folds, cv_repeats) for e in estimates], true)
        yield line


def coverages(intervals: Sequence[dict[str, Estimate]], true: Sequence[float]) -> list[float]:
    """Percentage of intervals that hold the truth, for each rule."""
    return [
        100 * statistics.mean(e[rule].low <= t <= e[rule].high for e, t in zip(intervals, true, strict=True))
        for rule in RULES
    ]


def intervals(repeats: int, folds: int, *, quick: bool, csv: Path | None) -> None:
    sizes, features = (SIZES[:2], FEATURES[:1]) if quick else (SIZES, FEATURES)
    columns = ["n", "features", "shift", "folds", "cv_repeats", "quantity", "estimate"]
    for truth in ("folds", "all"):
        columns += [f"truth_{truth}", f"sd_ratio_{truth}", *(f"{rule}_{truth}" for rule in RULES)]
    print("  ".join(columns))
    rows = []
    for n, p, shift in itertools.product(sizes, features, SHIFTS):
        for line in scenario(n, p, shift, folds, repeats):
            rows.append(line)
            print("  ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in line), flush=True)
    print(f"    {repeats} repeats a setting; over all settings and AUCs: mean, least, most")
    for i, name in enumerate(columns):
        if name.endswith(("_folds", "_all")) and not name.startswith("truth"):
            values = [float(row[i]) for row in rows]
            target = at_least(95) if name == "corrected_folds" else NONE
            show(f"intervals of AUCs: {name}", statistics.mean(values), target, spread=(min(values), max(values)))
    if csv:
        write_table(csv, columns, rows)


def scores(n: int, distance: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sick or not, and the score of a model that was there before."""
    sick = np.arange(n) < n * SHARES[0]
    return sick, rng.normal(size=n) + distance * sick


def rejected(sick: np.ndarray, score: np.ndarray, level: np.ndarray) -> tuple[bool, bool] | None:
    """Whether the test rejects at 5 %, and would on the AUC scale; None with fewer than two levels to compare."""
    members = [level == k for k in np.unique(level)]
    found = [delong(score[m & sick], score[m & ~sick]) for m in members if min(sum(sick[m]), sum(~sick[m])) >= FEWEST]
    usable = np.array([pair for pair in found if pair[1] > 0])
    if len(usable) < 2:
        return None
    a, v = usable.T
    plain = np.sum((a - np.sum(a / v) / np.sum(1 / v)) ** 2 / v)
    return heterogeneity(list(a), list(v))[1] < 0.05, bool(chi2.sf(plain, len(a) - 1) < 0.05)


def false_alarms(repeats: int) -> None:
    """How often levels of equal AUC are called different."""
    shares = []
    for n, n_levels, distance in itertools.product((25, 50, 100), (2, 5, 20), (0.0, 0.75, 1.5)):
        rng = np.random.default_rng([n, n_levels, round(100 * distance)])
        found = []
        for _ in range(repeats):
            parts = [scores(n, distance, rng) for _ in range(n_levels)]
            sick, score = (np.concatenate(side) for side in zip(*parts, strict=True))
            found.append(rejected(sick, score, np.repeat(np.arange(n_levels), n)))
        shares.append(report(f"one model, AUC {norm.cdf(distance / 2**0.5):.2f}, {n_levels} levels of {n}", found))
    for p, shift in itertools.product(FEATURES, SHIFTS):
        found = []
        for seed in range(repeats // 3):
            rng = np.random.default_rng([p, round(100 * shift), seed])
            X, y, _ = clouds(300, p, shift, rng)
            predicted = np.zeros((len(y), 3))
            for test, model in models_of_folds(X, y, 5, rng):
                predicted[test] = model.predict(X[test])
            found.append(rejected(y > 0, 1 - predicted[:, 0], rng.integers(0, 2, len(y))))
        shares.append(report(f"models of 5 folds, {p} features, shift {shift}, 2 levels of 150", found))
    what = f"interaction of subgroups of equal AUC: % called different at 5 %, {len(shares)} settings"
    show(what, statistics.mean(shares), at_most(5), spread=(min(shares), max(shares)))


def report(what: str, found: Sequence[tuple[bool, bool] | None]) -> float:
    """Print the percentages of rejections; the one of the test in use."""
    tested = [verdict for verdict in found if verdict is not None]
    used, plain = (100 * statistics.mean(side) for side in zip(*tested, strict=True))
    print(f"    {what}: {used:.1f} % of {len(tested)} rejected, {plain:.1f} % on the AUC scale", flush=True)
    return used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("intervals", "tests"), default=("intervals", "tests"))
    parser.add_argument("--repeats", type=int, default=300, help="cohorts a setting; three times as many for tests")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="n = 100 and 300 with 20 features, 100 repeats")
    parser.add_argument("--csv", type=Path, help="where to write all lines")
    chosen = parser.parse_args()
    repeats, start = 100 if chosen.quick else chosen.repeats, time.process_time()
    with threadpool_limits(limits=1):
        if "intervals" in chosen.only:
            intervals(repeats, chosen.folds, quick=chosen.quick, csv=chosen.csv)
        if "tests" in chosen.only:
            false_alarms(3 * repeats)
    print(f"{time.process_time() - start:.0f} s of CPU time")


if __name__ == "__main__":
    main()
