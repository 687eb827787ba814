"""What a contrast of two groups says of every gene."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from analysis.inference.corrected_p import corrected

LEAST_P = 1e-300
"""Smaller p values are shown as this one; some underflow to 0."""
PerGene = Float64[np.ndarray, " gene"]


@dataclass(frozen=True)
class GeneTests:
    """One test a gene, in the order of the genes tested."""

    genes: tuple[str, ...]
    mean: PerGene
    """Mean log2 value, or mean normalized count."""
    log2_fold_change: PerGene
    """Above 0 where the gene is higher in the second group."""
    standard_error: PerGene
    """Of the log2 fold change."""
    statistic: PerGene
    """Moderated t, or Wald statistic."""
    p: PerGene
    q: PerGene
    """False discovery rate at which the gene would just pass, over all genes tested (Benjamini & Hochberg 1995)."""
    method: str
    remarks: tuple[str, ...] = ()
    """What the fit said about itself."""

    def significant(self, fdr: float) -> Bool[np.ndarray, " gene"]:
        """Which genes pass a false discovery rate."""
        return self.q < fdr

    def order(self) -> list[int]:
        """Positions from the smallest p value to the largest; the larger statistic first where p underflows to 0."""
        return [int(i) for i in np.lexsort((np.arange(len(self.p)), -np.abs(self.statistic), self.p))]


def false_discovery_rates(p: PerGene) -> PerGene:
    """Benjamini & Hochberg's adjusted p values over all genes; a gene without p value counts as 1."""
    return corrected(np.where(np.isnan(p), 1.0, p))
