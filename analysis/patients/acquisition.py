"""Facts about the source images, as the feature store of a run holds them."""

from collections.abc import Mapping
from typing import Any

from triher.runfolder import RunFolder
from triher.store_guard import open_guarded
from triher.store_model import FORMAT, VERSION
from triher.store_read import index_of

Acquisition = Mapping[str, Mapping[str, float]]
"""Fact -> patient id -> value."""

SHOWN = {
    "lesion_volume_ml": "Lesion volume, ml",
    "spacing_row_mm": "Pixel spacing in plane, mm",
    "spacing_slice_mm": "Distance of slices, mm",
    "n_slices": "Slices of the volume",
    "n_rows": "Rows of the matrix",
    "n_phases": "Phases",
}
"""Facts of table 1 with their names in print."""


def read_acquisition(run: RunFolder, record: Mapping[str, Any]) -> Acquisition:
    """The facts of `SHOWN` that the run's feature store holds; none where features came from elsewhere.

    Args:
        run: the run folder.
        record: contents of ``run.json``.

    Raises:
        StopRun: ``store_corrupt`` and the like, as `triher.store_guard.open_guarded`.
    """
    name = record.get("stages", {}).get("extract", {}).get("store", "")
    path = run.features / name
    if not name or not path.is_file():
        return {}
    with open_guarded(path, FORMAT, VERSION) as file:
        index = index_of(file)
        columns = {fact: file[f"acquisition/{fact}"][:].tolist() for fact in SHOWN if fact in index.acquisition}
    ids = tuple(index.inputs)
    return {fact: dict(zip(ids, map(float, column), strict=True)) for fact, column in columns.items()}
