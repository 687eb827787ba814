"""The moderated t test for log values, equal to limma's ``lmFit`` and ``eBayes``."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import digamma, polygamma
from scipy.stats import t as student

from analysis.genes.contrasts import Design
from analysis.genes.gene_tests import GeneTests, PerGene, false_discovery_rates

METHOD = "moderated t (Smyth 2004)"
_SMALLEST = 1e-5  # of the median variance: limma lifts variances of 0 to this
_STEPS = 50
_CLOSE = 1e-8


@dataclass(frozen=True)
class Prior:
    """The distribution that the genes' variances are drawn from: scaled inverse chi-square."""

    df: float
    """How many observations it is worth; infinite when the genes' variances do not differ beyond chance."""
    variance: float

    def squeeze(self, variances: PerGene, df: int) -> PerGene:
        """Posterior variances: each gene's own, drawn towards the prior."""
        if math.isinf(self.df):
            return np.full_like(variances, self.variance)
        return np.asarray((df * variances + self.df * self.variance) / (df + self.df))


def moderated_t(
    values: Float64[np.ndarray, "patient gene"], genes: tuple[str, ...], design: Design
) -> tuple[GeneTests, Prior]:
    """Fit a linear model to every gene and test the group, with variances borrowed from all genes.

    Args:
        values: log2 values, no gaps; rows as in the design.
        genes: their names.
        design: its last column is the group.

    Returns:
        The tests, and the prior of the variances.

    Source: Smyth, Stat Appl Genet Mol Biol 3:3 (2004).
    """
    df = design.matrix.shape[0] - design.matrix.shape[1]
    inverse = np.linalg.pinv(design.matrix)
    coefficients = inverse @ values
    residuals = values - design.matrix @ coefficients
    variances = (residuals**2).sum(axis=0) / df
    prior = fit_prior(variances, df)
    squeezed = prior.squeeze(variances, df)
    error = np.sqrt(squeezed * (inverse[-1] ** 2).sum())
    change = coefficients[-1]
    statistic = np.divide(change, error, out=np.zeros_like(change), where=error > 0)
    df_total = min(df + prior.df, float(df * len(genes)))
    p = 2 * student.sf(np.abs(statistic), df_total)
    q = false_discovery_rates(p)
    return GeneTests(genes, values.mean(axis=0), change, error, statistic, p, q, METHOD), prior


def fit_prior(variances: PerGene, df: int) -> Prior:
    """Estimate the prior from the moments of the log variances (Smyth 2004, section 6.2).

    Variances of 0 are lifted to 1e-5 of the median, because their logarithm would decide everything.

    Args:
        variances: residual variances of the genes.
        df: their degrees of freedom.
    """
    median = float(np.median(variances)) if len(variances) else 0.0
    lifted = np.maximum(variances, _SMALLEST * (median or 1.0))
    if len(lifted) < 2:
        return Prior(0.0, 1.0)
    e = np.log(lifted) - digamma(df / 2) + math.log(df / 2)
    excess = float(e.var(ddof=1) - polygamma(1, df / 2))
    if excess <= 0:
        return Prior(math.inf, float(lifted.mean()))
    half = _inverse_trigamma(excess)
    return Prior(2 * half, float(np.exp(e.mean() + digamma(half) - math.log(half))))


def _inverse_trigamma(value: float) -> float:
    """Solve trigamma(y) = value by Newton's method on 1 / trigamma, which is convex (Smyth 2004, appendix)."""
    y = 0.5 + 1 / value
    for _ in range(_STEPS):
        trigamma = float(polygamma(1, y))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, y))
        y += step
        if -step / y < _CLOSE:
            break
    return y
