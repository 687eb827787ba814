"""The section on matched cases, with and without explanations."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.metrics import find
from analysis.page import Folded, Heading, Page, Paragraph, Pictures, Table, unfolded
from analysis.part import Material
from analysis.patients.samples import split_samples
from analysis.rendering import render
from analysis.sections.matched import judge_matched
from triher.cohort import Cohort, Patient
from triher.predictions import probability_columns
from triher.runfolder import RunFolder
from triher.settings import CohortConfig, Config, ExplainConfig

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    monkeypatch.setattr(
        "analysis.figures.canvas.FigureCanvasSVG.print_svg", lambda _, file, **__: file.write("<svg></svg>")
    )


def study(n=24, *, split="test", folds=1, strength=2.0, prefix="P", scheme="triple", run=None):
    rng = np.random.default_rng(4)
    y = np.arange(n) % 3
    logits = strength * np.eye(3)[y] + rng.normal(size=(n, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if scheme == "binary":
        y, p = (y == 2).astype(int), np.column_stack([p[:, :2].sum(axis=1), p[:, 2]])
    frame = pd.DataFrame({"patient_id": [f"{prefix}{i:03d}" for i in range(n)]})
    frame = frame.assign(cohort="here", site="A", split=split, repeat=0, fold=np.arange(n) % folds, seed=0, y=y * 1.0)
    frame[probability_columns(scheme)] = p
    people = [
        Patient(
            who, "here", "A", "", {}, None, ihc="02"[i % 3 == 2], covariates={"age": float(rng.normal(50, 5))},
            groups={"side": ("left", HOSTILE)[i % 2]},
        )
        for i, who in enumerate(frame["patient_id"])
    ]  # fmt: skip
    config = Config(
        cohort=CohortConfig(table="t.csv", covariates=("age",), groups=("side",)), scheme=scheme,
        explain=ExplainConfig(match_on=("age",), calipers={"age": 3}),
    )  # fmt: skip
    samples = split_samples(frame, scheme)
    return Material(frame, None, samples, {}, Cohort(tuple(people), (), frozenset()), config, {}, run)


def explained_run(path, **record):
    run = RunFolder(path)
    run.prepare()
    run.predictions_file.write_text("x", encoding="utf-8")
    run.explanations.mkdir()
    (run.explanations / "patients.csv").write_text("patient_id,reason\n", encoding="utf-8")
    run.record_stage("explain", "key", [], 1.0, **record)
    return run


def tables_of(part):
    return {block.name: block for block in unfolded(part.section.blocks) if isinstance(block, Table)}


def texts_of(part):
    return " ".join(block.text for block in unfolded(part.section.blocks) if isinstance(block, Paragraph | Heading))


def test_the_share_stands_beside_the_auc_without_pairs():
    part = judge_matched(study())
    share = find(part.metrics, "test", "matched_pairs_right")
    assert share.n == 5
    assert 0 <= share.low < share.value <= share.high
    table = tables_of(part)["matched-test"]
    assert [row[0] for row in table.data.rows] == [
        "matched_pairs_right",
        "matched_pairs_strictly_right",
        "auc_zero_vs_low_matched",
        "auc_zero_vs_low",
    ]
    assert part.summary[0].startswith("In 5 pairs of a HER2-zero and a HER2-low patient matched on age, the model")
    [row] = tables_of(part)["matched-balance-test"].rows
    assert row[:2] == ["age", "within 3"]
    assert float(row[4]) <= 3


def test_without_explanations_no_patient_is_named():
    part = judge_matched(study(prefix="SECRET-"))
    assert part.named == ()
    assert "matched-pairs-test" not in tables_of(part)
    page = Page("t", "l", [], [], [part.section], "no", "f")
    assert "SECRET" not in render(page)
    assert "triher explain" in texts_of(part)


def test_with_explanations_pairs_are_listed_and_lost_slabs_are_said(tmp_path):
    part = judge_matched(study(run=explained_run(tmp_path / "run")))
    table = tables_of(part)["matched-pairs-test"]
    assert len(table.rows) == 5
    assert len(table.data.rows) == 10
    listed = {row[2] for row in table.data.rows}
    assert listed == set(part.named)
    assert "holds no readable slab" in texts_of(part)
    assert "The surest right pair" in texts_of(part)
    assert not any(isinstance(block, Pictures) for block in unfolded(part.section.blocks))
    margins = [float(row[3]) - float(row[2]) for row in table.rows]
    assert margins == sorted(margins, reverse=True)


def test_explanations_of_earlier_predictions_are_not_shown(tmp_path):
    part = judge_matched(study(run=explained_run(tmp_path / "run", predictions="0" * 64)))
    assert part.named == ()


def test_out_of_fold_pairs_are_widened_and_later_splits_folded():
    material = study(split="oof", folds=4)
    held_out = study(prefix="T")
    frame = pd.concat([material.frame, held_out.frame])
    cohort = replace(material.cohort, patients=material.cohort.patients + held_out.cohort.patients)
    both = replace(material, frame=frame, samples=split_samples(frame, "triple"), cohort=cohort)
    part = judge_matched(both)
    assert "widened" in find(part.metrics, "oof", "matched_pairs_right").method
    assert "widened" not in find(part.metrics, "test", "matched_pairs_right").method
    assert [block.text for block in part.section.blocks if isinstance(block, Folded)] == ["Development, out of fold"]


def test_a_scheme_without_zero_has_no_section():
    assert judge_matched(study(scheme="binary")).section is None


def test_no_pairs_have_a_reason():
    material = study()
    config = material.config.model_copy(update={"explain": ExplainConfig(match_on=("age",), calipers={"age": 0})})
    part = judge_matched(replace(material, config=config))
    assert "There are no such pairs. Held-out test: no HER2-zero and no HER2-low patient agree in age." in texts_of(
        part
    )
    assert find(part.metrics, "test", "matched_pairs_right").reason == "0 pairs"


def test_hostile_ids_and_groups_stay_text(tmp_path):
    part = judge_matched(study(prefix=HOSTILE, run=explained_run(tmp_path / "run")))
    html = render(Page("t", "l", [], [], [part.section], "yes", "f"))
    assert "alert(1)" in html
    assert "<script>alert" not in html
