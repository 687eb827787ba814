"""The best cut: R's log-rank test at each, the corrected p value, and what it is worth under chance."""

import numpy as np
import pandas as pd
import pytest
from lifelines.statistics import logrank_test
from scipy.stats import norm

from analysis.survival.cutpoint import best_cut, corrected_p, log_rank_z


def one(n):
    return ("",) * n


def chance(n, rng):
    time, censored = rng.exponential(30, n), rng.exponential(40, n)
    return rng.random(n), np.minimum(time, censored), time <= censored


@pytest.mark.fault("F10")
def test_the_known_cohort_has_a_naive_p_of_0_067_and_a_corrected_one_of_0_58(golden_folder):
    frame = pd.read_csv(golden_folder / "prognosis.csv")
    found = best_cut(
        frame["score"].to_numpy(), frame["time"].to_numpy(), frame["event"].to_numpy() == 1, one(len(frame))
    )
    assert found.naive.value == pytest.approx(0.067, abs=5e-4)
    assert found.corrected.value == pytest.approx(0.58, abs=5e-3)
    assert "inner 80 %" in found.corrected.method


def test_the_correction_is_that_of_altman():
    """Altman et al. 1994: with 10 % left out at each end, p is about -1.63 p (1 + 2.35 log p)."""
    for p in (0.0001, 0.001, 0.01, 0.05):
        assert corrected_p(norm.isf(p / 2)) == pytest.approx(-1.63 * p * (1 + 2.35 * np.log(p)), rel=0.05)
    assert corrected_p(0.5) == 1.0


def test_each_cut_is_a_log_rank_test():
    rng = np.random.default_rng(1)
    score, time, event = chance(60, rng)
    time = np.ceil(time)
    cuts = np.quantile(score, [0.2, 0.5, 0.8])
    found = log_rank_z(score, cuts, time, event, one(60))
    for cut, z in zip(cuts, found, strict=True):
        high = score > cut
        expected = logrank_test(time[high], time[~high], event[high], event[~high]).test_statistic
        assert z**2 == pytest.approx(expected, rel=1e-9)


def test_strata_are_compared_within():
    rng = np.random.default_rng(2)
    score, time, event = chance(80, rng)
    time, strata = np.ceil(time), np.array(rng.choice(["a", "b"], 80))
    excess, variance = 0.0, 0.0
    for t in np.unique(time[event]):
        for group in ("a", "b"):
            at_risk = (time >= t) & (strata == group)
            dying = at_risk & event & (time == t)
            n, d, high = at_risk.sum(), dying.sum(), (at_risk & (score > 0.5)).sum()
            if d:
                excess += (dying & (score > 0.5)).sum() - d * high / n
                variance += d * high / n * (1 - high / n) * (n - d) / max(1, n - 1)
    found = log_rank_z(score, np.array([0.5]), time, event, tuple(strata))
    assert found[0] == pytest.approx(excess / np.sqrt(variance), rel=1e-9)


def test_nothing_to_cut_has_a_reason():
    time = np.arange(1.0, 11)
    none = best_cut(np.arange(10.0), time, np.zeros(10, bool), one(10))
    assert none.corrected.reason == "0 events"
    assert "no cut" in best_cut(np.ones(10), time, np.ones(10, bool), one(10)).corrected.reason


@pytest.mark.fault("F10")
def test_under_chance_the_corrected_p_keeps_its_promise_and_the_naive_one_does_not():
    rng = np.random.default_rng(3)
    found = [best_cut(*chance(120, rng), one(120)) for _ in range(400)]
    naive = np.mean([cut.naive.value < 0.05 for cut in found])
    corrected = np.mean([cut.corrected.value < 0.05 for cut in found])
    assert naive > 0.25
    assert corrected <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_the_correction_is_near_a_permutation_of_the_scores():
    rng = np.random.default_rng(4)
    score, time, event = chance(150, rng)
    risk = np.where(score > 0.6, 1.7, 1.0)
    time = time / risk
    found = best_cut(score, time, event, one(150))
    cuts = np.unique(score)
    low, high = np.quantile(score, [0.1, 0.9])
    cuts = cuts[(cuts >= low) & (cuts <= high)]
    largest = abs(norm.ppf(found.naive.value / 2))
    exceed = [
        np.abs(log_rank_z(rng.permutation(score), cuts, time, event, one(150))).max() >= largest for _ in range(400)
    ]
    assert found.corrected.value == pytest.approx(np.mean(exceed), abs=0.08)


def test_a_cut_with_a_handful_of_patients_beside_it_says_that_its_p_value_is_too_small():
    score, time = np.arange(40.0), np.r_[np.arange(5.0, 41.0), 1.0, 2.0, 3.0, 4.0]
    found = best_cut(score, time, np.ones(40, bool), one(40))
    assert found.n_high == 4
    assert (
        found.corrected.reason
        == "only 4 patients lie above the cut, so the approximation makes the p value too small"
    )
