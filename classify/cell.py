"""The predictions of one cell of an ablation: those that ``triher run`` writes, without what stands beside them."""

from collections.abc import Collection, Hashable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from classify.cases import Gathered, inputs_of, leave_out
from classify.heads import check_head, find_head
from classify.leaks import refuse
from classify.plan import make_plan
from classify.pooling import check_pooling
from classify.predicting import Shown, Task, predict_beside
from classify.remarks import as_notes
from classify.shared_work import SharedWork
from classify.source import Source, source_key
from classify.stage import gather_cases, lint_cases, prediction_key, refuse_unknown_covariates
from classify.view_algebra import derive_views
from triher.cohort import Patient
from triher.errors import Note, Skipped, StopRun
from triher.settings import Config

_GATHERED = ("views", "pooling", "covariates", "missing", "shuffle_labels")
_PLANNED = ("split", "folds", "repeats")


@dataclass(frozen=True)
class CellOutcome:
    """What a cell found out."""

    predictions: pd.DataFrame
    """As `triher.predictions.write_predictions` takes it."""
    skipped: tuple[Skipped, ...]
    """Who was left out here; not those whom the extraction left out."""
    notes: tuple[Note, ...]
    n: int
    """Patients predicted."""


def cell_key(config: Config, store: Path, shown: Path | None = None, *, shared: SharedWork | None = None) -> str:
    """A hash of everything that the predictions of a cell depend on.

    Without `shown` it is the key that ``triher run`` keeps of its stage ``classify``.

    Args:
        config: the cell's.
        store: features that are trained on.
        shown: features that held-out patients are predicted from, where these are others.
        shared: keeps the cohort table for the next cell.

    Raises:
        StopRun: as `triher.cohort.read_cohort` and `classify.source.source_key`.
    """
    cohort = (shared or SharedWork()).cohort(config)
    return prediction_key(config, cohort, source_key(store), None if shown is None else source_key(shown))


def predict_cell(
    config: Config, store: Path, *, shown: Path | None = None, accounted: Collection[str], shared: SharedWork
) -> CellOutcome:
    """Predict every patient by a model that did not see them, as ``triher run`` does with this configuration.

    The predictions are equal to the byte, in all columns. Not made is the final model, unless somebody is held out
    for it, and what stands beside the predictions: companions, bundle, audits. With `shown` the models stay the same,
    and predict held-out patients from other images of theirs, which the column ``outside`` is of, too. The leak
    linter looks at what is trained on.

    Args:
        config: the cell's.
        store: a feature store or a table of features, to train on.
        shown: feature store of the same patients from other images; who is not there is trained on, not predicted.
        accounted: patients whom the extraction of either store left out and named; they are not named again.
        shared: what earlier cells left.

    Raises:
        StopRun: as `classify.stage.classify`; ``cohort_empty`` when `shown` holds nobody whom the plan would predict.
    """
    check_head(config.classify)
    check_pooling(config.classify.pooling)
    refuse_unknown_covariates(config)
    key = _gathered_key(config, store, accounted)
    cohort, source = shared.cohort(config), shared.source(store)
    gathered = shared.gathered(key, lambda: gather_cases(config, cohort, source, accounted))
    with threadpool_limits(limits=1):  # on matrices this small, BLAS threads only wait for each other
        plan = make_plan(gathered.cases, gathered.patients, config.classify, config.seed, divide=shared.divide)
        planned = config.seed, config.classify.model_dump_json(include={*_PLANNED})
        findings = shared.findings((key, planned), lambda: lint_cases(config, gathered, plan))
        refuse(findings)
        task, skipped = (
            _task(config, gathered, cell_key(config, store, shown, shared=shared), shared),
            gathered.skipped,
        )
        if shown is not None:
            others, lost = _shown(config, gathered, shared.source(shown), accounted)
            task, skipped = replace(task, shown=others), (*skipped, *lost)
            plan = plan.predicting(np.diff(others.inputs.indptr) > 0)
            if not plan.folds and not len(plan.final.test):
                raise _nobody()
        predictions = predict_beside(task, plan, gathered.acquisition)
    notes = (*gathered.notes, *as_notes(findings))
    return CellOutcome(predictions, skipped, notes, predictions["patient_id"].nunique())


def _task(config: Config, gathered: Gathered, key: str, shared: SharedWork) -> Task:
    """What to train; studies of other cells in one storage have other names."""
    own, cases = config.classify, gathered.cases
    name = f"{key[:16]}/{own.head}"
    return Task(name, cases, gathered.patients, own, config.scheme, config.seed, cases.y, divide=shared.divide)


def _gathered_key(config: Config, store: Path, accounted: Collection[str]) -> Hashable:
    """What the cases depend on."""
    split = config.classify.split
    return (
        tuple(source_key(store)),
        config.cohort.model_dump_json(),
        config.scheme,
        config.classify.model_dump_json(include={*_GATHERED}),
        find_head(config.classify.head).takes_bags,
        find_head(config.classify.head).takes_probabilities,
        split.model_dump_json() if split.train else "",
        config.seed if config.classify.shuffle_labels else None,
        frozenset(accounted),
    )


def _shown(
    config: Config, gathered: Gathered, source: Source, accounted: Collection[str]
) -> tuple[Shown, list[Skipped]]:
    """The other images of the patients, and who has none of them."""
    patients = {patient.patient_id: patient for patient in gathered.patients}
    features = derive_views(source.features, config.classify.views)
    place = {patient_id: i for i, patient_id in enumerate(features.patient_id)}
    chosen = features.select([place[patient_id] for patient_id in patients if patient_id in place])
    unseen = leave_out(chosen, patients, config.classify, source.names)
    chosen, known = unseen.features, {*place, *accounted}
    skipped = [*unseen.skipped, *(_not_shown(p) for p in gathered.patients if p.patient_id not in known)]
    if not chosen.patient_id:
        raise _nobody()
    own = inputs_of(chosen, [patients[name] for name in chosen.patient_id], config.classify, source.names)
    position = {patient_id: i for i, patient_id in enumerate(patients)}
    there = np.array([position[name] for name in chosen.patient_id], dtype=np.int64)
    lengths = np.zeros(len(patients), dtype=np.int64)
    lengths[there] = np.diff(own.indptr)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    facts = {name: np.full(len(patients), np.nan) for name in chosen.acquisition}
    for name, values in chosen.acquisition.items():
        facts[name][there] = values
    trained = gathered.cases.inputs
    aligned = replace(own, indptr=indptr, covariates=trained.covariates, site=trained.site)
    return Shown(aligned, facts), skipped


def _nobody() -> StopRun:
    """That nobody can be predicted."""
    message = "the feature store to predict from holds none of the patients whom this split would predict"
    return StopRun("cohort_empty", message)


def _not_shown(patient: Patient) -> Skipped:
    """A patient without the other images."""
    reason = (
        "trained on, but not predicted: not in the feature store of the images that held-out patients are shown by"
    )
    return Skipped(patient.patient_id, patient.cohort, "classify", "not_extracted", reason, "run it again")
