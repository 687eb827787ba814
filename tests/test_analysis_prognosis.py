"""Prognosis against R's survival package, and the cases in which a model must be refused."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifelines.utils import concordance_index

from analysis.survival.concordance import harrell_c, paired_difference
from analysis.survival.cox import fit_cox
from analysis.survival.followup import FollowUp, counts_by_reason, follow_up, has_follow_up
from analysis.survival.prognosis import judge_prognosis
from triher.cohort import Cohort, Patient
from triher.errors import StopRun
from triher.settings import AnalysisConfig

LUNG = ("age", "male", "ph.ecog", "wt.loss")
STAGES = ("score_sd", "age", "er", "factor(stage)2", "factor(stage)3")


def lung(folder, *columns):
    frame = pd.read_csv(folder / "lung.csv").dropna(subset=["time", "event", *LUNG, "ph.karno"])
    x = frame[list(columns)].to_numpy(float)
    return x, frame["time"].to_numpy(float), frame["event"].to_numpy() == 1, frame["male"].astype(str)


def study(folder):
    frame = pd.read_csv(folder / "prognosis.csv")
    frame["score_sd"] = frame["score"] / frame["score"].std()
    for stage in (2, 3):
        frame[f"factor(stage){stage}"] = (frame["stage"] == stage).astype(float)
    return frame, frame["time"].to_numpy(float), frame["event"].to_numpy() == 1


def one_stratum(n):
    return ("",) * n


@pytest.mark.golden("prognosis_adjusted", "prognosis_zph", "prognosis_stratified_cohort", "vif")
def test_adjusted_model_and_its_assumption_equal_r(golden, golden_folder):
    frame, time, event = study(golden_folder)
    x = frame[list(STAGES)].to_numpy(float)
    model = fit_cox(x, STAGES, time, event, one_stratum(len(x)))
    expected = golden("prognosis_adjusted")
    assert [c.coef for c in model.coefficients] == pytest.approx(expected["coef"], rel=1e-5)
    assert [c.se for c in model.coefficients] == pytest.approx(expected["se"], rel=1e-5)
    assert model.concordance.value == pytest.approx(expected["cindex"], rel=1e-6)
    assert [t.p for t in model.proportionality] == pytest.approx(golden("prognosis_zph")["p"], rel=1e-4)
    assert model.inflation == pytest.approx(golden("vif")["vif"], rel=1e-8)
    by_cohort = fit_cox(x, STAGES, time, event, tuple(frame["cohort"]))
    expected = golden("prognosis_stratified_cohort")
    assert [c.coef for c in by_cohort.coefficients] == pytest.approx(expected["coef"], rel=1e-5)
    assert [c.se for c in by_cohort.coefficients] == pytest.approx(expected["se"], rel=1e-5)


@pytest.mark.golden("prognosis_univariable", "prognosis_lrt")
def test_whole_prognosis_equals_r(golden, golden_folder):
    frame, time, event = study(golden_folder)
    covariates = frame[list(STAGES[1:])].to_numpy(float)
    strata = one_stratum(len(frame))
    ids = tuple(frame["patient"])
    data = FollowUp(
        ids,
        frame["score"].to_numpy(float),
        time,
        event,
        covariates,
        STAGES[1:],
        strata,
        (),
        (),
        np.zeros(len(time), bool),
    )
    found = judge_prognosis("test", data)
    expected = golden("prognosis_univariable")
    line = found.alone.coefficients[0]
    assert line.hazard_ratio.value == pytest.approx(expected["hr"], rel=1e-5)
    assert line.hazard_ratio.low == pytest.approx(expected["hr_lo"], rel=1e-5)
    assert line.p == pytest.approx(expected["p"], rel=1e-5)
    assert found.concordance.value == pytest.approx(expected["cindex"], rel=1e-6)
    expected = golden("prognosis_lrt")
    assert (found.added_chisq, found.added.value) == pytest.approx((expected["chisq"], expected["p"]), rel=1e-5)
    assert found.concordance_gain.value == pytest.approx(expected["c_full"] - expected["c_clinical"], abs=1e-9)
    assert found.adjusted is not None
    assert found.adjusted.events_per_coefficient == pytest.approx(expected["epv"])
    assert len(found.groups) == 3
    assert sum(group.n for group in found.groups) == 300


@pytest.mark.golden("prognosis_median_split")
def test_log_rank_of_halves_equals_r(monkeypatch, golden, golden_folder):
    frame, time, event = study(golden_folder)
    monkeypatch.setattr("analysis.survival.prognosis._PER_GROUP", 1000)
    score, nothing = frame["score"].to_numpy(float), np.zeros((300, 0))
    data = FollowUp(
        tuple(frame["patient"]), score, time, event, nothing, (), one_stratum(300), (), (), np.zeros(300, bool)
    )
    found = judge_prognosis("test", data)
    assert found.log_rank.value == pytest.approx(golden("prognosis_median_split")["p"], rel=1e-6)
    assert found.adjusted is None


@pytest.mark.golden("cindex_lung", "cindex_compare_lung")
def test_concordance_and_difference_equal_r(golden, golden_folder):
    x, time, event, _ = lung(golden_folder, *LUNG)
    full = fit_cox(x, LUNG, time, event, one_stratum(len(x)))
    less = fit_cox(x[:, [0, 1, 3]], ("age", "male", "wt.loss"), time, event, one_stratum(len(x)))
    expected = golden("cindex_lung")
    error = (full.concordance.high - full.concordance.low) / 2 / 1.959963984540054
    assert full.concordance.value == pytest.approx(expected["harrell"], rel=1e-9)
    assert error == pytest.approx(expected["se"], rel=1e-6)
    found = paired_difference(full.linear_predictor, less.linear_predictor, time, event, one_stratum(len(x)))
    expected = golden("cindex_compare_lung")
    assert found.value == pytest.approx(expected["diff"], rel=1e-6)
    assert (found.high - found.low) / 2 / 1.959963984540054 == pytest.approx(expected["se"], rel=1e-5)


def test_concordance_agrees_with_lifelines():
    rng = np.random.default_rng(4)
    score, time = rng.integers(0, 5, 60).astype(float), rng.integers(1, 20, 60).astype(float)
    event = rng.random(60) < 0.6
    expected = concordance_index(time, -score, event)
    assert harrell_c(score, time, event, one_stratum(60)).value == pytest.approx(expected, abs=1e-12)


def patient(name, time, event, **covariates):
    return Patient(name, "c", "s", "", {}, Path("m"), covariates=covariates, time_months=time, event=event)


def predictions(names, split="test"):
    rows = [
        {"patient_id": n, "cohort": "c", "site": "s", "split": split, "repeat": r, "fold": 0, "seed": 0, "y": 0.0}
        | {"p_zero": 0.5, "p_low": 0.3 - 0.1 * r, "p_positive": 0.2 + 0.1 * r}
        for n in names
        for r in (0, 1)
    ]
    return pd.DataFrame(rows)


def table(*patients):
    return Cohort(patients, (), frozenset())


@pytest.mark.fault("C20")
def test_unusable_follow_up_is_left_out_by_reason():
    cohort = table(
        patient("a", 10.0, 1, age=50.0),
        patient("b", math.nan, 1, age=50.0),
        patient("c", 5.0, -1, age=50.0),
        patient("d", -2.0, 0, age=50.0),
        patient("e", 0.0, 1, age=61.0),
        patient("g", 1e6, 0, age=61.0),
    )
    config = AnalysisConfig(covariates=("age",))
    found = follow_up(predictions("abcdefg"), cohort, config, "triple")
    assert found.patient_id == ("a", "e")
    assert found.score.tolist() == pytest.approx([0.25, 0.25])
    assert found.time_months[1] == pytest.approx(0.5 * 12 / 365.25)
    assert [(note.patient_id, note.code) for note in found.notes] == [("e", "time_zero")]
    assert dict(counts_by_reason(found.left_out)) == {
        "no survival time": 1,
        "no event status": 1,
        "negative survival time": 1,
        "survival time of more than a hundred years": 1,
        "not in the cohort table": 1,
    }
    codes = {row.patient_id: row.code for row in found.left_out}
    missing = dict.fromkeys("bcf", "time_missing")
    assert codes == {**missing, "d": "time_negative", "g": "time_implausible"}
    assert len(found.patient_id) + len(found.left_out) == 7
    assert has_follow_up(cohort)
    assert not has_follow_up(table(patient("a", math.nan, -1)))


@pytest.mark.fault("C23")
@pytest.mark.parametrize(
    ("ages", "said"),
    [
        ([50.0, 50.0, 50.0, math.nan], "has one value in all 3 patients who have it"),
        ([50.0, math.nan, math.nan, math.nan], "is missing for 3 of 4 patients"),
    ],
)
def test_a_covariate_that_says_nothing_is_left_out_with_a_note(ages, said):
    patients = [
        patient(name, 5.0 + k, k % 2, age=age, size=float(k))
        for k, (name, age) in enumerate(zip("abcd", ages, strict=True))
    ]
    found = follow_up(predictions("abcd"), table(*patients), AnalysisConfig(covariates=("age", "size")), "triple")
    assert found.names == ("size",)
    assert found.covariates.shape == (4, 1)
    (note,) = found.notes
    assert note.code == "covariate_left_out"
    assert f"covariate 'age' {said}" in note.text


@pytest.mark.fault("F9")
def test_scores_from_training_stop_the_run():
    with pytest.raises(StopRun, match="2 rows with split 'train'") as caught:
        follow_up(predictions("a", "train"), table(patient("a", 1.0, 1)), AnalysisConfig(), "triple")
    assert caught.value.code == "score_in_sample"


@pytest.mark.parametrize(
    ("config", "hint"),
    [(AnalysisConfig(score="positiv"), "did you mean 'positive'"), (AnalysisConfig(covariates=("agee",)), "'age'")],
)
def test_unknown_names_are_suggested(config, hint):
    with pytest.raises(StopRun, match=hint) as caught:
        follow_up(predictions("a"), table(patient("a", 1.0, 1, age=5.0)), config, "triple")
    assert caught.value.code == "unknown_name"


def test_one_patient_and_equal_scores_do_not_fail():
    data = FollowUp(
        ("a",),
        np.array([0.3]),
        np.array([4.0]),
        np.array([True]),
        np.zeros((1, 0)),
        (),
        ("",),
        (),
        (),
        np.zeros(1, bool),
    )
    found = judge_prognosis("test", data)
    assert found.alone.reason == "constant: score, per SD"
    assert found.log_rank.reason == "all scores are equal"
    assert "not estimable" in str(found.concordance)


def test_a_competing_event_is_no_loss_of_follow_up():
    times = {"a": 2.0, "b": 3.0, "c": 10.0, "d": 20.0, "e": 30.0}
    patients = [patient(name, t, 2 if t < 5 else 0) for name, t in times.items()]
    data = follow_up(predictions("abcde"), table(*patients), AnalysisConfig(), "triple")
    found = judge_prognosis("test", data)
    assert found.median_follow_up_months == 20, "counted as lost, those with an event would make it 10"


def test_scores_of_new_patients_are_out_of_sample():
    data = follow_up(predictions("a", "new"), table(patient("a", 1.0, 1)), AnalysisConfig(), "triple")
    assert data.patient_id == ("a",)
