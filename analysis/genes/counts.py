"""Differential expression of counts by DESeq2's negative binomial model, as pydeseq2 fits it."""

import warnings
from types import ModuleType

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from analysis.genes.contrasts import Design
from analysis.genes.filtering import Counts, PerPatient
from analysis.genes.gene_tests import GeneTests, false_discovery_rates
from triher.errors import StopRun

METHOD = "DESeq2's Wald test (pydeseq2)"
_SMALL = 1_000_000
"""Counts in a table below which further processes cost more than they gain."""


def negative_binomial(counts: Counts, genes: tuple[str, ...], design: Design) -> tuple[GeneTests, PerPatient]:
    """Test the group in a negative binomial model of every gene (Love, Huber & Anders, Genome Biol 15:550, 2014).

    Counts far from all others of their group are replaced where a group has 7 samples, as DESeq2 does. No gene is
    dropped for its mean or for outliers (independent filtering and Cook's cutoff are off): false discovery rates are
    over the genes given.

    Args:
        counts: whole numbers, rows as in the design.
        genes: their names.
        design: its last column is the group.

    Returns:
        The tests, and the size factors of the samples.

    Raises:
        StopRun: ``extra_missing`` without pydeseq2.
    """
    dds, ds, inference = _library()
    names = [f"P{i}" for i in range(len(counts))]
    table = pd.DataFrame(counts.astype(np.int64), index=names, columns=[f"G{i}" for i in range(len(genes))])
    columns = [f"x{i}" for i in range(design.matrix.shape[1])]
    matrix = pd.DataFrame(design.matrix, index=names, columns=columns)
    workers = inference.DefaultInference(n_cpus=1 if counts.size < _SMALL else None)
    contrast = np.zeros(len(columns))
    contrast[-1] = 1.0
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
        warnings.simplefilter("always", UserWarning)
        data = dds.DeseqDataSet(
            counts=table, metadata=matrix[[]].assign(group=design.group), design=matrix, inference=workers, quiet=True
        )
        data.deseq2()
        found = ds.DeseqStats(
            data, contrast=contrast, cooks_filter=False, independent_filter=False, inference=workers, quiet=True
        )
        found.run_wald_test()
    remarks = tuple(dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)))
    p = np.asarray(found.p_values, dtype=np.float64)
    change, error = (np.asarray(v, dtype=np.float64) for v in (found.LFC.iloc[:, -1], found.SE))
    tests = GeneTests(
        genes=genes,
        mean=np.asarray(found.base_mean, dtype=np.float64),
        log2_fold_change=change / np.log(2),
        standard_error=error / np.log(2),
        statistic=np.asarray(found.statistics, dtype=np.float64),
        p=p,
        q=false_discovery_rates(p),
        method=METHOD,
        remarks=remarks,
    )
    return tests, np.asarray(data.obs["size_factors"], dtype=np.float64)


def _library() -> tuple[ModuleType, ModuleType, ModuleType]:
    """The parts of pydeseq2, which is an option."""
    try:
        from pydeseq2 import dds, default_inference, ds
    except ImportError as error:
        message = f"differential expression of counts needs pydeseq2, and {error.name} is not installed"
        raise StopRun("extra_missing", message, remedy="pip install 'triher[transcriptomics]'") from error
    return dds, ds, default_inference
