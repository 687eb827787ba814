"""What gene sets and immune signatures say of one contrast between two classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from analysis.genes.camera import Design, SetShift, Values, camera
from analysis.genes.enrichment import SetEnrichment, SetOverlap, enrichment, over_representation
from analysis.genes.gene_sets import GeneSets, read_gene_sets
from analysis.genes.immune import signature_sets
from analysis.genes.single_sample import SetDifference, compare_scores, single_sample_scores
from analysis.patients.samples import class_label
from triher.settings import TranscriptomicsConfig


@dataclass(frozen=True)
class Pathways:
    """All sets that were tested, each result in the order of its sets."""

    gene_sets: GeneSets
    """Of the GMT files; empty where none is configured."""
    shifts: tuple[SetShift, ...]
    enriched: tuple[SetEnrichment, ...]
    overlaps: tuple[SetOverlap, ...]
    signatures: GeneSets
    differences: tuple[SetDifference, ...]
    """Of the signatures, given the covariates of the design."""


def judge_pathways(
    genes: Sequence[str],
    statistic: Float64[np.ndarray, " gene"],
    significant: Bool[np.ndarray, " gene"],
    values: Values,
    design: Design,
    *,
    config: TranscriptomicsConfig,
    seed: int,
) -> Pathways:
    """Hold the genes of a contrast against the configured gene sets and the immune signatures.

    Args:
        genes: names of the genes tested, each once.
        statistic: of each gene, above 0 is higher in the second class; genes without one are left out.
        significant: which genes pass the false discovery rate.
        values: log2 values of these genes.
        design: of the contrast: the intercept first, covariates, and last 1 in the second class and 0 in the first.
        config: files, sizes, permutations and the two classes.
        seed: starts the permutations.

    Raises:
        StopRun: as `analysis.genes.gene_sets.read_gene_sets` and `analysis.genes.enrichment.enrichment`.
    """
    known = np.isfinite(statistic)
    genes = [gene for gene, keep in zip(genes, known, strict=True) if keep]
    hits = [gene for gene, passes in zip(genes, significant[known], strict=True) if passes]
    values = values[:, known]
    sizes = {"min_genes": config.min_genes, "max_genes": config.max_genes}
    gene_sets = read_gene_sets(config.gene_sets, genes, **sizes)
    ranked = dict(zip(genes, statistic[known].tolist(), strict=True))
    signatures = signature_sets(genes)
    return Pathways(
        gene_sets=gene_sets,
        shifts=camera(ranked, gene_sets, values, design, genes),
        enriched=enrichment(ranked, gene_sets, permutations=config.permutations, seed=seed),
        overlaps=over_representation(hits, gene_sets),
        signatures=signatures,
        differences=compare_scores(
            single_sample_scores(values, genes, signatures),
            signatures,
            design[:, -1] == 1,
            names=(class_label(config.compare[0]), class_label(config.compare[1])),
            covariates=design[:, 1:-1] if design.shape[1] > 2 else None,
        ),
    )
