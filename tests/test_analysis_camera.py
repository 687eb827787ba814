"""Camera against Student's t and by its error rate, where genes of a set vary together."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from analysis.genes.camera import camera, mean_correlation, shift_p
from analysis.genes.enrichment import enrichment
from analysis.genes.gene_sets import GeneSet, match_gene_sets, read_gene_sets

GENES = tuple(f"G{i:03d}" for i in range(150))
SETS = match_gene_sets(
    [GeneSet("A", "a", GENES[:20], 20), GeneSet("B", "a", GENES[50:60], 10)], GENES, min_genes=1, max_genes=500
)


def study(rng, rho=0.0, n=40):
    """Values whose set A shares a part, and a design of two groups."""
    values = rng.normal(size=(n, len(GENES)))
    values[:, :20] = np.sqrt(rho) * rng.normal(size=(n, 1)) + np.sqrt(1 - rho) * values[:, :20]
    return values, np.column_stack([np.ones(n), np.arange(n) % 2]).astype(float)


def t_of(values, design):
    group = design[:, 1] == 1
    return dict(zip(GENES, ttest_ind(values[group], values[~group]).statistic.tolist(), strict=True))


def test_without_correlation_the_mean_statistic_is_tested_by_students_t():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(0.4, 1, 20), rng.normal(size=300)
    expected = ttest_ind(inside, outside).pvalue
    assert shift_p(inside, outside, correlation=0.0, df=10**6) == pytest.approx(expected, rel=1e-10)
    assert shift_p(inside, outside, correlation=0.05, df=10**6) > expected
    assert shift_p(inside, outside, correlation=0.0, df=5) > expected


def test_correlation_is_the_mean_over_all_pairs_of_genes():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(60, 6)) + 0.8 * rng.normal(size=(60, 1))
    standardized = (values - values.mean(axis=0)) / values.std(axis=0, ddof=1)
    pairs = np.corrcoef(values, rowvar=False)[np.triu_indices(6, k=1)]
    assert mean_correlation(standardized, 59) == pytest.approx(pairs.mean(), rel=1e-10)
    assert mean_correlation(standardized[:, :1], 59) == 0


def test_correlation_is_taken_within_the_groups():
    values, design = study(np.random.default_rng(2), rho=0.3, n=400)
    values[:, 50:60] += 3.0 * design[:, 1:]  # shifted together, but independent within each group
    a, b = camera(t_of(values, design), SETS, values, design, GENES)
    assert a.correlation == pytest.approx(0.3, abs=0.06)
    assert b.correlation == pytest.approx(0.0, abs=0.02)
    assert b.shift > 10
    assert b.p < 1e-4 < a.p
    assert b.p_adjusted == pytest.approx(2 * b.p)


@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_sets_that_do_not_differ_keep_the_error_rate(rho):
    rng, p, naive = np.random.default_rng(3), [], []
    for _ in range(60):
        values, design = study(rng, rho=rho)
        ranked = t_of(values, design)
        p.append(camera(ranked, SETS, values, design, GENES)[0].p)
        statistic = np.array([ranked[gene] for gene in GENES])
        naive.append(shift_p(statistic[:20], statistic[20:], correlation=0.0, df=10**6))
    assert np.mean(np.array(p) < 0.05) < 0.12
    if rho:
        assert np.mean(np.array(naive) < 0.05) > 0.3


def test_order_of_genes_and_patients_changes_nothing():
    values, design = study(np.random.default_rng(4), rho=0.2)
    ranked = t_of(values, design)
    turned = camera(ranked, SETS, values[::-1, ::-1].copy(), design[::-1].copy(), GENES[::-1])
    for one, same in zip(camera(ranked, SETS, values, design, GENES), turned, strict=True):
        assert (same.p, same.correlation, same.shift) == pytest.approx((one.p, one.correlation, one.shift))


def test_genes_without_variation_and_equal_statistics_tell_nothing():
    values, design = study(np.random.default_rng(5))
    values[:, :20] = 7.0
    a, _ = camera(dict.fromkeys(GENES, 1.0), SETS, values, design, GENES)
    assert (a.correlation, a.shift, a.p) == (0.0, 0.0, 1.0)


def test_a_design_needs_a_residual_degree_of_freedom():
    with pytest.raises(ValueError, match="no residual degree of freedom"):
        camera(dict.fromkeys(GENES, 1.0), SETS, np.ones((2, 150)), np.eye(2), GENES)


@pytest.mark.slow
def test_with_permuted_classes_camera_finds_nothing_in_tcga_where_gsea_does(shared):
    """Shares of p < 0.05 in 100 permutations of the classes: GSEA 0.32, camera 0.03."""
    pytest.importorskip("gseapy")
    frame = pd.read_csv(shared / "data" / "tcga-brca" / "rna_log2_6000x769.csv.gz", index_col=0, nrows=200)
    frame.columns = [name.rsplit("_", 1)[0] for name in frame.columns]
    frame = frame.loc[:, ~frame.columns.duplicated()]
    values, genes = frame.to_numpy(float), tuple(frame.columns)
    hallmarks = shared / "data" / "genesets" / "hallmark_v7.0.symbols.gmt"
    gene_sets = read_gene_sets([hallmarks], genes, min_genes=10, max_genes=500)
    rng, shares = np.random.default_rng(1), []
    for _ in range(8):
        design = np.column_stack([np.ones(200), rng.permutation(200) < 60]).astype(float)
        group = design[:, 1] == 1
        ranked = dict(zip(genes, ttest_ind(values[group], values[~group]).statistic.tolist(), strict=True))
        theirs = enrichment(ranked, gene_sets, permutations=100, seed=0)
        ours = camera(ranked, gene_sets, values, design, genes)
        shares.append([np.mean([one.p < 0.05 for one in tests]) for tests in (theirs, ours)])
    by_gsea, by_camera = np.mean(shares, axis=0)
    assert by_gsea > 0.15
    assert by_camera < 0.1
