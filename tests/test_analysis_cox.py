"""Cox models against R's survival package, other implementations, and the cases in which they must be refused."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import chi2
from statsmodels.duration.hazard_regression import PHReg
from statsmodels.stats.outliers_influence import variance_inflation_factor

from analysis.survival.baseline import predicted_survival
from analysis.survival.collinearity import variance_inflation
from analysis.survival.cox import Options, fit_cox, likelihood_ratio_p
from analysis.survival.firth import fit_firth
from analysis.survival.partial_likelihood import evaluate, log_likelihood, maximize, risk_sets, score_and_information

LUNG = ("age", "male", "ph.ecog", "wt.loss")
FIRTH = Options(few_events="firth")


def lung(folder, *columns):
    frame = pd.read_csv(folder / "lung.csv").dropna(subset=["time", "event", *LUNG, "ph.karno"])
    return frame[list(columns)].to_numpy(float), frame["time"].to_numpy(float), frame["event"].to_numpy() == 1, frame


def one(n):
    return ("",) * n


def coefs(model):
    return [line.coef for line in model.coefficients]


def errors(model):
    return [line.se for line in model.coefficients]


def made(n=120, k=3, seed=0, n_strata=1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, k)) * [1.0, 30.0, 0.1][:k] + [0.0, 60.0, 2.0][:k]
    time = np.ceil(rng.exponential(np.exp(-0.5 * x[:, 0])) * 20)
    return x, time, rng.random(n) < 0.7, tuple(rng.choice(list("abc")[:n_strata], n))


@pytest.mark.fault("F4")
def test_where_nearly_all_events_are_tied_efron_is_used_and_stated():
    x, time, event, strata = made(n=150)
    time = np.searchsorted(np.quantile(time, [0.25, 0.5, 0.75]), time) + 1.0
    model = fit_cox(x, ("a", "b", "c"), time, event, strata)
    assert len(np.unique(time[event])) == 4
    assert model.coefficients[0].hazard_ratio.method == "Cox, Efron ties, Wald"
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(time=time, event=event)
    efron = PHReg(frame["time"], frame[["a", "b", "c"]], status=frame["event"], ties="efron").fit()
    breslow = PHReg(frame["time"], frame[["a", "b", "c"]], status=frame["event"], ties="breslow").fit()
    assert coefs(model) == pytest.approx(efron.params, rel=1e-6)
    assert abs(coefs(model)[0] / breslow.params[0] - 1) > 0.05


@pytest.mark.golden("cox_lung_efron")
@pytest.mark.fault("F4")
def test_cox_with_efron_ties_equals_r(golden, golden_folder):
    x, time, event, _ = lung(golden_folder, *LUNG)
    model = fit_cox(x, LUNG, time, event, one(len(x)))
    expected = golden("cox_lung_efron")
    assert (model.n, model.events) == (expected["n"], expected["events"])
    assert coefs(model) == pytest.approx(expected["coef"], rel=1e-8)
    assert errors(model) == pytest.approx(expected["se"], rel=1e-8)
    assert [c.p for c in model.coefficients] == pytest.approx(expected["p"], rel=1e-7)
    assert [c.hazard_ratio.low for c in model.coefficients] == pytest.approx(expected["hr_lo"], rel=1e-8)
    assert [c.hazard_ratio.high for c in model.coefficients] == pytest.approx(expected["hr_hi"], rel=1e-8)
    assert [model.log_likelihood_null, model.log_likelihood] == pytest.approx(expected["loglik"], rel=1e-10)
    assert model.concordance.value == pytest.approx(expected["cindex"], rel=1e-9)
    assert model.coefficients[0].hazard_ratio.method == "Cox, Efron ties, Wald"


@pytest.mark.golden("cox_lung_robust")
def test_robust_errors_equal_r(golden, golden_folder):
    x, time, event, _ = lung(golden_folder, *LUNG)
    model = fit_cox(x, LUNG, time, event, one(len(x)), Options(robust=True, diagnose=False))
    assert errors(model) == pytest.approx(golden("cox_lung_robust")["se"], rel=1e-3)
    assert model.coefficients[0].hazard_ratio.method == "Cox, Efron ties, robust, Wald"


@pytest.mark.golden("cox_lung_cluster")
def test_cluster_robust_errors_equal_r(golden, golden_folder):
    x, time, event, frame = lung(golden_folder, *LUNG)
    there = frame["inst"].notna().to_numpy()
    cluster = tuple(frame["inst"][there].astype(int).astype(str))
    options = Options(cluster=cluster, diagnose=False)
    model = fit_cox(x[there], LUNG, time[there], event[there], one(int(there.sum())), options)
    expected = golden("cox_lung_cluster")
    assert model.n == expected["n"]
    assert errors(model) == pytest.approx(expected["se"], rel=5e-3)


@pytest.mark.golden("cox_lung_strata")
def test_stratified_cox_equals_r(golden, golden_folder):
    columns = ("age", "ph.ecog", "wt.loss")
    x, time, event, frame = lung(golden_folder, *columns, "male")
    model = fit_cox(x[:, :3], columns, time, event, tuple(frame["male"].astype(str)))
    expected = golden("cox_lung_strata")
    assert coefs(model) == pytest.approx(expected["coef"], rel=1e-8)
    assert errors(model) == pytest.approx(expected["se"], rel=1e-8)
    assert [model.log_likelihood_null, model.log_likelihood] == pytest.approx(expected["loglik"], rel=1e-10)
    assert model.concordance.value == pytest.approx(expected["cindex"], rel=1e-6)


@pytest.mark.golden("cox_lung_lrt")
def test_likelihood_ratio_test_equals_r(golden, golden_folder):
    x, time, event, _ = lung(golden_folder, *LUNG)
    quick = Options(diagnose=False)
    full = fit_cox(x, LUNG, time, event, one(len(x)), quick)
    without = fit_cox(x[:, [0, 1, 3]], ("age", "male", "wt.loss"), time, event, one(len(x)), quick)
    expected = golden("cox_lung_lrt")
    found = likelihood_ratio_p(without.log_likelihood, full.log_likelihood, 1)
    assert found == pytest.approx((expected["chisq"], expected["p"]), rel=1e-8)


@pytest.mark.golden("cox_lung_predict")
def test_predicted_survival_equals_r(golden, golden_folder):
    x, time, event, _ = lung(golden_folder, *LUNG)
    beta = np.array(coefs(fit_cox(x, LUNG, time, event, one(len(x)), Options(diagnose=False))))
    found = predicted_survival(beta, x, time, event, x[:5], np.array([180.0, 365.0]))
    expected = golden("cox_lung_predict")
    assert found[:, 0] == pytest.approx(expected["s180"], rel=1e-6)
    assert found[:, 1] == pytest.approx(expected["s365"], rel=1e-6)


@pytest.mark.golden("cox_rotterdam", "cox_ridge_rotterdam")
def test_a_large_cohort_equals_r_with_and_without_ridge(golden, golden_folder):
    expected = golden("cox_rotterdam")
    frame = pd.read_csv(golden_folder / "rotterdam_third.csv")
    names = tuple(expected["names"])
    x, time = frame[list(names)].to_numpy(float), frame["rfs_time"].to_numpy(float)
    event = frame["rfs_event"].to_numpy() == 1
    model = fit_cox(x, names, time, event, one(len(x)))
    assert (model.n, model.events) == (expected["n"], expected["events"])
    assert coefs(model) == pytest.approx(expected["coef"], rel=1e-7)
    assert errors(model) == pytest.approx(expected["se"], rel=1e-7)
    assert [model.log_likelihood_null, model.log_likelihood] == pytest.approx(expected["loglik"], rel=1e-10)
    assert model.concordance.value == pytest.approx(expected["cindex"], rel=1e-9)
    ridge = fit_cox(x, names, time, event, one(len(x)), Options(ridge=20.0, diagnose=False))
    assert coefs(ridge) == pytest.approx(golden("cox_ridge_rotterdam")["coef"], rel=5e-3, abs=1e-4)
    assert ridge.proportionality == ()
    assert ridge.coefficients[0].hazard_ratio.method == "Cox, Efron ties, ridge penalty 20, Wald"


@pytest.mark.golden("cox_separation")
@pytest.mark.fault("F2")
def test_separation_is_refused_unless_firth_is_asked_for(golden):
    time, event = np.array([5.0, 6, 7, 8, 1, 2, 3, 4]), np.arange(8) >= 4
    x = event.astype(float)[:, None]
    wide, longer, all_events = np.repeat(x, 5, axis=0), np.repeat(time, 5), np.repeat(event, 5)
    longer = longer + np.tile(np.arange(5) * 0.01, 8)
    assert golden("cox_separation")["should"] == "refuse"
    model = fit_cox(wide, ("marker",), longer, all_events, one(40))
    assert model.code == "monotone_likelihood"
    assert model.reason == "marker separates events from the rest (monotone likelihood)"
    assert "analysis.few_events: firth" in model.remedy
    assert math.isnan(model.coefficients[0].hazard_ratio.value)
    assert fit_cox(x, ("marker",), time, event, one(8)).code == "few_events"
    state = evaluate(risk_sets(time, event, one(8)), x, np.array([40.0]))
    assert log_likelihood(state) == pytest.approx(golden("cox_separation")["loglik_limit"], rel=1e-9)
    forced = fit_cox(wide, ("marker",), longer, all_events, one(40), FIRTH)
    assert (forced.penalty, forced.code) == ("firth", "monotone_likelihood")
    assert np.isfinite(forced.coefficients[0].hazard_ratio.value)


def test_a_coefficient_that_runs_away_is_named_without_warnings_of_numpy():
    rng = np.random.default_rng(0)
    time = np.linspace(1, 100, 60)
    x = np.column_stack([30 + 0.5 * time, rng.normal(size=60)])
    model = fit_cox(x, ("age", "score"), time, np.ones(60, bool), one(60))
    assert model.code == "monotone_likelihood"
    assert model.reason.startswith("age")
    state = evaluate(risk_sets(time, np.ones(60, bool), one(60)), x, np.array([-1000.0, 0.0]))
    assert not np.isfinite(score_and_information(state)[1]).all()


def penalized(beta, x, time, event):
    """Log likelihood plus half the log determinant of the information; without ties Efron's and Breslow's are one."""
    states = evaluate(risk_sets(time, event, one(len(x))), x, np.array([beta]))
    return log_likelihood(states) + 0.5 * math.log(score_and_information(states)[1][0, 0])


@pytest.mark.parametrize("separated", [True, False])
def test_firth_is_where_the_penalized_likelihood_is_highest(separated):
    time, event = np.array([5.0, 6, 7, 8, 1, 2, 3, 4]), np.arange(8) >= 4
    x = (event if separated else np.arange(8) % 3).astype(float)[:, None]
    fit = fit_firth(x, time, event)
    best = minimize_scalar(lambda b: -penalized(b, x, time, event), bounds=(-10, 10), options={"xatol": 1e-9})
    assert fit.coef[0] == pytest.approx(best.x, abs=1e-6)
    threshold = -best.fun - chi2.ppf(0.95, 1) / 2
    for limit, side in ((fit.low[0], -1), (fit.high[0], 1)):
        expected = brentq(lambda b: penalized(b, x, time, event) - threshold, best.x, best.x + side * 15)
        assert limit == pytest.approx(expected, abs=1e-4)
    gained = 2 * (-best.fun - penalized(0.0, x, time, event))
    assert fit.p[0] == pytest.approx(chi2.sf(gained, 1), rel=1e-6)


@pytest.mark.fault("F1")
def test_too_few_events_are_refused_unless_firth_is_asked_for():
    x = np.random.default_rng(0).normal(size=(30, 2))
    time, three = np.arange(1.0, 31), np.arange(30) < 3
    none = fit_cox(x, ("score", "age"), time, np.zeros(30, bool), one(30), FIRTH)
    assert none.code == "few_events"
    assert str(none.coefficients[0].hazard_ratio) == "not estimable (0 events)"
    model = fit_cox(x, ("score", "age"), time, three, one(30))
    assert (model.code, model.reason) == ("few_events", "3 events for 2 coefficients")
    assert str(model.coefficients[0].hazard_ratio) == "not estimable (3 events for 2 coefficients)"
    forced = fit_cox(x, ("score", "age"), time, three, one(30), FIRTH)
    assert (forced.penalty, forced.occasion) == ("firth", "3 events for 2 coefficients")
    assert forced.coefficients[0].hazard_ratio.method.startswith("Cox, Firth's penalty, Breslow ties")
    assert "one baseline hazard" in fit_cox(x, ("score", "age"), time, three, ("a", "b") * 15, FIRTH).remedy
    single = fit_cox(x[:, :1], ("score",), time, np.arange(30) == 4, one(30))
    assert single.reason == "1 event for 1 coefficient"


@pytest.mark.fault("F3")
def test_constant_and_collinear_columns_are_named():
    rng = np.random.default_rng(1)
    time, event = rng.exponential(10, 60), np.ones(60, bool)
    a, b = rng.normal(size=(2, 60))
    constant = fit_cox(np.column_stack([a, a * 0]), ("score", "age"), time, event, one(60))
    assert (constant.code, constant.reason) == ("covariates_collinear", "constant: age")
    assert constant.remedy == "drop age"
    columns = np.column_stack([a, b, rng.normal(size=60), 2 * a - b + 1])
    model = fit_cox(columns, ("score", "age", "er", "mix"), time, event, one(60))
    assert (model.code, model.reason) == ("covariates_collinear", "mix follows from score, age")
    assert model.remedy == "drop mix"


def test_variance_inflation_agrees_with_statsmodels():
    x = made(k=3)[0]
    x[:, 2] += x[:, 1] / 200
    with_constant = np.column_stack([np.ones(len(x)), x])
    expected = [variance_inflation_factor(with_constant, j) for j in (1, 2, 3)]
    assert variance_inflation(x) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n_strata", [1, 3])
def test_our_own_maximum_is_that_of_lifelines(n_strata):
    x, time, event, strata = made(n_strata=n_strata)
    model = fit_cox(x, ("a", "b", "c"), time, event, strata, Options(diagnose=False))
    beta, value = maximize(risk_sets(time, event, strata), x)
    assert beta == pytest.approx(coefs(model), rel=1e-7)
    assert value == pytest.approx(model.log_likelihood, rel=1e-12)


def test_score_and_information_are_the_derivatives():
    x, time, event, strata = made(n_strata=3)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    risk, beta, step = risk_sets(time, event, strata), np.array([0.3, -0.2, 0.1]), 1e-5
    score, whole = score_and_information(evaluate(risk, x, beta))
    for j, e in enumerate(np.eye(3) * step):
        up, down = evaluate(risk, x, beta + e), evaluate(risk, x, beta - e)
        assert (log_likelihood(up) - log_likelihood(down)) / (2 * step) == pytest.approx(score[j], rel=1e-6)
        change = (score_and_information(down)[0] - score_and_information(up)[0]) / (2 * step)
        assert change == pytest.approx(whole[j], rel=1e-6, abs=1e-6)


def test_the_order_and_the_unit_change_nothing():
    x, time, event, strata = made(n_strata=3)
    names, order = ("a", "b", "c"), np.random.default_rng(5).permutation(len(x))
    model = fit_cox(x, names, time, event, strata)
    mixed = fit_cox(x[order] * [1, 10, 1], names, time[order], event[order], tuple(strata[i] for i in order))
    assert np.array(coefs(mixed)) * [1, 10, 1] == pytest.approx(coefs(model), rel=1e-8)
    expected = [test.chisq for test in model.proportionality]
    assert [test.chisq for test in mixed.proportionality] == pytest.approx(expected, rel=1e-8)
    assert mixed.log_likelihood == pytest.approx(model.log_likelihood, rel=1e-12)


def test_survival_falls_with_time_and_risk():
    x, time, event, _ = made()
    horizons = np.array([0.5, 5.0, 10.0, 30.0])
    found = predicted_survival(np.array([1.0, 0.0, 0.0]), x, time, event, x[np.argsort(x[:, 0])], horizons)
    assert found[:, 0] == pytest.approx(1.0)  # before the first event
    assert (np.diff(found, axis=1) <= 0).all()
    assert (np.diff(found, axis=0) <= 0).all()
