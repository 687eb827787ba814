"""What the report says of decisions, prediction sets and reject options, and the files behind it."""

import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from analysis.figures.canvas import Drawing
from analysis.metrics import ESTIMATE_COLUMNS
from analysis.page import Gallery, Page, Paragraph, tables, unfolded
from analysis.part import Material, Part
from analysis.parts import PARTS
from analysis.patients.samples import split_samples
from analysis.sections.conformal import judge_conformal, promised_alpha
from analysis.sections.decision import judge_decision
from analysis.sections.reject import judge_reject
from classify.conformal import name_sets
from triher.cohort import Cohort
from triher.labels import scheme_classes
from triher.predictions import probability_columns
from triher.settings import AnalysisConfig, CohortConfig, Config


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """Drawing takes most of the time, so only the tests that look at a figure draw."""
    if "figure" not in request.node.name:
        for place in ("discrimination", "decision"):
            monkeypatch.setattr(f"analysis.figures.{place}.draw", lambda *made, **_: Drawing(*made[:3], "<svg/>"))


def predictions(scheme="triple", n=120, seed=0, *, strength=1.5, sets=True, cohorts=1):
    rng = np.random.default_rng(seed)
    names = scheme_classes(scheme)
    y = np.arange(n) % len(names)
    p = np.exp(strength * np.eye(len(names))[y] + rng.normal(size=(n, len(names))))
    frame = pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(n)]})
    frame["cohort"] = np.array(["first", "second"])[np.arange(n) // 4 % cohorts]
    frame["site"] = np.where(np.arange(n) // 8 % 2, "A", "B")
    frame["split"] = np.where(np.arange(n) >= n // 2, "test", "oof")
    frame = frame.assign(
        repeat=0, fold=np.where(frame["split"] == "oof", np.arange(n) // 4 % 5, 0), seed=0, y=y * 1.0
    )
    frame[probability_columns(scheme)] = p / p.sum(axis=1, keepdims=True)
    if sets:
        frame["set"] = name_sets(p / p.sum(axis=1, keepdims=True) > 0.2, names)
        frame["outside"] = np.where((frame["split"] == "test") & (np.arange(n) % 7 == 0), "embedding distance 3", "")
    return frame


def material(frame, scheme="triple", companions=None, record=None, **analysis):
    config = Config(
        cohort=CohortConfig(table=Path("cohort.csv")),
        scheme=scheme,
        analysis=AnalysisConfig(resamples=100, **analysis),
    )
    cohort = Cohort((), (), frozenset())
    return Material(frame, companions, split_samples(frame, scheme), {}, cohort, config, record or {})


def texts(part):
    return " ".join(block.text for block in unfolded(part.section.blocks) if isinstance(block, Paragraph))


def drawings(part):
    return [d for block in unfolded(part.section.blocks) if isinstance(block, Gallery) for d in block.drawings]


def files(part):
    return tables(Page("", "", [], [], [part.section], "", ""))


def values(part, quantity, **place):
    return {
        (m.split, m.class_name, m.cohort, m.site): m.estimate.value
        for m in part.metrics
        if m.quantity == quantity and all(getattr(m, key) == value for key, value in place.items())
    }


def test_all_three_are_registered():
    assert [PARTS[name] for name in ("decision", "conformal", "reject")] == [
        judge_decision,
        judge_conformal,
        judge_reject,
    ]


@pytest.mark.parametrize("judge", [judge_decision, judge_conformal, judge_reject])
def test_figures_are_sound(judge):
    shares = {"zero": 0.5, "low": 0.4, "positive": 0.1}
    frame = predictions()
    companions = predictions(seed=5).iloc[70:].assign(model="clinical")
    part = judge(material(frame[frame["split"] == "test"], companions=companions, prevalence=shares))
    assert drawings(part)
    for drawing in drawings(part):
        ET.fromstring(drawing.svg)  # noqa: S314
    beside = [d.name for d in drawings(part) if "Covariates alone (n = 50)" in d.svg]
    assert beside == (["decision-test-t-dxd", "decision-test-trastuzumab"] if judge is judge_decision else [])


@pytest.mark.parametrize("judge", [judge_decision, judge_conformal, judge_reject])
@pytest.mark.parametrize("scheme", ["triple", "binary", "ultralow"])
def test_every_scheme_gives_numbers_and_files(judge, scheme):
    part = judge(material(predictions(scheme), scheme))
    assert {metric.split for metric in part.metrics} == {"oof", "test"}
    names = [drawing.name for drawing in drawings(part)]
    assert names
    assert len(set(names)) == len(names)
    for data in files(part).values():
        assert tuple(data.columns)[-len(ESTIMATE_COLUMNS) :] == ESTIMATE_COLUMNS
        assert {len(row) for row in data.rows} == {len(data.columns)}


def test_decision_tables_hold_the_whole_curves():
    part = judge_decision(material(predictions(cohorts=2)))
    found = files(part)
    assert set(found) == {
        f"decision-{kind}-{split}" for kind in ("thresholds", "curves", "cohorts") for split in ("oof", "test")
    }
    curve = pd.DataFrame(found["decision-curves-test"].rows, columns=found["decision-curves-test"].columns)
    assert set(curve["action"]) == {"t_dxd", "trastuzumab"}
    assert len(curve) == 2 * 5 * 99
    at = curve[(curve["action"] == "t_dxd") & (curve["quantity"] == "net_benefit") & (curve["threshold"] == 0.5)]
    assert at["value"].tolist() == [values(part, "net_benefit_at_50", cohort="")["test", "t_dxd", "", ""]]
    assert {cohort for _, _, cohort, _ in values(part, "net_benefit_lead_at_30")} == {"", "first", "second"}


def test_decision_text_says_whose_shares_they_are_and_who_benefits():
    said = texts(judge_decision(material(predictions("ultralow").iloc[60:], "ultralow")))
    assert "T-DXd, also for ultralow for HER2-ultralow or -low or -positive" in said
    assert "DESTINY-Breast06" in said
    assert "The share of those who benefit is that of these patients" in said
    assert "picked by class as cases and controls" in said


def test_given_shares_make_a_second_curve():
    shares = {"zero": 0.5, "low": 0.4, "positive": 0.1}
    part = judge_decision(material(predictions(), prevalence=shares))
    assert len(values(part, "net_benefit_at_20_given_shares")) == 4
    everybody = values(part, "net_benefit_all_at_20_given_shares")
    assert everybody["test", "trastuzumab", "", ""] == pytest.approx(0.1 - 0.9 * 0.25)
    assert "decision-given-test-t-dxd" in [drawing.name for drawing in drawings(part)]
    data = files(part)["decision-curves-test"]
    assert {row[2] for row in data.rows} == {"cohort", "given"}


def test_baseline_is_compared_on_the_common_patients():
    frame = predictions()
    other = predictions(seed=5, strength=0.5)
    companions = other.iloc[10:].assign(model="clinical")
    part = judge_decision(material(frame, companions=companions))
    [n] = {m.estimate.n for m in part.metrics if m.quantity == "net_benefit_ahead_at_50" and m.split == "oof"}
    assert n == 50
    rows = other.iloc[10:60]
    benefit, p = rows["y"] == 2, rows["p_positive"]
    expected = np.mean(benefit & (p >= 0.5)) - np.mean(~benefit & (p >= 0.5))
    found = values(part, "net_benefit_baseline_at_50")["oof", "trastuzumab", "", ""]
    assert found == pytest.approx(expected)
    other = judge_decision(material(frame.iloc[:60], companions=companions.assign(model="volume")))
    assert not values(other, "net_benefit_ahead_at_50")


def test_coverage_is_told_by_class_cohort_and_site():
    part = judge_conformal(material(predictions(cohorts=2)))
    places = set(values(part, "coverage", split="test"))
    sites = [(c, s) for c in ("first", "second") for s in "AB"]
    expected = [("", ""), ("first", ""), ("second", ""), *sites]
    classes = ("", *scheme_classes("triple"))
    assert places == {("test", name, *place) for place in expected for name in classes}
    tested = [m for m in part.metrics if m.quantity == "coverage_p_adjusted" and m.split == "test"]
    assert len(tested) == 1 + 3 + 2 + 4
    assert "other scanners, sites or patients void it" in texts(part)


def test_broken_promises_and_vacuous_classes_are_said():
    frame = predictions()
    frame["set"] = np.where(frame["split"] == "test", "positive", "zero|low|positive")
    said = texts(judge_conformal(material(frame)))
    assert "Less was covered than the promised 90%, beyond chance: All patients 33%; HER2-zero 0%" in said
    assert "HER2-positive is in every set, so its coverage is no achievement" in said
    assert "at least 9 patients" in said


def test_alpha_is_that_of_the_training():
    config = material(predictions()).config
    assert promised_alpha({}, config) == 0.1
    assert promised_alpha({"stages": {"classify": {"settings": {"alpha": 0.2}}}}, config) == 0.2


def test_tables_without_sets_get_them_from_other_folds():
    said = texts(judge_conformal(material(predictions(sets=False))))
    assert "Sets made by cross-conformal prediction" in said
    assert "Sets made by quantiles of the development patients" in said
    alone = predictions(sets=False)
    only = judge_conformal(material(alone[alone["split"] == "test"]))
    assert only.metrics == ()
    assert "No prediction sets: the table has no column `set`" in texts(only)


def test_reject_rules_and_what_they_do_to_the_classes():
    part = judge_reject(material(predictions()))
    rules = {m.quantity.removeprefix("sent_") for m in part.metrics if m.quantity.startswith("sent_")}
    rules = {name for name in rules if not name.startswith("mix")}
    assert rules == {"none", "share_10", "share_20", "share_30", "share_50", "single_set", "inside"}
    assert {split for split, *_ in values(part, "sent_inside")} == {"test"}, "development patients are not compared"
    flagged = np.mean(np.arange(60, 120) % 7 == 0)
    assert values(part, "sent_inside")["test", "", "", ""] == pytest.approx(flagged)
    for split in ("oof", "test"):
        mix = [v for (s, name, *_), v in values(part, "sent_mix_share_30").items() if s == split and name]
        assert sum(mix) == pytest.approx(1)
    assert "the classes of which the model is least sure go first" in texts(part)
    bare = judge_reject(material(predictions(sets=False).assign(fold=0)))
    assert not values(bare, "sent_inside")


@pytest.mark.parametrize("judge", [judge_decision, judge_conformal, judge_reject])
def test_without_labels_there_is_nothing_to_say(judge):
    assert judge(material(predictions().assign(y=np.nan))) == Part()


@pytest.mark.fault("E2", "E5")
@pytest.mark.parametrize("judge", [judge_decision, judge_conformal, judge_reject])
def test_an_absent_class_is_never_a_number(judge):
    frame = predictions()
    part = judge(material(frame[(frame["y"] != 2) & (frame["split"] == "oof")]))
    reasons = {m.estimate.reason for m in part.metrics if math.isnan(m.estimate.value)}
    assert any("0 HER2-positive" in reason for reason in reasons)


@pytest.mark.parametrize("judge", [judge_decision, judge_conformal, judge_reject])
def test_order_of_the_table_changes_nothing(judge):
    frame = predictions().iloc[60:]
    assert judge(material(frame.sample(frac=1, random_state=1))) == judge(material(frame))


def test_a_flat_model_is_no_reason_to_stop():
    frame = predictions()
    frame[probability_columns("triple")] = 1 / 3
    part = judge_reject(material(frame))
    assert "all patients have the same largest probability" in texts(part)
    assert judge_decision(material(frame)).section is not None
    assert replace(part, section=None).metrics
