"""From slopes at a head's design back to slopes at the stored embeddings: preparation, pooling, view algebra.

Preparation and view algebra go back by formula. Poolings go back by differences of the statistic itself, so that a
new statistic needs nothing here: each acts on every feature by itself, and moving one slice at a time in all features
at once tells all of its slopes. The differences are taken in double precision, so that they err by less than 1e-6 of
the slope.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float64

from classify.inputs import Inputs
from classify.poolings import Slices, Statistic, find_statistic
from classify.preparation import Preparation
from classify.view_algebra import Operands, parse_view
from triher.store import Features

_STEP = 1e-7
"""Of the largest size among a feature's slices. float32 tells values near the largest apart by 6e-8 of it, so that a
step hardly ever changes which slice is the largest or the middle one."""

SliceSlopes: TypeAlias = Float64[np.ndarray, "class slice feature"]


def before_preparation(
    preparation: Preparation, inputs: Inputs, slopes: Float64[np.ndarray, "class row column"]
) -> Float64[np.ndarray, "class row feature"]:
    """Through covariates that join (they are held), principal components, harmonization and filled gaps.

    Args:
        preparation: the model's.
        inputs: of one patient.
        slopes: at the design.
    """
    components, harmonizer = preparation.components, preparation.harmonizer
    if components is None:
        slopes = slopes[:, :, : inputs.rows.shape[1]]
    else:
        varies = components.deviation > 0
        slopes = slopes[:, :, : components.axes.shape[1]] @ components.axes.T
        slopes = np.where(varies, slopes / np.where(varies, components.deviation, 1.0), 0.0)
    if harmonizer is not None:  # moves and scales each feature
        nothing = np.zeros(inputs.rows.shape)
        slopes = slopes * (
            harmonizer.transform(nothing + 1, inputs.site_of_row) - harmonizer.transform(nothing, inputs.site_of_row)
        )
    return np.where(np.isfinite(inputs.rows), slopes, 0.0)


def before_pooling(
    features: Features,
    pooling: Mapping[str, Sequence[str]],
    slopes: Float64[np.ndarray, "class 1 column"],
) -> dict[str, SliceSlopes]:
    """Through the statistics of one patient's slices.

    Where a statistic has no slope (two slices share the maximum, the deviation is 0), it is the mean of those to
    either side.

    Args:
        features: one patient, with the views that are pooled, in their order.
        pooling: view -> its statistics.
        slopes: at the pooled vector, view by view and statistic by statistic.
    """
    order = np.argsort(features.slice_index, kind="stable")
    area = features.area_mm2[order].astype(np.float64)
    found, start = {}, 0
    for view, rows in features.views.items():
        n, width = len(pooling[view]), rows.shape[1]
        part = slopes[:, 0, start : start + n * width].reshape(len(slopes), n, width)
        start += n * width
        by_slice = _statistic_slopes([find_statistic(name) for name in pooling[view]], rows[order], area)
        found[view] = np.zeros((len(slopes), *rows.shape))
        found[view][:, order] = np.einsum("cnf,nsf->csf", part, by_slice)
    return found


def _statistic_slopes(
    statistics: Sequence[Statistic], rows: Float[np.ndarray, "slice feature"], area: Float64[np.ndarray, " slice"]
) -> Float64[np.ndarray, "statistic slice feature"]:
    """Central differences, a slice at a time; 0 where a value is not finite."""
    wide = rows.astype(np.float64)
    size = np.abs(wide).max(axis=0)
    step = _STEP * np.where(size > 0, size, 1.0)
    slopes = np.zeros((len(statistics), *wide.shape))
    for place in range(len(wide)):
        moved = np.stack([wide, wide])
        moved[:, place] += np.stack([step, -step])
        with np.errstate(invalid="ignore", over="ignore"):
            slices = Slices(moved, np.stack([area, area]))
            width = moved[0, place] - moved[1, place]
            slopes[:, place] = [np.subtract(*statistic(slices)) / width for statistic in statistics]
    return np.where(np.isfinite(slopes), slopes, 0.0)


def before_bag(features: Features, slopes: Float64[np.ndarray, "class row column"]) -> dict[str, SliceSlopes]:
    """The views' shares of rows that hold them side by side."""
    ends = np.cumsum([rows.shape[1] for rows in features.views.values()])[:-1]
    return dict(zip(features.views, np.split(slopes, ends, axis=2), strict=True))


def before_algebra(
    features: Features, entries: Sequence[str], slopes: Mapping[str, SliceSlopes]
) -> dict[str, SliceSlopes]:
    """From the views that a model uses to the stored ones; 0 for a view that none is computed from.

    Args:
        features: one patient, with the stored views.
        entries: of ``classify.views``.
        slopes: of each entry.
    """
    n_classes = len(next(iter(slopes.values())))
    found = {name: np.zeros((n_classes, *rows.shape)) for name, rows in features.views.items()}
    for entry in entries:
        expression = parse_view(entry, tuple(features.views))
        operands = np.stack([features.views[name].astype(np.float64) for name in expression.operands])
        with np.errstate(invalid="ignore"):
            by_operand = _OPERATION_SLOPES[expression.operation](operands, expression.times)
        for name, own in zip(expression.operands, np.where(np.isfinite(by_operand), by_operand, 0.0), strict=True):
            found[name] += slopes[entry] * own
    return found


def _ratio_slopes(operands: Operands, _times: tuple[float, ...]) -> Operands:
    """Of (a - b) / (|a| + |b|); 0 where both are 0, where it jumps and has no slope."""
    a, b = operands
    size = np.abs(a) + np.abs(b)
    squared = np.where(size > 0, size**2, np.inf)
    return np.stack([(size - (a - b) * np.sign(a)) / squared, (-size - (a - b) * np.sign(b)) / squared])


def _line_slopes(operands: Operands, times: tuple[float, ...]) -> Operands:
    """The weights of the least-squares slope."""
    centered = np.array(times) - np.mean(times)
    return np.broadcast_to((centered / (centered**2).sum())[:, None, None], operands.shape)


_OPERATION_SLOPES: dict[str, Callable[[Operands, tuple[float, ...]], Operands]] = {
    "view": lambda operands, _: np.ones_like(operands),
    "difference": lambda operands, _: np.broadcast_to(np.array([1.0, -1.0])[:, None, None], operands.shape),
    "ratio": _ratio_slopes,
    "slope": _line_slopes,
}
