"""How fast Harrell's C with its interval, and a bootstrap of Uno's C, are beside lifelines in a loop.

Usage: ``python -P benchmarks/concordance.py [--patients 10000] [--resamples 500] [--looped 5]``.
``one``: Harrell's C with its infinitesimal-jackknife interval against ``lifelines.utils.concordance_index``, which
gives no interval. ``bootstrap``: the index of all resamples against a loop of lifelines over `looped` resamples,
scaled up. CPU time; both give the same values to 1e-9, or the benchmark stops. ``cover``: how many 95 % intervals of
1,000 studies hold the truth (C is 3/4 for normal scores and log times of correlation 1/sqrt(2)).
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from lifelines.utils import concordance_index

from analysis.bootstrap import multiplicities
from analysis.concordance import harrell_c
from analysis.horizons import uno_c
from analysis.pairs import resampled_index, sort_patients


def spent(work: Callable[[], Any], times: int = 1) -> tuple[float, Any]:
    """Least CPU seconds of some runs, and the result."""
    seconds = []
    for _ in range(times):
        start = time.process_time()
        found = work()
        seconds.append(time.process_time() - start)
    return min(seconds), found


def cohort(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score, time and event; two fifths are censored."""
    rng = np.random.default_rng(0)
    score = rng.normal(size=n)
    own, censoring = rng.exponential(40 / np.exp(score)), rng.exponential(60, n)
    return score, np.minimum(own, censoring), own <= censoring


def one_index(n: int) -> None:
    score, months, event = cohort(n)
    strata = ("",) * n
    harrell_c(score[:9], months[:9], event[:9], strata[:9])  # compiles
    ours, found = spent(lambda: harrell_c(score, months, event, strata), 5)
    theirs, value = spent(lambda: concordance_index(months, -score, event), 3)
    assert abs(found.value - value) < 1e-9
    print(
        f"Harrell's C of {n:,} patients: with interval {1000 * ours:.1f} ms; lifelines, without, "
        f"{1000 * theirs:.0f} ms; {theirs / ours:.0f} times as long",
        flush=True,
    )


def bootstrap(n: int, resamples: int, looped: int) -> None:
    score, months, event = cohort(n)
    strata = ("",) * n

    def whole() -> np.ndarray:
        drawn = multiplicities(np.zeros(n, np.int64), resamples, np.random.default_rng(1))
        return resampled_index(sort_patients(score, months, event, strata), np.ones((resamples, n)), drawn)

    def loop() -> list[float]:
        drawn = multiplicities(np.zeros(n, np.int64), resamples, np.random.default_rng(1))[:looped]
        copies = [np.repeat(np.arange(n), times) for times in drawn]
        return [concordance_index(months[at], -score[at], event[at]) for at in copies]

    few = np.ones((2, 9), np.int64)  # compiles
    resampled_index(sort_patients(score[:9], months[:9], event[:9], strata[:9]), np.ones((2, 9)), few)
    ours, found = spent(whole, 3)
    theirs, values = spent(loop)
    assert np.abs(found[:looped] - values).max() < 1e-9
    scaled = theirs * resamples / looped
    print(
        f"{resamples} resamples of {n:,} patients: {ours:.2f} s; lifelines in a loop {scaled:.0f} s (from {looped}); "
        f"{scaled / ours:.0f} times as long",
        flush=True,
    )
    start = time.process_time()
    uno_c(score, months, event, strata, tau=60.0, resamples=resamples, seed=0)
    print(f"Uno's C with {resamples} resamples, weights included: {time.process_time() - start:.2f} s", flush=True)


def coverage(studies: int, n: int) -> None:
    rng = np.random.default_rng(3)
    held = {"Harrell, no censoring": 0, "Uno, no censoring": 0}
    for _ in range(studies):
        score = rng.normal(size=n)
        own = np.exp(-score + rng.normal(size=n))
        always, strata = np.ones(n, dtype=bool), ("",) * n
        found = harrell_c(score, own, always, strata)
        held["Harrell, no censoring"] += found.low <= 0.75 <= found.high
        found = uno_c(score, own, always, strata, tau=np.inf, resamples=500, seed=0)
        held["Uno, no censoring"] += found.low <= 0.75 <= found.high
    for name, count in held.items():
        print(f"{name}: 95 % intervals of {n} patients hold the truth in {count} of {studies} studies", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("one", "bootstrap", "cover"))
    parser.add_argument("--patients", type=int, default=10_000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--looped", type=int, default=5, help="resamples that lifelines does")
    parser.add_argument("--studies", type=int, default=1000)
    chosen = parser.parse_args()
    parts = chosen.only or ("one", "bootstrap", "cover")
    if "one" in parts:
        one_index(chosen.patients)
    if "bootstrap" in parts:
        bootstrap(chosen.patients, chosen.resamples, chosen.looped)
    if "cover" in parts:
        for n in (100, 300):
            coverage(chosen.studies, n)


if __name__ == "__main__":
    main()
