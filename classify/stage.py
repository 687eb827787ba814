"""The stage ``classify``: feature store and cohort to predictions and a bundle."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from classify.applicability import TrainingRange, fit_range, outside
from classify.bundle import Bundle, write_bundle
from classify.cases import Gathered, gather, shuffle_within
from classify.conformal import order_statistic
from classify.heads import find_head
from classify.manifest import TrainingFacts
from classify.plan import Fold, Plan, make_plan
from classify.pooling import check_pooling, choose_views
from classify.prior import align_prior
from classify.splits import derived_seed, image_fingerprint
from classify.table import Place, prediction_frame
from classify.training import Model, fit_model
from triher import __version__
from triher.cohort import Cohort, contradictions, labels, read_cohort
from triher.config import Config
from triher.errors import Note
from triher.files import sha256_of_json
from triher.label_audit import audit, write_audit
from triher.labels import scheme_classes
from triher.predictions import write_predictions
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.store import Header, Index, read_index, read_store
from triher.types import Labels, Probabilities

_STAGE = "classify"
_LEAST_CALIBRATION = 10
_FINAL, _FOLD, _SHUFFLE = 1, 2, 3  # first numbers of the derived seeds; 0 divides the folds


@dataclass(frozen=True)
class Outcome:
    """What the stage found out, before it is written."""

    predictions: pd.DataFrame
    model: Model
    seen: TrainingRange
    plan: Plan


def classify(config: Config, run: RunFolder, store: Path, reporter: Reporter) -> bool:
    """Predict every patient by a model that did not see them, and lock a final model into a bundle.

    Args:
        config: the run's configuration; uses ``cohort``, ``scheme``, ``seed`` and ``classify``.
        run: where ``predictions.csv``, ``bundle/``, ``skipped.csv``, ``notes.csv`` and ``run.json`` go.
        store: the feature store.
        reporter: says what is being done.

    Returns:
        True when something was done, False when everything was up to date.

    Raises:
        StopRun: unusable configuration, cohort, store or split; see the modules of this package.
    """
    started = time.monotonic()
    find_head(config.classify.head)
    check_pooling(config.classify.pooling)
    cohort = read_cohort(config.cohort)
    known, unlabeled = labels(cohort, config.scheme)
    index = read_index(store)
    views = choose_views(index.views, config.classify.views)
    key = _key(config, cohort, known, index)
    if run.is_fresh(_STAGE, key):
        reporter.say(f"classify: up to date ({run.predictions_file})")
        return False
    header, features = read_store(store)
    gathered = gather(
        cohort,
        known,
        unlabeled,
        features,
        accounted={row.patient_id for row in run.read_skipped() if row.stage != _STAGE},
        views=views,
        pooling=config.classify.pooling,
        classes=scheme_classes(config.scheme),
    )
    run.write_skipped(_STAGE, gathered.skipped)
    write_audit(
        run.label_audit_file, audit([p.her2_entry() for p in cohort.patients], config.scheme, cohort.her2_rules)
    )
    if config.classify.shuffle_labels:
        gathered = _shuffle(gathered, config.seed)
    with threadpool_limits(limits=1):  # on matrices this small, BLAS threads only wait for each other
        outcome = _train(config, gathered, reporter)
    outputs = [*_write(config, run, gathered, outcome, header, views), run.label_audit_file]
    run.write_notes(_STAGE, [*contradictions(cohort), *gathered.notes, *_notes(config, gathered, outcome)])
    run.record_stage(
        _STAGE, key, outputs, time.monotonic() - started, **_facts(config, run, gathered, outcome, header)
    )
    reporter.say(f"classify: {len(gathered.patients)} patients, {len(gathered.skipped)} left out")
    return True


def _key(config: Config, cohort: Cohort, known: dict[str, int], index: Index) -> str:
    """A hash of everything that the outputs depend on."""
    rows = sorted([p.patient_id, p.cohort, p.site, p.split, known.get(p.patient_id, -1)] for p in cohort.patients)
    return sha256_of_json(
        {
            "triher": __version__,
            "classify": config.classify.model_dump(mode="json"),
            "scheme": config.scheme,
            "seed": config.seed,
            "store": [index.identity, index.content],
            "rows": rows,
        }
    )


def _shuffle(gathered: Gathered, seed: int) -> Gathered:
    """The negative control: labels permuted within sites."""
    sites = np.array([patient.site for patient in gathered.patients], dtype=object)
    y = shuffle_within(gathered.cases.y, sites, derived_seed(seed, _SHUFFLE))
    return replace(gathered, cases=replace(gathered.cases, y=y))


def _train(config: Config, gathered: Gathered, reporter: Reporter) -> Outcome:
    """Train the models of all folds and the final one."""
    plan = make_plan(gathered.cases, gathered.patients, config.classify, config.seed)
    what = f"classify: {config.classify.head}, outer folds"
    tracked = reporter.track(plan.folds, what, total=len(plan.folds))
    final = plan.final
    development = gathered.cases.y[final.train]
    frames = [_predict_fold(config, gathered, fold, development) for fold in tracked]
    model = fit_model(gathered.cases.take(final.train), config.classify, derived_seed(config.seed, _FINAL))
    seen = _range(gathered, final.train)
    if len(final.test):
        place = Place("test", 0, 0, config.seed)
        frames.append(_predict(gathered, final.test, model, seen, place, config.scheme))
    return Outcome(pd.concat(frames, ignore_index=True), model, seen, plan)


def _predict_fold(config: Config, gathered: Gathered, fold: Fold, development: Labels) -> pd.DataFrame:
    """Train one fold's model and predict its held-out patients.

    Patients of an inner fold come from the same patients as the training: they are not compared with the training
    range, and the class shares of their fold's model are aligned with those of the development part.
    """
    seed = derived_seed(config.seed, _FOLD, fold.place.repeat, fold.place.fold)
    train, test = fold.sides.train, fold.sides.test
    model = fit_model(gathered.cases.take(train), config.classify, seed)
    if fold.place.split == "test":
        return _predict(gathered, test, model, _range(gathered, train), fold.place, config.scheme)
    p = align_prior(model.predict(gathered.cases.take(test).pooled), gathered.cases.y[train], development)
    return _frame(gathered, test, p, model, (), fold.place, config.scheme)


def _predict(
    gathered: Gathered, rows: np.ndarray, model: Model, seen: TrainingRange, place: Place, scheme: str
) -> pd.DataFrame:
    """Predict held-out patients, and say what lies outside the training range."""
    pooled = gathered.cases.take(rows).pooled
    acquisition = {name: values[rows] for name, values in gathered.acquisition.items()}
    reasons = outside(seen, acquisition, pooled.vectors)
    return _frame(gathered, rows, model.predict(pooled), model, reasons, place, scheme)


def _frame(
    gathered: Gathered,
    rows: np.ndarray,
    p: Probabilities,
    model: Model,
    reasons: Sequence[Sequence[str]],
    place: Place,
    scheme: str,
) -> pd.DataFrame:
    """Rows of the prediction table for the patients at the given positions."""
    people, y = [gathered.patients[i] for i in rows], gathered.cases.y[rows].astype(np.float64)
    return prediction_frame(people, y, p, model=model, scheme=scheme, place=place, reasons=reasons)


def _range(gathered: Gathered, rows: np.ndarray) -> TrainingRange:
    """The training range of the patients at the given positions."""
    acquisition = {name: values[rows] for name, values in gathered.acquisition.items()}
    return fit_range(acquisition, gathered.cases.pooled.vectors[rows])


def _write(
    config: Config, run: RunFolder, gathered: Gathered, outcome: Outcome, header: Header, views: tuple[str, ...]
) -> list[Path]:
    """Write predictions, bundle and notes; return the files that the stage answers for."""
    y = gathered.cases.y[outcome.plan.final.train]
    bundle = Bundle(
        model=outcome.model,
        seen=outcome.seen,
        header=header,
        scheme=config.scheme,
        views=views,
        pooling=config.classify.pooling,
        training=TrainingFacts(
            n=len(y),
            class_counts=_class_counts(y, gathered.cases.classes),
            split=config.classify.split.kind,
            seed=config.seed,
            labels_shuffled=config.classify.shuffle_labels,
            images=tuple(sorted(image_fingerprint(gathered.input_sha256[i]) for i in outcome.plan.final.train)),
        ),
    )
    write_predictions(run.predictions_file, outcome.predictions, config.scheme)
    parts = write_bundle(run.bundle, bundle)
    return [run.predictions_file, *parts]


def _class_counts(y: Labels, classes: Sequence[str]) -> dict[str, int]:
    """Patients of each class."""
    return {name: int((y == i).sum()) for i, name in enumerate(classes)}


def _notes(config: Config, gathered: Gathered, outcome: Outcome) -> list[Note]:
    """Remarks about classes that are small for what was done with them."""
    conformal, n_folds = outcome.model.conformal, outcome.model.search["inner_folds"]
    notes = []
    if n_folds < config.classify.folds:
        text = f"{n_folds} inner folds instead of {config.classify.folds}, as many as the smallest class has patients"
        notes.append(Note("", "folds_reduced", text))
    for name, count in zip(gathered.cases.classes, conformal.counts, strict=True):
        if count < _LEAST_CALIBRATION:
            notes.append(Note("", "calibration_small", f"the temperature rests on only {count} patients of {name}"))
        if order_statistic(count, conformal.alpha) > count:
            text = f"{name} is in every prediction set: {count} patients are too few for alpha {conformal.alpha:g}"
            notes.append(Note("", "conformal_small", text))
    return notes


def _facts(config: Config, run: RunFolder, gathered: Gathered, outcome: Outcome, header: Header) -> dict[str, Any]:
    """What the record says of the stage."""
    model, table = outcome.model, outcome.predictions
    before = run.read_record()["stages"].get(_STAGE, {}).get("test_opened", 0)
    first = table[table["repeat"] == 0]
    counts = {
        str(split): _class_counts(rows["y"].to_numpy(int), gathered.cases.classes)
        for split, rows in first.groupby("split")
    }
    return {
        "n": len(gathered.patients),
        "n_skipped": len(gathered.skipped),
        "class_counts": counts,
        "settings": {"scheme": config.scheme, "seed": config.seed, **config.classify.model_dump(mode="json")},
        "encoder": header.encoder,
        "recipe": header.recipe,
        "head": model.head,
        "params": model.params,
        "inner_log_loss": model.log_loss,
        "search": model.search,
        "temperature": model.temperature,
        "thresholds": [asdict(threshold) for threshold in model.thresholds],
        "conformal": asdict(model.conformal),
        "seed": config.seed,
        "labels_shuffled": config.classify.shuffle_labels,
        "test_opened": before + int((table["split"] == "test").any()),
    }
