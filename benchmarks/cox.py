"""What a Cox model with all its diagnostics costs, as ratios to lifelines measured in one run.

Usage: ``python -P benchmarks/cox.py``. lifelines' fit with its own test of proportional hazards, which is not R's,
and ours with the exact test, Harrell's C with its interval, variance inflation and the likelihood ratio of adding the
first column take turns in one process; what both compute is compared before anything is timed. Figures are CPU time
of the process with one thread for linear algebra, medians.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from lifelines.statistics import proportional_hazard_test
from threadpoolctl import threadpool_limits

from analysis.cox import CoxModel, Options, fit_cox, likelihood_ratio_p
from analysis.partial_likelihood import maximize, risk_sets

ROUNDS = 7
N, K = 10_000, 10


@dataclass(frozen=True)
class Made:
    """Patients with a planted effect, ties and censoring."""

    x: np.ndarray
    time: np.ndarray
    event: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"x{i}" for i in range(self.x.shape[1]))

    @property
    def strata(self) -> tuple[str, ...]:
        return ("",) * len(self.x)


def make(n: int = N, k: int = K) -> Made:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, k))
    months = rng.exponential(40 / np.exp(x @ np.linspace(-0.5, 0.5, k)))
    censored = rng.exponential(60, n)
    return Made(x, np.ceil(np.minimum(months, censored) * 4) / 4, months <= censored)


def by_lifelines(made: Made) -> CoxPHFitter:
    """Fit to R's precision, test proportional hazards."""
    frame = pd.DataFrame(made.x, columns=made.names).assign(time=made.time, event=made.event)
    model = CoxPHFitter().fit(frame, "time", "event", fit_options={"precision": 1e-10})
    proportional_hazard_test(model, frame, time_transform="km")
    return model


def ours(made: Made) -> tuple[CoxModel, float]:
    """Fit, exact test, C with its interval, variance inflation; the likelihood ratio of the first column."""
    model = fit_cox(made.x, made.names, made.time, made.event, made.strata)
    options = Options(diagnose=False)
    without = fit_cox(made.x[:, 1:], made.names[1:], made.time, made.event, made.strata, options)
    return model, likelihood_ratio_p(without.log_likelihood, model.log_likelihood, 1)[1]


def fit_alone(made: Made) -> CoxPHFitter:
    """The fit of lifelines without anything."""
    frame = pd.DataFrame(made.x, columns=made.names).assign(time=made.time, event=made.event)
    return CoxPHFitter().fit(frame, "time", "event", fit_options={"precision": 1e-10})


def newton(made: Made) -> np.ndarray:
    """Our own maximum, which lifelines starts from and permutations use."""
    found = maximize(risk_sets(made.time, made.event, made.strata), made.x)
    assert found is not None
    return found[0]


def seconds(cases: dict[str, Callable[[Made], object]], made: Made) -> dict[str, float]:
    """Median CPU seconds of each case; the cases take turns."""
    spent: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, case in cases.items():
            start = time.process_time()
            case(made)
            spent[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in spent.items()}


def cox_ratio() -> float:
    """Ours with all diagnostics over lifelines with its own test; the aim is at most 1."""
    made = make()
    with threadpool_limits(limits=1):
        return _measured(made)


def _measured(made: Made) -> float:
    reference = by_lifelines(made)
    model, _ = ours(made)
    ours_coef = [line.coef for line in model.coefficients]
    assert np.allclose(ours_coef, reference.params_, rtol=1e-6, atol=1e-9)
    assert np.allclose(newton(made), ours_coef, rtol=1e-6, atol=1e-9)
    assert len(model.proportionality) == K + 1
    assert np.isfinite(model.concordance.low)
    found = seconds({"lifelines": by_lifelines, "ours": ours, "fit": fit_alone, "newton": newton}, made)
    print(f"Cox, {N} x {K}, {int(made.event.sum())} events, CPU seconds:")
    print(f"  lifelines, fit and its own test      {found['lifelines']:.3f}")
    print(f"  ours, fit, exact test, C, VIF and LR {found['ours']:.3f}")
    print(f"  ours / lifelines                     {found['ours'] / found['lifelines']:.2f}")
    print(f"  lifelines' fit / our own maximum     {found['fit'] / found['newton']:.1f}")
    return found["ours"] / found["lifelines"]


if __name__ == "__main__":
    cox_ratio()
