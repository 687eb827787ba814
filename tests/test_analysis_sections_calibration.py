"""The section on calibration: every table has its file in full precision, and a class without patients its reason."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from analysis.evaluation import evaluate
from analysis.metrics import find
from analysis.page import Gallery, Table, unfolded
from analysis.sections.calibration import calibration_section
from triher.predictions import probability_columns
from triher.settings import AnalysisConfig, CohortConfig, Config


def section_of(y):
    n = len(y)
    p = softmax(np.eye(3)[y] + np.random.default_rng(0).normal(size=(n, 3)), axis=1)
    frame = pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(n)], "cohort": "c", "site": "A", "split": "test"})
    frame = frame.assign(repeat=0, fold=0, seed=0, y=y.astype(float))
    frame[probability_columns("triple")] = p
    config = Config(cohort=CohortConfig(table="t.csv"), analysis=AnalysisConfig(resamples=100))
    evaluation = evaluate(frame, None, {}, config)
    section = calibration_section(evaluation)
    return evaluation, {b.name: b for b in unfolded(section.blocks) if isinstance(b, Table)}, section


def test_every_table_has_a_name_and_the_numbers_behind_it():
    evaluation, tables, section = section_of(np.arange(60) % 3)
    assert list(tables) == [
        "calibration-scores",
        "calibration-slopes",
        "calibration-distances",
        "brier-parts",
        "multinomial-recalibration",
        "multinomial-tests",
        "calibration-error-equal-mass",
        "val-prob",
    ]
    slopes = tables["calibration-slopes"]
    assert len(slopes.data.rows) == 3 * (len(slopes.header) - 1)
    wanted = find(evaluation.metrics, "test", "calibration_slope", "low")
    [row] = [r for r in slopes.data.rows if (r[3], r[4]) == ("low", "calibration_slope")]
    assert row[5:8] == [wanted.value, wanted.low, wanted.high]
    parts = {q: find(evaluation.metrics, "test", f"brier_{q}", "low").value for q in ("of_class", "reliability")}
    assert 0 < parts["reliability"] < parts["of_class"]
    assert len(tables["val-prob"].data.rows) == 3
    [gallery] = [block for block in section.blocks if isinstance(block, Gallery)]
    assert [d.name for d in gallery.drawings] == [f"reliability-test-{c}" for c in ("zero", "low", "positive")]
    assert all("fill-opacity: 0.16" in d.svg or "opacity: 0.16" in d.svg for d in gallery.drawings)


@pytest.mark.fault("E5")
def test_a_class_of_few_patients_is_not_estimable_and_says_why():
    _, tables, _ = section_of(np.r_[np.arange(40) % 2, 2, 2])
    positive = tables["calibration-distances"].rows[2]
    assert positive[0].startswith("HER2-positive")
    assert set(positive[1:]) == {"not estimable: only 2 HER2-positive"}
    assert tables["multinomial-tests"].rows[0][1] == "not estimable: only 2 HER2-positive"
    assert len(tables["val-prob"].data.rows) == 2
