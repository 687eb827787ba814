"""The results of a study as one tidy table, a row a cell, split and measure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.ablation.comparison import Compared, estimates
from analysis.ablation.material import Arena, CellResult, StudyMaterial
from analysis.ablation.measures import Measure, find_measure, measures_of, resample, values
from analysis.ablation.prices import training_seconds
from analysis.ablation.ranks import Rank
from triher.errors import Note
from triher.estimate import Estimate
from triher.files import replacing
from triher.study import BASE, StudyFolder
from triher.tables import write_table

AXIS = "axis:"
"""Before the name of an axis in its column, so that an axis may be called ``encoder`` or ``split``."""
CELL_COLUMNS = ("state", "code", "reason", "is_base", "is_primary", "confirmatory")
COLUMNS = (
    "split", "measure", "value", "low", "high", "n", "value_own", "low_own", "high_own", "n_own", "seeds",
    "sd_over_seeds", "difference", "difference_low", "difference_high", "p", "p_corrected", "rank", "rank_low",
    "rank_high", "share_best", "training_seconds", "embedding_seconds", "cell_seconds", "encoder", "remark",
)  # fmt: skip
_WHOLE = ("n", "n_own", "seeds")


@dataclass(frozen=True)
class Read:
    """What was made of the arenas: split -> the comparisons and ranks of its cells."""

    compared: Mapping[str, Sequence[Compared]]
    ranks: Mapping[str, Sequence[Rank]] = field(default_factory=dict)


def results_frame(
    material: StudyMaterial, read: Read, confirmatory: Mapping[str, bool] | None = None
) -> pd.DataFrame:
    """Lay out all results; a cell without predictions has one row, with its reason.

    ``value``, ``low`` and ``high`` are those of the patients whom all cells of the split predicted, ``n`` of them;
    ``value_own`` and the like those of all ``n_own`` patients of the cell, which are not to be compared between
    cells. ``is_primary`` belongs to the cell, ``p_corrected`` and ranks to the study's metric, ``confirmatory`` to
    that metric in the first arena, which alone is registered.

    Args:
        material: the study.
        read: what was made of its arenas.
        confirmatory: cell -> whether its comparison with the base, in the study's metric, was registered beforehand.
    """
    registered = confirmatory or {}
    rows: list[dict[str, Any]] = []
    for result in material.results:
        cell = _cell_columns(result, material)
        found = [row for own in result.own for row in _rows(result, own, material, read)]
        rows += [cell | row for row in (found or [{}])]
    metric = find_measure(material.own.metric, material.config.scheme).name
    for row in rows:
        is_first = _is_first(row["cell"], row["split"], material) and row["measure"] == metric
        row["confirmatory"] = is_first and registered.get(row["cell"], False)
    columns = ["cell", *(f"{AXIS}{axis}" for axis in material.axes), *CELL_COLUMNS, *COLUMNS]
    frame = pd.DataFrame(rows).reindex(columns=columns)
    return frame.astype(dict.fromkeys(_WHOLE, "Int64"))


def write_results(folder: StudyFolder, frame: pd.DataFrame) -> tuple[Note, ...]:
    """Write ``results.csv`` and, where pyarrow is installed, ``results.parquet``; numbers read back equal.

    Returns:
        A note where there is no Parquet file because pyarrow is missing.
    """
    cells = frame.astype(object).to_numpy().tolist()
    rows = [[None if pd.isna(cell) else cell for cell in row] for row in cells]
    write_table(folder.results_file, list(frame.columns), rows)
    path = folder.results_file.with_suffix(".parquet")
    try:
        import pyarrow as pa  # noqa: F401 - pandas writes with it
    except ImportError:
        path.unlink(missing_ok=True)  # an older one would contradict the CSV file
        text = (
            f"no {path.name} beside {folder.results_file.name}, as pyarrow is missing: pip install 'triher[export]'"
        )
        return (Note("", "extra_missing", text),)
    with replacing(path) as part:
        frame.to_parquet(part, engine="pyarrow", index=False)
    return ()


def _is_first(cell: str, split: str, material: StudyMaterial) -> bool:
    """Whether a split is the one that a study is read by, and a cell is compared with the base in it."""
    return any(arena.split == split and {BASE, cell} <= set(arena.names) for arena in material.arenas[:1])


def _cell_columns(result: CellResult, material: StudyMaterial) -> dict[str, Any]:
    """What all rows of a cell have in common."""
    levels = {f"{AXIS}{axis}": result.cell.levels.get(axis, "") for axis in material.axes}
    return {
        "cell": result.cell.name,
        **levels,
        "state": result.state,
        "code": result.code,
        "reason": result.reason,
        "is_base": result.cell.is_base,
        "is_primary": result.cell.name in material.own.primary,
        "seeds": sum(run.state == "done" for run in result.runs),
        "training_seconds": training_seconds(result),
        "embedding_seconds": result.embedding.seconds if result.embedding else np.nan,
        "cell_seconds": sum(run.seconds for run in result.runs) if result.runs else np.nan,
        "encoder": result.embedding.label if result.embedding else "",
        "split": "",
        "measure": "",
        "remark": "",
    }


def _rows(result: CellResult, own: Arena, material: StudyMaterial, read: Read) -> Iterator[dict[str, Any]]:
    """A row for each measure of one split."""
    name = result.cell.name
    arena = next((one for one in material.arenas if one.split == own.split and name in one.names), None)
    compared = {one.measure: one for one in read.compared.get(own.split, ()) if one.cell == name}
    rank = next((one for one in read.ranks.get(own.split, ()) if one.cell == name), None)
    is_whole = arena is not None and len(arena.y) == len(own.y) and bool(compared)
    weights = None if is_whole else resample(own, material.config)
    scheme = str(result.cell.changes.get("scheme", material.config.scheme))
    metric = find_measure(material.own.metric, material.config.scheme).name
    for measure in measures_of(scheme).values():
        there = compared.get(measure.name)
        alone = compared[measure.name].own if weights is None else estimates(own, measure, weights)[0]
        row = {"split": own.split, "measure": measure.name, "sd_over_seeds": _spread(arena, own, measure, name)}
        row |= _numbers("_own", alone) | {"n_own": alone.n}
        row |= _compared(there) if there else {"remark": alone.reason}
        yield row | (_ranked(rank) if rank and measure.name == metric else {})


def _numbers(ending: str, estimate: Estimate) -> dict[str, float]:
    """Value and limits."""
    return {f"value{ending}": estimate.value, f"low{ending}": estimate.low, f"high{ending}": estimate.high}


def _compared(one: Compared) -> dict[str, Any]:
    """The cell among the others."""
    row = _numbers("", one.own) | {"n": one.own.n, "p": one.p, "p_corrected": one.p_corrected}
    remark = one.own.reason
    if one.difference is not None:
        difference = one.difference
        row |= {
            "difference": difference.value,
            "difference_low": difference.low,
            "difference_high": difference.high,
        }
        remark = "; ".join(dict.fromkeys(text for text in (remark, difference.reason) if text))
    return row | {"remark": remark}


def _ranked(rank: Rank) -> dict[str, float]:
    """Its place."""
    return {"rank": rank.mean, "rank_low": rank.low, "rank_high": rank.high, "share_best": rank.share_best}


def _spread(arena: Arena | None, own: Arena, measure: Measure, name: str) -> float:
    """The standard deviation over seeds on the common patients, or on its own; NaN with one seed."""
    where = arena or own
    if min(measure.needs(where.y, where.classes).values()) == 0 or where.probabilities.shape[1] == 1:
        return float("nan")
    return float(values(where.alone(name), measure)[0].std(ddof=1))
