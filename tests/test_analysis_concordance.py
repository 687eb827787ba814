"""Harrell's C against its definition, against lifelines and against R, however many patients tie."""

import time as clock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines.utils import concordance_index

from analysis.survival.concordance import harrell_c, paired_difference
from analysis.survival.cox import fit_cox
from analysis.survival.pairs import count_pairs, resampled_index, sort_patients

LUNG = ("age", "male", "ph.ecog", "wt.loss")
Z95 = 1.959963984540054


def pairs_by_definition(time, event, strata, lead=None):
    """Row leads column: the row has the event, and the column is known to be later."""
    group = np.array(strata)
    later = (time[:, None] < time[None, :]) | ((time[:, None] == time[None, :]) & ~event[None, :])
    usable = event[:, None] & later & (group[:, None] == group[None, :])
    return usable * (np.ones(len(time)) if lead is None else lead)[:, None]


def wins(score):
    return (score[:, None] > score[None, :]) + 0.5 * (score[:, None] == score[None, :])


def by_definition(won, pairs):
    """Value and infinitesimal-jackknife standard error from all pairs."""
    value = won.sum() / pairs.sum()
    excess = won - value * pairs
    influence = (excess.sum(axis=0) + excess.sum(axis=1)) / pairs.sum()
    return value, np.sqrt(influence @ influence)


def crowd(seed, n, levels=7):
    rng = np.random.default_rng(seed)
    first, second = (rng.integers(0, levels, n).astype(float) for _ in range(2))
    time = rng.integers(1, levels + 3, n).astype(float)
    return first, second, time, rng.random(n) < 0.6, tuple("abc"[i] for i in rng.integers(0, 3, n))


def lung(golden_folder):
    frame = pd.read_csv(golden_folder / "lung.csv").dropna(subset=["time", "event", *LUNG, "ph.karno"])
    return frame[list(LUNG)].to_numpy(float), frame["time"].to_numpy(float), frame["event"].to_numpy() == 1


def predictor(x, time, event, columns):
    names = tuple(LUNG[c] for c in columns)
    return fit_cox(x[:, columns], names, time, event, ("",) * len(x)).linear_predictor


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_counts_of_each_patient_are_those_of_all_pairs(seed, n, levels):
    score, _, time, event, strata = crowd(seed, n, levels)
    lead = np.random.default_rng(seed).uniform(0.5, 3, n)
    found = count_pairs(sort_patients(score, time, event, strata), lead)
    pairs = pairs_by_definition(time, event, strata, lead)
    won = pairs * wins(score)
    assert found.pairs == pytest.approx(pairs.sum(axis=0) + pairs.sum(axis=1), abs=1e-12)
    assert found.won == pytest.approx(won.sum(axis=0) + won.sum(axis=1), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_value_interval_and_difference_are_those_of_all_pairs(seed):
    first, second, time, event, strata = crowd(seed, 80)
    pairs = pairs_by_definition(time, event, strata)
    value, error = by_definition(pairs * wins(first), pairs)
    found = harrell_c(first, time, event, strata)
    assert (found.value, found.low) == pytest.approx((value, value - Z95 * error), abs=1e-12)
    value, error = by_definition(pairs * (wins(first) - wins(second)), pairs)
    found = paired_difference(first, second, time, event, strata)
    expected = (value, value - Z95 * error, value + Z95 * error)
    assert (found.value, found.low, found.high) == pytest.approx(expected, abs=1e-12)


def test_resamples_count_copies_of_a_patient_as_patients():
    score, _, time, event, strata = crowd(3, 50)
    rng = np.random.default_rng(0)
    drawn = np.stack([np.bincount(rng.integers(0, 50, 50), minlength=50) for _ in range(20)])
    lead = rng.uniform(0.5, 2, (20, 50))
    found = resampled_index(sort_patients(score, time, event, strata), lead, drawn)
    for index, times, weights in zip(found, drawn, lead, strict=True):
        copies = np.repeat(np.arange(50), times)
        pairs = pairs_by_definition(time[copies], event[copies], np.array(strata)[copies], weights[copies])
        assert index == pytest.approx((pairs * wins(score[copies])).sum() / pairs.sum(), abs=1e-12)


def test_resamples_without_a_pair_have_no_value():
    order = sort_patients(np.zeros(3), np.arange(1.0, 4), np.array([True, False, False]), ("",) * 3)
    drawn = np.array([[0, 1, 2], [1, 1, 1]])
    assert np.isnan(resampled_index(order, np.ones((2, 3)), drawn)).tolist() == [True, False]


@pytest.mark.parametrize("seed", range(3))
def test_value_agrees_with_lifelines(seed):
    score, _, time, event, _ = crowd(seed, 90)
    expected = concordance_index(time, -score, event)
    assert harrell_c(score, time, event, ("",) * 90).value == pytest.approx(expected, abs=1e-12)


def test_order_of_the_patients_changes_nothing():
    score, _, time, event, strata = crowd(8, 70)
    mixed = np.random.default_rng(1).permutation(70)
    found = harrell_c(score, time, event, strata)
    again = harrell_c(score[mixed], time[mixed], event[mixed], tuple(np.array(strata)[mixed].tolist()))
    assert (again.value, again.low, again.high) == pytest.approx((found.value, found.low, found.high), abs=1e-13)


def test_without_a_pair_nothing_is_estimated():
    nothing = harrell_c(np.zeros(4), np.arange(1.0, 5), np.zeros(4, bool), ("",) * 4)
    assert str(nothing) == "not estimable (0 events, no pair to compare)"
    alone = harrell_c(np.arange(4.0), np.arange(1.0, 5), np.ones(4, bool), tuple("abcd"))
    assert alone.reason == "4 events, no pair to compare"
    assert harrell_c(np.zeros(0), np.zeros(0), np.zeros(0, bool), ()).reason.startswith("0 events")
    perfect = harrell_c(np.arange(4.0), np.arange(4.0, 0, -1), np.ones(4, bool), ("",) * 4)
    assert (perfect.value, perfect.reason) == (1.0, "no variation between patients")


def test_ten_thousand_patients_take_well_under_100_ms():
    rng = np.random.default_rng(0)
    score, time, event = rng.normal(size=10_000), rng.exponential(10, 10_000), rng.random(10_000) < 0.5
    strata = ("",) * 10_000
    harrell_c(score[:9], time[:9], event[:9], strata[:9])  # compiles
    spent = []
    for _ in range(3):
        start = clock.process_time()
        harrell_c(score, time, event, strata)
        spent.append(clock.process_time() - start)
    assert min(spent) < 0.1


@pytest.mark.golden("cindex_lung", "cindex_compare_lung")
def test_concordance_and_difference_equal_r(golden, golden_folder):
    x, time, event = lung(golden_folder)
    strata = ("",) * len(x)
    full, less = (predictor(x, time, event, columns) for columns in ([0, 1, 2, 3], [0, 1, 3]))
    expected, found = golden("cindex_lung"), harrell_c(full, time, event, strata)
    assert found.value == pytest.approx(expected["harrell"], rel=1e-9)
    assert (found.high - found.low) / 2 / Z95 == pytest.approx(expected["se"], rel=1e-6)
    counts = count_pairs(sort_patients(full, time, event, strata), np.ones(len(x)))
    concordant, discordant, tied, _ = expected["counts"]
    assert counts.pairs.sum() / 2 == concordant + discordant + tied
    assert counts.won.sum() / 2 == concordant + tied / 2
    expected, found = golden("cindex_compare_lung"), paired_difference(full, less, time, event, strata)
    error = (found.high - found.low) / 2 / Z95
    assert (found.value, error) == pytest.approx((expected["diff"], expected["se"]), rel=1e-5)
    assert found.value / error == pytest.approx(expected["z"], rel=1e-5)
    assert harrell_c(less, time, event, strata).value == pytest.approx(expected["c2"], rel=1e-6)
