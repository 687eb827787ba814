"""How far two contrasts of the same patients agree: fold changes on resampled patients."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from scipy.stats import norm, rankdata

from analysis.genes.gene_tests import PerGene, false_discovery_rates
from triher.estimate import Estimate, not_estimable

Draws = Float64[np.ndarray, "draw patient"]
Members = Bool[np.ndarray, " patient"]

DRAWS = 200
"""Resamples and permutations for the correlation, whose ranks take long; differences take all that are configured."""
_AT_ONCE = 200
_GENES_AT_ONCE = 2000
_SINGULAR = 1e10  # condition beyond which less than six digits of the solution are left
_METHOD = "Spearman correlation of log2 fold changes"


@dataclass(frozen=True)
class Grouping:
    """One way to form two groups: who takes part, who is in the second one, and the covariates of the design."""

    takes_part: Members
    second: Members
    covariates: Float64[np.ndarray, "patient column"]
    """The columns of the design without the group, intercept first; 0 for those who do not take part."""


@dataclass(frozen=True)
class Differences:
    """The difference of two contrasts for each gene."""

    difference: PerGene
    """Log2 fold change of the second contrast minus that of the first."""
    standard_error: PerGene
    p: PerGene
    q: PerGene
    n_draws: int
    """Resamples in which both contrasts could be fitted."""


def resamples(strata: np.ndarray, n_draws: int, seed: int) -> Draws:
    """How often each patient is drawn, in resamples with replacement within the strata."""
    rng = np.random.default_rng(seed)
    times = np.zeros((n_draws, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        times[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=n_draws)
    return times


def effect_weights(
    grouping: Grouping, second: Float64[np.ndarray, "grouped patient"], times: Float64[np.ndarray, "drawn patient"]
) -> Draws:
    """The weights that turn a gene's values into its fold change, for each draw; NaN where it cannot be fitted.

    The fold change of the least-squares fit is linear in the values, so one row of weights serves all genes.

    Args:
        grouping: who takes part, and the covariates.
        second: 1 for members of the second group, in each draw, or in one row for all draws.
        times: how often each patient is drawn, in each draw, or in one row for all draws.
    """
    lengths = np.linalg.norm(grouping.covariates, axis=0)
    covariates = grouping.covariates / np.where(lengths > 0, lengths, 1.0) * np.sqrt(len(grouping.covariates))
    found = np.full((max(len(second), len(times)), len(grouping.takes_part)), np.nan)
    for start in range(0, len(found), _AT_ONCE):
        rows = slice(start, min(start + _AT_ONCE, len(found)))
        n = rows.stop - rows.start
        weight = np.broadcast_to(
            (times if len(times) == 1 else times[rows]) * grouping.takes_part, (n, found.shape[1])
        )
        group = np.broadcast_to(second if len(second) == 1 else second[rows], weight.shape)
        matrix = np.concatenate([np.broadcast_to(covariates, (n, *covariates.shape)), group[:, :, None]], axis=2)
        weighted = matrix * weight[:, :, None]
        gram = np.einsum("dpi,dpj->dij", weighted, matrix)
        usable = np.linalg.cond(gram) < _SINGULAR
        pick = np.zeros((int(usable.sum()), gram.shape[1], 1))
        pick[:, -1] = 1.0
        solved = np.linalg.solve(gram[usable], pick)
        found[np.flatnonzero(usable) + start] = (weighted[usable] @ solved)[:, :, 0]
    return found


def _weights(grouping: Grouping, times: Draws | None = None) -> Draws:
    """The weights of one contrast, for all its patients or for resamples of them."""
    once = np.ones((1, len(grouping.takes_part)))
    return effect_weights(grouping, grouping.second[None].astype(np.float64), once if times is None else times)


def contrast_differences(
    values: Float64[np.ndarray, "patient gene"], first: Grouping, second: Grouping, times: Draws
) -> Differences:
    """Test for each gene whether two contrasts differ, by resampled patients.

    The standard error is that of the resamples, p follows from the normal distribution. Both contrasts are formed
    anew in each resample, so what their patients have in common is accounted for.

    Args:
        values: log2 values.
        first: the contrast that is subtracted.
        second: the other.
        times: of `resamples`.
    """
    rows = _weights(second, times) - _weights(first, times)
    rows = rows[~np.isnan(rows).any(axis=1)]
    n_genes = values.shape[1]
    difference = ((_weights(second) - _weights(first)) @ values)[0]
    error = np.zeros(n_genes)
    if len(rows) > 1:
        for start in range(0, n_genes, _GENES_AT_ONCE):
            part = slice(start, start + _GENES_AT_ONCE)
            error[part] = (rows @ values[:, part]).std(axis=0, ddof=1)
    error[error < 1e-9 * np.maximum(1.0, np.abs(difference))] = 0.0
    z = np.divide(np.abs(difference), error, out=np.zeros(n_genes), where=error > 0)
    p = 2 * norm.sf(z)
    return Differences(difference, error, p, false_discovery_rates(p), len(rows))


def fold_change_correlation(
    values: Float64[np.ndarray, "patient gene"], first: Grouping, second: Grouping, times: Draws
) -> Estimate:
    """Spearman's correlation of two contrasts' fold changes over the genes, with resampled patients for its interval.

    Args:
        values: log2 values.
        first: one contrast.
        second: the other.
        times: of `resamples`; the first 200 are used.
    """
    n_genes = values.shape[1]
    method = f"{_METHOD}, {n_genes} genes; percentile interval of {DRAWS} resamples of the patients"
    n = int((first.takes_part & second.takes_part).sum())
    if n_genes < 3:
        return not_estimable(f"{n_genes} genes", n=n, method=method)
    value = float(_spearman(*(_weights(g) @ values for g in (first, second)))[0])
    found = [_weights(g, times[:DRAWS]) for g in (first, second)]
    both = ~np.isnan(found[0] + found[1]).any(axis=1)
    drawn = _spearman(found[0][both] @ values, found[1][both] @ values)
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) > 1 else (np.nan, np.nan)
    return Estimate(value, float(low), float(high), n, method)


def correlation_by_confusion(
    values: Float64[np.ndarray, "patient gene"], first: Grouping, second: Grouping, seed: int
) -> Estimate:
    """The correlation if the second grouping knew nothing of a patient beyond the first.

    Membership in the second grouping is permuted among the patients of each group of the first, which keeps the table
    of both groupings and breaks every other link to the values. Low and high hold 95 % of the permutations.

    Args:
        values: log2 values.
        first: the true classes.
        second: the predicted classes.
        seed: of the permutations.
    """
    rng = np.random.default_rng(seed)
    method = f"{_METHOD}, {DRAWS} permutations of the predictions within the true classes; 95 % of them"
    n = int((first.takes_part & second.takes_part).sum())
    takes_part = np.tile(second.takes_part, (DRAWS, 1))
    member = np.tile(second.second, (DRAWS, 1)).astype(np.float64)
    for stratum in (first.second, ~first.second):
        places = np.flatnonzero(stratum)
        for draw in range(DRAWS):
            moved = rng.permutation(places)
            takes_part[draw, places], member[draw, places] = takes_part[draw, moved], member[draw, moved]
    everybody = Grouping(np.ones_like(first.takes_part), first.second, first.covariates)
    shuffled = effect_weights(everybody, member, takes_part.astype(np.float64))
    shuffled = shuffled[~np.isnan(shuffled).any(axis=1)]
    if len(shuffled) < 2 or values.shape[1] < 3:
        return not_estimable("no permutation could be fitted", n=n, method=method)
    own = np.repeat(_weights(first) @ values, len(shuffled), axis=0)
    drawn = _spearman(own, shuffled @ values)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(drawn.mean()), float(low), float(high), n, method)


def _spearman(
    a: Float64[np.ndarray, "draw gene"], b: Float64[np.ndarray, "draw gene"]
) -> Float64[np.ndarray, " draw"]:
    """Spearman's correlation of each pair of rows."""
    ranks = [rankdata(rows, axis=1) for rows in (a, b)]
    centered = [r - r.mean(axis=1, keepdims=True) for r in ranks]
    scale = np.sqrt((centered[0] ** 2).sum(axis=1) * (centered[1] ** 2).sum(axis=1))
    return np.asarray((centered[0] * centered[1]).sum(axis=1) / np.where(scale > 0, scale, np.nan))
