"""Enrichment of gene sets: over-representation among significant genes, and preranked GSEA."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import hypergeom

from analysis.genes.gene_sets import GeneSet, GeneSets
from analysis.inference.corrected_p import corrected
from triher.errors import StopRun

_AT_ONCE = 200  # sets; each holds its running score over all genes in memory


@dataclass(frozen=True)
class SetOverlap:
    """How many significant genes a set holds, against chance."""

    gene_set: GeneSet
    hits: tuple[str, ...]
    """Its significant genes."""
    expected: float
    """How many there would be by chance."""
    p: float
    """One-sided, that so many or more are hits."""
    p_adjusted: float
    """After Benjamini and Hochberg over all sets tested, those without a hit included."""


@dataclass(frozen=True)
class SetEnrichment:
    """Where the genes of a set lie in the ranking of all genes."""

    gene_set: GeneSet
    score: float
    """Enrichment score, -1 to 1; above 0 the genes lie at the top."""
    normalized: float
    """Score over the mean size of the scores of random sets with the same sign (NES)."""
    p: float
    """Among random sets of as many genes with a score of the same sign, never 0."""
    p_adjusted: float
    """After Benjamini and Hochberg over all sets tested."""
    n_random: int
    """Random sets with a score of the same sign; p is at least 1 / (n_random + 1)."""
    leading_edge: tuple[str, ...]
    """The genes up to the score's maximum (or from its minimum on), the most extreme first."""


def over_representation(significant: Collection[str], gene_sets: GeneSets) -> tuple[SetOverlap, ...]:
    """Test each set for more significant genes than chance by the hypergeometric distribution.

    The background is the genes tested, and members of a set outside of it do not count. gseapy.enrich has the same p
    values, but corrects them over the sets with a hit only.

    Args:
        significant: names of the significant genes, all among those tested.
        gene_sets: as `analysis.genes.gene_sets.read_gene_sets` gives them.

    Returns:
        One result a set, in the order of the sets.

    Raises:
        ValueError: a significant gene was not tested.
    """
    chosen, background = set(significant), set(gene_sets.background)
    if chosen - background:
        raise ValueError(f"'{min(chosen - background)}' is significant, but not among the genes tested")
    found = []
    for one in gene_sets.sets:
        hits = tuple(gene for gene in one.genes if gene in chosen)
        p = float(hypergeom.sf(len(hits) - 1, len(background), len(one.genes), len(chosen)))
        found.append(SetOverlap(one, hits, len(one.genes) * len(chosen) / len(background), p, math.nan))
    adjusted = corrected([one.p for one in found])
    return tuple(replace(one, p_adjusted=float(p)) for one, p in zip(found, adjusted, strict=True))


def enrichment(
    ranked: Mapping[str, float], gene_sets: GeneSets, *, permutations: int, seed: int, weight: float = 1.0
) -> tuple[SetEnrichment, ...]:
    """Preranked gene set enrichment analysis (Subramanian et al., PNAS 2005;102:15545) by gseapy.

    P is (b + 1) / (m + 1) for b of m random sets of the same sign that reach the score (Phipson & Smyth, Stat Appl
    Genet Mol Biol 2010;9:39), so that it is never 0. Random sets stand for genes that are independent of each other.
    Genes of one pathway are not: with the classes of 200 tumors of TCGA-BRCA permuted, 32 % of the hallmark sets had
    p < 0.05. `analysis.genes.camera` gives p values to rely on; this gives size, direction and leading edge.

    Args:
        ranked: gene -> finite statistic, such as a moderated t; above 0 is higher in the second class. Genes of one
            statistic are ordered by name, so that the order of the input changes nothing.
        gene_sets: as `analysis.genes.gene_sets.read_gene_sets` gives them for these genes.
        permutations: random sets for each set.
        seed: starts the random numbers.
        weight: exponent of the statistic; 0 gives the Kolmogorov-Smirnov statistic.

    Returns:
        One result a set, in the order of the sets. A set whose statistics are all 0 has score 0 and p 1.

    Raises:
        StopRun: ``extra_missing`` without gseapy.
        ValueError: the ranked genes are not those tested, or a statistic is not finite.
    """
    if set(ranked) != set(gene_sets.background):
        raise ValueError("the ranked genes must be the genes that the sets were held against")
    if not np.isfinite(list(ranked.values())).all():
        raise ValueError("the statistic of a gene is not finite")
    if not gene_sets.sets:
        return ()
    prerank = _prerank()
    genes = sorted(ranked, key=lambda gene: (-ranked[gene], gene))
    values = [float(ranked[gene]) for gene in genes]
    tests: list[SetEnrichment] = []
    for start in range(0, len(gene_sets.sets), _AT_ONCE):
        some = gene_sets.sets[start : start + _AT_ONCE]
        members = {one.name: list(one.genes) for one in some}
        summaries = prerank(genes, values, members, weight, 1, len(genes), permutations, 1, seed).summaries
        found = {summary.term: summary for summary in summaries}
        tests += [_enriched(one, found[one.name], genes) for one in some]
    adjusted = corrected([one.p for one in tests])
    return tuple(replace(one, p_adjusted=float(p)) for one, p in zip(tests, adjusted, strict=True))


def _prerank() -> Callable[..., Any]:
    """What gseapy.prerank computes by, without its messages and plots."""
    try:
        from gseapy.gse import prerank_rs
    except ImportError as error:
        message = "gene set enrichment needs gseapy, which is not installed"
        raise StopRun("extra_missing", message, remedy="pip install 'triher[transcriptomics]'") from error
    return prerank_rs


def _enriched(one: GeneSet, summary: Any, genes: Sequence[str]) -> SetEnrichment:  # noqa: ANN401 - gseapy has no types
    """NES, p and leading edge from the scores of random sets."""
    running, hits = np.asarray(summary.run_es), sorted(summary.hits)
    if np.isnan(running).any():  # the statistics of its genes are all 0
        return SetEnrichment(one, 0.0, 0.0, 1.0, math.nan, len(summary.esnull), ())
    score, random = float(summary.es), np.asarray(summary.esnull)
    same = np.abs(random[random >= 0] if score >= 0 else random[random < 0])
    p = (int(np.sum(same >= abs(score))) + 1) / (len(same) + 1)
    normalized = score / float(same.mean()) if len(same) else math.nan
    if score >= 0:
        leading = [i for i in hits if i <= running.argmax()]
    else:
        leading = [i for i in reversed(hits) if i >= running.argmin()]
    edge = tuple(genes[i] for i in leading)
    return SetEnrichment(one, score, normalized, p, math.nan, len(same), edge)
