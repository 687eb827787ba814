import pytest

from analysis.canvas import Drawing
from analysis.page import (
    Folded,
    Gallery,
    Heading,
    Page,
    Paragraph,
    Section,
    Table,
    drawings,
    fold_later,
    render,
    tables,
)
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
