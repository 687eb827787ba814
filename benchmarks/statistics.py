"""What the statistics cost, against what people write or call, as ratios measured in one run.

Usage: ``python -P benchmarks/statistics.py`` (-P keeps this folder from hiding the module of the same name).
``bootstrap``: the macro AUC of several models in stratified resamples of the patients, ours against a loop over
scikit-learn's ``roc_auc_score``, of which ``--loop`` resamples are run and the rest is scaled. ``delong``: AUC and
variance, and a paired test, of many patients. ``cox``: lifelines' fit with its own test of proportional hazards,
which is not R's, and ours with the exact test, Harrell's C with its interval, variance inflation and the likelihood
ratio of adding the first column. ``concordance``: Harrell's C with its interval against lifelines'
``concordance_index``, which gives none, and 500 resamples of it against a loop. What both sides compute is compared
in every part. Data are synthetic. Linear algebra runs on one thread; compiling is not counted, but shown.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from lifelines.statistics import proportional_hazard_test
from lifelines.utils import concordance_index
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from analysis.discrimination.auc_tests import paired_test
from analysis.discrimination.delong import delong
from analysis.inference.bootstrap import macro_rankings, mean_area, multiplicities, resampled
from analysis.survival.concordance import harrell_c
from analysis.survival.cox import CoxModel, Options, fit_cox, likelihood_ratio_p
from analysis.survival.pairs import resampled_index, sort_patients
from analysis.survival.partial_likelihood import maximize, risk_sets
from benchmarks.figures import at_least, at_most, show

SHARES = (0.2, 0.55, 0.25)
N_MANY, REPEATS = 10_000, 20
N_COVARIATES, ROUNDS = 10, 5
N_RESAMPLED, N_LOOPED = 500, 5


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
    show(f"{how}, wall clock", theirs.wall * scale / wall, at_least(100))
    show(f"{how}, CPU time", theirs.cpu * scale / cpu, at_least(100))
    show("largest difference in value", float(np.abs(ours(options.loop) - values).max()), at_most(1e-12))


def measure_delong(_: argparse.Namespace) -> None:
    """One interval, and one paired test."""
    y, (first, second) = scores(N_MANY, 2)
    sick = y == 0
    calls = {
        "AUC and variance": lambda: delong(first[sick, 0], first[~sick, 0]),
        "paired test": lambda: paired_test(sick, first[:, 0], second[:, 0], names=("sick", "well")),
    }
    for name, call in calls.items():
        found = [timed(call)[1] for _ in range(REPEATS)]
        what = f"DeLong, {name}, {N_MANY} patients: ms, best of {REPEATS}"
        show(f"{what}, wall clock", 1000 * min(spent.wall for spent in found), at_most(20))
        show(f"{what}, CPU time", 1000 * min(spent.cpu for spent in found), at_most(20))


def survivors(k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Covariates with planted effects, months with ties, and who had the event."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N_MANY, k))
    months = rng.exponential(40 / np.exp(x @ np.linspace(-0.5, 0.5, k)))
    censored = rng.exponential(60, N_MANY)
    return x, np.ceil(np.minimum(months, censored) * 4) / 4, months <= censored


def in_turns(cases: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Least CPU seconds of each case; the cases take turns."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, case in cases.items():
            found[name].append(timed(case)[1].cpu)
    return {name: min(values) for name, values in found.items()}


def measure_cox(_: argparse.Namespace) -> None:
    """A model with all its diagnostics."""
    x, months, event = survivors(N_COVARIATES)
    names, strata = tuple(f"x{i}" for i in range(N_COVARIATES)), ("",) * N_MANY
    frame = pd.DataFrame(x, columns=names).assign(time=months, event=event)

    def fit_alone() -> CoxPHFitter:
        return CoxPHFitter().fit(frame, "time", "event", fit_options={"precision": 1e-10})

    def lifelines() -> CoxPHFitter:
        model = fit_alone()
        proportional_hazard_test(model, frame, time_transform="km")
        return model

    def ours() -> tuple[CoxModel, float]:
        model = fit_cox(x, names, months, event, strata)
        without = fit_cox(x[:, 1:], names[1:], months, event, strata, Options(diagnose=False))
        return model, likelihood_ratio_p(without.log_likelihood, model.log_likelihood, 1)[1]

    def newton() -> np.ndarray:
        maximum = maximize(risk_sets(months, event, strata), x)
        assert maximum is not None
        return maximum[0]

    (model, _p), reference = ours(), lifelines()
    coefficients = [line.coef for line in model.coefficients]
    assert np.allclose(coefficients, reference.params_, rtol=1e-6, atol=1e-9)
    assert np.allclose(newton(), coefficients, rtol=1e-6, atol=1e-9)
    assert len(model.proportionality) == N_COVARIATES + 1
    spent = in_turns({"lifelines": lifelines, "ours": ours, "fit": fit_alone, "newton": newton})
    print(f"    lifelines {spent['lifelines']:.2f} s CPU, ours {spent['ours']:.2f} s CPU; {int(event.sum())} events")
    what = f"Cox, {N_MANY} x {N_COVARIATES}, ours with all diagnostics / lifelines with its own test, CPU time"
    show(what, spent["ours"] / spent["lifelines"], at_most(1))
    show("Cox, lifelines' fit alone / our own maximum, CPU time", spent["fit"] / spent["newton"])


def measure_concordance(_: argparse.Namespace) -> None:
    """One index with its interval, and many resamples."""
    x, months, event = survivors(1)
    score, strata = x[:, 0], ("",) * N_MANY
    drawn = multiplicities(np.zeros(N_MANY, np.int64), N_RESAMPLED, np.random.default_rng(1))

    def one() -> float:
        return harrell_c(score, months, event, strata).value

    def theirs() -> float:
        return float(concordance_index(months, -score, event))

    def many() -> np.ndarray:
        ready = sort_patients(score, months, event, strata)
        return resampled_index(ready, np.ones((N_RESAMPLED, N_MANY)), drawn)

    def loop() -> list[float]:
        copies = [np.repeat(np.arange(N_MANY), times) for times in drawn[:N_LOOPED]]
        return [concordance_index(months[at], -score[at], event[at]) for at in copies]

    assert abs(one() - theirs()) < 1e-9
    assert np.abs(many()[:N_LOOPED] - loop()).max() < 1e-9
    spent = in_turns({"one": one, "theirs": theirs, "many": many})
    looped = timed(loop)[1].cpu * N_RESAMPLED / N_LOOPED
    print(f"    with interval {1000 * spent['one']:.1f} ms, {N_RESAMPLED} resamples {spent['many']:.2f} s CPU")
    what = f"Harrell's C of {N_MANY} patients, lifelines without interval / ours with it, CPU time"
    show(what, spent["theirs"] / spent["one"])
    show(
        f"{N_RESAMPLED} resamples of it, loop over lifelines / ours, CPU time", looped / spent["many"], at_least(200)
    )


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "bootstrap": measure_bootstrap,
    "delong": measure_delong,
    "cox": measure_cox,
    "concordance": measure_concordance,
}


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
    with threadpool_limits(limits=1):
        for name in options.only:
            PARTS[name](options)


if __name__ == "__main__":
    main()
