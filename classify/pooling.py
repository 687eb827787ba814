"""Slice embeddings to one vector a patient."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float64

from triher.errors import Skipped, StopRun, unknown_name
from triher.store import Features
from triher.types import Vectors

Block: TypeAlias = Float64[np.ndarray, "patient slice feature"]
Areas: TypeAlias = Float64[np.ndarray, "patient slice"]
Statistic: TypeAlias = Callable[[Block, Areas], Float64[np.ndarray, "patient feature"]]

POOLINGS: dict[str, Statistic] = {
    "mean": lambda block, _: block.mean(axis=1),
    "max": lambda block, _: block.max(axis=1),
    "median": lambda block, _: np.median(block, axis=1),
    "std": lambda block, _: block.std(axis=1),
    "area": lambda block, area: np.einsum("psf,ps->pf", block, area / area.sum(axis=1, keepdims=True)),
}
"""Name -> statistic over a patient's slices; ``std`` divides by n, ``area`` weights by lesion area."""


@dataclass(frozen=True)
class Pooled:
    """One vector a patient, and what each of its columns is."""

    vectors: Vectors
    names: tuple[str, ...]
    """``<view>/<pooling>/<feature>`` for each column."""


def check_pooling(names: Sequence[str]) -> None:
    """Stop early on a pooling that is not in the table.

    Raises:
        StopRun: ``unknown_name``, or ``config_value`` when there is none.
    """
    if not names:
        raise StopRun("config_value", "classify.pooling is empty; it needs at least one statistic")
    for name in names:
        if name not in POOLINGS:
            raise unknown_name("pooling", name, POOLINGS)


def choose_views(available: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The wanted views in their order, or all of them sorted when none is named.

    Raises:
        StopRun: ``unknown_name``.

    >>> choose_views(["rgb", "early"], [])
    ('early', 'rgb')
    """
    for name in wanted:
        if name not in available:
            raise unknown_name("view", name, available)
    return tuple(wanted) or tuple(sorted(available))


def pool(features: Features, views: Sequence[str], pooling: Sequence[str]) -> Pooled:
    """Pool each view's slices with each statistic and put the results side by side.

    Patients with equal numbers of slices are pooled as one block in float64, so that the order of a patient's
    slices does not matter. A patient without any slice becomes a row of NaN.

    Args:
        features: the embeddings of the patients.
        views: which views, in which order; all (sorted) when empty.
        pooling: names of `POOLINGS`.

    Returns:
        float32 vectors of n_views * n_poolings * n_features columns, view by view, pooling by pooling.

    Raises:
        StopRun: ``unknown_name``, or ``config_value`` (no pooling, or ``area`` without areas).
    """
    check_pooling(pooling)
    chosen = choose_views(list(features.views), views)
    if "area" in pooling:
        _require_areas(features)
    columns, names = [], []
    for view in chosen:
        columns.append(_pool_view(features, view, pooling))
        width = features.views[view].shape[1]
        names += [f"{view}/{name}/{i}" for name in pooling for i in range(width)]
    return Pooled(np.concatenate(columns, axis=1), tuple(names))


def slices_side_by_side(features: Features, views: Sequence[str]) -> Pooled:
    """Every slice's embeddings of the chosen views side by side, for heads that take the slices themselves.

    Returns:
        One row a slice, in the order of the store; columns are called ``<view>/<feature>``.
    """
    chosen = choose_views(list(features.views), views)
    names = tuple(f"{view}/{i}" for view in chosen for i in range(features.views[view].shape[1]))
    return Pooled(np.hstack([features.views[view] for view in chosen]), names)


def _require_areas(features: Features) -> None:
    """Stop when a patient's slices have no area to weight them by."""
    for i, patient_id in enumerate(features.patient_id):
        area = features.area_mm2[features.rows(i)]
        if len(area) and not 0 < area.sum() < np.inf:
            message = f"classify.pooling 'area' needs lesion areas, and patient '{patient_id}' has none"
            raise StopRun("config_value", message, remedy="use another pooling")


def _pool_view(features: Features, view: str, pooling: Sequence[str]) -> Vectors:
    """All statistics of one view, side by side."""
    rows = features.views[view]
    lengths = np.diff(features.indptr)
    n_patients, width = len(lengths), rows.shape[1]
    pooled = np.full((n_patients, len(pooling), width), np.nan, np.float32)
    for length in np.unique(lengths[lengths > 0]):
        patients = np.flatnonzero(lengths == length)
        where = features.indptr[patients][:, None] + np.arange(length)
        block, area = rows[where].astype(np.float64), features.area_mm2[where].astype(np.float64)
        for position, name in enumerate(pooling):
            pooled[patients, position] = POOLINGS[name](block, area)
    return pooled.reshape(n_patients, -1)


def finite_patients(features: Features, views: Sequence[str]) -> Bool[np.ndarray, " patient"]:
    """Which patients have at least one slice and only finite embeddings in the chosen views."""
    bad = np.zeros(len(features.slice_index), bool)
    for view in choose_views(list(features.views), views):
        bad |= ~np.isfinite(features.views[view]).all(axis=1)
    before = np.concatenate([[0], np.cumsum(bad)])
    n_bad = before[features.indptr[1:]] - before[features.indptr[:-1]]
    return (n_bad == 0) & (np.diff(features.indptr) > 0)


def skip_nonfinite(
    features: Features, views: Sequence[str], cohort_of: dict[str, str]
) -> tuple[Features, list[Skipped]]:
    """Leave out the patients whose embeddings hold NaN or infinity, which XGBoost would accept.

    Args:
        features: the embeddings.
        views: the views that matter; all when empty.
        cohort_of: patient id -> cohort, for the rows of ``skipped.csv``.
    """
    finite = finite_patients(features, views)
    reason, remedy = "the embeddings hold NaN or infinity, or there is no slice", "look at the patient's images"
    skipped = [
        Skipped(name, cohort_of.get(name, ""), "classify", "embedding_nonfinite", reason, remedy)
        for name, good in zip(features.patient_id, finite, strict=True)
        if not good
    ]
    return (features.select(np.flatnonzero(finite).tolist()) if skipped else features), skipped
