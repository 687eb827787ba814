"""Counts by the negative binomial model, against DESeq2 from R."""

import sys

import numpy as np
import pandas as pd
import pytest

from analysis.genes.contrasts import build_design
from analysis.genes.counts import negative_binomial
from triher.errors import StopRun


@pytest.mark.golden("deseq2")
def test_counts_are_tested_as_by_deseq2(golden, golden_folder):
    counts = pd.read_csv(golden_folder / "rna_counts.csv", index_col=0)
    samples = pd.read_csv(golden_folder / "rna_samples.csv")
    expected = pd.read_csv(golden_folder / "rna_deseq2.csv", index_col=0)
    group = (samples["group"] == "positive").to_numpy()
    design = build_design(group, {"batch": tuple(samples["batch"])}, ("low", "positive"), by="true class")
    tests, size_factors = negative_binomial(counts.to_numpy(float).T, tuple(counts.index), design)
    np.testing.assert_allclose(size_factors, golden("deseq2")["size_factors"], rtol=1e-6)
    assert tests.significant(0.05).sum() == golden("deseq2")["n_fdr05_off"] == golden("deseq2")["n_fdr05_default"]
    assert {tests.genes[i] for i in np.flatnonzero(tests.q < 0.05)} == set(expected.index[expected["padj"] < 0.05])
    # The library's optimizer stops elsewhere than R's: log2 fold changes to 4e-4, log10 p to 0.7 %.
    high = (expected["baseMean"] > 10).to_numpy()
    np.testing.assert_allclose(tests.mean[high], expected["baseMean"][high], rtol=1e-6)
    np.testing.assert_allclose(tests.log2_fold_change[high], expected["log2FoldChange"][high], rtol=5e-4)
    np.testing.assert_allclose(np.log10(tests.p[high]), np.log10(expected["pvalue"][high]), rtol=0.01)
    assert tests.remarks == ()


def test_a_missing_library_says_which_extra(monkeypatch):
    for name in ("pydeseq2", "pydeseq2.dds"):
        monkeypatch.setitem(sys.modules, name, None)
    design = build_design(np.arange(8) < 4, {}, ("low", "positive"), by="true class")
    with pytest.raises(StopRun) as stop:
        negative_binomial(np.ones((8, 2)), ("A", "B"), design)
    assert stop.value.code == "extra_missing"
    assert "triher[transcriptomics]" in stop.value.remedy
