"""The parts that compare models and cohorts, correct p values and judge thresholds: rows, words and refusals."""

import math

import numpy as np
import pandas as pd
import pytest

from analysis.discrimination.beside import pair_up
from analysis.discrimination.questions import primary_questions, questions
from analysis.figures.discrimination import brief
from analysis.inference.multiplicity import correct
from analysis.metrics import Metric, find
from analysis.page import Gallery, Paragraph, Table
from analysis.part import Material, Part
from analysis.patients.samples import split_samples
from analysis.sections.comparisons import judge_comparisons
from analysis.sections.multiplicity import judge_multiplicity
from analysis.sections.operating import judge_thresholds
from triher.cohort import Cohort
from triher.errors import StopRun
from triher.estimate import Estimate
from triher.labels import scheme_classes
from triher.predictions import probability_columns, write_predictions
from triher.settings import AnalysisConfig, ClassifyConfig, CohortConfig, Config, SplitConfig

RECORD = {
    "stages": {
        "classify": {
            "thresholds": [
                {"task": "zero vs low+positive", "threshold": 0.7, "sensitivity": 0.9, "specificity": 0.8, "n": 60},
                {"task": "low vs positive", "threshold": 0.4, "sensitivity": 0.9, "specificity": 0.8, "n": 40},
            ]
        }
    }
}


def table(n=90, *, scheme="triple", strength=1.5, seed=0, split="test", cohorts=("x",), model=None, prefix="P"):
    rng = np.random.default_rng(seed)
    names = scheme_classes(scheme)
    y = np.arange(n) % len(names)
    logits = strength * np.eye(len(names))[y] + rng.normal(size=(n, len(names)))
    frame = pd.DataFrame({"patient_id": [f"{prefix}{i:03d}" for i in range(n)]})
    cohort = [cohorts[i * len(cohorts) // n] for i in range(n)]
    frame = frame.assign(cohort=cohort, site=cohort, split=split, repeat=0, fold=0, seed=0, y=y.astype(float))
    frame[probability_columns(scheme)] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return frame if model is None else frame.assign(model=model)


def material(frame, *, companions=None, scheme="triple", record=None, kind="cohorts", **analysis):
    config = Config(
        cohort=CohortConfig(table="t.csv"),
        scheme=scheme,
        classify=ClassifyConfig(split=SplitConfig(kind=kind)),
        analysis=AnalysisConfig(resamples=100, **analysis),
    )
    cohort = Cohort((), (), frozenset())
    return Material(frame, companions, split_samples(frame, scheme), {}, cohort, config, record or {})


def texts(part):
    return [block.text for block in part.section.blocks if isinstance(block, Paragraph)]


def tables(part):
    return [block for block in part.section.blocks if isinstance(block, Table)]


def figures(part):
    return [drawing for b in part.section.blocks if isinstance(b, Gallery) for drawing in b.drawings]


def test_nothing_to_compare_is_an_empty_part():
    assert judge_comparisons(material(table())) == Part()
    assert judge_thresholds(material(table())) == Part()


def test_companions_and_runs_are_compared_with_the_model(tmp_path):
    path = tmp_path / "other.csv"
    write_predictions(path, table(strength=0.3, seed=2).iloc[6:], "triple")
    companions = pd.concat(
        [table(strength=0.3, seed=1, model="volume"), table(seed=4, model="label noise 10%, draw 1")]
    )
    part = judge_comparisons(material(table(strength=2), companions=companions, compare={"old run": path}))
    assert {metric.class_name for metric in part.metrics} == {"volume", "old run"}
    assert find(part.metrics, "test", "companion_auc_macro", "volume") is None  # told beside the model already
    ahead = find(part.metrics, "test", "auc_macro_ahead", "old run")
    assert ahead.n == 84
    assert 0 < ahead.low < ahead.value < ahead.high
    difference = find(part.metrics, "test", "auc_zero_vs_rest_ahead", "volume")
    p = find(part.metrics, "test", "auc_zero_vs_rest_ahead_p", "volume")
    assert 0 < difference.low < difference.value
    assert 0 < p.value < 0.05
    assert find(part.metrics, "test", "mcnemar_p", "volume").value < 0.05
    [shown] = tables(part)
    assert [row[0] for row in shown.rows] == ["Lesion volume", "Old run"]
    assert shown.rows[0][2] == brief(difference)
    values = {(row[1], row[2]): row[3] for row in shown.data.rows}
    assert values["volume", "auc_zero_vs_rest_ahead"] == difference.value
    assert values["volume", "auc_macro_ahead"] > 0
    assert [drawing.name for drawing in figures(part)] == ["comparisons-test"]
    told = " ".join(texts(part))
    assert "likelihood ratio" in told
    assert "out-of-fold predictions, which several models gave, they describe" in told


@pytest.mark.fault("E24")
def test_another_truth_stops_the_run(tmp_path):
    path = tmp_path / "other.csv"
    other = table()
    other.loc[[3, 5], "y"] = [1, 1]
    write_predictions(path, other, "triple")
    with pytest.raises(StopRun, match=r"'old' gives 2 patients of 90 another class than this run does: P003, P005"):
        judge_comparisons(material(table(), compare={"old": path}))
    with pytest.raises(StopRun) as caught:
        pair_up("x", split_samples(table(), "triple")[0], other, "triple")
    assert caught.value.code == "truth_differs"


def test_a_run_may_not_be_called_as_a_companion(tmp_path):
    path = tmp_path / "other.csv"
    write_predictions(path, table(), "triple")
    with pytest.raises(StopRun, match=r"analysis\.compare calls a run 'volume'"):
        judge_comparisons(material(table(), companions=table(model="volume"), compare={"volume": path}))


def test_a_run_of_other_splits_only_is_not_left_out_without_a_word(tmp_path):
    path = tmp_path / "other.csv"
    write_predictions(path, table(split="oof"), "triple")
    with pytest.raises(StopRun, match="'old' predicts the split oof, this run test"):
        judge_comparisons(material(table(), compare={"old": path}))


def test_cohorts_of_a_split_are_compared_unpaired():
    frame = pd.concat(
        [table(60, strength=2, cohorts=("x",)), table(60, strength=0.2, cohorts=("y",), prefix="Q", seed=1)]
    )
    part = judge_comparisons(material(frame))
    difference = find(part.metrics, "test", "auc_zero_vs_rest_between_cohorts", "x minus y")
    assert difference.value > 0.2
    assert difference.n == 120
    assert find(part.metrics, "test", "auc_zero_vs_rest_between_cohorts_p", "x minus y").value < 0.01
    [shown] = tables(part)
    assert shown.rows[0][0] == "x minus y: Zero against low or positive"
    assert [drawing.name for drawing in figures(part)] == ["comparisons-cohorts-test"]


def test_schemes_without_nested_questions_compare_the_positive_class():
    companions = table(60, scheme="binary", strength=0.2, seed=1, model="volume")
    part = judge_comparisons(material(table(60, scheme="binary"), companions=companions, scheme="binary"))
    assert {m.quantity for m in part.metrics} == {"auc_ahead", "auc_ahead_p", "mcnemar_p"}
    assert [question.quantity for question in questions("ultralow")] == ["auc"]


@pytest.mark.fault("E2")
def test_a_split_without_a_class_says_so_everywhere():
    frame = table()
    frame = frame[frame["y"] != 2]
    part = judge_comparisons(material(frame, companions=table(seed=1, model="volume")))
    assert find(part.metrics, "test", "auc_low_vs_positive_ahead_p", "volume").reason == "0 HER2-positive"
    assert math.isfinite(find(part.metrics, "test", "auc_zero_vs_rest_ahead_p", "volume").value)
    unlabeled = frame.assign(y=np.nan)
    part = judge_comparisons(material(unlabeled, companions=unlabeled.assign(model="volume")))
    assert not figures(part)


# Primary hypotheses and all p values


def test_primary_hypotheses_are_those_of_the_scheme():
    def names(scheme, **analysis):
        return [q.quantity for q in primary_questions(material(table(), scheme=scheme, **analysis).config)]

    assert names("triple") == ["auc_zero_vs_rest", "auc_low_vs_positive"]
    assert names("triple", primary=("auc",)) == ["auc"]
    assert names("triple", primary=()) == []
    assert names("triple", primary=("auc", "auc")) == ["auc"]
    with pytest.raises(StopRun, match=r"unknown quantity in analysis\.primary 'auc_zero_vs_all'; did you mean"):
        names("triple", primary=("auc_zero_vs_all",))


def test_the_binary_scheme_tests_the_positive_class():
    frame = table(60, scheme="binary")
    part = judge_multiplicity(material(frame, scheme="binary"), [])
    [p, holm] = part.metrics
    assert (p.quantity, p.class_name, holm.quantity) == ("auc_p", "positive", "auc_p_holm")
    assert p.estimate.value == holm.estimate.value < 0.001


def test_each_held_out_cohort_is_a_hypothesis_and_development_is_not_divided():
    held_out = table(120, cohorts=("x", "y"))
    inside = table(60, split="oof", cohorts=("a", "b"), prefix="D")
    part = judge_multiplicity(material(pd.concat([inside, held_out])), [])
    places = [(m.split, m.cohort, m.quantity) for m in part.metrics if m.quantity.endswith("_p")]
    assert places == [
        ("test", cohort, f"{q}_p") for cohort in "xy" for q in ("auc_zero_vs_rest", "auc_low_vs_positive")
    ]
    assert "Holm among 4" in part.metrics[-1].estimate.method
    alone = judge_multiplicity(material(inside), [])
    assert {m.cohort for m in alone.metrics} == {""}
    assert "describe rather than test" in texts(alone)[1]


def test_all_p_values_of_all_parts_are_in_one_table():
    companions = table(strength=0.3, seed=1, model="volume")
    own = material(table(), companions=companions, record=RECORD)
    part = judge_multiplicity(own, judge_comparisons(own).metrics)
    primary, others = tables(part)
    assert [row[0] for row in primary.rows] == [
        "Zero against low or positive: AUC is not 0.5",
        "Low against positive: AUC is not 0.5",
    ]
    assert "Zero against low or positive: the model minus lesion volume" in [row[0] for row in others.rows]
    assert len(others.rows) == 3
    assert (primary.name, others.name) == ("p-values-primary", "p-values-others")
    for row in others.data.rows:
        raw, corrected = row[8], row[9]
        assert raw <= corrected <= 1


def test_without_labels_there_is_no_p_value():
    assert judge_multiplicity(material(table().assign(y=np.nan)), []) == Part()


# Thresholds


@pytest.mark.fault("E20")
def test_thresholds_of_the_training_are_judged_on_held_out_patients_only():
    frame = pd.concat([table(), table(split="oof", prefix="D", seed=1)])
    part = judge_thresholds(material(frame, record=RECORD))
    assert {metric.split for metric in part.metrics} == {"test"}
    y, p = frame["y"][:90].to_numpy(int), frame[probability_columns("triple")][:90].to_numpy()
    found = find(part.metrics, "test", "threshold_sensitivity", "zero vs low+positive")
    assert found.value == pytest.approx(np.mean(p[y > 0, 1:].sum(axis=1) >= 0.7))
    assert found.n == 60
    found = find(part.metrics, "test", "threshold_specificity", "low vs positive")
    assert found.value == pytest.approx(np.mean((p[:, 2] / p[:, 1:].sum(axis=1))[y == 1] < 0.4))
    [shown] = tables(part)
    assert [row[1] for row in shown.rows] == ["0.700", "0.400"]
    assert [drawing.name for drawing in figures(part)] == ["operating-points-test"]
    # Whatever the labels of the held-out patients are, the thresholds stay.
    shuffled = frame.assign(y=frame["y"].to_numpy()[::-1])
    [again] = tables(judge_thresholds(material(shuffled, record=RECORD)))
    assert [row[1] for row in again.rows] == ["0.700", "0.400"]


def test_where_everybody_was_held_out_in_turn_no_threshold_is_judged():
    part = judge_thresholds(material(table(), record=RECORD, kind="leave-one-cohort-out"))
    assert part.metrics == ()
    assert "no patient left to judge them by" in texts(part)[0]
    assert judge_thresholds(material(table(split="oof"), record=RECORD)) == Part()


def test_new_patients_are_judged_at_the_thresholds_of_the_bundle():
    applied = {"stages": {"apply": RECORD["stages"]["classify"]}}
    part = judge_thresholds(material(table(split="new"), record=applied))
    assert {m.split for m in part.metrics} == {"new"}
    assert len(part.metrics) == 8


def test_a_threshold_for_an_unknown_question_is_refused():
    record = {"stages": {"classify": {"thresholds": [{"task": "negative vs positive", "threshold": 0.5}]}}}
    with pytest.raises(StopRun, match=r"unknown question of run\.json 'negative vs positive'"):
        judge_thresholds(material(table(), record=record))


def test_a_test_told_by_two_parts_counts_once():
    p = Estimate(0.11, math.nan, math.nan, 40, "log-rank")
    twice = [Metric(part, "test", "log_rank_p", p) for part in ("prognosis", "survival-measures")]
    other = Metric("prognosis", "oof", "log_rank_p", p)
    found = correct([], [*twice, other])
    assert [(one.metric.part, one.metric.split) for one in found] == [("prognosis", "test"), ("prognosis", "oof")]
    assert {one.corrected for one in found} == {0.11}
