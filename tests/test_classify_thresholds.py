import json

import numpy as np
import pandas as pd
import pytest

from classify.thresholds import fit_thresholds, nested_score, nested_tasks, youden


def test_youden_equals_the_referee(golden_folder):
    check = json.loads((golden_folder / "expected.json").read_text())["checks"]["youden_s100b"]
    table = pd.read_csv(golden_folder / "asah.csv")
    found = youden(table["s100b"].to_numpy(float), table["poor"].to_numpy(int) == 1, "poor outcome")
    for name in ("threshold", "sensitivity", "specificity"):
        assert getattr(found, name) == pytest.approx(check["value"][name], rel=check["rtol"])


def test_nested_scores_are_conditional():
    p = np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(nested_score(p, 0), [0.5, 0.0])
    np.testing.assert_allclose(nested_score(p, 1), [0.4, 0.5]), "0/0 says nothing: 0.5"
    assert nested_tasks(["negative", "positive"]) == ["negative vs positive"]
    assert nested_tasks(["zero", "ultralow", "low", "positive"])[1] == "ultralow vs low+positive"


def test_each_question_asks_only_whom_it_concerns():
    p = np.array([[0.9, 0.05, 0.05], [0.2, 0.6, 0.2], [0.2, 0.1, 0.7]])
    first, second = fit_thresholds(p, np.array([0, 1, 2]), ("zero", "low", "positive"))
    assert (first.n, second.n) == (3, 2)
    assert (first.sensitivity, first.specificity, second.sensitivity, second.specificity) == (1, 1, 1, 1)
    assert second.threshold == pytest.approx((0.25 + 0.875) / 2)


def test_equal_scores_give_that_score():
    found = youden(np.full(4, 0.3), np.array([True, False, True, False]), "constant")
    assert (found.threshold, found.sensitivity, found.specificity) == (0.3, 1.0, 0.0)
