"""Trained on each cohort, tested on each: one metric for every pair.

What a model loses on patients of another scanner and another clinic is seen where both are judged by the same metric:
on a row's own cohorts out of fold, on the others by the model of all of its patients. Cohorts also differ in how hard
their patients are to tell apart (Debray et al., J Clin Epidemiol 2015;68:279), so the fall along a row is a loss of
the model only as far as the columns are equally hard; compare a column's entries with each other.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64

from analysis.ablation.comparison import estimates
from analysis.ablation.material import Arena, CellResult, StudyMaterial
from analysis.ablation.measures import Measure, draw, find_measure, values
from analysis.discrimination.auc_kernel import Multiplicities
from analysis.discrimination.aucs import shortage
from analysis.inference.bootstrap import multiplicities, percentile
from analysis.inference.cross_validation import Folds, folds_of, widening
from analysis.inference.intervals import FEWEST, without_interval
from analysis.patients.samples import DECIMALS
from triher.estimate import Estimate, not_estimable
from triher.judged import HELD_OUT
from triher.predictions import one_row_a_patient, probability_columns, read_predictions
from triher.study import StudyFolder

_SECTION, _KEY = "classify", "split"
_SPLIT = f"{_SECTION}.{_KEY}"
_BY_SITE = ("sites", "leave-one-site-out")
_OUT_OF_FOLD, _TEST = "oof", "test"


@dataclass(frozen=True)
class Matrix:
    """Training cohorts by test cohorts."""

    rows: tuple[str, ...]
    """Labels of the levels of the axis that changes who is trained on."""
    columns: tuple[str, ...]
    """Cohorts, or sites, whose patients are judged."""
    entries: dict[tuple[str, str], Estimate]
    """(row, column) -> the metric on exactly the column's patients; a reason where there is none."""
    within: frozenset[tuple[str, str]]
    """Pairs whose column's patients trained the row's models: they were predicted out of fold."""
    by: str
    """``cohort`` or ``site``."""
    axis: str = ""
    """That the rows are levels of; empty where they are listed cells."""
    metric: str = "auc_macro"
    falls: Mapping[str, Estimate] = field(default_factory=dict)
    """Row -> mean of its entries within minus mean of those outside; above 0 where it is worse outside."""


@dataclass(frozen=True)
class _Row:
    """What the models of a row predicted, of labeled patients whom they had not seen."""

    raw: pd.DataFrame
    """The prediction table of the first seed."""
    seeds: tuple[pd.DataFrame, ...]
    """One row a patient; see `_by_patient`."""


@dataclass(frozen=True)
class _Entry:
    """A column's patients as a row predicted them."""

    arena: Arena
    """Of this cell and these patients alone."""
    is_within: bool
    weights: Multiplicities
    """Resamples of a column are the same in all rows that predicted the same patients."""


def cohort_matrix(folder: StudyFolder, material: StudyMaterial) -> Matrix | None:
    """Read the cells of the axis that changes who is trained on, all other axes as in the base.

    A patient counts as held out where a model that was not trained on them predicted them as a test patient, else as
    predicted out of fold; intervals of the latter are widened (see `analysis.inference.cross_validation`). A column
    with fewer than 5 patients on a side of the metric has no number.

    Args:
        folder: of the study.
        material: its cells.

    Returns:
        None where no axis, and no listed cell, changes who is trained on, or none of them predicted anybody.

    Raises:
        StopRun: as `triher.predictions.read_predictions`; ``unknown_name`` for the study's metric.
    """
    axis, results = _rows(material)
    read = {row: _read(folder, result, material.config.scheme) for row, result in results.items()}
    there = [row for row in read.values() if row is not None]
    if not there:
        return None
    by = _place(results.values(), material, there)
    columns = sorted({str(name) for row in there for name in row.raw[by]})
    measure = find_measure(material.own.metric, material.config.scheme)
    entries: dict[tuple[str, str], Estimate] = {}
    within, falls = set(), {}
    for row, result in results.items():
        found = {}
        for c, column in enumerate(columns):
            entry = _entry(row, read[row], by, column, material, seed=c)
            entries[row, column] = _estimate(entry, measure, result.reason)
            if entry is not None and math.isfinite(entries[row, column].value):
                found[column] = entry
            if entry is not None and entry.is_within:
                within.add((row, column))
        falls[row] = _fall(list(found.values()), measure)
    return Matrix(tuple(results), tuple(columns), entries, frozenset(within), by, axis, measure.name, falls)


def _rows(material: StudyMaterial) -> tuple[str, dict[str, CellResult]]:
    """The axis that changes who is trained on, and its cells by label; or listed cells that change nothing else."""
    base = material.results[0].cell
    for axis, labels in material.axes.items():
        along = {
            result.cell.levels[axis]: result
            for result in material.results
            if result.cell.levels and {**result.cell.levels, axis: base.levels[axis]} == base.levels
        }
        if any(_changed(result, all_of_them=False) for result in along.values()):
            return axis, {label: along[label] for label in labels if label in along}
    listed = {result.cell.name: result for result in material.results if _changed(result, all_of_them=True)}
    return "", ({base.name: material.results[0]} if listed else {}) | listed


def _changed(result: CellResult, *, all_of_them: bool) -> bool:
    """Whether a cell changes who is trained on: with some key, or with all of its keys."""
    whole = result.cell.changes.get(_SECTION)
    keys = [
        f"{key}.".startswith(f"{_SPLIT}.") or (key == _SECTION and isinstance(whole, Mapping) and _KEY in whole)
        for key in result.cell.changes
    ]
    return bool(keys) and (all(keys) if all_of_them else any(keys))


def _read(folder: StudyFolder, result: CellResult, scheme: str) -> _Row | None:
    """The cell's prediction tables; None for a cell without."""
    if result.reason or not result.runs:
        return None
    tables = [read_predictions(folder.predictions(run.key), scheme) for run in result.runs]
    known = [table[table["y"].notna() & table["split"].isin((_TEST, _OUT_OF_FOLD))] for table in tables]
    return _Row(known[0], tuple(_by_patient(table, scheme) for table in known))


def _place(results: Iterable[CellResult], material: StudyMaterial, rows: Sequence[_Row]) -> str:
    """Whether the columns are sites or cohorts: what the splits are made of, sites where there is one cohort."""
    kinds = {_kind(result.cell.changes, material.config.classify.split.kind) for result in results}
    several = len({name for row in rows for name in row.raw["cohort"]}) > 1
    return "cohort" if several and not kinds & set(_BY_SITE) else "site"


def _kind(changes: Mapping[str, Any], base: str) -> str:
    """The kind of a cell's split."""
    section = changes.get(_SECTION, {})
    whole = changes.get(_SPLIT, section.get(_KEY, {}) if isinstance(section, Mapping) else {})
    return str(changes.get(f"{_SPLIT}.kind", whole.get("kind", base) if isinstance(whole, Mapping) else base))


def _entry(name: str, row: _Row | None, by: str, column: str, material: StudyMaterial, *, seed: int) -> _Entry | None:
    """What a row predicted for a column's patients, those whom all seeds predicted; None for nobody."""
    if row is None:
        return None
    parts = [one[one[by].astype(str) == column] for one in row.seeds]
    common = sorted(set.intersection(*(set(part.index) for part in parts)))
    if not common:
        return None
    seeds, probable = [part.loc[common] for part in parts], probability_columns(material.config.scheme)
    y = seeds[0]["y"].to_numpy(np.float64).astype(np.int64)
    is_within = bool((seeds[0]["split"] == _OUT_OF_FOLD).any())
    probabilities = np.array([[one[probable].to_numpy(np.float64) for one in seeds]])
    arena = Arena(
        split=HELD_OUT, classes=material.classes, patient_id=tuple(common), y=y, strata=y,
        cohort=seeds[0]["cohort"].to_numpy(str), site=seeds[0]["site"].to_numpy(str), names=(name,),
        probabilities=probabilities, folds=_folds(row.raw, by, column) if is_within else None,
        n_own={name: len(common)},
    )  # fmt: skip
    rng = np.random.default_rng([material.config.seed, seed])  # columns are other patients, with draws of their own
    return _Entry(arena, is_within, multiplicities(y, material.config.analysis.resamples, rng))


def _by_patient(rows: pd.DataFrame, scheme: str) -> pd.DataFrame:
    """One row a patient, that of the test part where there are two, with repeats averaged."""
    averaged = one_row_a_patient(rows, scheme)
    known = averaged.sort_values("split", ascending=False, kind="stable").drop_duplicates("patient_id")
    names = probability_columns(scheme)
    known = known.assign(**{name: known[name].round(DECIMALS) for name in names})
    return known.set_index(known["patient_id"].astype(str))


def _folds(table: pd.DataFrame, by: str, column: str) -> Folds | None:
    """How many models predicted a column's patients out of fold."""
    if by == "cohort":
        return folds_of(table, _OUT_OF_FOLD, cohort=column)
    return folds_of(table, _OUT_OF_FOLD, site=column)


def _estimate(entry: _Entry | None, measure: Measure, reason: str) -> Estimate:
    """The metric, or why there is none."""
    if entry is None:
        return not_estimable(reason or "no patient was predicted", n=0, method=measure.label)
    few = shortage(measure.needs(entry.arena.y, entry.arena.classes), fewest=FEWEST)
    if few:
        return not_estimable(few, n=len(entry.arena.y), method=measure.label)
    return estimates(entry.arena, measure, entry.weights)[0]


def _fall(entries: Sequence[_Entry], measure: Measure) -> Estimate:
    """Mean within minus mean outside, over the columns that have a number, turned so that a fall is above 0."""
    sides = [[entry for entry in entries if entry.is_within is side] for side in (True, False)]
    n, counts = sum(len(entry.arena.y) for entry in entries), [len(side) for side in sides]
    method = f"mean {measure.label} of {counts[0]} within minus {counts[1]} outside"
    if not all(counts):
        return not_estimable(f"no entry {'outside' if counts[0] else 'within'}", n=n, method=method)
    moved = [np.mean([_errors(entry, measure) for entry in side], axis=0) for side in sides]
    value = float(np.mean([_good(e, measure) for e in sides[0]]) - np.mean([_good(e, measure) for e in sides[1]]))
    if not measure.has_interval:
        return without_interval(value, f"resamples do not show the noise of the {measure.label}", n=n, method=method)
    method += f", {len(moved[0])} bootstrap resamples stratified by class, percentile"
    return percentile(value, value + moved[0] - moved[1], n=n, method=method)


def _good(entry: _Entry, measure: Measure) -> float:
    """The metric, higher for better."""
    return float(measure.goodness(values(entry.arena, measure).mean(axis=1))[0])


def _errors(entry: _Entry, measure: Measure) -> Float64[np.ndarray, " resample"]:
    """How far resamples are off, higher for better; of out-of-fold predictions, widened."""
    off = measure.goodness(draw(entry.arena, measure, entry.weights)[0]) - _good(entry, measure)
    return np.asarray(off * widening(entry.arena.folds))
