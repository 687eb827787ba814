"""The moderated t against limma, filter and normalization against edgeR, and the design of a contrast."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from analysis.genes.contrasts import build_design, complete_rows
from analysis.genes.filtering import expressed, log_counts, normalization_factors
from analysis.genes.gene_tests import false_discovery_rates
from analysis.genes.moderated import fit_prior, moderated_t
from triher.errors import StopRun

COMPARE = ("low", "positive")


def design(group, **columns):
    return build_design(np.array(group, dtype=bool), columns, COMPARE, by="true class")


@pytest.fixture
def samples(golden_folder):
    table = pd.read_csv(golden_folder / "rna_samples.csv")
    return (table["group"] == "positive").to_numpy(), tuple(table["batch"])


@pytest.mark.golden("limma_trendless")
def test_the_moderated_t_is_that_of_limma(golden, golden_folder, samples):
    group, batch = samples
    values = pd.read_csv(golden_folder / "rna_logcpm.csv", index_col=0)
    expected = pd.read_csv(golden_folder / "rna_limma.csv", index_col=0)
    tests, prior = moderated_t(values.to_numpy().T, tuple(values.index), design(group, batch=batch))
    assert prior.df == pytest.approx(golden("limma_trendless")["df_prior"], rel=1e-6)
    assert prior.variance == pytest.approx(golden("limma_trendless")["s2_prior"], rel=1e-6)
    assert tests.significant(0.05).sum() == golden("limma_trendless")["n_fdr05"]
    assert tests.genes == tuple(expected.index)
    for ours, theirs in (
        (tests.log2_fold_change, "logFC"),
        (tests.statistic, "t"),
        (tests.p, "p"),
        (tests.q, "padj"),
    ):
        np.testing.assert_allclose(ours, expected[theirs], rtol=1e-6, atol=1e-9)


@pytest.mark.golden("edger_filter_tmm")
def test_filter_factors_and_log_counts_are_those_of_edger(golden, golden_folder, samples):
    counts = pd.read_csv(golden_folder / "rna_counts.csv", index_col=0).to_numpy(float).T
    expected = golden("edger_filter_tmm")
    kept = expressed(counts, samples[0])
    assert kept.sum() == expected["kept"]
    factors = normalization_factors(counts[:, kept])
    np.testing.assert_allclose(factors, expected["tmm"], rtol=1e-6)
    np.testing.assert_allclose(log_counts(counts[:, kept], factors)[:4, 0], expected["logcpm_first"], rtol=1e-6)
    whole = pd.read_csv(golden_folder / "rna_logcpm.csv", index_col=0).to_numpy().T
    np.testing.assert_allclose(log_counts(counts[:, kept], factors), whole, rtol=1e-6)


def test_normalization_undoes_library_size_and_leaves_one_sample_alone():
    counts = np.random.default_rng(0).poisson(200, size=(1, 300)).astype(float)
    deep = np.concatenate([counts, counts * 3, counts * 7])
    np.testing.assert_allclose(normalization_factors(deep), 1)
    np.testing.assert_allclose(np.ptp(log_counts(deep, np.ones(3)), axis=0), 0, atol=1e-9)
    assert normalization_factors(counts).tolist() == [1]


def test_large_groups_ask_for_seventy_percent_of_the_samples_beyond_ten():
    counts = np.full((40, 3), 1e5)
    counts[:, 0] = np.where(np.arange(40) < 17, 20, 0)  # 10 + 0.7 * (20 - 10) = 17
    counts[:, 1] = np.where(np.arange(40) < 16, 20, 0)
    assert expressed(counts, np.arange(40) < 20).tolist() == [True, False, True]


def test_with_a_worthless_prior_it_is_the_t_test_and_with_an_endless_one_the_pooled():
    rng = np.random.default_rng(1)
    group = np.arange(20) < 9
    equal = rng.normal(size=(20, 4000))
    pooled, prior = moderated_t(equal, tuple(map(str, range(4000))), design(group))
    assert prior.df > 100
    assert pooled.p.min() > 1e-6
    spread = equal[:, :300] * np.exp(rng.normal(0, 20, 300))
    tests, prior = moderated_t(spread, tuple(map(str, range(300))), design(group))
    assert prior.df < 0.1
    np.testing.assert_allclose(np.median(tests.p / ttest_ind(spread[group], spread[~group]).pvalue), 1, rtol=0.05)
    assert fit_prior(np.full(9, 2.0), 10).df == math.inf
    assert fit_prior(np.full(9, 2.0), 10).variance == 2.0


def test_p_values_are_uniform_without_effect():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(12, 3000)) * np.sqrt(4 / rng.chisquare(4, 3000))
    tests, _ = moderated_t(values, tuple(map(str, range(3000))), design(np.arange(12) < 5))
    shares = [(tests.p < level).mean() for level in (0.01, 0.05, 0.5)]
    assert shares == pytest.approx([0.01, 0.05, 0.5], abs=0.02)
    assert not tests.significant(0.05).any()


def test_the_order_of_patients_changes_nothing_and_constant_genes_are_no_fault():
    rng = np.random.default_rng(2)
    values, group, age = rng.normal(size=(14, 30)), np.arange(14) % 2 == 0, tuple(rng.normal(55, 9, 14))
    values[:, 7] = 3.0
    order = rng.permutation(14)
    names = tuple(f"G{i}" for i in range(30))
    tests, _ = moderated_t(values, names, design(group, age=age))
    again, _ = moderated_t(values[order], names, design(group[order], age=tuple(age[i] for i in order)))
    np.testing.assert_allclose(tests.p, again.p, rtol=1e-9)
    assert np.isfinite(tests.p).all()
    assert abs(tests.log2_fold_change[7]) < 1e-9


def test_genes_without_p_value_stay_in_the_correction():
    np.testing.assert_allclose(false_discovery_rates(np.array([0.01, 0.02, np.nan, np.nan])), [0.04, 0.04, 1, 1])
    assert len(false_discovery_rates(np.array([]))) == 0


@pytest.mark.fault("F14")
def test_two_samples_in_a_group_stop():
    with pytest.raises(StopRun, match="needs 3 samples in each group; found 6 of HER2-low and 2 of HER2-pos") as stop:
        design([0, 0, 0, 0, 0, 0, 1, 1])
    assert stop.value.code == "design_rank"


@pytest.mark.fault("F14")
def test_a_group_that_is_the_batch_stops_and_is_named():
    with pytest.raises(StopRun) as stop:
        design([0, 0, 0, 1, 1, 1], age=(1.0, 5.0, 2.0, 8.0, 3.0, 1.0), batch=("a", "a", "a", "b", "b", "b"))
    assert stop.value.code == "design_rank"
    assert "'positive against low, by true class' of the design follows from 'batch=b'" in stop.value.message


@pytest.mark.fault("F14")
@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"er": (1.0,) * 8}, "'er' of the design follows from 'intercept'"),
        ({"site": ("A",) * 8}, "'site=A' of the design follows from 'intercept'"),
        ({"a": tuple(map(float, range(8))), "b": tuple(3.0 * i + 1 for i in range(8))}, "'b' of the design follows"),
        ({"who": tuple("abcdefgh")}, "follows from"),
    ],
)
def test_dependent_covariates_stop_and_are_named(columns, named):
    with pytest.raises(StopRun) as stop:
        design([0, 1] * 4, **columns)
    assert stop.value.code == "design_rank"
    assert named in stop.value.message


def test_levels_become_indicators_against_the_first():
    found = design([0, 0, 0, 1, 1, 1, 1], batch=("b", "c", "a", "b", "c", "a", "b"))
    assert found.names == ("intercept", "batch=b", "batch=c", "positive against low, by true class")
    assert found.matrix[1].tolist() == [1, 0, 1, 0]
    assert found.group.tolist() == [False] * 3 + [True] * 4
    known = complete_rows({"age": (1.0, math.nan, 3.0), "er": ("+", "-", "")}, 3)
    assert known.tolist() == [True, False, False]
