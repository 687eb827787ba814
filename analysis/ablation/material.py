"""What a study found, cell by cell, brought to the patients whom the cells have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import pandas as pd
from jaxtyping import Float64

from analysis.ablation.comparable import (
    State,
    Verdict,
    contradiction,
    other_truth,
    plans_differ,
    truth_of,
)
from analysis.inference.cross_validation import Folds, folds_of, widening
from analysis.inference.strata import class_and_cohort
from analysis.patients.samples import DECIMALS
from triher.errors import StopRun
from triher.judged import HELD_OUT, SPLITS, parts_differ
from triher.labels import scheme_classes
from triher.predictions import one_row_a_patient, probability_columns, read_predictions
from triher.settings import AblationConfig, Config
from triher.study import Cell, CellRun, Embedding, Study, StudyFolder, Training
from triher.types import Labels, Names


@dataclass(frozen=True)
class Arena:
    """Cells on their common patients, whom all were predicted by models that did not see them."""

    split: str
    """``test``, ``oof``, or `HELD_OUT`."""
    classes: tuple[str, ...]
    patient_id: tuple[str, ...]
    y: Labels
    strata: Labels
    """Within which patients are resampled; see `analysis.inference.strata`."""
    cohort: Names
    site: Names
    names: tuple[str, ...]
    """Of the cells that have predictions, the base first where it has them."""
    probabilities: Float64[np.ndarray, "cell seed patient class"]
    folds: Folds | None
    """How the patients were predicted where several models did it: of the cell that widens an interval most."""
    n_own: Mapping[str, int]
    """Patients whom each cell predicted, before those were taken whom all have."""

    def index(self, name: str) -> int:
        """Position of a cell."""
        return self.names.index(name)

    def alone(self, name: str) -> "Arena":
        """One cell on the same patients."""
        i = self.index(name)
        n_own = {name: self.n_own[name]}
        return replace(self, names=(name,), probabilities=self.probabilities[i : i + 1], n_own=n_own)


@dataclass(frozen=True)
class CellResult:
    """What became of a cell."""

    cell: Cell
    runs: tuple[CellRun, ...]
    """One a seed, those that ended."""
    embedding: Embedding | None
    """Of the first run."""
    reason: str = ""
    """Why it is not compared (failed, unfinished, labeled by another rule); empty where it is."""
    code: str = ""
    """Of the error, where it failed."""
    state: State = "done"
    own: tuple[Arena, ...] = ()
    """The cell alone on all its own patients, one a split, from the seeds that there are."""
    shown: Embedding | None = None
    """Of the held-out patients, where they were predicted from other images than those trained on; of the first
    run."""
    named: tuple[str, ...] = ()
    """Patients whom the reason names."""
    trainings: tuple[Training, ...] = ()
    """Of its encoder, one a run; none where the encoder stayed as it came."""


@dataclass(frozen=True)
class StudyMaterial:
    """All that a part of the study's report may look at."""

    config: Config
    """Of the base."""
    axes: Mapping[str, Sequence[str]]
    """Axis -> labels of its levels, that of the base first; empty for a list of cells."""
    design: str
    results: tuple[CellResult, ...]
    """The base first."""
    arenas: tuple[Arena, ...]
    """Held-out patients first; none where no two cells have patients in common."""

    @property
    def own(self) -> AblationConfig:
        """The section ``ablation``."""
        return self.config.ablation or AblationConfig()

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the label scheme."""
        return scheme_classes(self.config.scheme)

    def result(self, name: str) -> CellResult:
        """What became of the cell of that name."""
        return next(one for one in self.results if one.cell.name == name)


@dataclass(frozen=True)
class _Read:
    """A cell with its tables, one a seed: ``split`` says which arena a row belongs to."""

    result: CellResult
    scheme: str
    tables: tuple[pd.DataFrame, ...]
    """Of patients whom models predicted that had not seen them."""
    patients: Mapping[str, Sequence[pd.DataFrame]]
    """Split -> for every seed the labeled patients, repeats averaged, by id; of splits that all seeds predicted."""


def read_material(folder: StudyFolder, config: Config) -> StudyMaterial:
    """Read what the cells of a study predicted, and bring it to common patients.

    Cells are compared where they are comparable: all seeds done, the scheme that of the base, and every patient of
    the same class as in the cells before, the base first. Patients whom some cell could not predict (a phase is
    missing, a mask was eroded to nothing) are left out for all, and `Arena.n_own` says how many each had.

    Where cells differ in ``classify.split``, or in the column that it follows, a patient is held out in one cell and
    cross-validated in another; then all predictions of models that did not see the patient are taken together, as the
    one arena `HELD_OUT`.

    Args:
        folder: of the study.
        config: of the base.

    Raises:
        StopRun: ``file_unreadable`` without a sound ``study.json``; ``config_key`` and ``config_value`` where a cell
            of it does not fit the configuration.
    """
    study = folder.read_study()
    cells = sorted(study.cells, key=lambda cell: not cell.is_base)
    read = _of_one_truth([_read_cell(folder, study, cell, config) for cell in cells], config.scheme)
    done = [one for one in read if one.result.state == "done"]
    parts = [_parts(table) for one in done for table in one.tables]
    pooled = plans_differ(cells, config, folder.run.path) or parts_differ(parts)
    ready = [_by_split(one, pooled=pooled) for one in read]
    arenas = []
    for split in (HELD_OUT,) if pooled else SPLITS:
        there = [one for one in ready if one.result.state == "done" and split in one.patients]
        arena = _arena(split, there)
        arenas += [arena] if arena is not None and len(there) > 1 else []
    results = tuple(_with_own(one) for one in ready)
    return StudyMaterial(config, dict(study.axes), study.design, results, tuple(arenas))


def _read_cell(folder: StudyFolder, study: Study, cell: Cell, config: Config) -> _Read:
    """How the cell ended, and its tables."""
    scheme = str(cell.changes.get("scheme", config.scheme))
    keys = study.runs.get(cell.name, ())
    ended = [run for run in map(folder.read_cell, keys) if run is not None]
    tables, done = [], [run for run in ended if run.state == "done"]
    state, code, reason = _state(study, cell, keys, ended)
    for run in done:
        try:
            table = read_predictions(folder.predictions(run.key), scheme)
        except StopRun as error:
            state, code, reason = "failed", error.code, error.message
            continue
        tables.append(table[table["split"].isin(SPLITS)])
    stores = [folder.read_embedding(key) if key else None for run in ended[:1] for key in (run.embedding, run.shown)]
    embedding, shown = stores or (None, None)
    trainings = _trainings(folder, ended)
    result = CellResult(cell, tuple(ended), embedding, reason, code, state, shown=shown, trainings=trainings)
    return _Read(result, scheme, tuple(tables), {})


def _trainings(folder: StudyFolder, runs: Sequence[CellRun]) -> tuple[Training, ...]:
    """The trained encoders behind the runs, as far as they are on record."""
    stores = [folder.read_embedding(run.embedding) for run in runs if run.embedding]
    found = [folder.read_training(store.training) for store in stores if store is not None and store.training]
    return tuple(training for training in found if training is not None)


def _by_split(read: _Read, *, pooled: bool) -> _Read:
    """The cell with its patients, split by split."""
    tables = tuple(table.assign(split=HELD_OUT) if pooled else table for table in read.tables)
    there = [split for split in (HELD_OUT, *SPLITS) if tables and all((t["split"] == split).any() for t in tables)]
    patients = {split: [_by_patient(t[t["split"] == split], read.scheme) for t in tables] for split in there}
    return replace(read, tables=tables, patients=patients)


def _state(study: Study, cell: Cell, keys: Sequence[str], ended: Sequence[CellRun]) -> tuple[State, str, str]:
    """State, code and reason."""
    if cell.name in study.broken:
        return "failed", *study.broken[cell.name]
    failed = next((run for run in ended if run.state == "failed"), None)
    if failed is not None:
        where = f"seed {failed.seed}: " if len(keys) > 1 else ""
        return "failed", failed.code, f"{where}{failed.reason}"
    if len(ended) < max(1, len(keys)):
        return "unfinished", "", f"{len(ended)} of {max(1, len(keys))} seeds are done; run the same command again"
    return "done", "", ""


def _of_one_truth(read: Sequence[_Read], scheme: str) -> list[_Read]:
    """The cells with a verdict on those that cannot be compared with the ones before them."""
    known: dict[str, tuple[int, str]] = {}
    found = []
    for one in read:
        own = truth_of(one.tables)
        verdict = contradiction(own)
        if verdict is not None:
            found.append(_judged(replace(one, tables=()), verdict))
            continue
        if one.result.state == "done":
            is_other = one.scheme != scheme
            reason = f"it sets scheme to {one.scheme}, so its truth is not that of the other cells"
            verdict = Verdict("not comparable", reason) if is_other else other_truth(own, known, scheme)
            if verdict is None:
                known = {patient: (min(y), one.result.cell.name) for patient, y in own.items()} | known
        found.append(one if verdict is None else _judged(one, verdict))
    return found


def _judged(one: _Read, verdict: Verdict) -> _Read:
    """The cell, not to be compared."""
    result = replace(one.result, state=verdict.state, code=verdict.code, reason=verdict.reason, named=verdict.named)
    return replace(one, result=result)


def _parts(table: pd.DataFrame) -> dict[str, frozenset[str]]:
    """Split -> labeled patients."""
    labeled = table[table["y"].notna()]
    return {str(name): frozenset(map(str, ids)) for name, ids in labeled.groupby("split")["patient_id"]}


def _by_patient(rows: pd.DataFrame, scheme: str) -> pd.DataFrame:
    """Labeled patients in the order of their ids, with rounding errors cut off."""
    known = one_row_a_patient(rows[rows["y"].notna()], scheme)
    known.index = pd.Index(known["patient_id"].astype(str))
    columns = probability_columns(scheme)
    return known.sort_index().assign(**{name: known[name].round(DECIMALS) for name in columns})


def _arena(split: str, cells: Sequence[_Read]) -> Arena | None:
    """Cells on the patients of all of them; None without any such patient."""
    found = [cell.patients[split] for cell in cells]
    everybody = [seed.index for seeds in found for seed in seeds]
    common = reduce(lambda a, b: a.intersection(b), everybody).sort_values() if everybody else pd.Index([])
    if not len(common):
        return None
    n_own = {
        cell.result.cell.name: len(reduce(lambda a, b: a.intersection(b), [seed.index for seed in seeds]))
        for cell, seeds in zip(cells, found, strict=True)
    }
    taken = [[seed.loc[common] for seed in seeds] for seeds in found]
    first = taken[0][0]
    columns = probability_columns(cells[0].scheme)
    y = first["y"].to_numpy(np.float64).astype(np.int64)
    cohort = first["cohort"].to_numpy(str)
    return Arena(
        split=split,
        classes=scheme_classes(cells[0].scheme),
        patient_id=tuple(map(str, common)),
        y=y,
        strata=class_and_cohort(y, np.unique(cohort, return_inverse=True)[1].astype(np.int64)),
        cohort=cohort,
        site=first["site"].to_numpy(str),
        names=tuple(n_own),
        probabilities=np.array([[seed[columns].to_numpy(np.float64) for seed in seeds] for seeds in taken]),
        folds=_folds(split, cells, len(common)),
        n_own=n_own,
    )


def _folds(split: str, cells: Sequence[_Read], n: int) -> Folds | None:
    """Of all cells that several models predicted, the folds that widen an interval most."""
    found = []
    for cell in cells:
        folds = folds_of(cell.tables[0], split)
        if folds is not None:
            rows = cell.tables[0]
            n_there = rows[(rows["split"] == split) & rows["y"].notna()]["patient_id"].nunique()
            found.append(Folds(folds.n, n / n_there))
    return max(found, key=widening, default=None)


def _with_own(read: _Read) -> CellResult:
    """The result with the cell's arenas of its own."""
    own = [_arena(split, [read]) for split in read.patients]
    return replace(read.result, own=tuple(arena for arena in own if arena is not None))
