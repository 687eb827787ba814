"""Kaplan-Meier curves, tests between groups and restricted means against R, lifelines and worked examples."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test
from lifelines.utils import restricted_mean_survival_time

from analysis.metrics import estimate_cells
from analysis.survival.kaplan_meier import kaplan_meier, median_follow_up, median_time, survival_at, survival_steps
from analysis.survival.log_rank import log_rank
from analysis.survival.measures import halves
from analysis.survival.restricted_mean import mean_difference, restricted_mean
from triher.errors import StopRun


def lung(golden_folder):
    frame = pd.read_csv(golden_folder / "lung.csv")
    return frame, frame["time"].to_numpy(float), frame["event"].to_numpy() == 1


def crowd(seed, n=120):
    rng = np.random.default_rng(seed)
    time, censoring = rng.exponential(30, n), rng.uniform(5, 70, n)
    return np.ceil(np.minimum(time, censoring)), time <= censoring, rng.integers(0, 3, n)


@pytest.mark.golden("km_lung_median")
def test_medians_and_their_limits_equal_r(golden, golden_folder):
    _, time, event = lung(golden_folder)
    for conf_type, name in (("log", "log"), ("log-log", "loglog"), ("plain", "plain")):
        found = median_time(kaplan_meier(time, event, conf_type))
        expected = golden("km_lung_median")[name]
        assert (found.value, found.low, found.high) == (expected["median"], expected["lo"], expected["hi"])


@pytest.mark.golden("km_lung_at")
def test_survival_error_limits_and_numbers_at_risk_equal_r(golden, golden_folder):
    _, time, event = lung(golden_folder)
    expected = golden("km_lung_at")
    found = [survival_at(kaplan_meier(time, event), float(t)) for t in expected["time"]]
    assert [at.survival.value for at in found] == pytest.approx(expected["surv"], rel=1e-9)
    assert [at.error for at in found] == pytest.approx(expected["se"], rel=1e-9)
    assert [at.survival.low for at in found] == pytest.approx(expected["lo"], rel=1e-9)
    assert [at.survival.high for at in found] == pytest.approx(expected["hi"], rel=1e-9)
    assert [at.at_risk for at in found] == expected["at_risk"]


@pytest.mark.golden("logrank_lung_sex")
def test_log_rank_peto_and_strata_equal_r(golden, golden_folder):
    frame, time, event = lung(golden_folder)
    expected, male, nobody = golden("logrank_lung_sex"), frame["male"].to_numpy(), ("",) * len(frame)
    plain = log_rank(male, time, event, nobody)
    assert (plain.chisq, plain.p.value) == pytest.approx((expected["chisq"], expected["p"]), rel=1e-9)
    assert log_rank(male, time, event, nobody, early=True).chisq == pytest.approx(expected["peto_chisq"], rel=1e-9)
    known = frame["ph.ecog"].notna().to_numpy()
    stages = tuple(frame["ph.ecog"][known].astype(str))
    found = log_rank(male[known], time[known], event[known], stages)
    assert found.chisq == pytest.approx(expected["stratified_chisq"], rel=1e-9)
    assert found.p.method == "stratified log-rank test, p value"


@pytest.mark.golden("rmst_lung_365")
def test_restricted_mean_equals_r(golden, golden_folder):
    frame, time, event = lung(golden_folder)
    expected = golden("rmst_lung_365")
    found = [restricted_mean(time[frame["male"] == sex], event[frame["male"] == sex], 365.0) for sex in (0, 1)]
    assert [mean.months.value for mean in found] == pytest.approx(expected["rmst"], rel=1e-9)
    assert [mean.error for mean in found] == pytest.approx(expected["se"], rel=1e-9)
    difference = mean_difference(found[0], found[1], 365.0)
    assert difference.months.value == pytest.approx(expected["rmst"][0] - expected["rmst"][1], rel=1e-9)
    half = (difference.months.high - difference.months.low) / 2
    assert half == pytest.approx(1.959963984540054 * math.hypot(*expected["se"]), rel=1e-9)
    assert difference.p.value == pytest.approx(0.000184, rel=0.01)  # z = 55.97 / 14.96 = 3.742


@pytest.mark.golden("median_followup_reverse_km")
def test_median_follow_up_equals_r(golden, golden_folder):
    _, time, event = lung(golden_folder)
    assert median_follow_up(time, ~event).value == golden("median_followup_reverse_km")


@pytest.mark.golden("prognosis_median_split")
def test_log_rank_of_halves_equals_r(golden, golden_folder):
    frame = pd.read_csv(golden_folder / "prognosis.csv")
    high, expected = halves(frame["score"].to_numpy(float)), golden("prognosis_median_split")
    assert int(high.sum()) == expected["n_high"]
    found = log_rank(high, frame["time"].to_numpy(float), frame["event"].to_numpy() == 1, ("",) * len(frame))
    assert (found.chisq, found.p.value) == pytest.approx((expected["chisq"], expected["p"]), rel=1e-9)


def test_curve_limits_and_tests_agree_with_lifelines():
    time, event, group = crowd(1)
    fitted = KaplanMeierFitter().fit(time, event)
    curve = kaplan_meier(time, event)
    limits = fitted.confidence_interval_survival_function_.loc[curve.time].to_numpy()
    assert curve.survival == pytest.approx(fitted.survival_function_at_times(curve.time).to_numpy(), rel=1e-12)
    assert curve.low[curve.survival > 0] == pytest.approx(limits[curve.survival > 0, 0], rel=1e-9, nan_ok=True)
    assert survival_steps(curve, np.array([0.0, 20.5])) == pytest.approx(fitted.predict([0, 20.5]).to_numpy())
    expected = multivariate_logrank_test(time, group, event)
    found = log_rank(group, time, event, ("",) * len(time))
    assert (found.chisq, found.df) == (pytest.approx(expected.test_statistic, rel=1e-9), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        area = restricted_mean_survival_time(fitted, 40)
    assert restricted_mean(time, event, 40.0).months.value == pytest.approx(area, rel=1e-9)


def test_worked_example_of_a_curve_at_one_half():
    """R's survfit gives 5 for times 2, 4, 6, 8, all events: the middle of the stretch at one half."""
    curve = kaplan_meier(np.array([2.0, 4, 6, 8]), np.ones(4, bool))
    assert curve.survival.tolist() == [0.75, 0.5, 0.25, 0]
    assert curve.error[1] == pytest.approx(math.sqrt(0.25 / 4))
    assert median_time(curve).value == 5
    assert restricted_mean(np.array([2.0, 4, 6, 8]), np.ones(4, bool), 8.0).months.value == 5


@pytest.mark.fault("F6")
def test_a_median_that_is_not_reached_is_said_and_left_blank():
    time, event = np.arange(1.0, 21), np.arange(20) < 4
    found = median_time(kaplan_meier(time, event))
    assert str(found) == "not estimable (not reached)"
    assert estimate_cells(found)[:3] == [None, None, None]
    late = median_time(kaplan_meier(time, np.arange(20) < 11))
    assert (late.value, late.reason) == (10.5, "upper limit not reached")
    assert math.isnan(late.high)


def test_what_the_follow_up_does_not_show_is_not_estimated():
    time, event = np.array([1.0, 2, 3, 4]), np.array([False, True, False, False])
    curve = kaplan_meier(time, event)
    assert survival_at(curve, 5.0).survival.reason == "nobody is followed to 5 months"
    assert survival_at(curve, 1.5).survival.reason == "no event yet"
    assert survival_at(curve, 0.5).survival.value == 1
    assert restricted_mean(time, event, 5.0).months.reason == "nobody is followed to 5 months"
    assert restricted_mean(time, event, 1.5).months.reason == "no variation: 0 events up to 1.5 months"
    dead = kaplan_meier(time, np.ones(4, bool))
    assert survival_at(dead, 9.0).survival.reason == "everybody had the event"
    assert median_follow_up(np.zeros(0), np.zeros(0, bool)).reason == "0 patients"
    with pytest.raises(StopRun, match="did you mean 'log-log'"):
        kaplan_meier(time, event, "loglog")


def test_groups_that_cannot_be_compared_say_why():
    time, event, nobody = np.arange(1.0, 5), np.ones(4, bool), ("",) * 4
    assert log_rank(np.zeros(4, np.int64), time, event, nobody).p.reason == "there is one group"
    assert log_rank(np.array([0, 0, 1, 1]), time, ~event, nobody).p.reason == "0 events"
    flat = restricted_mean(time, ~event, 2.0)
    assert mean_difference(flat, flat, 2.0).months.reason == "no variation in either group"
    short = restricted_mean(time, ~event, 9.0)
    assert mean_difference(short, flat, 9.0).p.reason == "nobody is followed to 9 months"


def test_intervals_of_the_difference_cover():
    """400 studies of two groups of 75, hazards 1/30 and 1/20 a month, a third censored, to 36 months."""
    truth = 20 * (1 - math.exp(-36 / 20)) - 30 * (1 - math.exp(-36 / 30))
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        means = []
        for scale in (20, 30):
            time, censoring = rng.exponential(scale, 75), rng.uniform(20, 80, 75)
            means.append(restricted_mean(np.minimum(time, censoring), time <= censoring, 36.0))
        found = mean_difference(means[0], means[1], 36.0).months
        held += found.low <= truth <= found.high
    assert 0.93 <= held / 400 <= 0.97


def test_a_last_time_that_is_an_event_warns_of_nothing():
    time, group = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), np.array([0, 1, 0, 1, 0, 1])
    assert 0 < log_rank(group, time, np.ones(6, bool), ("",) * 6, early=True).p.value < 1
