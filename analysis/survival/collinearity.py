"""Which columns of a design say nothing, or nothing new, and how much the others overlap."""

import math

import numpy as np

from analysis.survival.partial_likelihood import Design

HIGH = 10.0
"""Variance inflation above which a column is called collinear (Marquardt, Technometrics 1970;12:591)."""
_ALIKE = 1e-7
"""Share of a column's deviation that the columns before it leave unexplained, below which it follows from them."""
_WELL_APART = 1e-8
"""Smallest eigenvalue of the correlations above which no column follows from others, by far."""
_INVOLVED = 1e-6


def constant_columns(x: Design, names: tuple[str, ...]) -> tuple[str, ...]:
    """Columns with one value in all patients."""
    return tuple(name for name, column in zip(names, x.T, strict=True) if len(column) == 0 or np.ptp(column) == 0)


def dependent_columns(x: Design, names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Columns that follow from columns before them, and from which; the former are the ones to drop.

    Args:
        x: no column is constant.
        names: of the columns; the first are kept.

    >>> a, b = np.array([1.0, 2, 3, 5]), np.array([0.0, 1, 0, 1])
    >>> dependent_columns(np.column_stack([a, b, 2 * a - 3 * b + 1]), ("age", "er", "mixed"))
    {'mixed': ('age', 'er')}
    """
    scaled = (x - x.mean(axis=0)) / x.std(axis=0) / math.sqrt(len(x))
    if np.linalg.eigvalsh(scaled.T @ scaled)[0] > _WELL_APART:
        return {}
    kept: list[int] = []
    found = {}
    for j, name in enumerate(names):
        before = scaled[:, kept]
        weights = np.linalg.lstsq(before, scaled[:, j], rcond=None)[0]
        if np.linalg.norm(scaled[:, j] - before @ weights) > _ALIKE:
            kept.append(j)
        else:
            found[name] = tuple(names[i] for i, w in zip(kept, weights, strict=True) if abs(w) > _INVOLVED)
    return found


def useless_columns(x: Design, names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Why some columns say nothing or nothing new, and which to drop; both empty where all say something."""
    constant = constant_columns(x, names)
    if constant:
        return f"constant: {', '.join(constant)}", constant
    follows = dependent_columns(x, names)
    reason = "; ".join(f"{name} follows from {', '.join(others)}" for name, others in follows.items())
    return reason, tuple(follows)


def variance_inflation(x: Design) -> tuple[float, ...]:
    """How many times the others' presence multiplies the variance of each coefficient: 1 / (1 - R squared).

    They are the diagonal of the inverse of the correlation matrix.

    Args:
        x: columns of full rank, none constant; a constant term is understood.

    Returns:
        At least 1 for each column.
    """
    if x.shape[1] < 2:
        return (1.0,) * x.shape[1]
    correlation = np.corrcoef(x, rowvar=False)
    return tuple(np.diag(np.linalg.inv(correlation)).tolist())
