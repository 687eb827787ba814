"""Gene sets and immune signatures of one contrast, as blocks of the report and rows of ``metrics.csv``."""

import math
from collections.abc import Sequence

from analysis.discrimination.shortcut import EVERYBODY
from analysis.genes.pathways import Pathways
from analysis.metrics import Metric
from analysis.page import Block, Heading
from analysis.sections.gene_sets import gene_set_blocks
from analysis.sections.signatures import signature_blocks
from triher.estimate import Estimate

PART = "transcriptomics"


def pathway_blocks(
    found: Pathways, *, name: str, title: str, compare: tuple[str, str], fdr: float, covariates: Sequence[str] = ()
) -> list[Block]:
    """Both under headings of their own; gene sets only where a file of them is configured.

    Args:
        found: results of one contrast.
        name: of the contrast, for the files: ``gene-sets-NAME`` and ``signatures-NAME``.
        title: of the contrast in print: ``true class, all genes``.
        compare: the two classes; above 0 is higher in the second.
        fdr: false discovery rate.
        covariates: of the design.
    """
    blocks: list[Block] = []
    if found.gene_sets.sets or found.gene_sets.dropped:
        blocks.append(Heading(f"Gene sets by {title}"))
        results = (found.gene_sets, found.shifts, found.enriched, found.overlaps)
        blocks += gene_set_blocks(*results, name=name, compare=compare, fdr=fdr)
    blocks.append(Heading(f"Immune signatures by {title}"))
    blocks += signature_blocks(found.signatures, found.differences, name=name, compare=compare, covariates=covariates)
    return blocks


def pathway_metrics(found: Pathways, *, suffix: str, by: str, fdr: float, n: int) -> list[Metric]:
    """How many gene sets pass, and how every signature differs.

    Args:
        found: results of one contrast.
        suffix: of the quantities, such as ``_without_amplicon``.
        by: what the contrast is by, such as ``true class``.
        fdr: false discovery rate.
        n: patients of the contrast.
    """
    passing = sum(one.p_adjusted < fdr for one in found.shifts)
    counts = {
        "gene_sets_tested": (len(found.shifts), "number of gene sets"),
        "gene_sets_significant": (passing, f"gene sets with FDR below {fdr:g} by camera"),
    }
    metrics = [
        Metric(PART, EVERYBODY, f"{quantity}{suffix}", Estimate(float(value), math.nan, math.nan, n, method), by)
        for quantity, (value, method) in counts.items()
        if found.gene_sets.sets or found.gene_sets.dropped
    ]
    for one in found.differences:
        place = f"{one.gene_set.name}, by {by}"
        metrics.append(Metric(PART, EVERYBODY, f"signature_difference{suffix}", one.difference, place))
        metrics.append(Metric(PART, EVERYBODY, f"signature_auc{suffix}", one.area, place))
    return metrics
