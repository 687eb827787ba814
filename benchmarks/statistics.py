"""What the statistics cost, against the loops that people write, as ratios measured in one run.

Usage: ``python -P benchmarks/statistics.py`` (-P keeps this folder from hiding the module of the same name).
``bootstrap``: the macro AUC of several models in stratified resamples of the patients, ours against a loop over
scikit-learn's ``roc_auc_score``, of which ``--loop`` resamples are run and the rest is scaled; both are also compared
in value. ``delong``: AUC and variance, and a paired test, of many patients. Scores are synthetic, three classes of
unequal size. Wall clock and CPU time of the process are both shown; compiling is not counted, but shown.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from analysis.auc_tests import paired_test
from analysis.bootstrap import macro_rankings, mean_area, multiplicities, resampled
from analysis.delong import delong

PARTS = ("bootstrap", "delong")
SHARES = (0.2, 0.55, 0.25)
N_DELONG, REPEATS = 10_000, 20


@dataclass(frozen=True)
class Spent:
    """Seconds."""

    wall: float
    cpu: float


def timed(function: Callable[[], Any]) -> tuple[Any, Spent]:
    """The result, and what it cost."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, Spent(time.perf_counter() - wall, time.process_time() - cpu)


def show(what: str, value: float, aim: str) -> None:
    """One line of the table."""
    print(f"{what:<88} {value:10.4g}   {aim}", flush=True)


def scores(n: int, n_models: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Classes, and the probabilities of each model."""
    rng = np.random.default_rng(0)
    y = rng.choice(len(SHARES), size=n, p=SHARES)
    logits = [np.eye(len(SHARES))[y] + rng.normal(size=(n, len(SHARES))) for _ in range(n_models)]
    return y, [np.exp(values) / np.exp(values).sum(axis=1, keepdims=True) for values in logits]


def measure_bootstrap(options: argparse.Namespace) -> None:
    """All models in the same resamples."""
    y, models = scores(options.patients, options.models)

    def ours(resamples: int) -> np.ndarray:
        rankings = [macro_rankings(y, p) for p in models]

        def areas(weights: np.ndarray) -> np.ndarray:
            return np.column_stack([mean_area(ranking, weights) for ranking in rankings])

        return resampled(y, areas, resamples=resamples, seed=0)

    rows = [np.repeat(np.arange(len(y)), row) for row in multiplicities(y, options.loop, np.random.default_rng(0))]

    def loop() -> np.ndarray:
        return np.array([[roc_auc_score(y[row], p[row], multi_class="ovr") for p in models] for row in rows])

    _, compiling = timed(lambda: ours(2))
    found = [timed(lambda: ours(options.resamples))[1] for _ in range(options.tries)]
    wall, cpu = min(spent.wall for spent in found), min(spent.cpu for spent in found)
    values, theirs = timed(loop)
    scale = options.resamples / options.loop
    print(
        f"    ours: {wall:.3f} s wall, {cpu:.3f} s CPU (best of {options.tries}); first call {compiling.wall:.1f} s"
    )
    print(f"    loop: {theirs.wall * scale:.0f} s wall, {theirs.cpu * scale:.0f} s CPU, scaled from {options.loop}")
    how = f"macro AUC, {options.models} models x {len(y)} patients, {options.resamples} resamples, loop / ours"
    show(f"{how}, wall clock", theirs.wall * scale / wall, ">= 100, better 500")
    show(f"{how}, CPU time", theirs.cpu * scale / cpu, ">= 100, better 500")
    show("largest difference in value", float(np.abs(ours(options.loop) - values).max()), "<= 1e-12")


def measure_delong() -> None:
    """One interval, and one paired test."""
    y, (first, second) = scores(N_DELONG, 2)
    sick = y == 0
    calls = {
        "AUC and variance": lambda: delong(first[sick, 0], first[~sick, 0]),
        "paired test": lambda: paired_test(sick, first[:, 0], second[:, 0], names=("sick", "well")),
    }
    for name, call in calls.items():
        found = [timed(call)[1] for _ in range(REPEATS)]
        what = f"DeLong, {name}, {N_DELONG} patients: ms, best of {REPEATS}"
        show(f"{what}, wall clock", 1000 * min(spent.wall for spent in found), "< 20")
        show(f"{what}, CPU time", 1000 * min(spent.cpu for spent in found), "< 20")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--patients", type=int, default=1000)
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--loop", type=int, default=50, help="resamples of the loop that are run")
    parser.add_argument("--tries", type=int, default=5)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    if "bootstrap" in options.only:
        measure_bootstrap(options)
    if "delong" in options.only:
        measure_delong()


if __name__ == "__main__":
    main()
