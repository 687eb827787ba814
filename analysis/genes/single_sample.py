"""Scores of gene sets for each sample, and how they differ between two groups."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64
from scipy.stats import rankdata, t, ttest_ind

from analysis.discrimination.aucs import auc, shortage
from analysis.genes.gene_sets import GeneSet, GeneSets
from analysis.inference.corrected_p import corrected
from analysis.inference.intervals import FEWEST, without_interval
from triher.estimate import Estimate, not_estimable

_ALPHA = 0.25  # exponent of the ranks, as in the paper

Values = Float64[np.ndarray, "patient gene"]
SetScores = Float64[np.ndarray, "patient set"]
OneScore = Float64[np.ndarray, " patient"]
First = Float64[np.ndarray, " first"]
Second = Float64[np.ndarray, " second"]
Group = Bool[np.ndarray, " patient"]
Covariates = Float64[np.ndarray, "patient covariate"]


@dataclass(frozen=True)
class SetDifference:
    """How the scores of one set differ between two groups of patients."""

    gene_set: GeneSet
    difference: Estimate
    """Mean of the second group minus that of the first, in standard deviations within the groups."""
    area: Estimate
    """AUC of the score for the second group, without regard to covariates."""
    p: float
    """Of the difference, two-sided; NaN where there is no interval."""
    p_adjusted: float
    """After Benjamini and Hochberg over all sets with a p value."""


def single_sample_scores(values: Values, genes: Sequence[str], gene_sets: GeneSets) -> SetScores:
    """Single-sample GSEA (Barbie et al., Nature 2009;462:108): where the genes of a set rank within a sample.

    The sum over the ranking of the difference of the two empirical distributions is the mean rank of the set's genes,
    weighted by rank to the power 0.25, minus the mean rank of all others. Here it is divided by the number of genes,
    so that scores lie between -1 and 1. Genes of equal expression share their mean rank, so that the order of the
    genes changes nothing. A score depends on its sample alone, but also on which genes were measured.

    Args:
        values: expression, on any scale that is monotone within a sample.
        genes: name of each column, each once; those that the sets were held against.
        gene_sets: as `analysis.genes.gene_sets.read_gene_sets` gives them.

    Raises:
        ValueError: a value is not finite.

    >>> sets = GeneSets((GeneSet("A", "a.gmt", ("X",), 1),), (), (), ("X", "Y", "Z"))
    >>> single_sample_scores(np.array([[9.0, 2.0, 1.0], [1.0, 2.0, 3.0]]), ["X", "Y", "Z"], sets)
    array([[ 0.5],
           [-0.5]])
    """
    if not np.isfinite(values).all():
        raise ValueError("an expression value is not finite")
    n = len(genes)
    column_of = {gene: i for i, gene in enumerate(genes)}
    member = np.zeros((n, len(gene_sets.sets)), dtype=bool)
    for column, one in enumerate(gene_sets.sets):
        member[[column_of[gene] for gene in one.genes], column] = True
    ranks = rankdata(values, axis=1)
    weights = ranks**_ALPHA
    inside = (weights * ranks) @ member / (weights @ member)
    outside = ranks @ ~member / (~member).sum(axis=0)
    return (inside - outside) / n


def compare_scores(
    scores: SetScores,
    gene_sets: GeneSets,
    group: Group,
    *,
    names: tuple[str, str],
    covariates: Covariates | None = None,
) -> tuple[SetDifference, ...]:
    """Compare the scores of two groups: Welch's t, or a linear model where there are covariates.

    Args:
        scores: as `single_sample_scores` gives them.
        gene_sets: the sets of the columns.
        group: True for the second group.
        names: what the two groups are called, for the reason when one is small.
        covariates: columns of the design beside the group and the constant.

    Returns:
        One result a set, in the order of the sets. The interval takes the standard deviation as known.
    """
    found = [
        _difference(one, scores[:, column], group, names, covariates) for column, one in enumerate(gene_sets.sets)
    ]
    adjusted = corrected([one.p for one in found])
    return tuple(replace(one, p_adjusted=float(p)) for one, p in zip(found, adjusted, strict=True))


def _difference(
    gene_set: GeneSet, score: OneScore, group: Group, names: tuple[str, str], covariates: Covariates | None
) -> SetDifference:
    """One set; without interval where the groups are too small."""
    n, first, second = len(score), score[~group], score[group]
    counts = dict(zip(names, (len(first), len(second)), strict=True))
    area = auc(group, score, names=(names[1], names[0]))
    model = "Welch's t" if covariates is None else "linear model with the covariates"
    method = f"difference of mean scores in standard deviations, {model}"
    deviation = 0.0 if shortage(counts, fewest=2) else _within(first, second)
    reason = shortage(counts, fewest=2) or ("" if deviation > 0 else "the scores of each group are all equal")
    if reason:
        return SetDifference(gene_set, not_estimable(reason, n=n, method=method), area, math.nan, math.nan)
    value, low, high, p = _welch(first, second) if covariates is None else _linear(score, group, covariates)
    few = shortage(counts, fewest=FEWEST) or ("" if math.isfinite(p) else "the covariates tell the group")
    if few:
        shown = without_interval(value / deviation, few, n=n, method=method)
        return SetDifference(gene_set, shown, area, math.nan, math.nan)
    difference = Estimate(value / deviation, low / deviation, high / deviation, n, method)
    return SetDifference(gene_set, difference, area, p, math.nan)


def _within(first: First, second: Second) -> float:
    """The standard deviation within two groups, pooled."""
    squares = float(np.sum((first - first.mean()) ** 2) + np.sum((second - second.mean()) ** 2))
    return math.sqrt(squares / (len(first) + len(second) - 2))


def _welch(first: First, second: Second) -> tuple[float, float, float, float]:
    """Difference of means with its 95 % limits and p, variances of their own."""
    test = ttest_ind(second, first, equal_var=False)
    low, high = test.confidence_interval()
    return float(second.mean() - first.mean()), float(low), float(high), float(test.pvalue)


def _linear(score: OneScore, group: Group, covariates: Covariates) -> tuple[float, float, float, float]:
    """The group's coefficient beside covariates with its 95 % limits and p; all NaN where it has none of its own."""
    design = np.column_stack([group, np.ones(len(score)), covariates])
    rank = np.linalg.matrix_rank(design)
    df = len(score) - rank
    if df < 1 or np.linalg.matrix_rank(design[:, 1:]) == rank:
        return math.nan, math.nan, math.nan, math.nan
    inverse = np.linalg.pinv(design)
    residual = score - design @ (inverse @ score)
    value = float(inverse[0] @ score)
    error = math.sqrt(float(residual @ residual) / df * float(inverse[0] @ inverse[0]))
    half = float(t.ppf(0.975, df)) * error
    return value, value - half, value + half, float(2 * t.sf(abs(value) / error, df))
