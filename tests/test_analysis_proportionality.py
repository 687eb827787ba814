"""The exact test of proportional hazards: R, a plain loop, older tests, and what is shown where it fails."""

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from lifelines.statistics import proportional_hazard_test
from scipy.stats import rankdata

from analysis.survival.cox import Options, fit_cox
from analysis.survival.nonproportional import own_baseline, split_by_time, violated
from analysis.survival.partial_likelihood import evaluate, maximize, residuals, risk_sets
from analysis.survival.proportionality import proportionality_tests
from triher.errors import StopRun

LUNG = ("age", "male", "ph.ecog", "wt.loss")
QUICK = Options(diagnose=False)


def lung(folder):
    frame = pd.read_csv(folder / "lung.csv").dropna(subset=["time", "event", *LUNG, "ph.karno"])
    return frame[list(LUNG)].to_numpy(float), frame["time"].to_numpy(float), frame["event"].to_numpy() == 1


def one(n):
    return ("",) * n


@pytest.mark.golden("coxzph_lung_km", "coxzph_lung_rank", "coxzph_lung_identity", "coxzph_lung_log")
@pytest.mark.parametrize("transform", ["km", "rank", "identity", "log"])
def test_the_test_equals_r(golden, golden_folder, transform):
    x, time, event = lung(golden_folder)
    beta = maximize(risk_sets(time, event, one(len(x))), x)[0]
    tests = proportionality_tests(x, beta, time, event, one(len(x)), LUNG, transform)
    expected = golden(f"coxzph_lung_{transform}")
    assert [t.name for t in tests] == expected["names"]
    assert [t.chisq for t in tests] == pytest.approx(expected["chisq"], rel=1e-6)
    assert [t.p for t in tests] == pytest.approx(expected["p"], rel=1e-6)


@pytest.mark.golden("ph_test_old_lung_km", "ph_test_old_lung_rank")
@pytest.mark.fault("F5")
@pytest.mark.parametrize("transform", ["km", "rank"])
def test_the_old_approximation_and_that_of_lifelines_are_other_tests(golden, golden_folder, transform):
    x, time, event = lung(golden_folder)
    strata = one(len(x))
    beta = maximize(risk_sets(time, event, strata), x)[0]
    (state,) = evaluate(risk_sets(time, event, strata), x, beta)
    covariance = fit_cox(x, LUNG, time, event, strata, QUICK).covariance
    times, deaths = np.unique(time[event], return_counts=True)
    at_risk = np.array([(time >= t).sum() for t in times])
    g = np.concatenate([[0.0], 1 - np.cumprod(1 - deaths / at_risk)[:-1]])
    if transform == "rank":
        g = np.array([rankdata(time[event])[time[event] == t][0] for t in times])  # among the events only
    g = g - np.average(g, weights=deaths)
    scaled = (g[::-1] @ residuals(state)) @ covariance
    old = scaled**2 / (np.diag(covariance) * (deaths @ g**2)) * event.sum()
    expected = golden(f"ph_test_old_lung_{transform}")
    assert old == pytest.approx(expected["chisq"], rel=0.05)
    exact = proportionality_tests(x, beta, time, event, strata, LUNG, transform)
    far = max(abs(t.p / p - 1) for t, p in zip(exact, expected["p"], strict=False))
    assert far > 0.1  # so that R's test cannot be had by the old formula
    frame = pd.DataFrame(x, columns=LUNG).assign(time=time, event=event)
    fitted = CoxPHFitter().fit(frame, "time", "event", fit_options={"precision": 1e-10})
    theirs = proportional_hazard_test(fitted, frame, time_transform=transform).summary.loc[list(LUNG), "p"]
    exact_p = np.array([t.p for t in exact[:-1]])
    assert np.abs(theirs.to_numpy(float) / exact_p - 1).max() > 0.1


def plain_loop(x, beta, time, event, strata, g):
    """The same sums, one event at a time."""
    k = x.shape[1]
    score, whole = np.zeros(2 * k), np.zeros((2 * k, 2 * k))
    weight, groups = np.exp(x @ beta), np.array(strata)
    for group in np.unique(groups):
        inside = groups == group
        for t in np.unique(time[inside & event]):
            at_risk, dying = inside & (time >= t), inside & event & (time == t)
            for d in range(dying.sum()):
                w = weight * at_risk * (1 - dying * d / dying.sum())
                w = w / w.sum()
                centered = x - w @ x
                both = np.array([1.0, g[t]])
                score += np.kron(both, x[dying].mean(axis=0) - w @ x)
                whole += np.kron(np.outer(both, both), (centered * w[:, None]).T @ centered)
    score[:k] = 0
    return float(score @ np.linalg.solve(whole, score))


@pytest.mark.parametrize("n_strata", [1, 2])
def test_cumulative_sums_equal_a_plain_loop(n_strata):
    rng = np.random.default_rng(2)
    n = 80
    x = rng.normal(size=(n, 2))
    time, event = np.ceil(rng.exponential(np.exp(x[:, 0])) * 8), rng.random(n) < 0.7
    strata = tuple(rng.choice(list("ab")[:n_strata], n))
    beta = maximize(risk_sets(time, event, strata), x)[0]
    times, deaths = np.unique(time[event], return_counts=True)
    g = dict(zip(times, times - np.average(times, weights=deaths), strict=True))
    expected = plain_loop(x, beta, time, event, strata, g)
    found = proportionality_tests(x, beta, time, event, strata, ("a", "b"), "identity")[-1]
    assert found.chisq == pytest.approx(expected, rel=1e-11)


def test_unknown_transform_is_named():
    with pytest.raises(StopRun, match="did you mean 'identity'") as caught:
        proportionality_tests(
            np.zeros((2, 1)), np.zeros(1), np.ones(2), np.ones(2, bool), ("", ""), ("x",), "identiti"
        )
    assert caught.value.code == "unknown_name"


def crossing(n=400, seed=0):
    """A group with three times the hazard up to month 10 and a third of it from then on, and a harmless covariate."""
    rng = np.random.default_rng(seed)
    group, other = rng.integers(0, 2, n).astype(float), rng.normal(size=n)
    target = rng.exponential(1.0, n) * np.exp(-0.4 * other)  # cumulative hazard reached at the event
    early = np.where(group == 1, 0.09, 0.03)
    late = np.where(group == 1, 0.01, 0.03)
    time = np.where(target < 10 * early, target / early, 10 + (target - 10 * early) / late)
    censored = rng.uniform(5, 60, n)
    return np.column_stack([other, group]), np.minimum(time, censored), time <= censored


@pytest.mark.fault("F5")
def test_crossing_hazards_are_noted_and_shown_by_period_and_by_own_baseline():
    x, time, event = crossing()
    names, strata = ("score", "stage: II against I"), one(len(x))
    model = fit_cox(x, names, time, event, strata)
    assert "stage: II against I" in violated(model)
    periods = split_by_time(x, names, names[1], time, event, strata, model)
    assert periods.before.low > 1
    assert periods.after.value < periods.before.value
    assert periods.differ.value < 1e-3
    assert periods.before.n == len(x)
    beside = own_baseline(x, names, ("score", "stage"), names[1], time, event, strata)
    assert beside.name == "stage"
    by_hand = fit_cox(x[:, :1], ("score",), time, event, tuple(map(str, x[:, 1])), QUICK)
    assert beside.model.coefficients[0].coef == pytest.approx(by_hand.coefficients[0].coef, rel=1e-9)
    assert own_baseline(x, names, ("score", "stage"), "score", time, event, strata) is None


def test_two_periods_with_one_hazard_ratio_are_the_whole():
    x, time, event = crossing()
    split = float(np.median(time[event]))
    later = time > split
    stacked = np.concatenate([x, x[later]])
    times = np.concatenate([np.minimum(time, split), time[later]])
    events = np.concatenate([event & ~later, event[later]])
    whole = fit_cox(x, ("a", "b"), time, event, one(len(x)), QUICK)
    halves = fit_cox(stacked, ("a", "b"), times, events, ("1",) * len(x) + ("2",) * int(later.sum()), QUICK)
    assert halves.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-12)
    assert halves.coefficients[0].coef == pytest.approx(whole.coefficients[0].coef, rel=1e-8)


@pytest.mark.fault("F5")
def test_events_at_one_time_say_nothing_about_proportionality():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 1))
    event = rng.random(40) < 0.5
    found = fit_cox(x, ("score",), np.full(40, 12.0), event, one(40))
    assert not found.reason
    assert found.proportionality == ()
