"""How far each encoder's features stay the same when images or masks are disturbed.

A criterion for choosing an encoder that needs no label: a feature that another contour, or a little noise, moves by
as much as patients differ cannot tell patients apart. Bounds after Koo & Li (J Chiropr Med 2016;15:155): an ICC of
0.75 or more is good, of 0.90 or more excellent, and the lower limit should be judged, not the estimate alone.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from analysis.ablation.icc import agreement, limits, mean_squares
from analysis.ablation.material import CellResult, StudyMaterial
from analysis.inference.intervals import FEWEST
from classify.finite import finite_patients
from triher.store import read_store
from triher.study import Cell, StudyFolder

GOOD, EXCELLENT = 0.75, 0.90
"""Bounds of Koo & Li 2016."""
_PERTURB, _ENCODER = "extract.perturb", "extract.encoder"
_DRAW = f"{_PERTURB}.draw"


@dataclass(frozen=True)
class Stability:
    """The features of one encoder under one disturbance, by ICC(A,1)."""

    encoder: str
    """With the other settings of the extraction that differ from the base, where there are any."""
    disturbance: str
    """Label of the level: ``noise=0.05``."""
    n_patients: int
    """Embedded with and without the disturbance."""
    n_features: int
    """That have an ICC."""
    median: float
    quartiles: tuple[float, float]
    """Low and high."""
    share_good: float
    """Of the features with an ICC of 0.75 or more."""
    share_excellent: float
    """Of 0.90 or more."""
    lower_limit_median: float
    """Median of the features' 95 % lower limits."""
    cosine: float
    """Median over the patients of the cosine of their two vectors, each centered by the undisturbed mean."""
    n_constant: int = 0
    """Features that are the same in all patients, which have no ICC and are in none of the numbers above."""
    reason: str = ""
    """Why the numbers are NaN; empty where they are not."""


@dataclass(frozen=True)
class _Embedded:
    """Patients with finite features, one vector each: the mean over their slices, all views side by side."""

    patient_id: tuple[str, ...]
    vectors: Float64[np.ndarray, "patient feature"]


def stabilities(folder: StudyFolder, material: StudyMaterial) -> tuple[Stability, ...]:
    """Each encoder under each disturbance of the study.

    Compared are the stores of each cell that is disturbed along one axis and of the cell that is the same but for
    that; a pair of stores that several cells have in common is compared once.

    Args:
        folder: of the study.
        material: its cells.

    Returns:
        One for each pair, in the order of the cells; none where the base is disturbed itself.

    Raises:
        StopRun: as `triher.store.read_store`.
    """
    if not material.config.extract.perturb.is_none:
        return ()

    @cache
    def embedded(path: Path) -> _Embedded:
        return _read(path)

    known = {_frozen(result.cell.changes): result for result in material.results}
    found: dict[tuple[str, ...], Stability] = {}
    for result in material.results:
        clean = _undisturbed(result.cell, known)
        if clean is None:
            continue
        names = _encoder(result.cell, material), _disturbance(result.cell, clean.cell)
        stores = [_store(folder, one) for one in (clean, result)]
        if stores[0] is None or stores[1] is None:
            found[names] = _without(names, "the images were not embedded")
        elif stores[0] != stores[1] and (pair := tuple(map(str, stores))) not in found:
            found[pair] = _compare(names, embedded(stores[0]), embedded(stores[1]))
    return tuple(found.values())


def _frozen(changes: Mapping[str, Any]) -> str:
    """Changes of the configuration as a key."""
    return repr(sorted(changes.items()))


def _undisturbed(cell: Cell, known: Mapping[str, CellResult]) -> CellResult | None:
    """The cell that is the same but for the disturbance along one axis; None where this one is not disturbed so."""
    disturbing = {key for key in cell.changes if key == _PERTURB or key.startswith(f"{_PERTURB}.")}
    if not disturbing - {_DRAW}:
        return None
    for without in (disturbing - {_DRAW}, disturbing):
        rest = {key: value for key, value in cell.changes.items() if key not in without}
        found = known.get(_frozen(rest))
        if found is not None:
            return found if len(_apart(cell, found.cell)) <= 1 else None
    return None


def _apart(cell: Cell, other: Cell) -> list[str]:
    """The axes along which two cells differ."""
    return [axis for axis, label in cell.levels.items() if other.levels.get(axis) != label]


def _encoder(cell: Cell, material: StudyMaterial) -> str:
    """The encoder, with what else differs from the base in how images become pictures."""
    name = str(cell.changes.get(_ENCODER, material.config.extract.encoder))
    ours = [key for key in cell.changes if key.startswith(("extract.", "finetune"))]
    others = [key for key in ours if not key.startswith((_PERTURB, _ENCODER))]
    said = ", ".join(f"{key.removeprefix('extract.')}={cell.changes[key]}" for key in others)
    return f"{name} ({said})" if said else name


def _disturbance(cell: Cell, clean: Cell) -> str:
    """The level of the axis, or for a listed cell its name."""
    said = [f"{axis.removeprefix('perturb.')}={cell.levels[axis]}" for axis in _apart(cell, clean)] or [cell.name]
    draw = [f"draw={cell.changes[_DRAW]}"] if _DRAW in cell.changes else []
    return ", ".join(said + draw)


def _store(folder: StudyFolder, result: CellResult) -> Path | None:
    """Where the embeddings lie that a cell judged its patients by."""
    keys = [run.shown or run.embedding for run in result.runs]
    record = folder.read_embedding(keys[0]) if keys and keys[0] else None
    return None if record is None else folder.run.features / record.store


def _read(path: Path) -> _Embedded:
    """The patients' vectors."""
    _, features = read_store(path)
    whole = [int(i) for i in np.flatnonzero(finite_patients(features, ()))]
    means = [
        np.concatenate(
            [features.views[view][features.rows(i)].mean(axis=0, dtype=np.float64) for view in features.views]
        )
        for i in whole
    ]
    return _Embedded(tuple(features.patient_id[i] for i in whole), np.array(means).reshape(len(whole), -1))


def _compare(names: tuple[str, str], clean: _Embedded, disturbed: _Embedded) -> Stability:
    """The features of the patients who were embedded both ways."""
    common = sorted(set(clean.patient_id) & set(disturbed.patient_id))
    if len(common) < FEWEST:
        return _without(names, f"only {len(common)} patients were embedded both ways", n=len(common))
    first, second = _of(common, clean), _of(common, disturbed)
    squares = mean_squares(first, second)
    value, low = agreement(squares), limits(squares)[0]
    there = np.isfinite(value)
    if not there.any():
        return _without(names, "all features are the same in all patients", n=len(common), n_constant=len(value))
    value, low = value[there], low[there]
    lower, middle, upper = (float(number) for number in np.quantile(value, [0.25, 0.5, 0.75]))
    return Stability(
        *names,
        n_patients=len(common),
        n_features=len(value),
        median=middle,
        quartiles=(lower, upper),
        share_good=float(np.mean(value >= GOOD)),
        share_excellent=float(np.mean(value >= EXCELLENT)),
        lower_limit_median=float(np.median(low)),
        cosine=_cosine(first, second),
        n_constant=int(np.sum(~there)),
    )


def _of(patients: Collection[str], embedded: _Embedded) -> Float64[np.ndarray, "patient feature"]:
    """The vectors of some patients in that order."""
    position = {name: i for i, name in enumerate(embedded.patient_id)}
    return embedded.vectors[[position[name] for name in patients]]


def _cosine(first: Float64[np.ndarray, "patient feature"], second: Float64[np.ndarray, "patient feature"]) -> float:
    """Median over the patients of the cosine between their two vectors, both centered by the mean of the first."""
    center = first.mean(axis=0)
    one, other = first - center, second - center
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = np.divide((one * other).sum(axis=1), lengths, out=np.full(len(one), np.nan), where=lengths > 0)
    return float(np.median(cosines[np.isfinite(cosines)])) if np.isfinite(cosines).any() else math.nan


def _without(names: tuple[str, str], reason: str, *, n: int = 0, n_constant: int = 0) -> Stability:
    """Why there is nothing to tell."""
    nan = math.nan
    return Stability(*names, n, 0, nan, (nan, nan), nan, nan, nan, nan, n_constant, reason)
