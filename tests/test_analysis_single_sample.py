"""Single-sample scores against gseapy, and the comparison of two groups against scipy and statsmodels."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind
from statsmodels.regression.linear_model import OLS

from analysis.genes.gene_sets import GeneSet, match_gene_sets
from analysis.genes.immune import signature_sets
from analysis.genes.single_sample import compare_scores, single_sample_scores

GENES = tuple(f"G{i:03d}" for i in range(120))
NAMES = ("HER2-low", "HER2-positive")


def sets_of(**members):
    listed = [GeneSet(name, "a.gmt", tuple(genes), len(genes)) for name, genes in members.items()]
    return match_gene_sets(listed, GENES, min_genes=1, max_genes=500)


SETS = sets_of(A=GENES[:15], B=GENES[40:43], C=GENES[100:])


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(24, len(GENES)))


def group_of(n_second, n=24):
    return np.arange(n) < n_second


def test_scores_equal_gseapys(values):
    gseapy = pytest.importorskip("gseapy")
    frame = pd.DataFrame(values.T, index=GENES, columns=[f"s{i:02d}" for i in range(24)])
    theirs = gseapy.ssgsea(
        data=frame,
        gene_sets={one.name: list(one.genes) for one in SETS.sets},
        min_size=1,
        weight=0.25,
        threads=1,
        outdir=None,
    ).res2d.pivot_table(index="Name", columns="Term", values="ES")
    ours = single_sample_scores(values, GENES, SETS) * len(GENES)
    assert ours == pytest.approx(theirs.loc[list(frame.columns), ["A", "B", "C"]].to_numpy(float), rel=1e-9)


def test_score_is_the_sum_of_the_difference_of_two_distributions(values):
    sample = values[0]
    order = np.argsort(-sample)
    rank = np.arange(len(GENES), 0, -1)
    inside = np.isin(np.array(GENES)[order], GENES[:15])
    weight = np.where(inside, rank**0.25, 0)
    running = np.cumsum(weight) / weight.sum() - np.cumsum(~inside) / (~inside).sum()
    scores = single_sample_scores(values[:1], GENES, SETS)
    assert scores[0, 0] == pytest.approx(running.sum() / len(GENES))


def test_a_set_at_the_top_scores_more_than_one_at_the_bottom():
    values = np.arange(120.0, 0, -1)[None]
    top, bottom = single_sample_scores(values, GENES, sets_of(TOP=GENES[:10], BOTTOM=GENES[-10:]))[0]
    assert bottom < 0 < top <= 1


def test_only_the_ranks_within_a_sample_count(values):
    scores = single_sample_scores(values, GENES, SETS)
    assert single_sample_scores(np.exp(values) * 7, GENES, SETS) == pytest.approx(scores)
    assert single_sample_scores(values[3:4], GENES, SETS)[0] == pytest.approx(scores[3])


def test_order_of_genes_with_ties_changes_nothing(values):
    tied = np.round(values, 0)
    turned = single_sample_scores(tied[:, ::-1].copy(), GENES[::-1], SETS)
    assert turned == pytest.approx(single_sample_scores(tied, GENES, SETS))


def test_a_value_that_is_not_finite_is_refused(values):
    values[4, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        single_sample_scores(values, GENES, SETS)


def test_difference_is_welchs_in_standard_deviations(values):
    values[:10, :15] += 1.0
    scores, group = single_sample_scores(values, GENES, SETS), group_of(10)
    found = compare_scores(scores, SETS, group, names=NAMES)[0]
    second, first = scores[group, 0], scores[~group, 0]
    pooled = math.sqrt((9 * second.var(ddof=1) + 13 * first.var(ddof=1)) / 22)
    test = ttest_ind(second, first, equal_var=False)
    low, high = test.confidence_interval()
    assert found.difference.value == pytest.approx((second.mean() - first.mean()) / pooled)
    assert (found.difference.low, found.difference.high) == pytest.approx((low / pooled, high / pooled))
    assert found.p == pytest.approx(test.pvalue)
    assert found.difference.low > 0
    assert found.area.value > 0.8


def test_p_is_corrected_over_all_sets(values):
    found = compare_scores(single_sample_scores(values, GENES, SETS), SETS, group_of(10), names=NAMES)
    p = sorted(one.p for one in found)
    expected = [min(p[0] * 3, p[1] * 1.5, p[2]), min(p[1] * 1.5, p[2]), p[2]]
    assert sorted(one.p_adjusted for one in found) == pytest.approx(expected)


def test_with_covariates_it_is_the_coefficient_of_a_linear_model(values):
    rng = np.random.default_rng(1)
    scores, group = single_sample_scores(values, GENES, SETS), group_of(11)
    covariates = np.column_stack([rng.normal(size=24), np.arange(24) % 2]).astype(float)
    fit = OLS(scores[:, 1], np.column_stack([group, np.ones(24), covariates])).fit()
    found = compare_scores(scores, SETS, group, names=NAMES, covariates=covariates)[1]
    pooled = found.difference.value / fit.params[0]
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(fit.conf_int()[0] * pooled))
    assert found.p == pytest.approx(fit.pvalues[0])
    second, first = scores[group, 1], scores[~group, 1]
    assert 1 / pooled == pytest.approx(math.sqrt((10 * second.var(ddof=1) + 12 * first.var(ddof=1)) / 22))


def test_covariates_that_tell_the_group_leave_nothing_to_estimate(values):
    scores, group = single_sample_scores(values, GENES, SETS), group_of(11)
    [found, *_] = compare_scores(scores, SETS, group, names=NAMES, covariates=group[:, None].astype(float))
    assert str(found.difference) == "not estimable (the covariates tell the group)"
    assert math.isnan(found.p_adjusted)


@pytest.mark.parametrize(
    ("n_second", "text"),
    [
        (0, "not estimable (0 HER2-positive)"),
        (1, "not estimable (only 1 HER2-positive)"),
        (4, "interval not estimable: only 4 HER2-positive"),
    ],
)
def test_small_groups_have_no_interval_and_no_p(values, n_second, text):
    scores = single_sample_scores(values, GENES, SETS)
    found = compare_scores(scores, SETS, group_of(n_second), names=NAMES)[0]
    assert text in str(found.difference)
    assert math.isnan(found.p)


def test_scores_that_are_all_equal_have_no_difference():
    scores = np.full((24, 1), 0.25)
    [found] = compare_scores(scores, sets_of(A=GENES[:15]), group_of(10), names=NAMES)
    assert str(found.difference) == "not estimable (the scores of each group are all equal)"


def test_order_of_the_samples_changes_nothing(values):
    scores, group = single_sample_scores(values, GENES, SETS), group_of(10)
    turned = compare_scores(scores[::-1].copy(), SETS, group[::-1].copy(), names=NAMES)
    for one, same in zip(compare_scores(scores, SETS, group, names=NAMES), turned, strict=True):
        assert (one.difference.value, one.difference.low, one.p) == pytest.approx(
            (same.difference.value, same.difference.low, same.p)
        )
        assert one.area.value == pytest.approx(same.area.value)


def test_swapping_the_groups_turns_the_sign(values):
    scores, group = single_sample_scores(values, GENES, SETS), group_of(10)
    one = compare_scores(scores, SETS, group, names=NAMES)[0]
    turned = compare_scores(scores, SETS, ~group, names=NAMES[::-1])[0]
    assert turned.difference.value == pytest.approx(-one.difference.value)
    assert turned.area.value == pytest.approx(1 - one.area.value)
    assert turned.p == pytest.approx(one.p)


def test_tumors_of_tcga_that_lack_er_hold_more_lymphocytes(shared):
    """Known since TCGA (Nature 2012;490:61): ER-negative tumors are more infiltrated."""
    table, clinical = (
        shared / "data/tcga-brca/rna_log2_6000x769.csv.gz",
        shared / "data/tcga-brca/clinical_patient_brca.txt",
    )
    frame = pd.read_csv(table, index_col=0, nrows=300)
    genes = [name.rsplit("_", 1)[0] for name in frame.columns]
    frame = frame.loc[:, ~pd.Index(genes).duplicated()]
    genes = [name.rsplit("_", 1)[0] for name in frame.columns]
    er = pd.read_csv(clinical, sep="\t", skiprows=[1, 2], usecols=["bcr_patient_barcode", "er_status_by_ihc"])
    er = er.set_index("bcr_patient_barcode")["er_status_by_ihc"].reindex(frame.index)
    known = er.isin(["Positive", "Negative"]).to_numpy()
    gene_sets = signature_sets(genes)
    scores = single_sample_scores(frame.to_numpy(float)[known], genes, gene_sets)
    group = (er[known] == "Negative").to_numpy()
    names = ("ER-positive", "ER-negative")
    found = {one.gene_set.name: one for one in compare_scores(scores, gene_sets, group, names=names)}
    assert found["Interferon gamma"].difference.low > 0
    assert found["Interferon gamma"].p_adjusted < 0.01
