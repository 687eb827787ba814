"""Figures: the same text on every run, well formed, named, and safe against what tables hold."""

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from analysis.calibration_curves import reliability, smooth_reliability
from analysis.canvas import CLASS_STYLE, draw, plain
from analysis.confusion import confusion_matrix
from analysis.discrimination import one_vs_rest
from analysis.figures import (
    ForestRow,
    confusion_figure,
    forest_figure,
    probability_figure,
    roc_figure,
)
from analysis.figures_calibration import reliability_figure
from analysis.figures_survival import hazard_figure, kaplan_meier_figure
from analysis.followup import FollowUp
from analysis.prognosis import judge_prognosis
from analysis.samples import Sample
from triher.estimate import Estimate, not_estimable
from triher.labels import SCHEMES

CLASSES = ("zero", "low", "positive")


def sample():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    probabilities = rng.dirichlet(np.ones(3), 60)
    return Sample("test", "", "", tuple(map(str, range(60))), y, probabilities, 0, np.zeros(60, int))


def prognosis():
    rng = np.random.default_rng(1)
    score, time = rng.random(40), rng.exponential(20, 40)
    age = rng.normal(60, 9, (40, 1))
    ids = tuple(map(str, range(40)))
    return judge_prognosis(
        "test",
        FollowUp(ids, score, time, rng.random(40) < 0.7, age, ("age",), ("",) * 40, (), (), np.zeros(40, bool)),
    )


def all_figures():
    judged, part = sample(), prognosis()
    y, probabilities = judged.y, judged.probabilities
    positive = probabilities[:, 2].copy()
    smooth = smooth_reliability(y == 2, positive, resamples=20, seed=0)
    curve = replace(reliability(y == 2, positive, "positive"), smooth=smooth)
    return [
        roc_figure(judged, CLASSES, one_vs_rest(y, probabilities, CLASSES)),
        confusion_figure(confusion_matrix(y, probabilities), CLASSES, "test"),
        probability_figure(judged, CLASSES, 2),
        reliability_figure(curve, judged, 2),
        kaplan_meier_figure(part),
        hazard_figure(part),
    ]


def test_figures_are_deterministic_well_formed_and_named():
    first, second = all_figures(), all_figures()
    assert [d.svg for d in first] == [d.svg for d in second]
    ids = []
    for drawing in first:
        root = ET.fromstring(drawing.svg)  # noqa: S314 - our own output
        assert root.get("role") == "img"
        assert root.get("aria-label", "").startswith(drawing.title)
        assert root[0].tag.endswith("title")
        ids += [e.get("id") for e in root.iter() if e.get("id")]
        references = re.findall(r'(?:href="#|url\(#)([^")]+)', drawing.svg)
        assert set(references) <= {e.get("id") for e in root.iter()}
        assert "DejaVu" not in drawing.svg
        assert "<text" in drawing.svg
        assert "date" not in drawing.svg.lower()
    assert len(ids) == len(set(ids))


def test_text_of_tables_is_escaped_and_is_no_formula():
    hostile = "<script>$x$</script>&" + chr(0) + '"'
    rows = [
        ForestRow(hostile, Estimate(0.8, 0.7, 0.9, 10, "AUC")),
        ForestRow("病院", not_estimable("", n=0, method="")),
    ]
    drawing = forest_figure("auc", hostile, rows, x_label="AUC", line_at=0.5)
    assert "<script" not in drawing.svg
    root = ET.fromstring(drawing.svg.replace(chr(0), ""))  # noqa: S314 - our own output
    texts = ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text")]
    assert '<script>$x$</script>&"' in texts
    assert "病院" in texts
    assert "not estimable" in texts


def test_labels_are_bounded():
    assert len(plain("x" * 500)) < 40


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_class_has_its_own_look(scheme):
    looks = [CLASS_STYLE[name] for name in SCHEMES[scheme]]
    for position in range(3):
        assert len({look[position] for look in looks}) == len(looks)


def test_user_settings_do_not_change_figures():
    import matplotlib as mpl

    before = all_figures()[1].svg
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path"}):
        assert all_figures()[1].svg == before


def test_drawing_leaves_no_global_state():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    draw("x", "t", "d", (1.0, 1.0), lambda figure: None)
    assert dict(mpl.rcParams) == before
