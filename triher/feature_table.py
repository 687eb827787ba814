"""A table of features of one's own (radiomics, another model's embeddings) in the shape of a feature store."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int64

from triher.errors import StopRun
from triher.feature_files import Columns, read_columns
from triher.files import sha256_of_json
from triher.store import Features, Header
from triher.tables import matching_key

VIEW = "table"
"""The one view of a table in the shape of a store."""


@dataclass(frozen=True)
class FeatureTable:
    """Rows of numbers, one or several a patient (slices, lesions, visits), in the order of the file."""

    patient_id: tuple[str, ...]
    """In the order of first appearance."""
    indptr: Int64[np.ndarray, " patient_plus_1"]
    names: tuple[str, ...]
    """Of the columns."""
    rows: Float[np.ndarray, "row column"]
    """NaN where the file has no finite number."""
    facts: dict[str, Any] = field(default_factory=dict)
    """For the record: ``n_rows``, ``ignored``, ``constant`` and ``empty`` columns."""


def read_feature_table(
    path: Path,
    *,
    id_column: str = "patient_id",
    ignore: Collection[str] = (),
    decimal: Literal[".", ","] = ".",
) -> FeatureTable:
    """Read a table of features: text or a workbook, Parquet, or AnnData.

    Every column but the id's is a feature and must hold numbers. Several rows of one id are several instances, and
    keep their order. An export of `triher store export` gives its views' features, named ``<view>/<number>``.

    Args:
        path: .csv, .tsv, .txt, .xlsx, .xlsm, .parquet or .h5ad (``X``; ids from ``obs`` or the observations' names).
        id_column: the column of the patient's id.
        ignore: columns that are no features.
        decimal: the decimal mark of a text table.

    Raises:
        StopRun: ``feature_text`` (columns of text), ``feature_none`` (no column of numbers), ``patient_id`` (an id
            that is empty), ``patient_duplicate`` (one id in two spellings); as
            `triher.feature_files.read_columns`.
    """
    found = read_columns(path, id_column, ignore, decimal)
    if found.text:
        listed = ", ".join(f"'{name}'" for name in found.text[:10]) + (" and more" if len(found.text) > 10 else "")
        raise StopRun("feature_text", f"{path}: these columns hold text, and features are numbers: {listed}")
    if not found.numbers or not found.ids:
        raise StopRun("feature_none", f"{path} has {len(found.ids)} rows and {len(found.numbers)} columns of numbers")
    position = _positions(path, found)
    order = np.argsort(position, kind="stable")
    rows = np.stack(list(found.numbers.values()), axis=1)[order]
    lengths = np.bincount(position)
    return FeatureTable(
        tuple(dict.fromkeys(found.ids)),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        tuple(found.numbers),
        rows,
        {"n_rows": len(rows), "ignored": sorted(ignore), **_remarkable(found)},
    )


def _positions(path: Path, found: Columns) -> Int64[np.ndarray, " row"]:
    """For each row the position of its patient; refuse ids that are empty or only look different."""
    spelled: dict[str, int] = {}
    places: dict[str, int] = {}
    for row, patient_id in enumerate(found.ids):
        if not patient_id:
            raise StopRun("patient_id", f"{found.places(row)}: the patient id is empty")
        first = spelled.setdefault(matching_key(patient_id), row)
        if found.ids[first] != patient_id:
            message = (
                f"'{found.ids[first]}' ({found.places(first)}) and '{patient_id}' ({found.places(row)}) "
                "are one patient in two spellings"
            )
            raise StopRun("patient_duplicate", message, remedy="spell each id in one way")
        places.setdefault(patient_id, len(places))
    return np.array([places[patient_id] for patient_id in found.ids], dtype=np.int64)


def _remarkable(found: Columns) -> dict[str, list[str]]:
    """Columns that tell nothing; they stay, so that the columns do not depend on who is in the table."""
    empty, constant = [], []
    for name, values in found.numbers.items():
        present = values[~np.isnan(values)]
        if not len(present):
            empty.append(name)
        elif (present == present[0]).all():
            constant.append(name)
    return {"empty": empty, "constant": constant}


def as_features(table: FeatureTable) -> tuple[Header, Features, tuple[str, ...]]:
    """The table as what a feature store holds: one view, `VIEW`, a row of it for each row of the table.

    What stands for the input's hash is that of the patient's own values: patients whose values are all equal count
    as the same exam, and are kept on one side of every split. Tables of a few coarse columns have such patients by
    chance. A value beyond float32 becomes NaN.

    Returns:
        Header and features, and the names of the columns, which `classify.pooling.pool` takes as
        ``feature_names={VIEW: names}``.
    """
    n_columns, lengths = len(table.names), np.diff(table.indptr)
    with np.errstate(over="ignore"):
        rows = table.rows.astype(np.float32)
    rows[~np.isfinite(rows)] = np.nan
    encoder = {"name": VIEW, "columns_sha256": sha256_of_json(list(table.names)), "n_columns": n_columns}
    features = Features(
        table.patient_id,
        tuple(
            hashlib.sha256(np.ascontiguousarray(table.rows[start:stop], "<f8").tobytes()).hexdigest()
            for start, stop in zip(table.indptr[:-1], table.indptr[1:], strict=True)
        ),
        table.indptr,
        np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        np.ones(len(rows), np.float32),
        {VIEW: rows},
    )
    return Header(encoder, {"features": VIEW}, {}, np.zeros((1, 1), np.float32)), features, table.names
