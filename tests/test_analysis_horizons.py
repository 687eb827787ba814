"""Uno's C, time-dependent AUC, Brier scores: against R, torchsurv and their definitions, and when there are none."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from analysis.page import Page, drawings, tables
from analysis.part import Material, Part
from analysis.rendering import render
from analysis.sections.horizons import horizons_part
from analysis.survival.censoring import bootstrapped, uncensored
from analysis.survival.concordance import harrell_c
from analysis.survival.cox import fit_cox
from analysis.survival.followup import FollowUp
from analysis.survival.horizons import latest_horizon, time_dependent_auc, uno_c, usable_horizons
from analysis.survival.prediction_error import brier_scores, cross_fitted, prediction_error
from extract.torchvision_cure import import_torchvision
from triher.cohort import Cohort
from triher.settings import AnalysisConfig, CohortConfig, Config

LUNG = ("age", "male", "ph.ecog", "wt.loss")
HORIZONS = (12.0, 24.0, 36.0)


def study(seed, n=160, *, strength=1.0, competing=False):
    """Score, time, event and competing event; higher is riskier."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=n)
    own, censoring = rng.exponential(40 / np.exp(strength * score)), rng.uniform(5, 90, n)
    other = rng.exponential(120, n) if competing else np.full(n, np.inf)
    first = np.minimum(own, other)
    event, ruled_out = (own <= other) & (own <= censoring), (other < own) & (other <= censoring)
    return score, np.minimum(first, censoring), event, ruled_out


def ranked(score, time, event, *, tau=np.inf, resamples=100):
    return uno_c(score, time, event, ("",) * len(score), tau=tau, resamples=resamples, seed=0)


@pytest.mark.golden("cindex_lung")
def test_uno_equals_r(golden, golden_folder):
    frame = pd.read_csv(golden_folder / "lung.csv").dropna(subset=["time", "event", *LUNG, "ph.karno"])
    time, event = frame["time"].to_numpy(float), frame["event"].to_numpy() == 1
    model = fit_cox(frame[list(LUNG)].to_numpy(float), LUNG, time, event, ("",) * len(frame))
    expected = golden("cindex_lung")
    assert ranked(model.linear_predictor, time, event).value == pytest.approx(expected["uno"], rel=1e-6)
    found = ranked(model.linear_predictor, time, event, tau=600.0)
    assert found.value == pytest.approx(expected["uno_600"], rel=1e-6)
    assert found.method.startswith("Uno's C up to 600 months, 100 bootstrap resamples of the patients")


@pytest.mark.slow  # torch and torchmetrics are imported
def test_values_agree_with_torchsurv():
    import_torchvision()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchsurv compiles with what torch no longer advises
        import torch
        from torchsurv.metrics.auc import Auc
        from torchsurv.metrics.brier_score import BrierScore
        from torchsurv.metrics.cindex import ConcordanceIndex
        from torchsurv.stats.ipcw import get_ipcw

        score, time, event, _ = study(5)
        predicted = np.sort(np.random.default_rng(0).random((160, 3)), axis=1)[:, ::-1].copy()
        months = torch.tensor(HORIZONS, dtype=torch.float64)
        x, t, e, p = (torch.tensor(array) for array in (score, time, event, predicted))
        weight, at_months = get_ipcw(e, t).double(), get_ipcw(e, t, months).double()
        area = Auc()(x, e, t, weight=weight, new_time=months, weight_new_time=at_months)
        brier = BrierScore()(p, e, t, months, weight=weight, weight_new_time=at_months)
        concordance = ConcordanceIndex()(x, e, t, weight=weight)
    found = time_dependent_auc(score, time, event, HORIZONS, resamples=100, seed=0)
    assert [estimate.value for estimate in found] == pytest.approx(area.numpy(), abs=5e-5)
    once = np.ones((1, 160), np.int64)
    assert brier_scores(predicted, time, event, np.array(HORIZONS), once)[0] == pytest.approx(
        brier.numpy(), abs=2.5e-4
    )
    assert ranked(score, time, event).value == pytest.approx(float(concordance), abs=4e-5)


def test_definitions_with_ties_written_out():
    """Patients at 1 (event), 2 (censored), 2 (event), 3 (event), 4 and 5 (censored); G is 1, then 3/4, 3/8, 0."""
    time, event = np.array([1.0, 2, 2, 3, 4, 5]), np.array([True, False, True, True, False, False])
    score = np.array([3.0, 1, 2, 2, 2, 0])
    g = uncensored(time, event, np.ones((1, 6), np.int64))
    assert g.before(time)[0].tolist() == [1, 1, 1, 0.75, 0.75, 0.375]
    assert g.at(np.array([0.5, 2, 4.5]))[0].tolist() == [1, 0.75, 0.375]
    # At 3.5: cases 3 (weight 1), 2 (1), 2 (4/3); controls 2 and 0: 2 + (1 + 4/3) * 1.5 of 2 * (2 + 4/3).
    [found] = time_dependent_auc(score, time, event, (3.5,), resamples=100, seed=0)
    assert found.value == pytest.approx((2 + 7 / 3 * 1.5) / (2 * 10 / 3))
    assert found.reason == "only 3 events up to 3.5 months"
    predicted = np.full((6, 1), 0.6)
    loss = brier_scores(predicted, time, event, np.array([3.5]), np.ones((1, 6), np.int64))
    assert loss[0, 0] == pytest.approx((0.36 * (1 + 1 + 4 / 3) + 0.16 * 2 * 4 / 3) / 6)


def test_resamples_are_cohorts_of_their_own():
    """What a resample gives is what its patients, copied out, give: weights included."""
    _, time, event, _ = study(2, 60)
    drawn = np.bincount(np.random.default_rng(0).integers(0, 60, 60), minlength=60)[None, :]
    copies = np.repeat(np.arange(60), drawn[0])
    once = np.ones((1, 60), np.int64)
    predicted, months = np.random.default_rng(1).random((60, 2)), np.array([10.0, 30.0])
    found = brier_scores(predicted, time, event, months, drawn)
    assert found == pytest.approx(brier_scores(predicted[copies], time[copies], event[copies], months, once))
    g = uncensored(time, event, drawn).before(time)[0][copies]
    assert g == pytest.approx(uncensored(time[copies], event[copies], once).before(time[copies])[0])


def test_predictions_do_not_know_their_patient():
    score, time, event, _ = study(4, 60)
    months = np.array([10.0, 30.0])
    before = cross_fitted(score, time, event, months, seed=0)
    last = int(np.flatnonzero(event)[-1])
    longer = time.copy()
    longer[last] += 100
    after = cross_fitted(score, longer, event, months, seed=0)
    assert after.model[last] == pytest.approx(before.model[last], rel=1e-9)
    assert after.null[last] == pytest.approx(before.null[last], rel=1e-12)
    assert (after.model != before.model).any(axis=1).sum() == 48


def test_a_score_that_says_nothing_takes_no_error_away():
    _, time, event, _ = study(6, 200)
    score = np.random.default_rng(9).normal(size=200)
    found = prediction_error(score, time, event, (24.0,), limit=40.0, resamples=200, seed=0)
    assert found.scaled[0].low < 0 < found.scaled[0].high + 0.02
    assert found.scaled[0].value == pytest.approx(1 - found.model[0].value / found.null[0].value)
    better = prediction_error(*study(6, 200)[:3], (24.0,), limit=40.0, resamples=200, seed=0)
    assert better.integrated.value < better.integrated_null.value
    assert better.scaled[0].low > 0
    area = np.trapezoid(better.curve_model, better.curve_months) / 40
    assert better.integrated.value == pytest.approx(area, rel=1e-12)


@pytest.mark.fault("F7")
def test_horizons_beyond_the_follow_up_are_dropped():
    time, event = np.arange(1.0, 101), np.ones(100, bool)
    assert latest_horizon(time, event) == 90  # 90 % of the events
    assert latest_horizon(time, np.arange(100) < 50) == 45
    assert latest_horizon(np.arange(1.0, 31), np.arange(30) == 29) == 21  # 10 patients at 21 or later
    assert latest_horizon(time, ~event) == 0
    assert latest_horizon(time[:9], event[:9]) == 0
    found = usable_horizons((120, 60, 36.0, 60), time, event)
    assert (found.months, found.beyond, found.limit) == ((36.0, 60.0), (120.0,), 90.0)


@pytest.mark.fault("F8")
def test_weights_come_from_the_patients_who_are_judged():
    """Nothing else is asked for: a cohort that is followed longer than the training one has weights of its own."""
    score, time, event, _ = study(7)
    longer = time * 10
    for patients in (time, longer):
        found = ranked(score, patients, event, tau=latest_horizon(patients, event))
        assert 0.5 < found.low < found.value < found.high
    assert found.value == ranked(score, time, event, tau=latest_horizon(time, event)).value
    assert f"up to {latest_horizon(longer, event):.4g} months" in found.method


def test_what_the_patients_do_not_allow_is_said():
    score, time, event, _ = study(1, 40)
    assert ranked(score, time, event & False).reason == "0 events, none before inf months"
    assert ranked(score, time, event, tau=0.001).reason.endswith("none before 0.001 months")
    few = event & (np.cumsum(event) <= 4)
    found = ranked(score, time, few)
    assert np.isfinite(found.value)
    assert found.reason == "only 4 events"
    error = prediction_error(score, time, few, (5.0,), limit=8.0, resamples=100, seed=0)
    assert error.integrated.reason.startswith("no Cox model of four fifths: ")
    assert error.curve_months == ()
    [rare] = bootstrapped(
        lambda drawn: np.where(drawn[:, :1] > 0, 1.0, np.nan), 9, ("m",), ("",), resamples=100, seed=0
    )
    assert "of 100 resamples have no value" in rare.reason
    assert time_dependent_auc(score, time, event, (), resamples=100, seed=0) == ()


def fading(rng, n):
    """A score that matters up to the fifth month only, so that early pairs are easier; censored early."""
    score = rng.normal(size=n)
    early = rng.exponential(8 / np.exp(1.5 * score))
    own = np.where(early < 5, early, 5 + rng.exponential(8, n))
    censoring = rng.exponential(7, n)
    return score, own, np.minimum(own, censoring), own <= censoring


def test_uno_and_auc_hold_under_censoring_where_harrell_drifts():
    """60 studies of 400 patients, half of them censored, against 20,000 without censoring; up to 15 months."""
    rng = np.random.default_rng(11)
    score, own, _, _ = fading(rng, 20_000)
    everybody, tau = ("",) * 20_000, 15.0
    true_c = harrell_c(score, np.minimum(own, tau), own < tau, everybody).value
    true_auc = time_dependent_auc(score, own, own > 0, (10.0,), resamples=1, seed=0)[0].value
    uno, harrell, auc = [], [], []
    for _ in range(60):
        score, _, time, event = fading(rng, 400)
        uno.append(ranked(score, time, event, tau=tau, resamples=1).value)
        harrell.append(harrell_c(score, np.minimum(time, tau), event & (time < tau), ("",) * 400).value)
        auc.append(time_dependent_auc(score, time, event, (10.0,), resamples=1, seed=0)[0].value)
    error, area_error = (np.std(found, ddof=1) / np.sqrt(60) for found in (uno, auc))
    assert abs(np.mean(uno) - true_c) < 3 * error < 0.015
    assert np.mean(harrell) - true_c > 0.02
    assert abs(np.mean(auc) - true_auc) < 3 * area_error < 0.025


@pytest.mark.slow
def test_intervals_of_both_indices_cover():
    """400 studies of 100 patients; log time is the score plus noise as large, so C is 3/4 (Kendall's tau is 1/2)."""
    rng, held_harrell, held_uno = np.random.default_rng(3), 0, 0
    truth = 0.5 + np.arcsin(np.sqrt(0.5)) / np.pi  # Kendall's tau of normal variables, Kendall & Gibbons 1990
    for _ in range(400):
        score = rng.normal(size=100)
        own = np.exp(-score + rng.normal(size=100))
        found = harrell_c(score, own, own > 0, ("",) * 100)
        held_harrell += found.low <= truth <= found.high
        found = ranked(score, own, own > 0, resamples=200)
        held_uno += found.low <= truth <= found.high
    assert 0.93 <= held_harrell / 400 <= 0.97
    assert 0.93 <= held_uno / 400 <= 0.97


def material(seed, n=90, *, competing=False, follow_ups=None, months=(12, 24, 500)):
    score, time, event, ruled_out = study(seed, n, competing=competing)
    probability = norm.cdf(score)
    data = FollowUp(
        tuple(f"P{i:03d}" for i in range(n)),
        probability,
        time,
        event,
        np.zeros((n, 0)),
        (),
        tuple("AB"[i % 2] for i in range(n)),
        (),
        (),
        ruled_out,
    )
    analysis = AnalysisConfig(resamples=100, horizons_months=months)
    config = Config(cohort=CohortConfig(table=Path("cohort.csv")), analysis=analysis)
    followed = {"test": data} if follow_ups is None else follow_ups(data)
    return Material(pd.DataFrame(), None, (), followed, Cohort((), (), frozenset()), config, {})


def page_of(part):
    return Page("title", "lead", [], [], [part.section], "no", "footer")


@pytest.mark.fault("F7")
def test_the_part_says_every_number_with_its_interval_and_writes_it():
    part = horizons_part(material(0))
    page = page_of(part)
    assert [note.code for note in part.notes] == ["horizon_beyond"]
    assert "500 months is beyond the follow-up of split 'test', which can be judged up to" in part.notes[0].text
    quantities = {metric.quantity for metric in part.metrics if metric.split == "test"}
    assert {"harrell_c", "uno_c", "auc_at_24_months", "brier_scaled_at_12_months", "brier_integrated"} <= quantities
    assert {"rmst_difference_at_24_months_p", "median_follow_up_months", "log_rank_stratified_p"} <= quantities
    assert not any("incidence" in quantity for quantity in quantities)
    assert {drawing.name for drawing in drawings(page)} == {
        "survival-auc-test",
        "survival-error-test",
    }
    files = tables(page)
    assert set(files) == {f"survival-{name}-test" for name in ("measures", "halves", "tests")}
    assert files["survival-measures-test"].rows[0][0] == "harrell_c"
    text = render(page)
    assert "Dropped as beyond the follow-up: 500 months." in text
    assert "competing event" not in text
    places = [(m.split, m.quantity, m.class_name) for m in part.metrics]
    assert len(places) == len(set(places))


def test_competing_events_have_incidences_and_models_of_their_own():
    part = horizons_part(material(1, competing=True))
    page = page_of(part)
    assert "survival-incidence-test" in {drawing.name for drawing in drawings(page)}
    assert {"survival-incidence-test", "survival-causes-test"} <= set(tables(page))
    found = {(m.quantity, m.class_name): m.estimate for m in part.metrics if m.split == "test"}
    assert 0 < found["incidence_at_24_months", "all"].low < found["incidence_at_24_months", "all"].high < 1
    assert found["cause_specific_hazard_ratio_event", ""].value > 1
    assert "1 - Kaplan-Meier overestimates" in render(page)


def test_a_part_without_follow_up_says_nothing_and_short_ones_do_not_fail():
    assert horizons_part(material(0, follow_ups=lambda _: {})) == Part()
    none = horizons_part(material(0, follow_ups=lambda d: {"test": replace(d, event=d.event & False)}))
    uno = next(m.estimate for m in none.metrics if m.quantity == "uno_c")
    assert uno.reason.startswith("0 events in 90 patients")
    assert "is too short, or has too few events, to be judged" in render(page_of(none))
    assert drawings(page_of(none)) == []
    same = horizons_part(material(0, follow_ups=lambda d: {"test": replace(d, score=np.full(90, 0.5))}))
    page = render(page_of(same))
    assert "there is one group" in page
    assert "constant: score" in page
    one = material(3, 1, competing=True)
    assert horizons_part(one).metrics


def test_order_of_the_patients_changes_nothing():
    score, time, event, _ = study(12, 80)
    mixed = np.random.default_rng(2).permutation(80)
    for measure in (
        lambda s, t, e: uno_c(s, t, e, ("",) * 80, tau=40.0, resamples=100, seed=0).value,
        lambda s, t, e: time_dependent_auc(s, t, e, (20.0,), resamples=100, seed=0)[0].value,
    ):
        assert measure(score[mixed], time[mixed], event[mixed]) == pytest.approx(
            measure(score, time, event), rel=1e-12
        )
