"""The table of the papers: numbers by hand, tests against other libraries, published values, and what is missing."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from analysis.discrimination.auc_tests import paired_test
from analysis.discrimination.delong import delong
from analysis.discrimination.paper_rows import MODEL, RUN, TRAINED, new_metrics, paper_rows, views
from analysis.discrimination.published import compare_published
from analysis.evaluation import evaluate
from analysis.inference.expected import expected_area, expected_mean_area, expected_share, hanley_mcneil_error
from analysis.metrics import find
from analysis.page import Folded, Page, Paragraph, Section, Table, unfolded
from analysis.part import Material
from analysis.parts import judge_parts
from analysis.patients.samples import split_samples
from analysis.rendering import render
from analysis.sections.comparisons import judge_comparisons
from analysis.sections.paper import paper_part
from triher.cohort import Cohort
from triher.errors import StopRun
from triher.labels import scheme_classes
from triher.predictions import probability_columns, write_predictions
from triher.settings import AnalysisConfig, CohortConfig, Config, PublishedConfig

# 20 patients: of 8 positive ones 5 are called so, of 12 negative ones 3.
BY_HAND = ([1] * 8 + [0] * 12, [0.9, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.2] + [0.95, 0.65, 0.51] + [0.1] * 9)
# Other calls: right where those are wrong in 1 positive and 3 negative ones, wrong where they are right in 4.
OTHER = [0.1, 0.1, 0.1, 0.1, 0.55, 0.6, 0.3, 0.2] + [0.4, 0.3, 0.2] + [0.1] * 9


@pytest.fixture(autouse=True)
def _without_calibration(monkeypatch):
    """Leave out what has tests of its own, and takes most of the time."""
    monkeypatch.setattr("analysis.evaluation.judge_calibration", lambda *_: [])
    monkeypatch.setattr("analysis.evaluation.reliability_curves", lambda *_: ())


def binary(y, p, *, split="test", cohort="x", prefix="P"):
    n = len(y)
    frame = pd.DataFrame({"patient_id": [f"{prefix}{i:03d}" for i in range(n)], "cohort": cohort, "site": cohort})
    frame = frame.assign(split=split, repeat=0, fold=0, seed=0, y=np.array(y, float))
    return frame.assign(p_negative=1 - np.array(p), p_positive=np.array(p))


def drawn(n, *, scheme="triple", strength=1.5, seed=0, split="test", cohort="x", fold=None):
    rng, names = np.random.default_rng(seed), scheme_classes(scheme)
    y = np.arange(n) % len(names)
    logits = strength * np.eye(len(names))[y] + rng.normal(size=(n, len(names)))
    frame = pd.DataFrame({"patient_id": [f"{cohort}{i:03d}" for i in range(n)], "cohort": cohort, "site": cohort})
    frame = frame.assign(
        split=split, repeat=0, fold=0 if fold is None else np.arange(n) % fold, seed=0, y=y.astype(float)
    )
    frame[probability_columns(scheme)] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return frame


def study(frame, *, scheme="binary", companions=None, record=None, **analysis):
    """The material, and the rows of the basic evaluation."""
    own = AnalysisConfig(resamples=100, **analysis)
    config = Config(cohort=CohortConfig(table="t.csv"), scheme=scheme, analysis=own)
    samples = split_samples(frame, scheme)
    made = Material(frame, companions, samples, {}, Cohort((), (), frozenset()), config, record or {})
    return made, evaluate(frame, None, {}, config, companions=companions).metrics


def of(rows, *, kind=MODEL, name="", suffix="", cohort=""):
    """The only row of such a kind in the first view of that suffix."""
    wanted = (kind, name, suffix, cohort)
    [row] = [row for row in rows if (row.kind, row.name, row.view.suffix, row.sample.cohort) == wanted]
    return row


def section(made, metrics):
    rows = paper_rows(made, metrics)
    return paper_part(made, rows, new_metrics(rows, metrics), [*metrics, *new_metrics(rows, metrics)])


def tables(part):
    return {block.name: block for block in unfolded(part.section.blocks) if isinstance(block, Table)}


# Expected intervals


def test_errors_are_those_of_hanley_and_mcneil():
    # Outputs printed in the documentation of R's auctestr::se_auc.
    assert hanley_mcneil_error(0.75, 20, 200) == pytest.approx(0.06498283, abs=1e-8)
    assert hanley_mcneil_error(0.75, 110, 110) == pytest.approx(0.03282048, abs=1e-8)
    assert hanley_mcneil_error(0.75, 20, 20) == pytest.approx(0.07789072, abs=1e-8)
    # The paper's 109 computed tomograms, rated 1 to 5: area 0.893, standard error 0.032.
    normal, abnormal = np.repeat(np.arange(5), [33, 6, 6, 11, 2]), np.repeat(np.arange(5), [3, 2, 2, 11, 33])
    area, _ = delong(abnormal, normal)
    assert area == pytest.approx(0.893, abs=5e-4)
    assert hanley_mcneil_error(area, len(abnormal), len(normal)) == pytest.approx(0.032, abs=1e-3)


@pytest.mark.parametrize(("z_power", "patients"), [(0.84, 652), (1.28, 897), (1.645, 1131)])
def test_sample_sizes_of_the_paper_are_met(z_power, patients):
    # Its table III: to tell an area of 0.75 from 0.70, one-sided 5 %, by patients on each side of each study.
    one, two = (hanley_mcneil_error(area, 100_000, 100_000) * math.sqrt(100_000) for area in (0.70, 0.75))
    needed = (1.645 * math.sqrt(2) * one + z_power * math.hypot(one, two)) ** 2 / 0.05**2
    assert needed == pytest.approx(patients, abs=1.5)


def test_expected_intervals_of_areas_means_and_shares():
    error = hanley_mcneil_error(0.74, 29, 103)
    area = expected_area(0.74, 29, 103, names=("ill", "well"))
    assert (area.low, area.high) == pytest.approx((0.74 - 1.96 * error, 0.74 + 1.96 * error), abs=1e-4)
    assert expected_area(0.7, 4, 90, names=("ill", "well")).reason == "only 4 ill"
    assert expected_area(0.99, 9, 9, names=("ill", "well")).high == 1
    mean = expected_mean_area(0.8, {"a": 20, "b": 60, "c": 20})
    errors = [hanley_mcneil_error(0.8, k, 100 - k) for k in (20, 60, 20)]
    assert mean.high - 0.8 == pytest.approx(1.96 * np.mean(errors), abs=1e-4)
    assert expected_mean_area(0.8, {"a": 0, "b": 60}).reason == "0 a"
    share = expected_share(0.75, 132)
    assert (share.low, share.high) == pytest.approx(proportion_confint(99, 132, method="wilson"))


# Rows


def test_columns_of_two_classes_by_hand():
    made, metrics = study(binary(*BY_HAND))
    [row] = paper_rows(made, metrics)
    values = {name: estimate.value for name, estimate in row.measures.items()}
    expected = {"accuracy": 14 / 20, "sensitivity": 5 / 8, "specificity": 9 / 12, "prevalence": 8 / 20}
    assert values == pytest.approx({**expected, "balanced_accuracy": 0.6875, "auc": 80 / 96}, abs=1e-9)
    assert row.threshold == 0.5
    low, high = proportion_confint(5, 8, method="wilson")
    assert (row.measures["sensitivity"].low, row.measures["sensitivity"].high) == pytest.approx((low, high))
    # What the evaluation tells already is the same, and not told twice.
    for measure in ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auc"):
        known = find(metrics, "test", *row.view.place(measure))
        assert (known.value, known.low, known.high) == (
            row.measures[measure].value, row.measures[measure].low, row.measures[measure].high,
        )  # fmt: skip
    assert [m.quantity for m in new_metrics([row], metrics)] == ["prevalence"]
    [table] = tables(section(made, metrics)).values()
    assert table.rows[0][:3] == ["The model", "8 of 20 (40%)", "0.70 (0.48 to 0.85)"]
    assert table.header[2:] == ["Accuracy", "AUC", "Sensitivity", "Specificity", "Balanced accuracy"]


def test_another_run_is_tested_as_other_libraries_do(tmp_path):
    path = tmp_path / "probe.csv"
    write_predictions(path, binary(BY_HAND[0], OTHER), "binary")
    made, metrics = study(binary(*BY_HAND), compare={"linear probe": path})
    rows = paper_rows(made, metrics)
    other = of(rows, kind=RUN, name="linear probe")
    assert other.measures["sensitivity"].value == 2 / 8
    assert other.measures["specificity"].value == 1
    discordant = {"accuracy": (4, 4), "sensitivity": (4, 1), "specificity": (0, 3)}
    for name, (mine, theirs) in discordant.items():
        assert other.p[name].value == pytest.approx(binomtest(mine, mine + theirs, 0.5).pvalue)
        assert other.p[name].value == pytest.approx(mcnemar([[0, mine], [theirs, 0]], exact=True).pvalue)
    assert other.p["specificity"].n == 12
    condition, scores = np.array(BY_HAND[0]) == 1, (np.array(BY_HAND[1]), np.array(OTHER))
    assert other.p["auc"] == paired_test(condition, *scores, names=("HER2-positive", "others")).p


def test_p_values_are_corrected_with_all_others(tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.parts.PARTS", {"comparisons": judge_comparisons})
    path = tmp_path / "other.csv"
    write_predictions(path, drawn(90, scheme="binary", strength=0.2, seed=3), "binary")
    made, metrics = study(drawn(90, scheme="binary", strength=2), compare={"ViT": path})
    parts = judge_parts(made, metrics)
    told = [m for part in parts.values() for m in part.metrics]
    places = [(m.split, m.cohort, m.site, m.quantity, m.class_name) for m in [*metrics, *told]]
    assert len(places) == len(set(places))
    table = tables(parts["paper"])["paper-tests-test"]
    raw = {row[6]: row[7:9] for row in table.data.rows}
    assert set(raw) == {"auc", "accuracy", "sensitivity", "specificity"}
    assert raw["accuracy"][1] == find(told, "test", "mcnemar_p_bh", "ViT").value
    assert raw["sensitivity"][1] == find(told, "test", "sensitivity_ahead_p_bh", "ViT").value > raw["sensitivity"][0]
    assert table.rows[0][0] == "ViT"


def test_the_two_nested_questions_leave_zeros_out_of_the_second():
    frame = drawn(6, strength=0)
    frame[probability_columns("triple")] = [
        [0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6],  # all right
        [0.4, 0.5, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3],  # zero called low, low called zero, positive called low
    ]  # fmt: skip
    made, metrics = study(frame, scheme="triple")
    rows = paper_rows(made, metrics)
    first, second = of(rows, suffix="_zero_vs_rest"), of(rows, suffix="_low_vs_positive")
    assert first.measures["sensitivity"].value == 3 / 4
    assert first.measures["specificity"].value == 1 / 2
    assert first.measures["accuracy"].n == 6
    assert second.measures["sensitivity"].value == 1 / 2
    assert second.measures["specificity"].value == 1
    assert second.measures["accuracy"].n == 4
    assert second.measures["prevalence"].value == 1 / 2
    whole = of(rows)
    assert whole.measures["accuracy"].value == 1 / 2
    assert whole.measures["auc_micro"] == find(metrics, "test", "auc_micro")
    names = {m.quantity for m in new_metrics(rows, metrics)}
    assert {"accuracy_zero_vs_rest", "sensitivity_low_vs_positive", "prevalence_low"} <= names
    assert [view.suffix for view in views("ultralow", scheme_classes("ultralow"))] == ["", "_positive_vs_rest"]


def test_thresholds_of_the_training_are_for_held_out_patients():
    chosen = {"task": "negative vs positive", "threshold": 0.3, "sensitivity": 1, "specificity": 1, "n": 9}
    record = {"stages": {"classify": {"thresholds": [chosen]}}}
    frame = pd.concat([binary(*BY_HAND), binary(*BY_HAND, split="oof", prefix="Q")])
    made, metrics = study(frame, record=record)
    rows = paper_rows(made, metrics)
    assert [(row.sample.split, row.kind) for row in rows] == [("test", MODEL), ("test", TRAINED), ("oof", MODEL)]
    assert rows[1].measures["sensitivity"].value == 7 / 8  # at or above
    assert rows[1].measures["auc"] == rows[0].measures["auc"]
    part = section(made, metrics)
    assert tables(part)["paper-test"].rows[1][0] == "The model at 0.30, the threshold of the training"
    assert [block.text for block in part.section.blocks if isinstance(block, Folded)] == ["Development, out of fold"]


def test_cohorts_of_the_test_have_rows_of_their_own():
    frame = pd.concat([drawn(60, cohort="a"), drawn(60, cohort="b", seed=1)])
    worse = pd.concat([drawn(60, cohort="a", strength=0, seed=5), drawn(60, cohort="b", strength=0, seed=6)])
    made, metrics = study(frame, scheme="triple", companions=worse.assign(model="volume"))
    rows = paper_rows(made, metrics)
    assert of(rows, cohort="b").measures["accuracy"] == find(metrics, "test", "accuracy", cohort="b")
    other = of(rows, kind="companion", name="volume", suffix="_zero_vs_rest", cohort="b")
    assert other.p["auc"].n == 60
    assert of(rows, kind="companion", name="volume").measures["auc_macro"] == find(
        metrics, "test", "companion_auc_macro", "volume"
    )
    p = [m for m in new_metrics(rows, metrics) if m.quantity == "mcnemar_p"]
    assert [m.cohort for m in p] == ["", "a", "b"]
    assert "b: the model" in [row[0] for row in tables(section(made, metrics))["paper-test"].rows]


def test_out_of_fold_areas_are_widened_as_the_evaluation_does():
    frame = drawn(100, scheme="binary", split="oof", fold=5)
    made, metrics = study(frame, companions=frame.assign(model="twin"))
    own, twin = paper_rows(made, metrics)
    assert twin.measures["auc"] == own.measures["auc"]
    assert "widened" in own.measures["auc"].method
    assert twin.p["sensitivity"].reason == "both are right on the same patients"


# What cannot be told


def test_a_missing_class_few_patients_and_no_labels_are_said():
    made, metrics = study(binary([0] * 9, np.linspace(0.1, 0.6, 9)))
    [row] = paper_rows(made, metrics)
    assert row.measures["sensitivity"].reason == "0 HER2-positive"
    assert row.measures["balanced_accuracy"].reason == "0 HER2-positive"
    assert row.measures["specificity"].value == 7 / 9
    assert "not estimable: 0 HER2-positive" in tables(section(made, metrics))["paper-test"].rows[0]
    tiny, metrics = study(binary([0, 1], [0.2, 0.8]))
    assert paper_rows(tiny, metrics)[0].measures["auc"].reason.startswith("only 1")
    lonely = binary([0] * 9, [0.3] * 9)
    made, metrics = study(lonely, companions=lonely.assign(model="volume"))
    other = paper_rows(made, metrics)[1]
    assert (other.p["sensitivity"].reason, other.p["sensitivity"].n) == ("0 HER2-positive", 0)
    nobody = binary([0, 1], [0.2, 0.8])
    nobody["y"] = np.nan
    made, metrics = study(nobody)
    [block] = section(made, metrics).section.blocks
    assert isinstance(block, Paragraph)
    assert block.tone == "note"


# Published values


def published(quantity, value, **more):
    return PublishedConfig(source="Somebody 2025", quantity=quantity, value=value, **more)


def test_published_values_are_held_or_not_and_the_interval_is_expected():
    wanted = (
        published("auc", 0.744, low=0.7, high=0.8, cohort="x"), published("accuracy", 0.95),
        published("specificity", 0.7), published("mcc", 0.2), published("auc", 0.66, cohort="elsewhere"),
        published("auc:negative", 0.7, split="oof"),
    )  # fmt: skip
    made, metrics = study(binary(*BY_HAND), published=wanted)
    found = compare_published(made, metrics)
    assert [one.holds for one in found] == [True, False, True, True, None, None]
    assert (found[0].own.n, found[0].sides.n_positive, found[0].sides.n_negative) == (20, 8, 12)
    area = expected_area(0.744, 8, 12, names=("ill", "well"))
    assert (found[0].expected.low, found[0].expected.high) == (area.low, area.high)
    assert (found[1].expected.low, found[1].expected.high) == pytest.approx(
        proportion_confint(19, 20, method="wilson")
    )
    assert found[2].expected.n == 12
    assert found[3].expected.reason == "no formula tells it from numbers of patients"
    assert found[4].own.reason == found[5].own.reason == "no labeled patients"
    table = tables(section(made, metrics))["paper-published"]
    cells = [row[1:6] for row in table.rows]
    assert cells[0] == ["AUC", "Held-out test, x", "0.74 (0.70 to 0.80)", "0.83 (0.64 to 1.00)", "yes"]
    assert table.data.rows[4][7] is None


def test_published_values_of_three_classes():
    wanted = (published("auc_macro", 0.83), published("auc_low_vs_positive", 0.8), published("sensitivity:low", 0.5))
    wanted += (published("accuracy_zero_vs_rest", 0.7),)
    made, metrics = study(drawn(90), scheme="triple", published=wanted)
    rows = paper_rows(made, metrics)
    found = compare_published(made, [*metrics, *new_metrics(rows, metrics)])
    sides = [(one.sides.n_positive, one.sides.n_negative) if one.sides else None for one in found]
    assert sides == [None, (30, 30), (30, 60), (60, 30)]
    assert found[0].expected.low == expected_mean_area(0.83, {"a": 30, "b": 30, "c": 30}).low
    assert found[1].expected.low == expected_area(0.8, 30, 30, names=("ill", "well")).low
    assert [one.expected.n for one in found[2:]] == [30, 90]


def test_unknown_published_quantities_are_refused_with_those_known():
    made, metrics = study(drawn(30), scheme="triple", published=(published("auc_makro", 0.8),))
    with pytest.raises(StopRun, match=r"'auc_makro'; did you mean 'auc_macro'\? known: ") as caught:
        compare_published(made, metrics)
    assert caught.value.code == "config_value"
    short = made.config.analysis.model_copy(update={"published": (published("auc", 0.8),)})
    made = replace(made, config=made.config.model_copy(update={"analysis": short}))
    with pytest.raises(StopRun, match=r"unknown quantity in .* 'auc'"):
        compare_published(made, metrics)


def test_the_page_keeps_its_width(chromium, tmp_path):
    chosen = {"task": "negative vs positive", "threshold": 0.3, "sensitivity": 1, "specificity": 1, "n": 9}
    frame = pd.concat([drawn(60, scheme="binary", cohort="I-SPY"), drawn(30, scheme="binary", cohort="AMBL", seed=1)])
    wanted = (published("auc", 0.744), published("accuracy", 0.75, cohort="AMBL"))
    record = {"stages": {"classify": {"thresholds": [chosen]}}}
    made, metrics = study(frame, companions=frame.assign(model="volume"), record=record, published=wanted)
    shown = section(made, metrics).section
    page = Page("t", "l", ["s"], [], [Section(shown.anchor, shown.title, shown.blocks, "Telling apart")], "no", "f")
    path = tmp_path / "report.html"
    path.write_text(render(page), encoding="utf-8")
    for width in (1280, 390):
        tab = chromium.new_page(viewport={"width": width, "height": 900})
        tab.goto(path.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.locator("#paper table").count() == 3
        tab.close()
