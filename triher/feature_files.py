"""Files of features as columns: text and workbooks, Parquet, AnnData. Claimed sizes are checked before reading."""

import json
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import h5py
import numpy as np
from jaxtyping import Float

from triher.errors import StopRun, first_line
from triher.store_export import OWN_COLUMNS
from triher.store_guard import DAMAGED, all_data, refuse_elsewhere
from triher.tables import is_missing, number, read_table, require_column
from triher.workbook import WORKBOOK_SUFFIXES

if TYPE_CHECKING:
    import pyarrow as pa

MOST_VALUES = 500_000_000
"""Numbers in one table: some 20,000 slices of 24,000 features, 2 GB in float32."""
_MOST_TEXT_BYTES = 500_000_000  # as Python text, cells take some ten times the room that they have in the file
_NOT_FINITE = ("inf", "+inf", "-inf", "infinity", "+infinity", "-infinity", "-nan", "+nan")
_DIGITS = frozenset("0123456789.+-eE")
_OTHER_NUMBER = re.compile(r"[+-]?[0-9][0-9., '\u00a0\u202f_]*([eE][+-]?[0-9]+)?")  # written in another way

Values: TypeAlias = Float[np.ndarray, " row"]


@dataclass(frozen=True)
class Columns:
    """What a file holds, row by row as it stands there."""

    ids: list[str]
    numbers: dict[str, Values]
    """In the order of the file."""
    text: tuple[str, ...]
    """Columns that hold no number."""
    places: Callable[[int], str]
    """Position of a row -> where it is, for messages."""


def read_columns(path: Path, id_column: str, ignore: Collection[str], decimal: Literal[".", ","]) -> Columns:
    """Read a file by the ending of its name.

    Args:
        path: .csv, .tsv, .txt, .xlsx, .xlsm, .parquet or .h5ad.
        id_column: the column of the patient's id; in AnnData one of ``obs``, or else the names of the observations.
        ignore: columns that are not read.
        decimal: the decimal mark of a text table.

    Raises:
        StopRun: ``file_unreadable``, ``table_format``, ``table_header``, ``table_too_large``, ``column_missing``,
            ``number_format``, ``patient_id``, ``extra_missing``; for text as `triher.tables.read_table`.
    """
    suffix = path.suffix.lower()
    if suffix not in (*_READERS, *_TEXT_SUFFIXES):
        known = ", ".join((*_TEXT_SUFFIXES, *_READERS))
        raise StopRun("table_format", f"{path} is no table of features by its name; known are {known}")
    if not path.is_file():
        raise StopRun("file_unreadable", f"there is no file {path}")
    if suffix in _READERS:
        return _READERS[suffix](path, id_column, ignore)
    return _read_text(path, id_column, ignore, decimal)


def _read_text(path: Path, id_column: str, ignore: Collection[str], decimal: Literal[".", ","]) -> Columns:
    """A table of text, cell by cell."""
    if (n_bytes := path.stat().st_size) > _MOST_TEXT_BYTES:
        message = f"{path} has {n_bytes / 1e6:.0f} MB; tables of text may have {_MOST_TEXT_BYTES / 1e6:.0f} MB"
        raise StopRun("table_too_large", message, remedy="save it as Parquet")
    frame = read_table(path)
    require_column(frame, id_column, purpose="the patient's id", where=str(path))
    lines = frame.attrs["lines"]
    unit = "row" if path.suffix.lower() in WORKBOOK_SUFFIXES else "line"

    def place(row: int) -> str:
        """File and line."""
        return f"{path}, {unit} {lines[row]}"

    numbers: dict[str, Values] = {}
    text = []
    for name in frame.columns:
        if name == id_column or name in ignore:
            continue
        if not name:
            message = f"{path}: a column has no name, as the row numbers that some programs add"
            raise StopRun("table_header", message, remedy="delete the column, or name it")
        values = _parse(frame[name].tolist(), decimal, place, name)
        if values is None:
            text.append(name)
        else:
            numbers[name] = values
    return Columns(frame[id_column].tolist(), numbers, tuple(text), place)


def _parse(cells: list[str], decimal: Literal[".", ","], place: Callable[[int], str], name: str) -> Values | None:
    """The numbers of a column, NaN where there is none; None for a column of text.

    A column is text when none of its cells is a number; in one with numbers a word is a fault of that cell.
    """
    blank = np.array([is_missing(cell) or cell.casefold() in _NOT_FINITE for cell in cells])
    values = np.full(len(cells), np.nan)
    filled = [cell for cell, missing in zip(cells, blank.tolist(), strict=True) if not missing]
    if decimal == "." and _DIGITS.issuperset("".join(filled)):
        with suppress(ValueError):
            values[~blank] = np.array([float(cell) for cell in filled])
            if np.isfinite(values[~blank]).all():
                return values
    faults = []
    for row in np.flatnonzero(~blank).tolist():
        try:
            values[row] = number(cells[row], decimal=decimal, where=place(row), column=name)
        except StopRun as fault:
            faults.append(fault)
    if faults and (len(faults) < len(filled) or all(map(_OTHER_NUMBER.fullmatch, filled))):
        raise faults[0]
    return None if faults else values


def _read_parquet(path: Path, id_column: str, ignore: Collection[str]) -> Columns:
    """Columns of numbers; a list of fixed size, such as a view of a store's export, is a column for each place."""
    with _needing("pyarrow", path):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        with path.open("rb") as handle:
            file = pq.ParquetFile(handle)
            wanted = _parquet_fields(path, file, id_column, ignore)
            table = file.read(columns=[field.name for field in wanted] + [id_column])
            ids = _arrow_ids(table[id_column], path)
            numbers: dict[str, Values] = {}
            text = []
            for field in wanted:
                columns = _arrow_numbers(field, table[field.name])
                if columns is None:
                    text.append(field.name)
                else:
                    _merge(numbers, columns, path)
    except (pa.ArrowException, OSError, MemoryError) as error:
        raise StopRun("table_format", f"{path} cannot be read as Parquet: {first_line(error)}") from error
    return Columns(ids, numbers, tuple(text), lambda row: f"{path}, row {row + 1}")


def _parquet_fields(path: Path, file: Any, id_column: str, ignore: Collection[str]) -> list["pa.Field"]:  # noqa: ANN401 - pyarrow has no types
    """The columns to read, after their names and claimed sizes are checked."""
    schema = file.schema_arrow
    repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if repeated:
        raise StopRun("table_header", f"{path}: the column '{repeated[0]}' is there twice")
    if id_column not in schema.names:
        listed = ", ".join(schema.names[:20])
        raise StopRun("column_missing", f"{path} has no column '{id_column}' (the patient's id). It has: {listed}")
    own = b"triher" in (schema.metadata or {})
    skipped = {id_column, *ignore, *(OWN_COLUMNS if own else ())}
    fields = [field for field in schema if field.name not in skipped and not field.name.startswith("__index_level_")]
    if own:  # the views, and not the facts of the source images
        fields = [field for field in fields if hasattr(field.type, "list_size")]
    width = sum(getattr(field.type, "list_size", 1) for field in fields)
    _check_size(path, file.metadata.num_rows, width)
    return fields


def _check_size(path: Path, n_rows: int, n_columns: int) -> None:
    """Stop before a table is read that claims more numbers than any real one has."""
    if n_rows * n_columns > MOST_VALUES:
        message = f"{path} claims {n_rows} rows of {n_columns} numbers; a table may have {MOST_VALUES} numbers"
        raise StopRun("table_too_large", message)


def _arrow_ids(column: "pa.ChunkedArray", path: Path) -> list[str]:
    """Text, or whole numbers as text."""
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        message = f"{path}: the patient ids are of type {kind}; text was expected"
        raise StopRun("patient_id", message, remedy="write the ids as text")
    return ["" if value is None else str(value).strip() for value in column.to_pylist()]


def _arrow_numbers(field: "pa.Field", column: "pa.ChunkedArray") -> dict[str, Values] | None:
    """The columns of numbers that a column makes; None for text, dates and the like."""
    import pyarrow as pa

    kind = field.type
    if pa.types.is_fixed_size_list(kind):
        if not pa.types.is_floating(kind.value_type) or column.null_count:
            return None
        flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        rows = _finite(flat).reshape(len(column), kind.list_size)
        return {f"{field.name}/{place}": rows[:, place] for place in range(kind.list_size)}
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        return None
    if kind != pa.float32():
        column = column.cast(pa.float64())
    return {field.name: _finite(column.to_numpy())}


def _finite(values: np.ndarray) -> Float[np.ndarray, " value"]:
    """NaN for what is not finite; float32 stays, everything else becomes float64."""
    kept = values if values.dtype == np.float32 else values.astype(np.float64)
    return np.where(np.isfinite(kept), kept, kept.dtype.type(np.nan))


def _merge(numbers: dict[str, Values], columns: dict[str, Values], path: Path) -> None:
    """Add columns of other names."""
    for name, values in columns.items():
        if name in numbers:
            raise StopRun("table_header", f"{path}: the column '{name}' is there twice")
        numbers[name] = values


def _read_h5ad(path: Path, id_column: str, ignore: Collection[str]) -> Columns:
    """``X`` of an AnnData file; what lies in ``obsm`` and ``layers`` is not read as features."""
    with _needing("anndata", path):
        import anndata as ad
    try:
        with h5py.File(path, "r") as file:
            _check_hdf5(file, path)
        data = ad.read_h5ad(path)
        rows = data.X.toarray() if hasattr(data.X, "toarray") else np.asarray(data.X)
        own = "triher" in data.uns
        view = json.loads(data.uns["triher"]["X"]) if own and "X" in data.uns["triher"] else ""
    except DAMAGED as error:
        raise StopRun("table_format", f"{path} cannot be read as AnnData: {first_line(error)}") from error
    names = [str(name) for name in data.var_names]
    if own and all(name == f"{view}_{k}" for k, name in enumerate(names)):
        names = [f"{view}/{k}" for k in range(len(names))]  # as in the Parquet of the same store
    found = data.obs.get(id_column, data.obs_names)
    numbers: dict[str, Values] = {}
    for place, name in enumerate(names):
        if name not in ignore:
            _merge(numbers, {name: _finite(rows[:, place])}, path)
    return Columns([str(value).strip() for value in found], numbers, (), lambda row: f"{path}, observation {row + 1}")


def _check_hdf5(file: h5py.File, path: Path) -> None:
    """Refuse links out of the file, data kept elsewhere, and more numbers than any real table has."""
    found = list(all_data(file, path))
    for data in found:
        refuse_elsewhere(data, path)
    if "X" not in file:
        raise StopRun("table_format", f"{path} has no X, the table of an AnnData file")
    shape = file["X"].shape if isinstance(file["X"], h5py.Dataset) else tuple(file["X"].attrs["shape"])
    _check_size(path, int(shape[0]), int(shape[1]) if len(shape) == 2 else 1)
    _check_size(path, 1, sum(int(data.size or 0) for data in found))


@contextmanager
def _needing(package: str, path: Path) -> Iterator[None]:
    """Name the extra that brings a package which is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{path}: reading {path.suffix} files needs the package {package}"
        raise StopRun("extra_missing", message, remedy="pip install 'triher[export]'") from error


_TEXT_SUFFIXES = (".csv", ".tsv", ".txt", *sorted(WORKBOOK_SUFFIXES))
_READERS: dict[str, Callable[[Path, str, Collection[str]], Columns]] = {
    ".parquet": _read_parquet,
    ".h5ad": _read_h5ad,
}
