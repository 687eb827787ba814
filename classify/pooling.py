"""Slice embeddings to one vector a patient."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from classify.finite import finite_patients, skip_nonfinite
from classify.poolings import POOLINGS, Slices, check_pooling, find_statistic, needs_areas
from classify.view_algebra import choose_views
from triher.errors import StopRun
from triher.store import Features
from triher.types import Vectors

__all__ = [
    "POOLINGS", "Pooled", "check_pooling", "choose_views", "finite_patients", "instances", "pool", "skip_nonfinite",
]  # fmt: skip

_BLOCK = 500_000
"""Values pooled at once: they stay in the processor's cache, and a sorted copy of them costs little memory."""


@dataclass(frozen=True)
class Pooled:
    """One vector a patient, and what each of its columns is."""

    vectors: Vectors
    names: tuple[str, ...]
    """``<view>/<pooling>/<feature>`` for each column."""


def pool(
    features: Features,
    views: Sequence[str],
    pooling: Sequence[str],
    feature_names: Mapping[str, Sequence[str]] | None = None,
    *,
    bare: bool | None = None,
) -> Pooled:
    """Pool each view's slices with each statistic and put the results side by side.

    The order of a patient's slices does not matter, to the bit: they are taken in the order of ``slice_index``. A
    feature that is NaN or infinite in one of a patient's slices becomes NaN, whatever the statistic, and no other
    feature with it. A patient without any slice becomes a row of NaN.

    Args:
        features: the embeddings of the patients.
        views: which views, in which order; all (sorted) when empty.
        pooling: names that `classify.poolings.find_statistic` knows.
        feature_names: view -> names of its columns, for feature tables; numbers from 0 where a view has none.
        bare: whether views with named columns are taken as they stand, so that the name of a column is its name in
            the table; None: where every patient has one row. A bundle must apply what its training found.

    Returns:
        float32 vectors, view by view and pooling by pooling; columns ``<view>/<pooling>/<feature>``.

    Raises:
        StopRun: ``unknown_name``; ``config_value`` (no pooling, one twice, ``area`` or ``topN`` without areas, or
            `bare` and a patient with several rows).
    """
    check_pooling(tuple(pooling))
    chosen = choose_views(list(features.views), views)
    named = feature_names or {}
    one_row = bool((np.diff(features.indptr) == 1).all()) if bare is None else bare
    if one_row and bare and any(view in named for view in chosen):
        _require_one_row(features)
    if any(needs_areas(name) for name in pooling):
        _require_areas(features)
    order = np.lexsort((features.slice_index, _owners(features)))
    columns: list[Vectors] = []
    names: list[str] = []
    for view in chosen:
        as_it_stands = one_row and view in named
        labels = _labels(features, view, named)
        columns.append(_pool_view(features, view, ("mean",) if as_it_stands else pooling, order))
        names += labels if as_it_stands else [f"{view}/{name}/{label}" for name in pooling for label in labels]
    return Pooled(np.concatenate(columns, axis=1), tuple(names))


def instances(
    features: Features, views: Sequence[str], feature_names: Mapping[str, Sequence[str]] | None = None
) -> tuple[Float[np.ndarray, "slice feature"], tuple[str, ...]]:
    """The slices' own rows, views side by side, for heads that take bags; ``features.indptr`` parts them.

    Args:
        features: the embeddings of the patients.
        views: which views, in which order; all (sorted) when empty.
        feature_names: as for `pool`.

    Returns:
        float32 rows, NaN where a value is not finite, and the names ``<view>/<feature>`` of their columns.

    Raises:
        StopRun: ``unknown_name``.
    """
    chosen = choose_views(list(features.views), views)
    rows = np.concatenate([features.views[view].astype(np.float32) for view in chosen], axis=1)
    rows[~np.isfinite(rows)] = np.nan
    return rows, tuple(f"{view}/{x}" for view in chosen for x in _labels(features, view, feature_names or {}))


def _labels(features: Features, view: str, named: Mapping[str, Sequence[str]]) -> list[str]:
    """What a view's columns are called."""
    width = features.views[view].shape[1]
    labels = list(named.get(view, map(str, range(width))))
    if len(labels) != width:
        raise ValueError(f"{len(labels)} names for the {width} columns of the view '{view}'")
    return labels


def _owners(features: Features) -> Int[np.ndarray, " slice"]:
    """The position of each slice's patient."""
    lengths = np.diff(features.indptr)
    return np.repeat(np.arange(len(lengths)), lengths)


def _require_one_row(features: Features) -> None:
    """Stop when a patient has not exactly one row."""
    for patient_id, length in zip(features.patient_id, np.diff(features.indptr), strict=True):
        if length != 1:
            message = f"patient '{patient_id}' has {length} rows of features, and the head knows one row a patient"
            raise StopRun("config_value", message, remedy="give one row a patient, as in the training")


def _require_areas(features: Features) -> None:
    """Stop when a patient's slices have no area to weigh or rank them by."""
    for i, patient_id in enumerate(features.patient_id):
        area = features.area_mm2[features.rows(i)]
        if len(area) and not 0 < area.sum() < np.inf:
            message = f"classify.pooling 'area' and 'topN' need lesion areas, and patient '{patient_id}' has none"
            raise StopRun("config_value", message, remedy="use another pooling")


def _pool_view(
    features: Features, view: str, pooling: Sequence[str], order: Int[np.ndarray, " slice"]
) -> Float[np.ndarray, "patient column"]:
    """All statistics of one view, side by side."""
    rows, lengths = features.views[view], np.diff(features.indptr)
    n_patients, width = len(lengths), rows.shape[1]
    statistics = [find_statistic(name) for name in pooling]
    pooled = np.full((n_patients, len(pooling), width), np.nan, np.float32)
    for patients, length in _blocks(lengths, width):
        where = order[features.indptr[patients][:, None] + np.arange(length)]
        block = rows[where]
        bad = ~np.isfinite(block).all(axis=1)
        with np.errstate(invalid="ignore", over="ignore"):
            slices = Slices(block, features.area_mm2[where].astype(np.float64))
            for position, statistic in enumerate(statistics):
                values = statistic(slices)
                values[bad] = np.nan
                pooled[patients, position] = values
    pooled[~np.isfinite(pooled)] = np.nan  # too large for float32
    return pooled.reshape(n_patients, -1)


def _blocks(lengths: Int[np.ndarray, " patient"], width: int) -> Iterator[tuple[Int[np.ndarray, " some"], int]]:
    """Positions of patients with equally many slices, a block of limited size at a time."""
    for length in np.unique(lengths[lengths > 0]).tolist():
        patients = np.flatnonzero(lengths == length)
        step = max(1, _BLOCK // max(1, length * width))
        for start in range(0, len(patients), step):
            yield patients[start : start + step], length
