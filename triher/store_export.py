"""Export a feature store as one Parquet or AnnData file, with all views and what made them."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from triher.errors import StopRun, unknown_name
from triher.files import replacing
from triher.store import Features, Index, read_index, read_store
from triher.store_parts import read_parts

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

OWN_COLUMNS = ("patient_id", "slice_index", "area_mm2")
"""Of a Parquet export, beside views and facts."""


def provenance(index: Index) -> dict[str, Any]:
    """What made the embeddings, as JSON values, to travel with every export."""
    facts = asdict(index)
    return {
        "format": "triher-features",
        **{name: facts[name] for name in ("identity", "content", "encoder", "recipe", "versions")},
    }


def chosen_view(index: Index, view: str) -> str:
    """The view that is asked for; with none asked for, the only one.

    Raises:
        StopRun: ``unknown_name`` for a view that the store does not have, ``config_value`` when one must be chosen.
    """
    if view and view not in index.views:
        raise unknown_name("view", view, index.views)
    if not view and len(index.views) > 1:
        message = f"the store has {len(index.views)} views, and this format holds one: {', '.join(index.views)}"
        raise StopRun("config_value", message, remedy="choose one with --view")
    return view or index.views[0]


def export_parquet(path: Path, out: Path) -> int:
    """Write one row a slice: patient, slice, area, a fixed-size list for each view, and facts of the source images.

    A view or fact that is named like another column gets ``view:`` or ``fact:`` before its name. The file is
    written in row groups, a part of the store at a time.

    Returns:
        The number of rows.

    Raises:
        StopRun: as `triher.store.read_store`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    index = read_index(path)
    schema = None
    with replacing(out) as part_file, part_file.open("wb") as handle:
        writer = None
        for part in read_parts(path):
            table = _table(part, index)
            if writer is None:
                facts = {"triher": json.dumps(provenance(index), sort_keys=True)}
                schema = table.schema.with_metadata(facts)
                writer = pq.ParquetWriter(handle, schema, compression="zstd")
            writer.write_table(table.cast(schema))
        if writer is None:
            pq.write_table(pa.table({}), handle)
        else:
            writer.close()
    return index.n_slices


def export_h5ad(path: Path, out: Path, view: str = "") -> int:
    """Write an AnnData file: slices as observations, one view as ``X``, the others in ``obsm``.

    ``uns["triher"]`` says what made the embeddings, as JSON text. The whole store is in memory meanwhile.

    Args:
        path: the store.
        out: the file to appear.
        view: which view becomes ``X``; the first when empty.

    Returns:
        The number of observations.

    Raises:
        StopRun: as `triher.store.read_store`; ``unknown_name`` for another view, ``patient_id`` for an id with a
            zero byte, which text of AnnData cannot hold.
    """
    import anndata as ad
    import pandas as pd

    index = read_index(path)
    main = chosen_view(index, view or index.views[0])
    features = read_store(path)[1]
    unfit = [name for name in features.patient_id if "\0" in name]
    if unfit:
        raise StopRun(
            "patient_id", f"the id {unfit[0]!r} holds a zero byte, which AnnData cannot", remedy="rename it"
        )
    names = [f"{main}_{k}" for k in range(features.views[main].shape[1])]
    data = ad.AnnData(
        X=features.views[main],
        obs=_observations(features, index),
        var=pd.DataFrame(index=names),
        obsm={name: rows for name, rows in features.views.items() if name != main},
        uns={"triher": {key: json.dumps(value, sort_keys=True) for key, value in provenance(index).items()}},
    )
    data.uns["triher"]["X"] = json.dumps(main)
    _require_space(out, 2 * path.stat().st_size)
    with replacing(out) as part:
        data.write_h5ad(part)
    return index.n_slices


def _observations(features: Features, index: Index) -> "pd.DataFrame":
    """What is known of each slice beside its views."""
    import pandas as pd

    columns = _columns(features, index)
    obs = pd.DataFrame(
        {name: values for name, values in columns.items() if values.ndim == 1},
        index=[str(i) for i in range(index.n_slices)],
    )
    obs["patient_id"] = pd.Categorical(obs["patient_id"], categories=list(dict.fromkeys(features.patient_id)))
    return obs


def _require_space(out: Path, n_bytes: int) -> None:
    """Make the folder, and stop where its disk is too full: HDF5 crashes when it meets the end of the disk."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(out.parent).free < n_bytes:
        raise StopRun("disk_full", f"no space left to write {out}: about {n_bytes / 1e6:.0f} MB are needed")


def _columns(features: Features, index: Index) -> dict[str, np.ndarray]:
    """The columns of some patients, one entry a slice; views have two axes."""
    lengths = np.diff(features.indptr)
    columns = {
        "patient_id": np.repeat(np.array(features.patient_id, dtype=object), lengths),
        "slice_index": features.slice_index,
        "area_mm2": features.area_mm2,
    }
    for kind, names in (("view", index.views), ("fact", index.acquisition)):
        for name in names:
            values = features.views[name] if kind == "view" else np.repeat(features.acquisition[name], lengths)
            columns[_column(name, kind, index)] = values
    return columns


def _column(name: str, kind: str, index: Index) -> str:
    """A name that no other column has."""
    others: Sequence[str] = index.acquisition if kind == "view" else index.views
    return f"{kind}:{name}" if name in OWN_COLUMNS or name in others else name


def _table(features: Features, index: Index) -> "pa.Table":
    """Some patients as an Arrow table."""
    import pyarrow as pa

    arrays = {
        name: pa.array(values)
        if values.ndim == 1
        else pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
        for name, values in _columns(features, index).items()
    }
    return pa.table(arrays)
