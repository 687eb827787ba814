"""Enrichment against R and against gseapy's own correction, and the properties of its p values."""

import csv
import socket
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from analysis.genes.enrichment import enrichment, over_representation
from analysis.genes.gene_sets import GeneSet, GeneSets, match_gene_sets, read_gene_sets
from triher.errors import StopRun

GENES = tuple(f"G{i:03d}" for i in range(200))


def limma(folder):
    with (folder / "rna_limma.csv").open(encoding="utf-8") as handle:
        return {row["gene"]: row for row in csv.DictReader(handle)}


def golden_sets(folder, rows):
    return read_gene_sets([folder / "genesets.gmt"], list(rows), min_genes=1, max_genes=500)


def sets_of(**members):
    listed = [GeneSet(name, "a.gmt", tuple(genes), len(genes)) for name, genes in members.items()]
    return match_gene_sets(listed, GENES, min_genes=1, max_genes=500)


def noise(seed=0, genes=GENES):
    return dict(zip(genes, np.random.default_rng(seed).normal(size=len(genes)).tolist(), strict=True))


@pytest.mark.golden("ora")
def test_over_representation_equals_r(golden, golden_folder):
    expected, rows = golden("ora"), limma(golden_folder)
    gene_sets = golden_sets(golden_folder, rows)
    found = over_representation([gene for gene, row in rows.items() if float(row["padj"]) < 0.05], gene_sets)
    assert [one.gene_set.name for one in found] == expected["sets"]
    assert len(gene_sets.background) == expected["background"]
    assert [len(one.gene_set.genes) for one in found] == expected["size"]
    assert [len(one.hits) for one in found] == expected["overlap"]
    assert [one.p for one in found] == pytest.approx(expected["p"], rel=1e-8, abs=1e-15)
    assert [one.p_adjusted for one in found] == pytest.approx(expected["BH"], rel=1e-8, abs=1e-15)


@pytest.mark.fault("F16")
def test_gseapy_corrects_over_sets_with_a_hit_only_and_we_over_all(golden_folder):
    gseapy = pytest.importorskip("gseapy")
    rows = limma(golden_folder)
    significant = [gene for gene, row in rows.items() if float(row["padj"]) < 0.05]
    gene_sets = golden_sets(golden_folder, rows)
    theirs = gseapy.enrich(
        gene_list=significant,
        gene_sets={one.name: list(one.genes) for one in gene_sets.sets},
        background=list(rows),
        outdir=None,
        no_plot=True,
    ).res2d.set_index("Term")
    ours = {one.gene_set.name: one for one in over_representation(significant, gene_sets)}
    assert sorted(theirs.index) == ["SET_DOWN", "SET_TINY", "SET_UP"]
    for name, row in theirs.iterrows():
        assert ours[name].p == pytest.approx(row["P-value"], rel=1e-9)
        assert row["Adjusted P-value"] == pytest.approx(0.6 * ours[name].p_adjusted, rel=1e-9)


def test_over_representation_equals_fishers_exact_test():
    gene_sets = sets_of(A=GENES[:20])
    [one] = over_representation(GENES[12:40], gene_sets)
    table = [[8, 12], [20, 160]]
    assert one.p == pytest.approx(fisher_exact(table, alternative="greater").pvalue, rel=1e-9)
    assert one.expected == pytest.approx(20 * 28 / 200)
    assert one.hits == GENES[12:20]


@pytest.mark.fault("F16")
def test_sets_without_a_hit_count_in_the_correction():
    """By hand: five sets are tested, and three of them have a hit."""
    gene_sets = sets_of(A=GENES[:20], B=GENES[15:40], C=GENES[30:60], D=GENES[100:120], E=GENES[150:170])
    found = over_representation(GENES[10:35], gene_sets)
    assert [len(one.hits) for one in found] == [10, 20, 5, 0, 0]
    p = np.array([one.p for one in found])
    assert p[3:].tolist() == [1, 1]
    assert p[1] < p[0] < p[2]
    by_hand = [5 / 2 * p[0], 5 * p[1], min(1, 5 / 3 * p[2]), 1, 1]
    assert [one.p_adjusted for one in found] == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.fault("F17")
def test_without_a_significant_gene_every_set_has_p_1():
    found = over_representation([], sets_of(A=GENES[:20], B=GENES[50:70]))
    assert [(one.p, one.p_adjusted, one.hits) for one in found] == [(1.0, 1.0, ())] * 2


def test_a_significant_gene_must_have_been_tested():
    with pytest.raises(ValueError, match="'ERBB2' is significant, but not among"):
        over_representation(["ERBB2"], sets_of(A=GENES[:20]))


@pytest.mark.golden("gsea_es")
@pytest.mark.parametrize(("weight", "key"), [(1.0, "es_w1"), (0.0, "es_w0")])
def test_enrichment_scores_equal_r(golden, golden_folder, weight, key):
    pytest.importorskip("gseapy")
    expected, rows = golden("gsea_es"), limma(golden_folder)
    ranked = {gene: float(row["t"]) for gene, row in rows.items()}
    found = enrichment(ranked, golden_sets(golden_folder, rows), permutations=100, seed=0, weight=weight)
    assert [one.gene_set.name for one in found] == expected["sets"]
    assert [one.score for one in found] == pytest.approx(expected[key], rel=1e-6)


def test_enrichment_equals_gseapys_own_but_for_p_of_0():
    gseapy = pytest.importorskip("gseapy")
    ranked = noise()
    top = sorted(ranked, key=lambda gene: -ranked[gene])
    gene_sets = sets_of(TOP=top[:20], BOTTOM=top[-15:], ANY=GENES[40:70])
    found = {one.gene_set.name: one for one in enrichment(ranked, gene_sets, permutations=200, seed=7)}
    theirs = gseapy.prerank(
        rnk=pd.Series(ranked).sort_values(ascending=False),
        gene_sets={one.name: list(one.genes) for one in gene_sets.sets},
        min_size=1,
        permutation_num=200,
        seed=7,
        threads=1,
        outdir=None,
        no_plot=True,
    ).res2d.set_index("Term")
    for name, row in theirs.iterrows():
        assert found[name].score == pytest.approx(row["ES"], rel=1e-12)
        assert found[name].normalized == pytest.approx(row["NES"], rel=1e-12)
        assert set(found[name].leading_edge) == set(row["Lead_genes"].split(";"))
        assert found[name].p >= row["NOM p-val"]
        assert found[name].p == pytest.approx(row["NOM p-val"], abs=0.02)
    assert theirs.loc["TOP", "NOM p-val"] == 0
    assert 1 / 201 <= found["TOP"].p <= 1 / 50


def test_leading_edge_starts_with_the_most_extreme_gene():
    pytest.importorskip("gseapy")
    ranked = {gene: float(100 - i) for i, gene in enumerate(GENES)}
    up, down = enrichment(ranked, sets_of(UP=GENES[:5], DOWN=GENES[-5:]), permutations=100, seed=0)
    assert (up.score, down.score) == pytest.approx((1.0, -1.0))
    assert up.leading_edge == GENES[:5]
    assert down.leading_edge == GENES[:-6:-1]


def test_order_of_genes_and_sets_changes_nothing():
    pytest.importorskip("gseapy")
    ranked = {gene: round(value, 1) for gene, value in noise(3).items()}  # with ties
    a, b = enrichment(ranked, sets_of(A=GENES[:30], B=GENES[90:110]), permutations=100, seed=1)
    turned = dict(reversed(ranked.items()))
    other = enrichment(turned, sets_of(B=GENES[90:110], A=GENES[29::-1]), permutations=100, seed=1)
    for one, same in ((b, other[0]), (a, other[1])):
        assert (one.score, one.normalized, one.p, one.leading_edge) == (
            same.score, same.normalized, same.p, same.leading_edge,
        )  # fmt: skip


def test_the_same_seed_gives_the_same_p_and_turning_the_ranking_turns_the_score():
    pytest.importorskip("gseapy")
    gene_sets = sets_of(A=GENES[:30])
    ranked = noise(5)
    [one] = enrichment(ranked, gene_sets, permutations=100, seed=1)
    assert enrichment(ranked, gene_sets, permutations=100, seed=1) == (one,)
    [turned] = enrichment({gene: -value for gene, value in ranked.items()}, gene_sets, permutations=100, seed=1)
    assert turned.score == pytest.approx(-one.score)


def test_p_is_uniform_for_sets_of_independent_genes():
    pytest.importorskip("gseapy")
    rng = np.random.default_rng(2)
    members = {f"S{i}": tuple(rng.choice(GENES, 25, replace=False)) for i in range(200)}
    p = np.array([one.p for one in enrichment(noise(9), sets_of(**members), permutations=200, seed=4)])
    assert [np.mean(p <= level) for level in (0.05, 0.2, 0.5)] == pytest.approx([0.05, 0.2, 0.5], abs=0.08)
    assert p.min() > 0


def test_sets_in_portions_give_what_they_give_at_once(monkeypatch):
    pytest.importorskip("gseapy")
    gene_sets = sets_of(**{f"S{i}": GENES[i : i + 15] for i in range(7)})
    at_once = enrichment(noise(), gene_sets, permutations=100, seed=3)
    monkeypatch.setattr("analysis.genes.enrichment._AT_ONCE", 3)
    assert enrichment(noise(), gene_sets, permutations=100, seed=3) == at_once


@pytest.mark.fault("F18")
def test_enrichment_needs_no_network_and_prints_nothing(tmp_path, capfd, monkeypatch):
    pytest.importorskip("gseapy")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=r"socket\.socket"):
        socket.socket(socket.AF_INET)  # blocked in all tests
    enrichment(dict.fromkeys(GENES, 1.0) | {"G000": 2.0}, sets_of(A=GENES[:30]), permutations=100, seed=1)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_without_gseapy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gseapy", None)
    monkeypatch.setitem(sys.modules, "gseapy.gse", None)
    with pytest.raises(StopRun, match=r"pip install 'triher\[transcriptomics\]'") as stopped:
        enrichment(noise(), sets_of(A=GENES[:30]), permutations=100, seed=1)
    assert stopped.value.code == "extra_missing"


def test_what_is_ranked_must_be_what_was_tested():
    with pytest.raises(ValueError, match="must be the genes"):
        enrichment(noise(genes=GENES[1:]), sets_of(A=GENES[:30]), permutations=100, seed=1)
    with pytest.raises(ValueError, match="not finite"):
        enrichment(noise() | {"G000": float("nan")}, sets_of(A=GENES[:30]), permutations=100, seed=1)


def test_no_set_gives_no_result():
    empty = GeneSets((), (), (), GENES)
    assert enrichment(noise(), empty, permutations=100, seed=1) == ()
    assert over_representation([], empty) == ()


def test_a_set_whose_statistics_are_all_0_is_no_evidence():
    pytest.importorskip("gseapy")
    ranked = noise(1) | dict.fromkeys(GENES[:10], 0.0)
    [one] = enrichment(ranked, sets_of(A=GENES[:10]), permutations=100, seed=1)
    assert (one.score, one.normalized, one.p, one.p_adjusted, one.leading_edge) == (0, 0, 1, 1, ())
