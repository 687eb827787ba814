"""What becomes of patients whose embeddings are not all finite numbers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Shaped

from classify.view_algebra import choose_views
from triher.errors import Skipped
from triher.store import Features
from triher.types import Embeddings

Missing: TypeAlias = Literal["skip", "impute"]
"""``skip`` leaves a patient out who lacks anything; ``impute`` only one who has nothing."""

_TABLE_GAP = "a feature of the table is empty, no finite number, or beyond single precision"
_TABLE_EMPTY = "no feature of the table is a finite number"
_TABLE_REMEDY = {"skip": "complete the table, or set classify.missing: impute", "impute": "complete the table"}


def finite_patients(features: Features, views: Sequence[str]) -> Bool[np.ndarray, " patient"]:
    """Which patients have at least one slice and only finite embeddings in the chosen views."""
    good = np.diff(features.indptr) > 0
    for view in choose_views(list(features.views), views):
        good &= _whole(features, features.views[view])
    return good


def skip_nonfinite(
    features: Features,
    views: Sequence[str],
    cohort_of: Mapping[str, str],
    missing: Missing = "skip",
    *,
    by_column: Collection[str] = (),
) -> tuple[Features, list[Skipped]]:
    """Leave out the patients whose embeddings hold NaN or infinity, which XGBoost would accept.

    With ``skip`` one such value in the chosen views is enough. With ``impute`` a patient stays who has a whole view:
    a view with a value that is not finite becomes NaN in all slices of that patient, because a network that returned
    one such number is not to be trusted with the others; so do the features pooled from it, and no other view's.
    What fills them must be fitted inside the training part.

    Args:
        features: the embeddings.
        views: the views that matter; all when empty.
        cohort_of: patient id -> cohort, for the rows of ``skipped.csv``.
        missing: the policy.
        by_column: views whose columns are measured one by one, as those of a feature table: there ``impute`` loses
            the columns that hold such a value, and keeps a patient who has one column that does not.

    Returns:
        The patients who stay, and a row for each one who does not. What was given is not changed.
    """
    is_table = bool(by_column)
    if missing == "skip":
        reason = _TABLE_GAP if is_table else "the embeddings hold NaN or infinity, or there is no slice"
        kept = finite_patients(features, views)
    else:
        reason = _TABLE_EMPTY if is_table else "no view of the embeddings is finite, or there is no slice"
        features, kept = _blank(features, choose_views(list(features.views), views), by_column)
    remedy = _TABLE_REMEDY[missing] if is_table else "look at the patient's images"
    skipped = [
        Skipped(name, cohort_of.get(name, ""), "classify", "embedding_nonfinite", reason, remedy)
        for name, good in zip(features.patient_id, kept, strict=True)
        if not good
    ]
    return (features.select(np.flatnonzero(kept).tolist()) if skipped else features), skipped


def _blank(
    features: Features, views: Sequence[str], by_column: Collection[str]
) -> tuple[Features, Bool[np.ndarray, " patient"]]:
    """NaN wherever a patient's view (or column) is not whole, and who has any that is."""
    lengths = np.diff(features.indptr)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    any_whole, blanked = np.zeros(len(lengths), bool), dict(features.views)
    for view in views:
        rows = features.views[view]
        if view in by_column:
            whole = _all_of_patient(features, np.isfinite(rows))
            any_whole |= whole.any(axis=1)
        else:
            whole = _whole(features, rows)[:, None]
            any_whole |= whole[:, 0]
        if not whole.all():
            blanked[view] = np.where(whole[owner], rows, np.float32(np.nan))
    return replace(features, views=blanked), any_whole & (lengths > 0)


def _whole(features: Features, rows: Embeddings) -> Bool[np.ndarray, " patient"]:
    """Whose rows are all finite; also who has none."""
    return np.asarray(_all_of_patient(features, np.isfinite(rows).all(axis=1, keepdims=True))[:, 0])


def _all_of_patient(
    features: Features, good: Shaped[np.ndarray, "slice column"]
) -> Bool[np.ndarray, "patient column"]:
    """In which columns all slices of a patient are good."""
    before = np.concatenate([np.zeros((1, good.shape[1]), np.int64), np.cumsum(~good, axis=0)])
    return np.asarray(before[features.indptr[1:]] == before[features.indptr[:-1]])
