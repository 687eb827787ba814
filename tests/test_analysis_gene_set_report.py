"""What the report says and saves of gene sets and immune signatures."""

import numpy as np
import pytest

from analysis.figures.gene_sets import enrichment_figure
from analysis.genes.camera import SetShift
from analysis.genes.enrichment import SetEnrichment, SetOverlap
from analysis.genes.gene_sets import DroppedSet, GeneSet, GeneSets
from analysis.genes.pathways import judge_pathways
from analysis.genes.single_sample import compare_scores
from analysis.page import Gallery, Page, Paragraph, Section, Table, drawings, tables
from analysis.rendering import render
from analysis.sections.gene_sets import gene_set_blocks
from analysis.sections.pathways import pathway_blocks, pathway_metrics
from analysis.sections.signatures import signature_blocks
from triher.settings import TranscriptomicsConfig

COMPARE = ("low", "positive")
UP = GeneSet("PATH_UP", "a.gmt", ("G1", "G2"), 3)
DOWN = GeneSet("PATH_DOWN", "a.gmt", ("G3", "G4"), 9)
BIG = DroppedSet("PATH_BIG", "b.gmt", 900, 950, "more than 500 genes tested")
SETS = GeneSets((UP, DOWN), (BIG,), (), ("G1", "G2", "G3", "G4", "G5"))


def blocks_of(sets, normalized, camera, over, n_hits):
    """Blocks of results that have these scores, adjusted p values and hits."""
    shifts = [SetShift(one, x, 0.08, p / 2, p) for one, x, p in zip(sets.sets, normalized, camera, strict=True)]
    enriched = [
        SetEnrichment(one, x / 3, x, 0.01, 0.012, 400, one.genes)
        for one, x in zip(sets.sets, normalized, strict=True)
    ]
    overlaps = [
        SetOverlap(one, one.genes[:n], 0.5, p / 2, p) for one, n, p in zip(sets.sets, n_hits, over, strict=True)
    ]
    return gene_set_blocks(sets, shifts, enriched, overlaps, name="true", compare=COMPARE, fdr=0.05)


def text_of(blocks):
    return " ".join(block.text for block in blocks if isinstance(block, Paragraph))


def table_of(blocks):
    [table] = [block for block in blocks if isinstance(block, Table)]
    return table


def page_of(blocks):
    return Page("T", "lead", [], [], [Section("genes", "Genes", blocks)], "none", "end")


def saved(blocks, name):
    data = tables(page_of(blocks))[name]
    return [dict(zip(data.columns, row, strict=True)) for row in data.rows]


@pytest.mark.fault("F15")
def test_what_passes_is_told_printed_and_saved_with_its_overlap():
    blocks = blocks_of(SETS, (2.1, -1.8), (0.02, 0.3), (0.03, 1.0), (2, 0))
    text = text_of(blocks)
    assert "2 gene sets of a.gmt, b.gmt were held against the 5 genes tested; 1 set not tested (more than" in text
    assert "Of 1 of them less than half of the genes were tested." in text
    assert "1 of 2 gene sets pass a false discovery rate of 5%: 1 with genes higher in HER2-positive, 0 with" in text
    assert "By GSEA alone 2 would pass, by over-representation among the significant genes 1." in text
    assert "estimated among patients of one class (median over the sets 0.08)" in text
    assert table_of(blocks).rows == [["PATH_UP", "2 of 3", "2.10", "0.020", "0.012", "2 (0.5 by chance)", "0.030"]]
    rows = saved(blocks, "gene-sets-true")
    assert [row["gene_set"] for row in rows] == ["PATH_UP", "PATH_DOWN", "PATH_BIG"]
    assert [(row["genes_tested"], row["genes_listed"]) for row in rows] == [(2, 3), (2, 9), (900, 950)]
    assert (rows[0]["leading_edge"], rows[0]["hits"], rows[0]["p_camera"]) == ("G1;G2", "G1;G2", 0.01)
    assert rows[2]["not_tested_because"] == "more than 500 genes tested"
    assert rows[2]["p_camera"] is None


@pytest.mark.fault("F17")
def test_where_nothing_passes_a_sentence_says_so_and_the_first_sets_are_folded():
    blocks = blocks_of(SETS, (1.1, -0.9), (0.31, 0.6), (1.0, 1.0), (0, 0))
    text = text_of(blocks)
    assert "No gene set passes a false discovery rate of 5%; the smallest adjusted p value is 0.31 (PATH_UP)." in text
    assert "by over-representation among the significant genes 0; no significant gene is in a set." in text
    assert [row[0] for row in table_of(blocks).rows] == ["PATH_UP", "PATH_DOWN"]
    assert table_of(blocks).folded.startswith("No gene set passes")
    assert table_of(blocks).header[0] == "Gene set"
    assert len(saved(blocks, "gene-sets-true")) == 3
    render(page_of(blocks))


def test_without_sets_there_is_no_figure():
    blocks = blocks_of(GeneSets((), (BIG,), (), ("G1",)), (), (), (), ())
    assert [type(block) for block in blocks] == [Paragraph, Table]
    assert text_of(blocks).startswith("0 gene sets of b.gmt were held against")


@pytest.mark.fault("F15")
def test_the_name_of_a_set_is_text_and_never_markup_or_a_path():
    evil = GeneSet("../<script>alert(1)</script>$x$", "a.gmt", ("G1", "G2"), 2)
    page = page_of(blocks_of(GeneSets((evil,), (), (), ("G1",)), (2.0,), (0.01,), (0.01,), (1,)))
    assert render(page).count("<script") == 1  # our own
    assert "&lt;script&gt;" in render(page)
    assert [drawing.name for drawing in drawings(page)] == ["gene-sets-true"]
    assert list(tables(page)) == ["gene-sets-true"]
    assert tables(page)["gene-sets-true"].rows[0][0] == evil.name


def test_the_figure_shows_the_most_certain_sets_without_their_collection():
    many = [GeneSet(f"HALLMARK_S{i:02d}", "a.gmt", ("G1",), 1) for i in range(30)]
    shifts = [SetShift(one, 1.0, 0.0, 0.9 - i / 40, 0.9 - i / 50) for i, one in enumerate(many)]
    enriched = [SetEnrichment(one, 0.5, 1 + i / 30, 0.1, 0.1, 50, ("G1",)) for i, one in enumerate(many)]
    figure = enrichment_figure(shifts, enriched, name="x", title="T", compare=COMPARE, fdr=0.5)
    assert "HALLMARK_S29: 1.97, adjusted p 0.32" in figure.description
    assert "S09" not in figure.description
    assert ">S29<" in figure.svg


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
    assert "in standard deviations, given er; p values are corrected over the 2 signatures tested" in text_of(blocks)
    assert [type(block) for block in blocks] == [Paragraph, Paragraph, Paragraph, Gallery, Table]
    assert "Not tested, with the genes there are: more than 500 genes tested: PATH_BIG (900 of 950)." in text_of(
        blocks
    )
    assert len(blocks[4].rows) == 2
    rows = saved(blocks, "signatures-predicted")
    assert rows[0]["value"] == differences[0].difference.value
    assert rows[2]["value"] is None


def test_signatures_that_do_not_differ_are_told():
    scores = np.random.default_rng(0).normal(size=(40, 2))
    found = compare_scores(scores, SETS, np.arange(40) < 18, names=("HER2-low", "HER2-positive"))
    text = text_of(signature_blocks(SETS, found, name="true", compare=COMPARE))
    assert "No immune signature differs between the classes after correction." in text


def test_signatures_of_groups_too_small_have_no_figure():
    found = compare_scores(np.zeros((40, 2)), SETS, np.arange(40) < 1, names=("HER2-low", "HER2-positive"))
    blocks = signature_blocks(SETS, found, name="true", compare=COMPARE)
    assert "No immune signature could be tested." in text_of(blocks)
    assert [type(block) for block in blocks] == [Paragraph, Paragraph, Paragraph, Table]
    assert blocks[3].rows[0][2] == "not estimable: only 1 HER2-positive"
    render(page_of(blocks))


def test_all_results_of_a_contrast_are_in_the_order_of_their_sets(tmp_path):
    pytest.importorskip("gseapy")
    rng = np.random.default_rng(0)
    genes = ("GZMA", "PRF1", "CD3D", "CD3E", "CD3G", "CD6", *(f"G{i}" for i in range(100)))
    path = tmp_path / "a.gmt"
    path.write_text("".join(f"S{k}\tx\t" + "\t".join(genes[k : k + 20]) + "\n" for k in (40, 10)), "utf-8")
    values = rng.normal(size=(30, len(genes)))
    design = np.column_stack([np.ones(30), rng.normal(size=30), np.arange(30) % 2]).astype(float)
    values[:, 40:60] += 1.5 * design[:, 2:]
    statistic = np.linalg.lstsq(design, values, rcond=None)[0][2] * 2
    config = TranscriptomicsConfig(expression=tmp_path, kind="log", gene_sets=(path,), permutations=100)
    found = judge_pathways(genes, statistic, statistic > 2, values, design, config=config, seed=0)
    for results in (found.shifts, found.enriched, found.overlaps):
        assert [one.gene_set for one in results] == list(found.gene_sets.sets)
    assert found.shifts[0].p_adjusted < 0.01
    assert found.enriched[0].normalized > 1.5
    assert [one.gene_set.name for one in found.differences] == ["Cytolytic activity", "T cells"]
    assert "linear model with the covariates" in found.differences[0].difference.method
    statistic[-1] = np.nan
    without_one = judge_pathways(genes, statistic, statistic > 2, values, design, config=config, seed=0)
    assert set(found.gene_sets.background) - set(without_one.gene_sets.background) == {"G99"}
    named = {"name": "true", "title": "true class", "compare": COMPARE, "fdr": 0.05}
    assert list(tables(page_of(pathway_blocks(found, **named)))) == ["gene-sets-true", "signatures-true"]
    metrics = pathway_metrics(found, suffix="", by="true class", fdr=0.05, n=30)
    assert [(m.quantity, m.class_name) for m in metrics[:3]] == [
        ("gene_sets_tested", "true class"),
        ("gene_sets_significant", "true class"),
        ("signature_difference", "Cytolytic activity, by true class"),
    ]
    assert [m.estimate.value for m in metrics[:2]] == [2, 1]
    without = TranscriptomicsConfig(expression=tmp_path, kind="log", permutations=100)
    found = judge_pathways(genes, statistic, statistic > 2, values, design, config=without, seed=0)
    assert found.enriched == ()
    assert list(tables(page_of(pathway_blocks(found, **named)))) == ["signatures-true"]
    assert "gene_sets_tested" not in {m.quantity for m in pathway_metrics(found, suffix="", by="x", fdr=0.05, n=30)}
