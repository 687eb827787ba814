"""The orthogonal effects of a full table: a mean, main effects, two-way interactions, and the rest.

Functional ANOVA with equal weights: the effect of some factors is the mean over all others, less the effects of every
part of those factors. Effects are orthogonal, so their sums of squares add up to that of the table about its mean
(Hutter, Hoos & Leyton-Brown, ICML 2014, PMLR 32:754, section 3; Hooker, J Comput Graph Stat 2007;16:709).
"""

from collections.abc import Sequence
from itertools import combinations
from math import prod

import numpy as np
from jaxtyping import Float64

_FEWEST_FOR_REST = 3  # with two factors the interaction of both is all there is
Tables = Float64[np.ndarray, "table ..."]
"""Some full tables, an axis for each factor."""


def sources(n_factors: int) -> list[tuple[int, ...]]:
    """The factors of each main effect and two-way interaction, and those of the rest, where there is one.

    >>> sources(2)
    [(0,), (1,), (0, 1)]
    """
    small = [u for order in (1, 2) for u in combinations(range(n_factors), order)]
    return [*small, tuple(range(n_factors))] if n_factors >= _FEWEST_FOR_REST else small


def effects(tables: Tables) -> list[Tables]:
    """The effects in the order of `sources`, each of length 1 along the factors that it does not depend on.

    >>> [part.ravel().tolist() for part in effects(np.array([[[1.0, 2.0], [3.0, 8.0]]]))]
    [[-2.0, 2.0], [-1.5, 1.5], [1.0, -1.0, -1.0, 1.0]]
    """
    n_factors = tables.ndim - 1
    mean = tables.mean(axis=tuple(range(1, tables.ndim)), keepdims=True)
    mains = [_mean_over_others(tables, (i,)) - mean for i in range(n_factors)]
    pairs = [
        _mean_over_others(tables, (i, j)) - mean - mains[i] - mains[j] for i, j in combinations(range(n_factors), 2)
    ]
    parts = [*mains, *pairs]
    return [*parts, tables - mean - sum(parts)] if n_factors >= _FEWEST_FOR_REST else parts


def _mean_over_others(tables: Tables, factors: tuple[int, ...]) -> Tables:
    """The mean over all factors but these."""
    others = tuple(i + 1 for i in range(tables.ndim - 1) if i not in factors)
    return np.asarray(tables.mean(axis=others, keepdims=True))


def products(
    first: Sequence[Float64[np.ndarray, "..."]], second: Sequence[Float64[np.ndarray, "..."]], shape: Sequence[int]
) -> Float64[np.ndarray, "table source"]:
    """For each source the sum over the table of the product of two tables' effects; with itself, the sum of squares.

    Args:
        first: as `effects` gives them.
        second: the same, of as many tables or of one.
        shape: levels of each factor.
    """
    return np.column_stack([_total(one * other, shape) for one, other in zip(first, second, strict=True)])


def _total(part: Tables, shape: Sequence[int]) -> Float64[np.ndarray, " table"]:
    """The sum over a table of what is the same along some of its factors."""
    copies = prod(shape) / prod(part.shape[1:])
    return np.asarray(copies * part.reshape(len(part), -1).sum(axis=1))


def degrees(shape: Sequence[int]) -> list[int]:
    """Degrees of freedom of each source.

    >>> degrees([2, 3, 4])
    [1, 2, 3, 2, 3, 6, 6]
    """
    found = [prod(shape[i] - 1 for i in factors) for factors in sources(len(shape))]
    if len(shape) >= _FEWEST_FOR_REST:
        found[-1] = prod(shape) - 1 - sum(found[:-1])
    return found
