"""Figures: the same text on every run, well formed, named, and safe against what tables hold."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from analysis.calibration.curves import reliability, smooth_reliability
from analysis.discrimination.aucs import one_vs_rest
from analysis.discrimination.confusion import confusion_matrix
from analysis.figures.calibration import reliability_figure
from analysis.figures.canvas import CLASS_STYLE, draw, plain
from analysis.figures.dark import at_night, oklab, painted, with_variables
from analysis.figures.discrimination import (
    ForestRow,
    confusion_figure,
    forest_figure,
    probability_figure,
    roc_figure,
)
from analysis.figures.survival import hazard_figure, kaplan_meier_figure
from analysis.patients.samples import Sample
from analysis.survival.followup import FollowUp
from analysis.survival.prognosis import judge_prognosis
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


def test_a_page_can_read_values_off_a_figure():
    def paint(figure):
        axes = figure.add_subplot()
        axes.plot([1, 10, 100], [0.0, 0.5, 0.25], label="model  0.8")
        axes.axhline(0.1, color="gray")
        axes.set(xscale="log", xlim=(1, 100), ylim=(0, 1), xlabel="Size", ylabel="Share")

    root = ET.fromstring(draw("x", "t", "d", (4.0, 3.0), paint).svg)  # noqa: S314
    [axes] = json.loads(root.get("data-axes"))
    assert (axes["x"], axes["y"], axes["log"], axes["names"]) == ([1, 100], [0, 1], [True, False], ["Size", "Share"])
    [curve] = [e for e in root.iter() if e.get("data-curve")]
    assert (curve.get("data-curve"), curve.get("data-axes-number")) == ("model", "0")
    path = next(e for e in curve.iter() if e.tag.endswith("path")).get("d")
    points = np.array(re.findall(r"[\d.]+", path), dtype=float).reshape(-1, 2)
    left, right, top, bottom = axes["box"]
    shares = (points - (left, bottom)) / (right - left, top - bottom)
    assert shares == pytest.approx(np.array([[0, 0], [0.5, 0.5], [1, 0.25]]), abs=1e-3)


def test_figures_say_what_can_be_read_off_them_and_are_small_and_keep_styles_to_themselves():
    figures = all_figures()
    named = [re.findall('data-curve="([^"]*)"', drawing.svg) for drawing in figures]
    assert named[0] == ["HER2-zero", "HER2-low", "HER2-positive"]
    assert named[3] == ["Observed share"]
    assert len(named[4]) == 2
    assert named[1] == named[5] == []
    assert "data-axes" not in figures[1].svg
    for drawing in figures:
        assert "<style" not in drawing.svg
        assert not re.search(r"\d\.\d{3}", re.sub('style="[^"]*"', "", drawing.svg.split("<title>")[1]))


def test_oklab_is_that_of_css_color_4():
    # https://www.w3.org/TR/css-color-4/: red is oklch(0.62796 0.25768 29.23).
    lightness, a, b = oklab("#ff0000")
    assert (lightness, np.hypot(a, b)) == pytest.approx((0.62796, 0.25768), abs=1e-4)
    assert np.degrees(np.arctan2(b, a)) == pytest.approx(29.23, abs=0.01)
    assert oklab("#ffffff") == pytest.approx([1, 0, 0], abs=1e-6)


def test_at_night_light_and_dark_change_places_and_hues_stay():
    grays = [f"#{level:02x}{level:02x}{level:02x}" for level in range(0, 256, 15)]
    by_night = [oklab(at_night(gray))[0] for gray in grays]
    assert by_night == sorted(by_night, reverse=True)
    for color, _, _ in CLASS_STYLE.values():
        (_, a, b), (lightness, a_night, b_night) = oklab(color), oklab(at_night(color))
        assert np.arctan2(b_night, a_night) == pytest.approx(np.arctan2(b, a), abs=0.1)
        assert lightness > 0.5  # 3 : 1 on a card of lightness 0.24


def contrast(color, other):
    """Contrast ratio of WCAG 2, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""
    channels = [np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) / 255 for c in (color, other)]
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in channels]
    low, high = sorted(float(c @ (0.2126, 0.7152, 0.0722)) for c in linear)
    return (high + 0.05) / (low + 0.05)


def test_counts_of_a_confusion_matrix_can_be_read_by_day_and_by_night():
    import matplotlib as mpl

    from analysis.figures.discrimination import text_on

    for share in np.linspace(0, 1, 21):
        cell, text = mpl.colors.to_hex(mpl.colormaps["Blues"](share / 1.15)), mpl.colors.to_hex(text_on(share))
        assert contrast(cell, text) > 3
        assert contrast(at_night(cell, is_area=True), at_night(text)) > 3


def test_only_paint_of_tags_becomes_the_page_s():
    svg = '<g><path style="fill: none; stroke: #0072b2"/><rect fill="#ffffff"/><text>fill: #d98c00</text></g>'
    assert painted([svg]) == {
        "affffff": ("#ffffff", at_night("#ffffff", is_area=True)), "c0072b2": ("#0072b2", at_night("#0072b2")),
    }  # fmt: skip
    assert with_variables(svg) == (
        '<g><path style="fill: none; stroke: var(--c0072b2)"/><rect fill="var(--affffff)"/>'
        "<text>fill: #d98c00</text></g>"
    )
