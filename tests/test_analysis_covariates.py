"""Covariates as columns, and what the report says of models that they weaken."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.metrics import find
from analysis.page import Paragraph, Table
from analysis.patients.covariates import code_covariates
from analysis.sections.survival import _split_blocks
from analysis.survival.followup import FollowUp, follow_up
from analysis.survival.prognosis import judge_prognosis
from analysis.survival.prognosis_metrics import prognosis_metrics
from analysis.survival.remarks import remarks
from triher.cohort import Cohort, Patient
from triher.errors import StopRun
from triher.pipeline import _check_analysis
from triher.settings import AnalysisConfig, CohortConfig, Config

STAGES = ("II", "I", "II", "III", "", "Unknown", "II", "I")


def patient(name, stage="", time=5.0, event=1, **covariates):
    groups = {"stage": stage}
    return Patient(
        name, "c", "s", "", {}, Path("m"), covariates=covariates, groups=groups, time_months=time, event=event
    )


def test_text_becomes_a_column_for_each_level_against_the_most_frequent():
    patients = [patient(str(i), stage, age=50.0 + i) for i, stage in enumerate(STAGES)]
    coded = code_covariates(("age", "stage"), patients)
    assert coded.names == ("age", "stage: I against II", "stage: III against II")
    assert coded.terms == ("age", "stage", "stage")
    missing = [math.nan, math.nan]
    assert coded.columns[:, 1] == pytest.approx([0, 1, 0, 0, *missing, 0, 1], nan_ok=True)
    assert coded.columns[:, 2] == pytest.approx([0, 0, 0, 1, *missing, 0, 0], nan_ok=True)
    assert coded.notes == ()


@pytest.mark.fault("C23")
@pytest.mark.parametrize(
    ("stages", "said"),
    [(("I", "I", "I"), "one value in all 3 patients"), (("I", "", "unknown"), "missing for 2 of 3 patients")],
)
def test_text_that_says_nothing_is_left_out_with_a_note(stages, said):
    coded = code_covariates(("stage",), [patient(str(i), stage) for i, stage in enumerate(stages)])
    assert (coded.names, coded.columns.shape) == ((), (3, 0))
    assert coded.notes[0].code == "covariate_left_out"
    assert said in coded.notes[0].text


def test_text_covariates_join_the_follow_up():
    patients = tuple(patient(f"p{i}", stage, time=3.0 + i, age=50.0 + i) for i, stage in enumerate(STAGES))
    rows = [
        {"patient_id": p.patient_id, "cohort": "c", "site": "s", "split": "test", "repeat": 0, "fold": 0, "seed": 0}
        | {"y": 0.0, "p_zero": 0.5, "p_low": 0.3, "p_positive": 0.2}
        for p in patients
    ]
    config = AnalysisConfig(covariates=("stage", "age"))
    found = follow_up(pd.DataFrame(rows), Cohort(patients, (), frozenset()), config, "triple")
    assert found.names == ("stage: I against II", "stage: III against II", "age")
    assert found.terms == ("stage", "stage", "age")


def followed(n=120, events=0.6, seed=0, names=("age",), columns=None):
    rng = np.random.default_rng(seed)
    score, time = rng.random(n), rng.exponential(30, n)
    covariates = rng.normal(size=(n, len(names))) if columns is None else columns
    ids = tuple(f"{i:03d}" for i in range(n))
    return FollowUp(ids, score, time, rng.random(n) < events, covariates, names, ("",) * n, (), (), np.zeros(n, bool))


def codes(found):
    return {note.code for note in found.notes}


@pytest.mark.fault("F1")
def test_few_events_are_noted_and_printed():
    data = followed(events=0.15, names=("age", "her2", "therapy"))
    events = int(data.event.sum())
    found = judge_prognosis("test", data)
    (note,) = [note for note in found.notes if "adjusted" in note.text]
    assert note.code == "few_events"
    assert found.adjusted.reason == f"{events} events for 4 coefficients"
    assert f"({events} events for 4 coefficients); analysis.few_events: firth" in note.text
    (alone,) = [note for note in judge_prognosis("test", followed(events=0.08)).notes if "score alone" in note.text]
    assert "events per coefficient; below 10" in alone.text
    forced = judge_prognosis("test", data, few_events="firth")
    assert forced.adjusted.penalty == "firth"
    assert forced.covariates_only.penalty == "firth"
    assert forced.added.method.startswith("penalized likelihood-ratio test")
    assert forced.added.value == forced.adjusted.coefficients[0].p
    assert f"has Firth's penalty, because of {events} events for 4" in " ".join(note.text for note in forced.notes)
    table = next(b for b in _split_blocks(forced) if isinstance(b, Table) and b.name == "cox-test")
    assert f"{events} events, {events / 4:.1f} a coefficient, Firth's penalty" in table.caption


@pytest.mark.fault("F3")
def test_overlapping_covariates_are_noted():
    rng = np.random.default_rng(1)
    a = rng.normal(size=120)
    data = followed(names=("t", "size"), columns=np.column_stack([a, a + 0.1 * rng.normal(size=120)]))
    found = judge_prognosis("test", data)
    (note,) = [note for note in found.notes if note.code == "covariates_collinear"]
    assert "variance inflation above 10 for t, size" in note.text
    inflation = find(prognosis_metrics(found), "test", "variance_inflation_adjusted", "size")
    assert inflation is not None
    assert inflation.value > 10


def test_the_score_may_stand_in_for_what_is_not_adjusted_for():
    found = judge_prognosis("test", followed())
    (note,) = [note for note in found.notes if note.code == "score_stands_in"]
    assert "pathological HER2 or therapy" in note.text
    known = remarks("test", found.alone, found.adjusted, ("her2_status", "neoadjuvant_therapy"))
    assert "score_stands_in" not in {note.code for note in known}
    only = remarks("test", found.alone, found.adjusted, ("trastuzumab",))
    assert [note.text for note in only if note.code == "score_stands_in"] == [
        "test: no covariate of the adjusted model looks like pathological HER2; the score may only stand in for HER2 "
        "or for trastuzumab"
    ]


@pytest.mark.fault("F10")
def test_a_cut_is_searched_only_where_it_is_asked_for():
    data = followed()
    plain = judge_prognosis("test", data)
    assert plain.depth.cut is None
    assert find(prognosis_metrics(plain), "test", "best_cut_p") is None
    found = judge_prognosis("test", data, cutpoint=True)
    assert found.depth.cut is not None
    assert found.depth.cut.corrected.value > found.depth.cut.naive.value
    blocks = _split_blocks(found)
    said = " ".join(block.text for block in blocks if isinstance(block, Paragraph))
    assert "only the corrected p value" in said
    assert {"best-cut-test", "shape-test", "score-test", "cox-test"} <= {
        b.name for b in blocks if isinstance(b, Table)
    }


@pytest.mark.fault("F5")
def test_a_score_without_proportional_hazards_is_shown_by_period():
    rng = np.random.default_rng(4)
    n = 300
    score = rng.random(n)
    time = np.where(rng.random(n) < score, rng.uniform(0, 6, n), rng.uniform(6, 60, n) + 20 * (score - 0.5))
    event = rng.random(n) < 0.8
    ids, nothing = tuple(map(str, range(n))), np.zeros((n, 0))
    data = FollowUp(ids, score, time, event, nothing, (), ("",) * n, (), (), np.zeros(n, bool))
    found = judge_prognosis("test", data)
    assert "hazards_not_proportional" in codes(found)
    (period,) = found.depth.periods
    assert period.before.value > period.after.value
    table = next(b for b in _split_blocks(found) if isinstance(b, Table) and b.name == "periods-test")
    assert len(table.data.rows) == 2
    rows = prognosis_metrics(found)
    assert find(rows, "test", "hazard_ratio_before_split", "score, per SD") == period.before


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_a_covariate_of_a_size_that_cannot_be_squared_is_left_out_with_a_note(scale):
    coded = code_covariates(("age",), [patient(str(i), age=scale * i) for i in range(8)])
    assert coded.names == ()
    assert "of which no square can be computed" in coded.notes[0].text


def test_covariates_of_the_adjusted_model_may_be_numbers_or_groups():
    cohort = CohortConfig(table="t.csv", covariates=("age",), groups=("stage",))
    _check_analysis(Config(cohort=cohort, analysis=AnalysisConfig(covariates=("age", "stage"))))
    with pytest.raises(StopRun, match="names grade, which cohort"):
        _check_analysis(Config(cohort=cohort, analysis=AnalysisConfig(covariates=("age", "grade"))))
