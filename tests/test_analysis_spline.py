"""The restricted cubic spline of the score: its formula, its test, and where there is none."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from analysis.figures.survival import shape_figure
from analysis.survival.cox import Options, fit_cox
from analysis.survival.followup import FollowUp
from analysis.survival.prognosis import judge_prognosis
from analysis.survival.spline import judge_shape, spline_columns


def one(n):
    return ("",) * n


def bent(n=400, seed=0, curve=2.0):
    rng = np.random.default_rng(seed)
    score, age = rng.normal(size=n), rng.normal(size=(n, 1))
    time = rng.exponential(30 / np.exp(curve * 0.4 * score**2 + 0.2 * age[:, 0]))
    censored = rng.exponential(60, n)
    return score, age, np.minimum(time, censored), time <= censored


def judge(score, age, time, event):
    x = np.column_stack([score, age])
    names = ("score", "age")[: x.shape[1]]
    straight = fit_cox(x, names, time, event, one(len(x)), Options(diagnose=False))
    return judge_shape(score, age, time, event, one(len(x)), straight)


def test_the_columns_are_straight_beyond_the_outer_knots_and_smooth_at_all():
    knots = (-1.0, 0.0, 0.5, 2.0)
    left, right = np.array([-3.0, -2.0, -1.0]), np.array([2.0, 3.0, 4.0])
    for edge in (left, right):
        assert np.diff(spline_columns(edge, knots), n=2, axis=0) == pytest.approx(0, abs=1e-12)
    for knot in knots:
        h = 1e-4
        near = spline_columns(knot + np.array([-2, -1, 0, 1, 2]) * h, knots)
        second = np.diff(near, n=2, axis=0) / h**2
        assert second[0] == pytest.approx(second[-1], abs=1e-2)


def test_a_curved_effect_is_found_and_drawn():
    score, age, time, event = bent()
    shape = judge(score, age, time, event)
    assert len(shape.knots) == 4
    assert shape.df == 2
    assert shape.nonlinear.value < 1e-4
    middle = np.argmin(np.abs(shape.score - np.median(score)))
    assert shape.log_hazard[middle] == pytest.approx(0, abs=0.05)
    assert shape.high[middle] - shape.low[middle] < 0.1  # nothing is uncertain at the reference
    assert shape.log_hazard[0] > 0.5
    assert shape.log_hazard[-1] > 0.5
    assert ((shape.low <= shape.log_hazard) & (shape.log_hazard <= shape.high)).all()


def test_the_unit_of_the_score_changes_nothing():
    score, age, time, event = bent()
    first, second = judge(score, age, time, event), judge(100 * score + 7, age, time, event)
    assert second.chisq == pytest.approx(first.chisq, rel=1e-6)
    assert second.log_hazard == pytest.approx(first.log_hazard, abs=1e-6)


def test_few_events_have_three_knots_or_a_reason():
    score, age, time, event = bent(60)
    event = np.cumsum(event) * event
    fifteen = judge(score, age, time, (event > 0) & (event <= 17))
    assert (len(fifteen.knots), fifteen.df) == (3, 1)
    ten = judge(score, age, time, (event > 0) & (event <= 11))
    assert ten.nonlinear.reason == "11 events for 3 coefficients with 3 knots"
    refused = judge(score, age, time, (event > 0) & (event <= 4))
    assert refused.nonlinear.reason == "4 events for 2 coefficients"


def test_a_score_of_two_values_has_no_shape():
    score, age, time, event = bent()
    found = judge((score > 0).astype(float), age, time, event)
    assert found.nonlinear.reason == "the score has too few values for 3 knots"


def test_the_figure_is_the_same_on_every_run_and_well_formed():
    score, age, time, event = bent(150)
    nobody = np.zeros(150, bool)
    data = FollowUp(tuple(map(str, range(150))), score, time, event, age, ("age",), one(150), (), (), nobody)
    drawing = shape_figure(judge_prognosis("test", data))
    root = ET.fromstring(drawing.svg)  # noqa: S314
    assert (drawing.name, root.tag) == ("shape-test", "{http://www.w3.org/2000/svg}svg")
    assert "Restricted cubic spline with 4 knots" in drawing.description
    assert shape_figure(judge_prognosis("test", data)).svg == drawing.svg
