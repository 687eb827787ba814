"""What gene sets and immune signatures say of one contrast between two classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from analysis.camera import Design, SetShift, Values, camera
from analysis.enrichment import SetEnrichment, SetOverlap, enrichment, over_representation
from analysis.gene_sets import GeneSets, read_gene_sets
from analysis.immune import signature_sets
from analysis.samples import class_label
from analysis.single_sample import SetDifference, compare_scores, single_sample_scores
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
        statistic: of each gene, finite; above 0 is higher in the second class.
        significant: which genes pass the false discovery rate.
        values: log2 values of these genes.
        design: of the contrast: the intercept first, covariates, and last 1 in the second class and 0 in the first.
        config: files, sizes, permutations and the two classes.
        seed: starts the permutations.

    Raises:
        StopRun: as `analysis.gene_sets.read_gene_sets` and `analysis.enrichment.enrichment`.
    """
    sizes = {"min_genes": config.min_genes, "max_genes": config.max_genes}
    gene_sets = read_gene_sets(config.gene_sets, genes, **sizes)
    ranked = dict(zip(genes, statistic.tolist(), strict=True))
    signatures = signature_sets(genes)
    return Pathways(
        gene_sets=gene_sets,
        shifts=camera(ranked, gene_sets, values, design, genes),
        enriched=enrichment(ranked, gene_sets, permutations=config.permutations, seed=seed),
        overlaps=over_representation([g for g, passes in zip(genes, significant, strict=True) if passes], gene_sets),
        signatures=signatures,
        differences=compare_scores(
            single_sample_scores(values, genes, signatures),
            signatures,
            design[:, -1] == 1,
            names=(class_label(config.compare[0]), class_label(config.compare[1])),
            covariates=design[:, 1:-1] if design.shape[1] > 2 else None,
        ),
    )
