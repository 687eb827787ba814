"""Gaps in features and covariates, filled with medians."""

import numpy as np
from jaxtyping import Float, Float64


def medians(rows: Float[np.ndarray, "row column"]) -> Float64[np.ndarray, " column"]:
    """The median of what is known in each column, 0 where nothing is.

    >>> medians(np.array([[1.0, np.nan], [3.0, np.nan]])).tolist()
    [2.0, 0.0]
    """
    known = np.isfinite(rows)
    if known.all() and len(rows):
        return np.median(rows, axis=0).astype(np.float64)
    columns = (column[seen] for column, seen in zip(rows.T, known.T, strict=True))
    return np.array([np.median(values) if len(values) else 0.0 for values in columns], dtype=np.float64)


def filled(
    rows: Float[np.ndarray, "row column"], fill: Float64[np.ndarray, " column"]
) -> Float[np.ndarray, "row column"]:
    """The rows, of the same type, with a number for every gap."""
    return np.where(np.isfinite(rows), rows, fill.astype(rows.dtype))
