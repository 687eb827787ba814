"""Reporting checklists: official numbers and weights, answers that follow the run, and exports that stay harmless."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.checklists.answer import STATES, answered, lacking, left, not_applicable, partly
from analysis.checklists.claim import CLAIM
from analysis.checklists.export import as_html, as_markdown
from analysis.checklists.facts import Facts
from analysis.checklists.fill import CHECKLISTS, Line, fill, score
from analysis.checklists.item import Item, author
from analysis.checklists.metrics import METRICS
from analysis.checklists.section import add_checklists, checklists_section
from analysis.checklists.tripod_ai import TRIPOD_AI
from analysis.checklists.wording import counted, scored, size
from analysis.discrimination.confusion import confusion_matrix
from analysis.evaluation import Evaluation, SplitEvaluation
from analysis.metrics import Metric
from analysis.page import Page, Paragraph, Section, Table
from analysis.part import Material
from analysis.patients.flow import patient_flow
from analysis.patients.samples import split_samples
from analysis.rendering import render
from analysis.stage import analyze
from analysis.survival.followup import all_follow_ups
from triher.cohort import Cohort, Patient
from triher.errors import Skipped
from triher.estimate import Estimate
from triher.explanation_checks import NAME as CHECKS
from triher.explanation_checks import Check, write_checks
from triher.labels import scheme_classes
from triher.predictions import probability_columns, write_predictions
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config

HOSTILE = "a|b`<script>alert(1)</script>\"'[x](http://evil.test)\n*"
SECTIONS = {
    name: name.title()
    for name in (
        "patients", "discrimination", "nested", "operating", "beside", "comparisons", "shortcuts", "calibration",
        "calibrators", "decision", "conformal", "reject", "prognosis", "survival-measures", "limits", "multiplicity",
        "model", "provenance", "checklists",
    )
}  # fmt: skip
FILES = frozenset({"run.json", "skipped.csv", "predictions.csv", "metrics.csv", "bundle/manifest.json"})
RECORD = {
    "triher": "0.1.0",
    "commit": "f" * 40,
    "python": "3.11.7",
    "libraries": {"numpy": "2.0"},
    "stages": {
        "extract": {"n_features": 1280},
        "classify": {
            "head": "logistic",
            "params": {"C": 1.0},
            "search": {"trials": 25, "inner_folds": 5},
            "temperature": 1.1,
            "class_counts": {"oof": {"zero": 20, "low": 20, "positive": 20}},
            "thresholds": [{"task": "zero vs low+positive", "threshold": 0.7}],
            "encoder": {"name": "toy-net", "license": "MIT", "sha256": "0" * 64},
            "recipe": {
                "phases": ["pre", "early"], "normalization": "clip99-joint", "region": {"kind": "box"},
                "slices": {"policy": "spread", "n": 8}, "fusions": {"rgb": [["pre", ""], ["early", "pre"]]},
            },
            "settings": {
                "split": {"kind": "sites"}, "folds": 5, "repeats": 1, "pooling": ["mean"], "missing": "skip",
                "class_weights": "none", "objective": "log-loss", "covariates": [], "components": 0, "alpha": 0.1,
                "harmonize": {"method": "none"},
            },
            "test_opened": 1,
        },
    },
}  # fmt: skip


def predictions(n=90, *, sites=("A", "B", "C"), cohort="one", test="C"):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    p = rng.dirichlet(np.ones(3), n)
    site = np.array(sites, dtype=object)[np.arange(n) // 3 % len(sites)]
    split = np.where(site == test, "test", "oof")
    frame = pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(n)], "cohort": cohort, "site": site})
    frame = frame.assign(split=split, repeat=0, fold=np.where(split == "test", 0, np.arange(n) % 5), seed=0)
    frame["y"] = y.astype(float)
    frame[list(probability_columns("triple"))] = p
    return frame


def cohort_of(frame, *, survival=False, columns=("ihc",)):
    rows = zip(frame["patient_id"], frame["cohort"], frame["site"], strict=True)
    follow_up = {"time_months": 20.0, "event": 1} if survival else {}
    patients = tuple(Patient(i, c, s, "", {}, None, covariates={"age": 50.0}, **follow_up) for i, c, s in rows)
    return Cohort(patients, (), frozenset(columns))


def make_facts(
    frame=None, *, record=RECORD, survival=False, metrics=(), sections=SECTIONS, files=FILES, skipped=(), own=None
):
    frame = predictions() if frame is None else frame
    config = Config.model_validate({"cohort": {"table": "cohort.csv"}} | (own or {}))
    cohort = cohort_of(frame, survival=survival)
    samples = split_samples(frame, "triple")
    splits = tuple(
        SplitEvaluation(one, (), confusion_matrix(one.y, one.probabilities), (), None)
        for one in samples
        if len(one.y)
    )
    evaluation = Evaluation("triple", scheme_classes("triple"), splits, tuple(metrics))
    follow_ups = all_follow_ups(frame, cohort, config)
    material = Material(frame, None, samples, follow_ups, cohort, config, record)
    return Facts(material, evaluation, metrics, patient_flow(frame, cohort, skipped), sections, files)


def trained_with(**settings):
    """The record with other settings of the classification."""
    classify = RECORD["stages"]["classify"]
    changed = classify | {"settings": classify["settings"] | settings}
    return RECORD | {"stages": RECORD["stages"] | {"classify": changed}}


def answer(checklist, number, facts):
    (item,) = [item for item in checklist.items if item.number == number]
    return item.answer(facts)


def test_tripod_ai_has_its_27_items_with_all_parts_once(usual):
    letters = {
        3: "abc",
        5: "ab",
        6: "abc",
        8: "abc",
        9: "abc",
        12: "abcdefg",
        18: "abcdef",
        20: "abc",
        23: "ab",
        27: "abc",
    }
    expected = [f"{i}{letter}" for i in range(1, 28) for letter in letters.get(i, [""])]
    assert [item.number for item in TRIPOD_AI.items] == expected
    assert len(expected) == 52
    assert size(fill(usual, [TRIPOD_AI])[0]) == "27 items in 52 parts"


@pytest.mark.parametrize(("checklist", "n"), [(CLAIM, 44), (METRICS, 30)])
def test_items_are_numbered_through(checklist, n):
    assert [item.number for item in checklist.items] == [str(i) for i in range(1, n + 1)]


def test_metrics_has_nine_categories_whose_weights_are_those_of_the_paper():
    weights = {}
    for item in METRICS.items:
        weights[item.section] = weights.get(item.section, 0) + item.weight
    published = [0.2022, 0.146, 0.0674, 0.1348, 0.09, 0.0899, 0.1348, 0.1124, 0.0225]
    assert list(weights.values()) == pytest.approx(published, abs=1e-9)
    assert sum(weights.values()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("checklist", CHECKLISTS, ids=lambda one: one.name)
def test_every_item_says_what_it_asks_and_every_answer_says_something(checklist, variants):
    for line in (line for facts in variants for line in fill(facts, [checklist])[0].lines):
        assert line.item.topic
        assert line.item.asks.endswith((".", "?")), line.item.number
        has_said, has_asked = bool(line.answer.said), bool(line.answer.asked)
        wanted = {
            "answered": (True, False), "partly": (True, True), "author": (False, True), "lacking": (True, True),
            "not applicable": (True, False),
        }  # fmt: skip
        assert (has_said, has_asked) == wanted[line.answer.state], line.item.number
        for text in filter(None, (line.answer.said, line.answer.asked)):
            assert text[0].isupper() or text[0].isdigit(), text
            assert text.endswith("."), text
            assert not re.search(r"  | \.|\.\.|None|nan|\{|,\.|: \.|''|, ;|\(\)", text), text


@pytest.fixture(scope="module")
def variants():
    """Runs of every kind."""
    return tuple(_variants())


@pytest.fixture(scope="module")
def usual():
    """A run with a held-out site."""
    return make_facts()


def _variants():
    """One after the other."""
    yield make_facts()
    yield make_facts(survival=True)
    yield make_facts(record={"stages": {}})
    bare = RECORD["stages"]["classify"] | {"recipe": {"normalization": "clip98-volume"}, "encoder": {"name": "toy"}}
    yield make_facts(record=RECORD | {"stages": {"classify": bare}})
    yield make_facts(record={"stages": {"apply": {"bundle": "b"}}}, frame=predictions(test="-").assign(split="new"))
    yield make_facts(predictions(test="-"), record=trained_with(split={"kind": "none"}))
    yield make_facts(predictions().assign(split="test"), record=trained_with(split={"kind": "leave-one-site-out"}))
    yield make_facts(predictions().assign(y=np.nan))
    yield make_facts(own={"classify": {"features": "t.csv"}}, record=trained_with(missing="impute", components=8))
    yield make_facts(record=trained_with(join="late", covariates=["age"], class_weights="balanced"))
    yield make_facts(own={"analysis": {"subgroups": {"site": []}}}, sections=SECTIONS | {"subgroups": "Subgroups"})
    yield make_facts(record=with_network(folds=5, class_weights="balanced"))
    frame = predictions()
    rows, cohort = learned(frame)
    yield replace(make_facts(frame, record=with_network(folds=0)), flow=patient_flow(frame, cohort, rows))


def test_every_section_that_an_answer_may_name_is_one_that_reports_have(variants):
    sources = "".join(path.read_text("utf-8") for path in Path(analysis.__file__).parent.rglob("*.py"))
    known = set(re.findall(r'Section\(\s*"([a-z-]+)"', sources)) | {"checklists"}
    explaining = {"explanations", "maps", "attributions", "sanity", "matched", "projection"}
    for facts in variants:
        for checklist in CHECKLISTS:
            for item in checklist.items:
                assert set(item.answer(facts).anchors) <= known | explaining, item


@pytest.mark.parametrize("checklist", CHECKLISTS, ids=lambda one: one.name)
def test_sections_and_files_that_a_run_lacks_are_never_named(checklist, variants):
    there = {"patients": "Who was in"}
    for facts in variants:
        for line in fill(replace(facts, sections=there, files=frozenset({"run.json"})), [checklist])[0].lines:
            assert {place.anchor for place in line.places} <= {"patients"}
            assert set(line.files) <= {"run.json"}
            assert line.answer.anchors == tuple(place.anchor for place in line.places)


def test_what_no_run_shows_is_the_authors(variants):
    for facts in variants:
        states = {item.number: item.answer(facts).state for item in TRIPOD_AI.items}
        for number in ("2", "3a", "3b", "3c", "6c", "8b", "8c", "17", "18a", "18b", "18c", "18d", "18e", "19", "25"):
            assert states[number] == "author", number
        states = {item.number: item.answer(facts).state for item in CLAIM.items}
        for number in ("5", "11", "15", "16", "17", "18", "34", "44"):
            assert states[number] == "author", number


def test_external_testing_follows_who_was_held_out(usual):
    by_site = answer(CLAIM, "33", usual)
    assert by_site.state == "partly"
    assert "site C" in by_site.said
    frame = predictions()
    frame["cohort"] = np.where(frame["site"] == "C", "elsewhere", "one")
    by_cohort = answer(CLAIM, "33", make_facts(frame))
    assert by_cohort.state == "answered"
    assert "elsewhere" in by_cohort.said
    mixed = predictions().assign(split=np.where(np.arange(90) % 2, "test", "oof"))
    assert answer(CLAIM, "33", make_facts(mixed, record=trained_with(split={"kind": "column"}))).state == "author"
    nobody = make_facts(predictions(test="-"), record=trained_with(split={"kind": "none"}))
    assert answer(CLAIM, "33", nobody).state == "author"
    assert answer(METRICS, "27", nobody).state == "lacking"
    assert answer(METRICS, "27", usual).state == "answered"


def test_one_site_leaves_no_clusters_to_tell_of(usual):
    one = make_facts(predictions(sites=("A",), test="-"), record=trained_with(split={"kind": "none"}))
    assert answer(TRIPOD_AI, "12d", one).state == "not applicable"
    assert answer(TRIPOD_AI, "23b", one).state == "not applicable"
    assert answer(METRICS, "4", one).state == "lacking"
    assert answer(METRICS, "4", usual).state == "answered"


def test_survival_is_told_only_where_patients_were_followed_up(usual):
    followed = make_facts(survival=True)
    assert "events" in answer(TRIPOD_AI, "21", followed).said
    assert "Name the event" in answer(TRIPOD_AI, "8a", followed).asked
    assert "Name the event" not in answer(TRIPOD_AI, "8a", usual).asked
    without = usual
    assert "events" not in answer(TRIPOD_AI, "21", without).said
    assert "months" not in answer(TRIPOD_AI, "8a", without).said
    assert answer(TRIPOD_AI, "5b", without).state == "author"


def test_fairness_needs_subgroups(usual):
    assert answer(TRIPOD_AI, "14", usual).state == "author"
    sections = SECTIONS | {"subgroups": "Subgroups"}
    with_groups = make_facts(own={"analysis": {"subgroups": {"age": []}}}, sections=sections)
    assert answer(TRIPOD_AI, "14", with_groups).state == "partly"
    assert "subgroups by age," in answer(TRIPOD_AI, "14", with_groups).said
    assert answer(TRIPOD_AI, "23a", with_groups).state == "answered"


def test_sites_are_no_groups_of_people(usual):
    test = Metric("subgroups", "oof", "interaction_auc_macro_p", Estimate(0.3, math.nan, math.nan, 60, "Q"), "site")
    of_sites = replace(usual, sections=usual.sections | {"subgroups": "S"}, metrics=[*usual.metrics, test])
    assert answer(TRIPOD_AI, "14", of_sites).state == "author"
    assert "by site alone" in answer(TRIPOD_AI, "14", of_sites).asked
    assert "Subgroups by site are shown" in answer(TRIPOD_AI, "23a", of_sites).said


def test_explanations_are_told_only_where_there_are_some(usual, tmp_path):
    assert answer(CLAIM, "31", usual).state == "not applicable"
    shown = make_facts(sections=SECTIONS | {"explanations": "Why"})
    assert answer(CLAIM, "31", shown).state == "partly"
    assert "tests" not in answer(CLAIM, "31", shown).said
    tested = replace(shown, files=FILES | {"explanations/sanity.csv"})
    assert "tests" in answer(CLAIM, "31", tested).said
    run = RunFolder(tmp_path)
    write_checks(run.explanations / CHECKS, [Check("deletion", "m", -1.0, -2.0, 0.0, 12, -1.0, passed=False, p=0.5)])
    failed = replace(tested, material=replace(tested.material, run=run))
    assert "failed deletion" in answer(CLAIM, "31", failed).said


def test_numbers_of_the_run_stand_in_the_answers():
    metrics = [Metric("discrimination", "test", "auc_macro", Estimate(0.861, 0.764, 0.941, 30, "AUC"))]
    skipped = [Skipped("Q1", "one", "classify", "her2_unknown", "", ""), Skipped("Q2", "one", "extract", "x", "", "")]
    facts = make_facts(metrics=metrics, skipped=skipped)
    assert "Held-out test, n = 30: macro AUC 0.86 (95 % interval 0.76 to 0.94)" in answer(CLAIM, "37", facts).said
    said = answer(CLAIM, "35", facts).said
    assert "90 were predicted and 2 left out" in said
    assert "no HER2 class follows from the entries: 1" in said
    assert "10 HER2-zero, 10 HER2-low, 10 HER2-positive" in said


def test_weights_and_stacking_are_told_as_they_were(usual):
    facts = make_facts(record=trained_with(join="late", covariates=["age"], class_weights="balanced"))
    assert answer(TRIPOD_AI, "13", facts).state == "partly"
    assert answer(CLAIM, "27", facts).state == "answered"
    assert answer(TRIPOD_AI, "13", usual).state == "not applicable"
    assert answer(CLAIM, "27", usual).state == "not applicable"


def with_network(*, folds, **finetune):
    """The record of an encoder trained end to end, under the head that fits nothing."""
    own = {"augment": {"flips": "both"}, "learning_rate": 1e-3, "batch_size": 8, "epochs": 9, "patience": 3}
    training = {"choices": {"finetune": own | {"folds": folds} | finetune}, "class_counts": {"zero": 15}}
    record = trained_with()
    encoder = {"name": "file:x", "builder": "trained", "citation": "ImageNet"}
    changed = record["stages"]["classify"] | {"head": "network", "params": {"unused": 0}, "encoder": encoder}
    return record | {"stages": record["stages"] | {"finetune": training, "classify": changed}}


def learned(frame):
    """A cohort of whom 15 patients, all of site C, trained the encoder and are not predicted."""
    rows = [Skipped(f"T{i}", "one", "classify", "encoder_trained_on", "", "") for i in range(15)]
    known = [Patient(row.patient_id, "one", "C", "", {}, None) for row in rows]
    return rows, Cohort((*cohort_of(frame).patients, *known), (), frozenset({"ihc"}))


def test_one_network_alone_is_not_sold_as_cross_validated():
    frame = predictions()
    rows, cohort = learned(frame)
    given = make_facts(record=with_network(folds=0))
    given = replace(given, flow=patient_flow(frame, cohort, rows))
    told = {line.item.number: line.answer.said for line in fill(given, [CLAIM])[0].lines}
    assert not [number for number, said in told.items() if "nested cross" in said or "anew" in said]
    assert "15 development patients trained the encoder, and nothing predicts them" in told["19"]
    assert answer(CLAIM, "32", given).state == "partly"
    assert "No cross-validation of the whole model: its encoder was trained once, on 15 patients" in told["32"]
    assert given.unseen == []
    assert answer(CLAIM, "33", given).state == "author", "the encoder was trained at the held-out site"
    assert "nothing was fitted or tuned on them but one temperature" in told["25"]
    assert "unused" not in told["22"]


def test_networks_of_the_folds_are_cross_validated_and_not_nested():
    given = make_facts(record=with_network(folds=5, balanced_sampling=True))
    assert answer(CLAIM, "32", given).said.startswith("By cross-validation.")
    assert "drawn equally often in the training of the encoder" in answer(CLAIM, "19", given).said
    assert answer(TRIPOD_AI, "13", given).state == "partly"
    assert answer(CLAIM, "33", given).state == "partly"


def test_an_encoder_that_was_trained_in_another_run_did_not_stay_as_published():
    record = with_network(folds=5)
    del record["stages"]["finetune"]
    said = answer(CLAIM, "24", make_facts(record=record)).said
    assert "was trained end to end in another run" in said
    assert "as published" not in said


def test_a_test_that_was_opened_often_is_not_sold_as_one():
    record = trained_with()
    record["stages"]["classify"]["test_opened"] = 3
    found = answer(CLAIM, "26", make_facts(record=record))
    assert found.state == "partly"
    assert "3 different settings" in found.said


def test_the_score_counts_what_applies_and_leaves_open_what_is_the_authors():
    answers = [answered("Yes."), lacking("No.", "Do."), partly("Some.", "More."), left("All."), not_applicable("No.")]
    lines = [
        Line(Item(str(i), "s", "t", "a", author(""), weight), one, (), ())
        for i, (one, weight) in enumerate(zip(answers, (0.3, 0.1, 0.2, 0.2, 0.2), strict=True))
    ]
    found = score(lines)
    assert (found.met, found.unmet) == pytest.approx((0.3 / 0.8, 0.1 / 0.8))
    assert (found.low, found.high) == pytest.approx((0.375, 0.875))


def test_filling_in_the_open_items_of_metrics_stays_within_the_range(usual):
    filled = fill(usual, [METRICS])[0]
    low, high = filled.score.low, filled.score.high
    assert 0 < low < high < 1
    rng = np.random.default_rng(0)
    for _ in range(30):
        drawn = [
            replace(line, answer=rng.choice([answered("."), lacking(".", "."), not_applicable(".")]))
            if line.answer.state in ("partly", "author") and line.item.number == "9"
            else replace(line, answer=rng.choice([answered("."), lacking(".", ".")]))
            if line.answer.state in ("partly", "author")
            else line
            for line in filled.lines
        ]
        assert low - 1e-12 <= score(drawn).met <= high + 1e-12
    text = scored(filled)
    marks = re.findall(r"(Yes|No|n\. a\.|Open to the author) \(weight 0\.\d{4}\)", as_markdown(filled))
    assert len(marks) == 30
    assert text.startswith(f"Score between {100 * low:.0f} % and {100 * high:.0f} %.")
    assert scored(fill(usual, [CLAIM])[0]) == ""


def test_hostile_names_stay_text_in_every_export():
    frame = predictions(sites=("A", "B", HOSTILE), cohort=HOSTILE, test=HOSTILE)
    own = {"analysis": {"subgroups": {HOSTILE: []}}}
    facts = make_facts(
        frame, own=own, record=trained_with(covariates=[HOSTILE]), sections=SECTIONS | {"subgroups": HOSTILE}
    )
    for filled in fill(facts):
        page = as_html(filled)
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        text = as_markdown(filled)
        assert "<script" not in text
        assert "http://evil" not in text
        rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
        assert len(rows) == 1 + len(filled.lines)
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}


class Cells(HTMLParser):
    """Counts rows and cells, and collects links."""

    def __init__(self):
        super().__init__()
        self.rows, self.links, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta",):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += 1
            assert "border" in dict(attrs)["style"]
        if tag == "a":
            self.links.append(dict(attrs)["href"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("checklist", CHECKLISTS, ids=lambda one: one.name)
def test_the_html_is_one_plain_table_without_script(checklist, usual):
    filled = fill(usual, [checklist])[0]
    page = as_html(filled)
    cells = Cells()
    cells.feed(page)
    assert cells.open == []
    assert cells.rows == [7] * (1 + len(checklist.items))
    assert not {"script", "img", "link", "iframe"} & set(re.findall(r"<([a-z]+)", page))
    assert page.lstrip().startswith("<!doctype html>")
    assert {link for link in cells.links if "://" in link} == {checklist.form}
    for text in (checklist.title, checklist.form, counted(filled)):
        assert text in page


def test_the_section_counts_and_folds_every_item(usual):
    filled = fill(usual)
    section = checklists_section(filled)
    tables = [block for block in section.blocks if isinstance(block, Table)]
    assert [len(table.rows) for table in tables] == [3, 52, 44, 30]
    assert all(
        sum(int(cell) for cell in row[1:]) == len(one.lines) for row, one in zip(tables[0].rows, filled, strict=True)
    )
    assert list(tables[0].header[1:]) == list(STATES.values())
    assert all(table.folded for table in tables[1:])


def test_the_section_lies_among_those_on_how_it_was_done(usual):
    names = [("a", "Patients"), ("b", "How it was done"), ("c", "Further")]
    page = Page("", "", [], [], [Section(a, a, [Paragraph("x")], topic) for a, topic in names], "", "")
    found = add_checklists(page, fill(usual))
    assert [section.anchor for section in found.sections] == ["a", "b", "checklists", "c"]
    assert 'id="checklists"' in render(found)


def test_a_phantom_and_a_negative_control_are_called_what_they_are(usual):
    record = RECORD | {"stages": RECORD["stages"] | {"phantom": {"n_patients": 90}}}
    assert "Simulated patients" in as_markdown(fill(make_facts(record=record))[0])
    shuffled = RECORD["stages"]["classify"] | {"labels_shuffled": True}
    control = RECORD | {"stages": RECORD["stages"] | {"classify": shuffled}}
    assert "Negative control" in as_html(fill(make_facts(record=control))[0])
    assert "Simulated" not in as_markdown(fill(usual)[0])


def test_the_stage_writes_checklists_whose_links_lead_somewhere(tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.parts.PARTS", {})
    monkeypatch.setattr(
        "analysis.figures.canvas.FigureCanvasSVG.print_svg", lambda _, file, **__: file.write("<svg></svg>")
    )
    run = RunFolder(tmp_path / "run")
    run.prepare()
    frame = predictions(60)
    write_predictions(run.predictions_file, frame, "triple")
    table = frame[["patient_id", "cohort", "site"]].assign(pre="a", early="b", late="c", mask="m", ihc="0")
    table.to_csv(tmp_path / "cohort.csv", index=False)
    config = Config.model_validate({"cohort": {"table": tmp_path / "cohort.csv"}, "analysis": {"resamples": 100}})
    assert analyze(config, run, Reporter(quiet=True))
    anchors = set(re.findall(r'id="([^"]+)"', run.report_file.read_text("utf-8")))
    assert "checklists" in anchors
    for checklist in CHECKLISTS:
        cells = Cells()
        cells.feed((run.checklists / f"{checklist.name}.html").read_text("utf-8"))
        for link in cells.links:
            if "#" in link:
                assert link.removeprefix("../report.html#") in anchors
            elif "://" not in link:
                assert (run.checklists / link).resolve().is_file(), link
    entry = run.read_record()["stages"]["analysis"]
    assert {f"checklists/{one.name}.{ending}" for one in CHECKLISTS for ending in ("md", "html")} <= set(
        entry["outputs"]
    )
    assert run.is_fresh("analysis", entry["key"])
    (run.checklists / "claim.md").unlink()
    assert not run.is_fresh("analysis", entry["key"])
