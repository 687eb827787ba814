"""The analysis stage from files to files: contents, freshness, every scheme, and every kind of gap."""

import csv
import html
import json
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from analysis.evaluation import evaluate
from analysis.metrics import COLUMNS
from analysis.page import Table
from analysis.patients.samples import split_samples, subgroup_samples
from analysis.rendering import render
from analysis.report import build_page
from analysis.sections.origin import model_section
from analysis.stage import analyze, inputs_key
from analysis.survival.followup import all_follow_ups
from triher.cohort import Cohort, read_cohort
from triher.errors import Note, Skipped, StopRun
from triher.files import sha256_of_file
from triher.labels import scheme_classes
from triher.predictions import probability_columns, write_predictions
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import AnalysisConfig, CohortConfig, Config
from triher.tables import write_table

HOSTILE = "<script>alert(1)</script>"


def predictions(scheme, n, seed, *, strength=1.5, split=None):
    rng = np.random.default_rng(seed)
    names = scheme_classes(scheme)
    y = np.arange(n) % len(names)
    logits = strength * np.eye(len(names))[y] + rng.normal(size=(n, len(names)))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    test = np.arange(n) >= 2 * n // 3
    frame = pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(n)], "cohort": "phantom"})
    frame["site"] = np.where(test, "C", np.where(np.arange(n) % 2, "A", f"B{HOSTILE}"))
    frame["split"] = split or np.where(test, "test", "oof")
    frame = frame.assign(repeat=0, fold=0, seed=0, y=y.astype(float))
    frame[probability_columns(scheme)] = probabilities
    return frame


def cohort_table(path, frame, *, survival=True):
    rng = np.random.default_rng(7)
    n = len(frame)
    risk = frame.iloc[:, -1].to_numpy(float)
    time, censoring = rng.exponential(40 / np.exp(risk)), rng.uniform(5, 60, n)
    table = frame[["patient_id", "cohort", "site"]].assign(pre="a", early="b", late="c", mask="m", ihc="0")
    table["age"] = rng.normal(55, 9, n).round()
    if survival:
        table["time"] = np.minimum(time, censoring).round(2)
        table["event"] = (time < censoring).astype(int)
    table.to_csv(path, index=False)


def a_study(place, scheme="triple", n=90, *, survival=True, reference=True, frame=None, resamples=200):
    """Write a run folder with predictions and a cohort; the configuration and the run."""
    folder = place / f"{scheme}-{n}"
    run = RunFolder(folder)
    run.prepare()
    frame = predictions(scheme, n, 0) if frame is None else frame
    write_predictions(run.predictions_file, frame, scheme)
    cohort_table(folder / "cohort.csv", frame, survival=survival)
    best = None
    if reference:
        best = folder / "reference.csv"
        write_predictions(best, predictions(scheme, n, 1, strength=4, split="reference"), scheme)
    unit = "months" if survival else None
    cohort = CohortConfig(table=folder / "cohort.csv", covariates=("age",), time_unit=unit)
    analysis = AnalysisConfig(resamples=resamples, covariates=("age",), reference=best)
    return Config(cohort=cohort, scheme=scheme, analysis=analysis), run


def with_covariates(config, *names):
    both = {"covariates": names}
    parts = {"cohort": config.cohort.model_copy(update=both), "analysis": config.analysis.model_copy(update=both)}
    return config.model_copy(update=parts)


@pytest.fixture
def make(tmp_path):
    """Make a study of one's own."""
    return partial(a_study, tmp_path)


@pytest.fixture
def without_parts(monkeypatch):
    """Leave out the parts and the drawing, which have tests of their own."""
    monkeypatch.setattr("analysis.parts.PARTS", {})
    monkeypatch.setattr(
        "analysis.figures.canvas.FigureCanvasSVG.print_svg", lambda _, file, **__: file.write("<svg></svg>")
    )


def analyzed(made):
    config, run = made
    assert analyze(config, run, Reporter(quiet=True))
    return run, run.report_file.read_text(encoding="utf-8")


def rows_of(run):
    with run.metrics_file.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


class Outline(HTMLParser):
    """Collects tags, attributes and whether they nest."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr", "use", "path", "rect", "image"})

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run folder and the page of a study with everything in it, and hostile names everywhere."""
    config, run = a_study(tmp_path_factory.mktemp("whole"))
    table = config.cohort.table
    table.write_text(table.read_text(encoding="utf-8").replace("age", f"age{HOSTILE}", 1), encoding="utf-8")
    run.write_skipped("extract", [Skipped(HOSTILE, "phantom", "extract", "mask_empty", f"no {HOSTILE}", HOSTILE)])
    run.write_notes("extract", [Note("P001", "phase_order_suspect", "darker")])
    return analyzed((with_covariates(config, f"age{HOSTILE}"), run))


@pytest.mark.fault("G22")
def test_everything_is_written_and_recorded(whole):
    run, page = whole
    rows = rows_of(run)
    assert tuple(rows[0]) == COLUMNS
    basic = {"discrimination", "nested", "calibration", "reference", "prognosis", "multiplicity", "paper"}
    assert {row["part"] for row in rows} == basic | {
        "calibrators", "conformal", "decision", "matched", "reject", "subgroups", "survival",
    }  # fmt: skip
    assert {row["split"] for row in rows} == {"oof", "test"}
    [macro] = [r for r in rows if r["quantity"] == "auc_macro" and r["split"] == "test" and not r["site"]]
    assert float(macro["low"]) < float(macro["value"]) < float(macro["high"])
    assert macro["n"] == "30"
    assert {r["site"] for r in rows if r["split"] == "oof"} >= {"", "A", f"B{HOSTILE}"}
    entry = json.loads(run.record_file.read_text(encoding="utf-8"))["stages"]["analysis"]
    named = {"metrics.csv", "report.html", "figures/roc-test.svg", "tables/cox-test.csv"}
    assert named <= set(entry["outputs"])
    assert set(entry["headline"]) == {"oof", "test"}
    assert "On 30 held-out patients of site C" in page
    assert "yes: the ids of 2 patients" in page


@pytest.mark.fault("C26", "G23")
def test_page_is_self_contained_escaped_and_well_formed(whole):
    _, page = whole
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert not {"link", "iframe", "object", "img"} & set(outline.tags)
    assert outline.tags.count("script") == 1
    assert {"header", "main", "nav", "footer", "caption", "h1"} <= set(outline.tags)
    policy = [value for name, value in outline.attributes if name == "content"]
    assert any("default-src 'none'" in (value or "") for value in policy)
    assert not [name for name, _ in outline.attributes if name.startswith("on")]
    links = [value for name, value in outline.attributes if name in {"href", "src", "xlink:href"}]
    assert all(value.startswith("#") for value in links)
    ids = [value for name, value in outline.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in links} <= set(ids)
    assert page.count("<script") == 1
    assert "&lt;script&gt;" in page


@pytest.mark.fault("C26")
def test_drawings_escape_names_of_the_table(whole):
    run, _ = whole
    drawings = [path.read_text(encoding="utf-8") for path in (run.path / "figures").glob("*.svg")]
    assert any(HOSTILE in "".join(ET.fromstring(drawing).itertext()) for drawing in drawings)  # noqa: S314
    assert "<script" not in "".join(drawings)


def test_no_table_holds_a_number_that_is_none(whole):
    run, _ = whole
    for path in (run.path / "tables").glob("*.csv"):
        rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
        assert not {"nan", "inf", "-inf", "None"} & {cell for row in rows for cell in row}, path.name


@pytest.mark.fault("C20", "C22", "C23")
@pytest.mark.usefixtures("without_parts")
def test_the_report_tells_whom_the_survival_part_leaves_out_and_classification_does_not(make):
    config, run = make(reference=False, resamples=100)
    frame = pd.read_csv(config.cohort.table, dtype=str).assign(grade="2")
    frame.loc[[0, 1, 2], "time"] = ["0", "-4", "1000000"]
    frame.loc[3, "age"] = ""
    frame.to_csv(config.cohort.table, index=False)
    run, page = analyzed((with_covariates(config, "age", "grade"), run))
    text = html.unescape(page)
    assert "A survival time of 0 was taken as half a day in 1 patient." in text
    assert "negative survival time: 1" in text
    assert "survival time of more than a hundred years: 1" in text
    assert "a covariate is missing (adjusted model only): 1" in text
    assert "The covariate 'grade' has one value in all 58 patients who have it" in text
    judged = [row for row in rows_of(run) if row["quantity"] == "auc_macro"]
    assert ("oof", "", "60") in {(row["split"], row["site"], row["n"]) for row in judged}
    notes = {(note.patient_id, note.code) for note in run.read_notes()}
    assert {("P000", "time_zero"), ("P001", "time_negative"), ("P002", "time_implausible")} <= notes
    assert ("", "covariate_left_out") in notes
    assert not run.read_skipped(), "they are left out of the survival part only"


@pytest.mark.fault("C22")
@pytest.mark.usefixtures("without_parts")
def test_the_report_doubts_follow_up_in_another_unit(make):
    config, run = make(reference=False, resamples=100)
    frame = pd.read_csv(config.cohort.table, dtype=str)
    frame.loc[:29, "cohort"] = "elsewhere"
    frame.loc[:29, "time"] = [str(30 * float(cell)) for cell in frame.loc[:29, "time"]]
    frame.to_csv(config.cohort.table, index=False)
    run, page = analyzed((config, run))
    assert [note.patient_id for note in run.read_notes() if note.code == "unit_suspect"] == [""]
    assert "one of them may be in another unit" in page


@pytest.mark.usefixtures("without_parts")
def test_second_run_does_nothing_until_an_input_changes(make, capsys):
    config, run = make(n=45, frame=predictions("triple", 45, 0, split="test"), reference=False, resamples=100)
    analyzed((config, run))
    before = run.report_file.read_bytes()
    assert not analyze(config, run, Reporter())
    assert "analysis: up to date" in capsys.readouterr().err
    changed = config.model_copy(update={"seed": 1})
    assert analyze(changed, run, Reporter(quiet=True))
    assert analyze(config, run, Reporter(quiet=True))
    assert run.report_file.read_bytes() == before
    table = config.cohort.table
    table.write_text(table.read_text(encoding="utf-8").replace("P000,", "P000,", 1), encoding="utf-8")
    assert not analyze(config, run, Reporter(quiet=True))
    frame = pd.read_csv(table, dtype=str)
    frame.loc[0, "time"] = "3.5"
    frame.to_csv(table, index=False)
    assert analyze(config, run, Reporter(quiet=True))


@pytest.mark.usefixtures("without_parts")
def test_stale_figures_disappear(make):
    config, run = make(n=90, survival=False, reference=False, resamples=100)
    analyzed((config, run))
    assert (run.path / "figures" / "roc-oof.svg").exists()
    frame = predictions("triple", 90, 0)
    write_predictions(run.predictions_file, frame[frame["split"] == "test"], "triple")
    analyzed((config, run))
    assert not (run.path / "figures" / "roc-oof.svg").exists()
    assert "went missing without a reason" in run.report_file.read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["binary", "ultralow"])
def test_other_schemes(make, scheme):
    frame = predictions(scheme, 60, 0, split="test")
    run, page = analyzed(make(scheme, n=60, frame=frame, survival=False, resamples=100))
    rows = rows_of(run)
    assert not [r for r in rows if r["part"] == "nested"]
    assert {r["class"] for r in rows if r["quantity"] == "auc"} == set(scheme_classes(scheme))
    assert "Two questions in a row" not in page


@pytest.mark.fault("E2")
def test_a_class_without_patients_is_told_not_guessed(make):
    frame = predictions("triple", 90, 0)
    frame.loc[(frame["split"] == "test") & (frame["y"] == 2), "y"] = 1
    run, page = analyzed(make(frame=frame, survival=False, reference=False, resamples=100))
    rows = [r for r in rows_of(run) if r["split"] == "test" and r["quantity"] in {"auc_macro", "balanced_accuracy"}]
    assert {r["reason"] for r in rows} == {"0 HER2-positive"}
    assert {r["value"] for r in rows} == {""}
    assert "the classes cannot be compared as a whole: 0 HER2-positive" in page


@pytest.mark.usefixtures("without_parts")
def test_without_test_split_survival_reference_or_record(make):
    frame = predictions("triple", 60, 0, split="oof")
    run, page = analyzed(make(frame=frame, n=60, survival=False, reference=False, resamples=100))
    assert not [r for r in rows_of(run) if r["part"] in {"prognosis", "reference"}]
    assert "No patients were held out" in page
    assert "prognosis was not looked at" in page
    assert "each predicted by a model that had not seen that patient" in page
    assert "no; figures show groups" in page


@pytest.mark.usefixtures("without_parts")
def test_reference_must_have_every_patient(make):
    config, run = make(survival=False, resamples=100)
    best = predictions("triple", 90, 1, strength=4, split="reference")
    write_predictions(config.analysis.reference, best[best["patient_id"] != "P089"], "triple")
    run, _ = analyzed((config, run))
    rows = {r["split"]: r for r in rows_of(run) if r["quantity"] == "reference_auc_macro"}
    assert rows["test"]["reason"] == "the reference lacks 1 of 30 patients"
    assert float(rows["oof"]["value"]) > 0.9


def test_missing_predictions_name_the_command(make):
    config, run = make(resamples=100)
    run.predictions_file.unlink()
    with pytest.raises(StopRun, match="triher classify") as caught:
        analyze(config, run, Reporter(quiet=True))
    assert caught.value.code == "file_unreadable"


@pytest.mark.fault("F9")
def test_scores_of_unknown_origin_stop_before_any_output(make):
    config, run = make(frame=predictions("triple", 30, 0, split="train"), n=30, reference=False, resamples=100)
    with pytest.raises(StopRun) as caught:
        analyze(config, run, Reporter(quiet=True))
    assert caught.value.code == "score_in_sample"
    assert not run.metrics_file.exists()


def test_samples_leave_the_unlabeled_out_and_ignore_the_order():
    frame = predictions("triple", 60, 0)
    frame.loc[[0, 50], "y"] = np.nan
    test, oof = split_samples(frame, "triple")
    assert (test.split, len(test.y), test.n_unlabeled) == ("test", 19, 1)
    assert (oof.split, len(oof.y), oof.n_unlabeled) == ("oof", 39, 1)
    again, _ = split_samples(frame.sample(frac=1, random_state=3), "triple")
    assert again.patient_id == test.patient_id
    assert (again.probabilities == test.probabilities).all()
    assert [part.site for part in subgroup_samples(frame, "triple", "oof")] == ["A", f"B{HOSTILE}"]
    assert subgroup_samples(frame, "triple", "test") == ()


def test_several_cohorts_are_judged_apart():
    frame = predictions("triple", 60, 0, split="test").assign(cohort=np.where(np.arange(60) < 30, "x", "y"))
    frame["site"] = frame["cohort"]
    parts = subgroup_samples(frame, "triple", "test")
    assert [(part.cohort, part.site, len(part.y)) for part in parts] == [("x", "", 30), ("y", "", 30)]


def test_no_label_at_all_still_makes_a_report():
    frame = predictions("triple", 12, 0, split="test").assign(y=np.nan)
    config = Config(cohort=CohortConfig(table="t.csv"))
    cohort = Cohort((), (), frozenset())
    evaluation = evaluate(frame, None, all_follow_ups(frame, cohort, config), config)
    page = build_page(evaluation, frame, cohort, config, sections=[], skipped=[], notes=[], record={})
    assert "No predicted patient has a HER2 label" in render(page)


def write_beside(run, frame, scheme="triple"):
    """Companions and shortcuts as the stage before leaves them."""
    names = ("majority", "clinical", "volume", f"plain {HOSTILE}", "control region")
    parts = []
    for i, name in enumerate((*names, *(f"label noise 10%, draw {k}" for k in (1, 2)))):
        other = predictions(scheme, len(frame), 10 + i, strength=0.3 * i)
        other[["site", "split", "y"]] = frame[["site", "split", "y"]]
        if name == "majority":
            other[probability_columns(scheme)] = 1 / len(scheme_classes(scheme))
        parts.append((other.iloc[4:] if name == "control region" else other).assign(model=name))
    write_predictions(run.companions_file, pd.concat(parts), scheme)
    write_shortcuts(run.shortcuts_file, frame, strength=3)


def write_shortcuts(path, frame, *, strength):
    rng = np.random.default_rng(0)
    rows = []
    for target in ("site", "vendor", "her2 from site"):
        groups = scheme_classes("triple") if "her2" in target else sorted(frame["site"].unique())
        for i, patient_id in enumerate(frame["patient_id"]):
            p = rng.dirichlet(1 + strength * np.eye(len(groups))[i % len(groups)])
            rows += [[target, patient_id, groups[i % len(groups)], group, p[k]] for k, group in enumerate(groups)]
    write_table(path, ["target", "patient_id", "truth", "group", "p"], rows)


def record_classified(run, **facts):
    run.record_stage("classify", "k", [run.predictions_file], 1.0, **facts)


@pytest.mark.usefixtures("without_parts")
def test_what_stands_beside_the_model_is_judged_and_shown(make):
    config, run = make(survival=False, reference=False)
    write_beside(run, predictions("triple", 90, 0))
    reasons = {"acquisition": "the features come without facts about the acquisition"}
    record_classified(run, baselines_left_out=reasons, test_opened=2, openings=["a" * 64, "b" * 64])
    run, page = analyzed((config, run))
    rows = [r for r in rows_of(run) if r["part"] == "beside"]
    assert {r["split"] for r in rows} == {"test", "oof"}
    where = {(r["class"], r["quantity"]) for r in rows if r["split"] == "test"}
    names = {"majority", "clinical", "volume", f"plain {HOSTILE}", "control region", "label noise 10%"}
    assert {name for name, _ in where} == names
    assert ("volume", "companion_auc_within_site") not in where
    assert {r["class"] for r in rows if r["quantity"] == "companion_auc_within_site"} == names - {"label noise 10%"}
    [control] = [
        r
        for r in rows
        if r["class"] == "control region" and r["split"] == "oof" and r["quantity"] == "auc_macro_ahead"
    ]
    assert control["n"] == "56"
    [majority] = [
        r
        for r in rows
        if r["class"] == "majority" and r["split"] == "test" and r["quantity"] == "companion_auc_macro"
    ]
    assert (float(majority["value"]), majority["low"], majority["reason"]) == (0.5, "", "all scores are equal")
    assert {r["class"] for r in rows_of(run) if r["part"] == "shortcut"} == {"site", "vendor", "her2 from site"}
    within = [r for r in rows_of(run) if r["quantity"] == "auc_within_site"]
    assert [r["split"] for r in within] == ["oof"]
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert page.count("<script") == 1
    text = html.unescape(page)
    assert text.index("Telling the classes apart</span>") < text.index("Beside the model</span>")
    assert "How the images were taken (the features come without facts about the acquisition)" in text
    assert text.count("the result is no longer that of a single test") == 2
    assert "The features give away the site and the vendor (AUC above 0.8)" in text
    assert (run.path / "figures" / "beside-test.svg").is_file()
    assert "The strongest baseline (" in text


@pytest.mark.usefixtures("without_parts")
def test_what_stands_beside_the_model_belongs_to_the_key(make):
    config, run = make(n=45, frame=predictions("triple", 45, 0, split="test"), survival=False, reference=False)
    cohort, frame = read_cohort(config.cohort), predictions("triple", 45, 0, split="test")
    changes = [
        lambda: None,
        lambda: write_predictions(run.companions_file, frame.assign(model="volume"), "triple"),
        lambda: write_shortcuts(run.shortcuts_file, frame, strength=3),
        lambda: write_shortcuts(run.shortcuts_file, frame, strength=2),
        lambda: record_classified(run, test_opened=2),
        lambda: record_classified(run, test_opened=2, baselines_left_out={"volume": "none"}),
    ]
    keys = []
    for change in changes:
        change()
        keys.append(inputs_key(config, run, cohort))
        assert keys[-1] == inputs_key(config, run, cohort)
    assert len(set(keys)) == len(keys)


@pytest.mark.fault("E20")
@pytest.mark.usefixtures("without_parts")
def test_equal_explanations_of_other_predictions_make_another_report(make):
    """A model that differs in its prediction sets alone has equal maps; the page must not go on calling them old."""
    config, run = make(n=30)
    cohort = read_cohort(config.cohort, images=False)
    run.explanations.mkdir()
    (run.explanations / "sanity.csv").write_text("test\n")
    keys = []
    for digest in ("0" * 64, sha256_of_file(run.predictions_file)):
        run.record_stage("explain", "key", [], 1.0, predictions=digest)
        keys.append(inputs_key(config, run, cohort))
    assert keys[0] != keys[1]


def test_thresholds_are_shown_as_they_came_from_training_and_none_is_chosen_here(make):
    threshold = {"task": "zero vs low+positive", "threshold": 0.4321, "sensitivity": 0.8, "specificity": 0.7, "n": 60}
    config, run = make(survival=False, reference=False)
    record_classified(run, thresholds=[threshold])
    [shown] = [block for block in model_section(run.read_record(), config).blocks if isinstance(block, Table)]
    assert "chosen on out-of-fold predictions of the development patients" in shown.caption
    assert "no held-out patient" in shown.caption
    assert shown.rows == [["Zero against low or positive", "0.432", "0.80", "0.70", "60"]]
    evaluation = evaluate(predictions("triple", 90, 0), None, {}, config)
    assert not [metric for metric in evaluation.metrics if "threshold" in metric.quantity]


@pytest.mark.fault("E4")
def test_perfect_separation_is_told_with_its_cautious_interval():
    frame = predictions("triple", 30, 0, split="test")
    frame[probability_columns("triple")] = 0.9 * np.eye(3)[np.arange(30) % 3] + 0.1 / 3
    config = Config(cohort=CohortConfig(table="t.csv"), analysis=AnalysisConfig(resamples=100))
    evaluation = evaluate(frame, None, {}, config)
    page = build_page(
        evaluation, frame, Cohort((), (), frozenset()), config, sections=[], skipped=[], notes=[], record={}
    )
    assert page.cards[0].interval == "95 % interval 0.69 to 1.00; the scores separate perfectly"
    assert "1.00 (0.69 to 1.00), the scores separate perfectly" in render(page).replace(chr(160), " ")


@pytest.mark.fault("E19")
@pytest.mark.usefixtures("without_parts")
def test_another_prevalence_is_reported_and_not_corrected(make):
    frame = predictions("triple", 300, 0)
    frame = frame[(frame["split"] == "oof") | (frame["y"] != 2) | (np.arange(300) % 4 == 0)].reset_index(drop=True)
    config, run = make(frame=frame, survival=False, reference=False, resamples=100)
    before = run.predictions_file.read_bytes()
    run, page = analyzed((config, run))
    found = {
        (r["split"], r["class"]): r
        for r in rows_of(run)
        if r["quantity"] == "calibration_in_the_large" and not r["site"]
    }
    assert float(found["test", "positive"]["high"]) < 0
    assert float(found["oof", "positive"]["value"]) > float(found["test", "positive"]["value"])
    assert run.predictions_file.read_bytes() == before
    test = frame[frame["split"] == "test"]
    p = test[probability_columns("triple")].to_numpy()
    [brier] = [r for r in rows_of(run) if r["quantity"] == "brier" and r["split"] == "test"]
    expected = ((p - np.eye(3)[test["y"].astype(int)]) ** 2).sum(axis=1).mean()
    assert float(brier["value"]) == pytest.approx(expected)
    assert "Intercept at slope 1 (ideal 0)" in page


def test_analysis_loads_no_torch():
    code = (
        "import pkgutil, importlib, sys, analysis;"
        "[importlib.import_module(m.name) for m in pkgutil.iter_modules(analysis.__path__, 'analysis.')];"
        "sys.exit(bool({'torch', 'timm', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
