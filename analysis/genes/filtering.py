"""Counts made comparable: which genes are expressed at all, normalization factors, log2 counts per million."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float64
from scipy.stats import rankdata

Counts: TypeAlias = Float64[np.ndarray, "patient gene"]
PerGene: TypeAlias = Float64[np.ndarray, " gene"]
PerPatient: TypeAlias = Float64[np.ndarray, " patient"]

# The defaults of edgeR's filterByExpr (Chen, Lun & Smyth, F1000Research 5:1438, 2016, and its reference page).
_MIN_COUNT = 10
_MIN_TOTAL = 15
_LARGE_GROUP = 10
_SHARE_BEYOND = 0.7
_TOLERANCE = 1e-14
# The defaults of TMM (Robinson & Oshlack, Genome Biol 11:R25, 2010).
_TRIM_RATIO = 0.3
_TRIM_INTENSITY = 0.05
_REFERENCE_QUANTILE = 0.75
_SAME = 1e-6
_MILLION = 1e6


def expressed(counts: Counts, group: Bool[np.ndarray, " patient"]) -> Bool[np.ndarray, " gene"]:
    """Which genes have enough reads to be tested, as edgeR's ``filterByExpr`` with groups.

    A gene stays when it has at least 10 reads, per library of median size, in as many samples as the smaller group
    has (70 % of those beyond 10), and 15 reads altogether. The groups' sizes matter, who is in them does not.

    Args:
        counts: reads of each gene in each sample.
        group: whether a sample is of the second group.
    """
    smaller = float(min(n for n in (group.sum(), (~group).sum()) if n)) if len(group) else 0.0
    if smaller > _LARGE_GROUP:
        smaller = _LARGE_GROUP + (smaller - _LARGE_GROUP) * _SHARE_BEYOND
    libraries = counts.sum(axis=1)
    cutoff = _MIN_COUNT / np.median(libraries)
    n_above = (counts / libraries[:, None] >= cutoff).sum(axis=0)
    total = counts.sum(axis=0)
    return (n_above >= smaller - _TOLERANCE) & (total >= _MIN_TOTAL - _TOLERANCE)


def normalization_factors(counts: Counts) -> PerPatient:
    """TMM factors, whose product is 1: what to multiply the library sizes by (Robinson & Oshlack 2010).

    The factor of a sample is the mean log ratio of its genes to those of a reference sample, weighted by precision,
    without the 30 % most extreme ratios and the 5 % most extreme intensities on either side.

    Args:
        counts: reads of each gene in each sample; every sample has some.
    """
    used = counts[:, counts.sum(axis=0) > 0]
    libraries = used.sum(axis=1)
    upper = np.quantile(used, _REFERENCE_QUANTILE, axis=1) / libraries
    if np.median(upper) > 0:
        reference = int(np.argmin(np.abs(upper - upper.mean())))
    else:
        reference = int(np.argmax(np.sqrt(used).sum(axis=1)))
    logs = np.array([_log2_factor(sample, used[reference]) for sample in used])
    return np.asarray(2.0 ** (logs - logs.mean()))


def _log2_factor(sample: PerGene, reference: PerGene) -> float:
    """The trimmed mean of one sample's log ratios to the reference."""
    both = (sample > 0) & (reference > 0)
    n_sample, n_reference = sample.sum(), reference.sum()
    mine, theirs = sample[both] / n_sample, reference[both] / n_reference
    ratio, intensity = np.log2(mine / theirs), np.log2(mine * theirs) / 2
    if not len(ratio) or np.abs(ratio).max() < _SAME:
        return 0.0
    variance = (1 - mine) / sample[both] + (1 - theirs) / reference[both]
    kept = _inner(ratio, _TRIM_RATIO) & _inner(intensity, _TRIM_INTENSITY)
    return float(np.average(ratio[kept], weights=1 / variance[kept])) if kept.any() else 0.0


def _inner(values: PerGene, trim: float) -> Bool[np.ndarray, " gene"]:
    """Which values lie within the ranks that are left after trimming both ends."""
    lowest = np.floor(len(values) * trim) + 1
    rank = rankdata(values)
    return np.asarray((rank >= lowest) & (rank <= len(values) + 1 - lowest))


def log_counts(counts: Counts, factors: PerPatient, *, prior: float = 2.0) -> Counts:
    """Log2 counts per million of the effective library, with a prior count that is proportional to its size.

    Args:
        counts: reads of each gene in each sample.
        factors: of `normalization_factors`.
        prior: reads that are added to each gene of a library of mean size, which keeps 0 finite.
    """
    libraries = counts.sum(axis=1) * factors
    added = prior * libraries / libraries.mean()
    return np.asarray(np.log2((counts + added[:, None]) / (libraries + 2 * added)[:, None] * _MILLION))
