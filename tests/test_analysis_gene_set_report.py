"""What the report says and saves of gene sets and immune signatures."""

import numpy as np
import pytest

from analysis.enrichment import SetEnrichment, SetOverlap
from analysis.figures_gene_sets import enrichment_figure, most_certain
from analysis.gene_sets import DroppedSet, GeneSet, GeneSets
from analysis.page import Gallery, Page, Paragraph, Section, Table, drawings, render, tables
from analysis.sections_gene_sets import gene_set_blocks
from analysis.sections_signatures import signature_blocks
from analysis.single_sample import compare_scores

COMPARE = ("low", "positive")
UP = GeneSet("PATH_UP", "a.gmt", ("G1", "G2"), 3)
DOWN = GeneSet("PATH_DOWN", "a.gmt", ("G3", "G4"), 9)
SETS = GeneSets((UP, DOWN), (DroppedSet("PATH_BIG", "b.gmt", 900, 950, "more than 500 genes tested"),), (), ("G1",))


def enriched(one, normalized, p_adjusted, *, correlated=0.2, n_random=500):
    p = p_adjusted / 2
    return SetEnrichment(one, normalized / 3, normalized, p, p_adjusted, p, correlated, n_random, one.genes)


def overlap(one, n_hits, p_adjusted):
    return SetOverlap(one, one.genes[:n_hits], 0.5, p_adjusted / 2, p_adjusted)


def blocks_of(tests, overlaps, sets=SETS):
    return gene_set_blocks(sets, tests, overlaps, name="true", compare=COMPARE, fdr=0.05)


def text_of(blocks):
    return " ".join(block.text for block in blocks if isinstance(block, Paragraph))


def page_of(blocks):
    return Page("T", "lead", [], [], [Section("genes", "Genes", blocks)], "none", "end")


def test_what_passes_is_told_printed_and_saved():
    tests = [enriched(DOWN, -1.8, 0.2), enriched(UP, 2.1, 0.012, correlated=0.03)]
    blocks = blocks_of(tests, [overlap(UP, 2, 0.02), overlap(DOWN, 0, 1.0)])
    text = text_of(blocks)
    assert "2 gene sets of a.gmt, b.gmt were held against the 1 genes tested; 1 set not tested" in text
    assert "Of 1 of them less than half of the genes were tested." in text
    assert (
        "1 of 2 gene sets pass a false discovery rate of 5% by the enrichment score: 1 with genes higher in" in text
    )
    assert "Of these, 1 also pass where the genes of a set are correlated." in text
    assert "1 gene set holds more of the significant genes than chance" in text
    assert "as if genes varied independently" in text
    [table] = [block for block in blocks if isinstance(block, Table)]
    assert table.rows == [["PATH_UP", "2 of 3", "2.10", "0.012", "0.030", "2 (0.5 by chance)", "0.020"]]
    data = tables(page_of(blocks))["gene-sets-true"]
    rows = [dict(zip(data.columns, row, strict=True)) for row in data.rows]
    assert [row["gene_set"] for row in rows] == ["PATH_UP", "PATH_DOWN", "PATH_BIG"]
    assert [(row["genes_tested"], row["genes_listed"]) for row in rows] == [(2, 3), (2, 9), (900, 950)]
    assert (rows[0]["leading_edge"], rows[0]["hits"]) == ("G1;G2", "G1;G2")
    assert rows[2]["not_tested_because"] == "more than 500 genes tested"
    assert rows[2]["p"] is None


@pytest.mark.fault("F17")
def test_where_nothing_passes_a_sentence_and_an_empty_table_say_so():
    blocks = blocks_of([enriched(UP, 1.1, 0.31), enriched(DOWN, -0.9, 0.6)], [overlap(UP, 0, 1.0)])
    assert "No gene set passes a false discovery rate of 5%" in text_of(blocks)
    assert "the smallest adjusted p value is 0.31 (PATH_UP)" in text_of(blocks)
    assert "No significant gene is in a set" in text_of(blocks)
    assert "permutations" not in text_of(blocks)
    [table] = [block for block in blocks if isinstance(block, Table)]
    assert table.rows == []
    assert table.header[0] == "Gene set"
    assert "PATH_UP" in render(page_of(blocks))


def test_too_few_permutations_are_told():
    tests = [enriched(UP, 1.1, 0.31, n_random=30), enriched(DOWN, -0.9, 0.6, n_random=25)]
    assert "p is at least 0.032, so that one set among 2 could not pass: raise" in text_of(blocks_of(tests, []))


def test_without_sets_there_is_no_figure():
    blocks = blocks_of([], [], GeneSets((), SETS.dropped, (), ("G1",)))
    assert [type(block) for block in blocks] == [Paragraph, Table]
    assert text_of(blocks).startswith("0 gene sets of b.gmt were held against")


@pytest.mark.fault("F15")
def test_the_name_of_a_set_is_text_and_never_markup_or_a_path():
    evil = GeneSet("../<script>alert(1)</script>$x$", "a.gmt", ("G1", "G2"), 2)
    blocks = blocks_of([enriched(evil, 2.0, 0.01)], [overlap(evil, 1, 0.01)], GeneSets((evil,), (), (), ("G1",)))
    page = page_of(blocks)
    assert "<script>" not in render(page)
    assert "&lt;script&gt;" in render(page)
    assert [drawing.name for drawing in drawings(page)] == ["gene-sets-true"]
    assert list(tables(page)) == ["gene-sets-true"]
    assert tables(page)["gene-sets-true"].rows[0][0] == evil.name


def test_the_figure_shows_the_most_certain_sets_without_their_collection():
    many = [GeneSet(f"HALLMARK_S{i:02d}", "a.gmt", ("G1",), 1) for i in range(30)]
    tests = [enriched(one, 1 + i / 30, 0.9 - i / 40) for i, one in enumerate(many)]
    figure = enrichment_figure(tests, name="x", title="T", compare=COMPARE, fdr=0.5)
    assert "HALLMARK_S29: 1.97, adjusted p 0.18" in figure.description
    assert "S09" not in figure.description
    assert ">S29<" in figure.svg
    assert [one.gene_set.name for one in most_certain(tests)[:2]] == ["HALLMARK_S29", "HALLMARK_S28"]


@pytest.fixture
def differences():
    rng = np.random.default_rng(0)
    group = np.arange(40) < 18
    scores = rng.normal(size=(40, 2))
    scores[group, 0] += 2.0
    return compare_scores(scores, SETS, group, names=("HER2-low", "HER2-positive"))


def test_signatures_are_told_drawn_and_saved(differences):
    blocks = signature_blocks(SETS, differences, name="predicted", compare=COMPARE, covariates=["er"])
    assert "After correction differ (p < 0.05), higher in HER2-positive: PATH_UP." in text_of(blocks)
    assert "in standard deviations, given er; p values are corrected over all 2 signatures" in text_of(blocks)
    assert [type(block) for block in blocks] == [Paragraph, Paragraph, Gallery, Table]
    assert blocks[3].rows[2][2] == "not tested: more than 500 genes tested"
    data = tables(page_of(blocks))["signatures-predicted"]
    assert {len(row) for row in data.rows} == {len(data.columns)}
    assert dict(zip(data.columns, data.rows[0], strict=True))["value"] == differences[0].difference.value


def test_signatures_of_groups_too_small_have_no_figure():
    group = np.arange(40) < 1
    found = compare_scores(np.zeros((40, 2)), SETS, group, names=("HER2-low", "HER2-positive"))
    blocks = signature_blocks(SETS, found, name="true", compare=COMPARE)
    assert "No immune signature differs" in text_of(blocks)
    assert [type(block) for block in blocks] == [Paragraph, Paragraph, Table]
    assert blocks[2].rows[0][2] == "not estimable: only 1 HER2-positive"
    render(page_of(blocks))
