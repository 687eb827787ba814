"""Simulated cohorts: a planted hazard ratio is recovered and covered, and p values are uniform under chance."""

import numpy as np
import pytest
from scipy.stats import chi2, kstest

from analysis.survival.partial_likelihood import evaluate, maximize, risk_sets, score_and_information
from analysis.survival.proportionality import proportionality_tests

RUNS = 400
STRATA = ("a",) * 100 + ("b",) * 100


def simulate(effect, rng):
    """Two cohorts of different hazards; a score, a covariate that goes with it, monthly visits, censoring."""
    score = rng.normal(size=200)
    x = np.column_stack([score, 0.5 * score + rng.normal(size=200)])
    hazard = np.repeat([0.02, 0.05], 100) * np.exp(effect * score + 0.3 * x[:, 1])
    time, censored = rng.exponential(1 / hazard), rng.uniform(10, 80, 200)
    return x, np.ceil(np.minimum(time, censored)), time <= censored


def cohorts(effect):
    """Run by run: columns, times, events, risk sets, the maximum and its log likelihood."""
    rng = np.random.default_rng(11)
    for _ in range(RUNS):
        x, time, event = simulate(effect, rng)
        risk = risk_sets(time, event, STRATA)
        yield x, time, event, risk, *maximize(risk, x)


@pytest.mark.slow
def test_a_planted_hazard_ratio_is_recovered_and_covered():
    found = []
    for x, _, _, risk, beta, _ in cohorts(0.5):
        covariance = np.linalg.inv(score_and_information(evaluate(risk, x, beta))[1])
        found.append((beta[0], np.sqrt(covariance[0, 0])))
    value, error = np.array(found).T
    assert abs(value.mean() - 0.5) < 0.02
    assert 0.93 <= np.mean(np.abs(value - 0.5) < 1.959964 * error) <= 0.97


@pytest.mark.slow
def test_p_values_are_uniform_when_the_score_says_nothing():
    found = []
    for x, time, event, risk, beta, full in cohorts(0.0):
        added = chi2.sf(2 * (full - maximize(risk, x[:, 1:])[1]), 1)
        proportional = proportionality_tests(x, beta, time, event, STRATA, ("score", "other"))
        found.append((added, proportional[0].p, proportional[-1].p))
    for p in np.array(found).T:
        assert kstest(p, "uniform").pvalue > 0.01
        assert 0.025 <= np.mean(p < 0.05) <= 0.075
