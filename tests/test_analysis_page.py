import io
import re

import numpy as np
import pytest
from PIL import Image

from analysis.figures.canvas import Drawing
from analysis.figures.lighter import lighter
from analysis.figures.overlay import png
from analysis.page import (
    Folded,
    Gallery,
    Heading,
    Page,
    Paragraph,
    Picture,
    Pictures,
    Section,
    Table,
    drawings,
    fold_later,
    tables,
)
from analysis.rendering import render, render_within
from analysis.report import _in_order


def drawing(name):
    return Drawing(name, name, name, f'<svg id="{name}"></svg>')


def page_of(*sections):
    return Page("t", "l", ("one", "two"), (), sections, "no", "f")


def split(name):
    return [Heading(name), Table("c", ["a"], [["1"]], name=f"table-{name}"), Gallery("", [drawing(f"figure-{name}")])]


def test_only_the_foremost_split_is_open_and_nothing_folded_is_lost():
    blocks = fold_later([split("test"), split("oof")])
    assert [type(block) for block in blocks] == [Heading, Table, Gallery, Folded]
    page = page_of(Section("x", "X", blocks))
    assert list(tables(page)) == ["table-test", "table-oof"]
    assert [one.name for one in drawings(page)] == ["figure-test", "figure-oof"]
    text = render(page)
    assert (
        text.index('id="figure-test"') < text.index("<summary><h3>oof</h3></summary>") < text.index('id="figure-oof"')
    )


def test_a_split_without_heading_cannot_be_folded():
    assert fold_later([]) == []
    with pytest.raises(TypeError, match="begin with a heading, and not with Paragraph"):
        fold_later([split("test"), [Paragraph("p")]])


def test_sections_are_in_the_order_of_a_reader_and_an_unknown_one_comes_last():
    anchors = ("provenance", "new", "survival-measures", "limits", "discrimination", "prognosis", "patients")
    page = page_of(*_in_order([Section(anchor, anchor, []) for anchor in anchors]))
    assert [section.anchor for section in page.sections] == [
        "patients", "discrimination", "prognosis", "survival-measures", "limits", "provenance", "new",
    ]  # fmt: skip
    topics = {topic: [section.anchor for section in inside] for topic, inside in page.topics}
    assert topics["Survival"] == ["prognosis", "survival-measures"]
    assert topics["Further"] == ["new"]
    assert "<dt>Survival</dt>" in render(page)


def test_a_table_without_rows_says_none():
    text = render(page_of(Section("x", "X", [Table("Genes that pass", ["Gene", "p"], [], name="genes")])))
    assert '<td class="none">none</td>' in text
    assert "<th" not in text


def test_a_p_value_is_not_broken_over_two_lines():
    text = render(page_of(Section("x", "X", [Table("c", ["a", "p"], [["1", "< 0.001"]], name="p")])))
    assert "&lt;\u00a00.001" in text


def noise(seed, side=96):
    """A picture that no format makes small."""
    return png(np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8))


def page_with_pictures(n):
    shown = [Picture(noise(seed), f"slice {seed}", f"Slice {seed}") for seed in range(n)]
    halves = [Pictures("One", shown[: n // 2]), Folded("More", [Pictures("Two", shown[n // 2 :])])]
    return page_of(Section("x", "X", halves))


def pictures_in(text):
    return re.findall(r'src="data:image/(png|jpeg);base64', text)


def test_a_page_that_fits_is_left_alone():
    page = page_with_pictures(4)
    text = render(page)
    assert render_within(page, len(text.encode())) == text
    assert pictures_in(text) == ["png"] * 4


@pytest.mark.parametrize(("share", "said"), [(0.9, "quality 88 with all of its"), (0.35, "half the pixels a side")])
def test_pictures_get_lighter_when_the_page_would_be_too_large_and_the_page_says_so(share, said):
    page = page_with_pictures(12)
    whole, without = len(render(page).encode()), len(render(page_of(Section("x", "X", []))).encode())
    limit = without + 6000 + int(share * (whole - without))
    text = render_within(page, limit)
    assert len(text.encode()) <= limit
    assert pictures_in(text) == ["jpeg"] * 12
    assert said in text[text.index("<footer>") :]


def test_pictures_that_do_not_fit_are_left_out_with_a_word():
    page = page_with_pictures(12)
    limit = len(render(page_of(Section("x", "X", []))).encode()) + 10_000
    text = render_within(page, limit)
    assert len(text.encode()) <= limit
    n = len(pictures_in(text))
    assert 0 < n < 12
    assert f"and {12 - n} are left out" in text[text.index("<footer>") :]
    assert "Left out, for the page would be too large:" in text[: text.index("<footer>")]


def test_a_page_too_large_for_other_reasons_says_so():
    page = page_of(Section("x", "X", [Paragraph("word " * 1000)]))
    assert "is larger than 0.0 MB" in render_within(page, 1000)


def test_broad_pictures_get_more_room():
    shapes = {(20, 20): "", (20, 40): "broad", (20, 80): "broadest"}
    assert [Picture(png(np.zeros(s, np.uint8)), "", "").breadth for s in shapes] == list(shapes.values())
    assert Picture(b"no picture", "", "").breadth == ""


def test_lighter_pictures_look_the_same():
    picture = png(np.tile(np.arange(0, 240, dtype=np.uint8), (240, 1)))
    made = Image.open(io.BytesIO(lighter([picture], 100_000).pictures[picture]))
    assert (made.format, made.size) == ("JPEG", (240, 240))
    assert np.abs(np.asarray(made.convert("L"), float) - np.arange(240)).max() < 6
