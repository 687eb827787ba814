"""The stage ``classify``: features and cohort to predictions and a bundle."""

import time
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from classify.bundle import Bundle, write_bundle
from classify.cases import Gathered, gather
from classify.companions import Companion, companions
from classify.control import control_companion
from classify.encoder_saw import refuse_held_out
from classify.facts import class_counts, openings, record_of
from classify.heads import check_head, find_head
from classify.leaks import Finding, Material, lint, refuse
from classify.manifest import TrainingFacts
from classify.network import require_probabilities
from classify.plan import Plan, make_plan
from classify.pooling import check_pooling
from classify.predicting import Outcome, Task, predict_beside, predict_plan
from classify.remarks import as_notes, remarks
from classify.shortcut_audit import audit_shortcuts, write_shortcuts
from classify.shortcuts import shortcut_notes
from classify.source import Source, read_source, source_key
from triher import __version__
from triher.cohort import Cohort, contradictions, labels, read_cohort
from triher.errors import StopRun
from triher.files import sha256_of_json
from triher.images import image_fingerprint
from triher.label_audit import audit, write_audit
from triher.labels import scheme_classes
from triher.predictions import write_predictions
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.training_labels import training_labels

STAGE = "classify"


def classify(config: Config, run: RunFolder, features: Path, reporter: Reporter) -> bool:
    """Predict every patient by a model that did not see them, and lock a final model into a bundle.

    Args:
        config: the run's configuration; uses ``cohort``, ``scheme``, ``seed`` and ``classify``.
        run: where ``predictions.csv``, ``companions.csv``, ``bundle/``, ``skipped.csv``, ``notes.csv`` and
            ``run.json`` go.
        features: a feature store, or a table of features.
        reporter: says what is being done.

    Returns:
        True when something was done, False when everything was up to date.

    Raises:
        StopRun: unusable configuration, cohort, features or split; see the modules of this package.
    """
    started = time.monotonic()
    check_head(config.classify)
    check_pooling(config.classify.pooling)
    cohort = read_cohort(config.cohort, images=config.has_images)
    key = prediction_key(config, cohort, source_key(features))
    if run.is_fresh(STAGE, key):
        reporter.say(f"classify: up to date ({run.predictions_file})")
        return False
    opened = openings(config, run, key)
    source = read_source(features)
    accounted = {row.patient_id for row in run.read_skipped() if row.stage != STAGE}
    gathered = gather_cases(config, cohort, source, accounted)
    run.write_skipped(STAGE, gathered.skipped)
    rows = audit([p.her2_entry() for p in cohort.patients], config.scheme, cohort.her2_rules)
    write_audit(run.label_audit_file, rows)
    with threadpool_limits(limits=1):  # on matrices this small, BLAS threads only wait for each other
        plan = make_plan(gathered.cases, gathered.patients, config.classify, config.seed)
        findings = lint_cases(config, gathered, plan, opened[:-1] if key not in opened[:-1] else opened)
        refuse(findings)
        outcome, beside, reasons = _train(config, gathered, plan, reporter)
        shortcuts = audit_shortcuts(gathered, config.seed)
    outputs = _write(config, run, gathered, plan, outcome, beside, source)
    write_shortcuts(run.shortcuts_file, shortcuts, gathered.patients)
    outputs.append(run.shortcuts_file)
    found = [*gathered.notes, *remarks(config, gathered, plan, outcome), *as_notes(findings)]
    found += shortcut_notes(shortcuts)
    of_rows = () if config.has_images else cohort.notes  # or the extraction writes them
    run.write_notes(STAGE, [*of_rows, *contradictions(cohort), *found])
    facts = record_of(config, gathered, outcome, source.header, opened, reasons)
    run.record_stage(STAGE, key, [*outputs, run.label_audit_file], time.monotonic() - started, **facts)
    reporter.say(f"classify: {len(gathered.patients)} patients, {len(gathered.skipped)} left out")
    return True


def prediction_key(config: Config, cohort: Cohort, source: list[str], shown: list[str] | None = None) -> str:
    """A hash of everything that the outputs depend on.

    Args:
        config: of the run.
        cohort: as its table was read.
        source: `classify.source.source_key` of the features.
        shown: the same of those that held-out patients are predicted from, where these are others.
    """
    known, _ = labels(cohort, config.scheme)
    rows = sorted(
        [
            p.patient_id, p.cohort, p.site, p.vendor, p.split, p.ihc, known.get(p.patient_id, -1),
            {name: repr(value) for name, value in p.covariates.items()},
        ]
        for p in cohort.patients
    )  # fmt: skip
    control = config.classify.control
    settings = config.classify.model_dump(mode="json", exclude={"features", "control", "workers", "storage"})
    others = {} if shown is None else {"shown": shown}
    return sha256_of_json(
        {
            **others,
            "triher": __version__,
            "classify": settings,
            "scheme": config.scheme,
            "seed": config.seed,
            "features": source,
            "control": [] if control is None else source_key(control),
            "rows": rows,
        }
    )


def gather_cases(config: Config, cohort: Cohort, source: Source, accounted: Collection[str]) -> Gathered:
    """The cases, with their labels permuted within sites for a negative control.

    Args:
        config: of the run.
        cohort: the patients.
        source: their features.
        accounted: patients whom the extraction left out and named.

    Raises:
        StopRun: as `triher.cohort.labels`, `classify.cases.gather` and `classify.encoder_saw.refuse_held_out`;
            ``not_probabilities`` where the head needs a trained encoder.
    """
    classes = scheme_classes(config.scheme)
    if find_head(config.classify.head).takes_probabilities:
        require_probabilities(source.header, source.features, config.classify.views, classes)
    known, unlabeled = training_labels(config, cohort)
    gathered = gather(
        cohort,
        known,
        unlabeled,
        source.features,
        accounted=accounted,
        config=config.classify,
        classes=classes,
        feature_names=source.names,
    )
    refuse_held_out(config, gathered.patients, gathered.developed)
    return gathered


def lint_cases(config: Config, gathered: Gathered, plan: Plan, before: Sequence[str] = ()) -> tuple[Finding, ...]:
    """Look for leaks in what is about to be trained on.

    Args:
        config: of the run.
        gathered: the cases.
        plan: the models to train.
        before: keys of the runs in this folder that have predicted the held-out patients.
    """
    inputs = gathered.cases.inputs
    columns = np.hstack([inputs.means(), inputs.covariates.astype(np.float32)])
    material = Material(
        columns,
        (*inputs.names, *inputs.covariate_names),
        gathered.cases.y,
        len(gathered.cases.classes),
        gathered.cases.group,
        tuple(patient.patient_id for patient in gathered.patients),
    )
    splits = [*(fold.sides for fold in plan.folds), *([plan.final] if len(plan.final.test) else [])]
    return lint(material, splits, allowed=config.cohort.allowed_covariates, opened=before)


def _train(
    config: Config, gathered: Gathered, plan: Plan, reporter: Reporter
) -> tuple[Outcome, pd.DataFrame, dict[str, str]]:
    """The model, what stands beside it, and why some of that could not be had."""
    n_patients = len(gathered.patients)
    own = Companion(config.classify.head, gathered.cases, config.classify, gathered.cases.y, np.arange(n_patients))
    tracked = reporter.track(plan.folds, f"classify: {own.name}, outer folds", total=len(plan.folds))
    outcome = predict_plan(_task(own, gathered, config), plan, tracked, gathered.acquisition)
    others, reasons = companions(gathered, config.classify, config.seed)
    if config.classify.control is not None:
        others = (*others, control_companion(config.classify, gathered))
    frames = []
    for other in reporter.track(others, "classify: baselines beside it", total=len(others)):
        found = predict_beside(_task(other, gathered, config), plan.among(other.rows, n_patients))
        frames.append(found.assign(model=other.name))
    return outcome, pd.concat(frames, ignore_index=True), reasons


def _task(companion: Companion, gathered: Gathered, config: Config) -> Task:
    """What to train."""
    people = tuple(gathered.patients[i] for i in companion.rows)
    return Task(
        companion.name, companion.cases, people, companion.config, config.scheme, config.seed, companion.training_y
    )


def _write(
    config: Config,
    run: RunFolder,
    gathered: Gathered,
    plan: Plan,
    outcome: Outcome,
    beside: pd.DataFrame,
    source: Source,
) -> list[Path]:
    """Write predictions and bundle; return the files that the stage answers for."""
    write_predictions(run.predictions_file, outcome.predictions, config.scheme)
    write_predictions(run.companions_file, beside, config.scheme)
    outputs = [run.predictions_file, run.companions_file]
    if not find_head(config.classify.head).lockable or outcome.seen is None:
        return outputs
    y = gathered.cases.y[plan.final.train]
    bundle = Bundle(
        model=outcome.model,
        seen=outcome.seen,
        header=source.header,
        scheme=config.scheme,
        views=gathered.views,
        pooling=config.classify.pooling,
        feature_names=gathered.cases.inputs.names if source.names else (),
        covariates=config.classify.covariates,
        training=TrainingFacts(
            n=len(y),
            class_counts=class_counts(y, gathered.cases.classes),
            split=config.classify.split.kind,
            seed=config.seed,
            labels_shuffled=config.classify.shuffle_labels,
            images=() if source.is_table else _fingerprints(gathered, plan),
        ),
    )
    return [*outputs, *write_bundle(run.bundle, bundle)]


def _fingerprints(gathered: Gathered, plan: Plan) -> tuple[str, ...]:
    """Of the exams that the final model is trained on."""
    return tuple(sorted(image_fingerprint(gathered.input_sha256[i]) for i in plan.final.train))


def refuse_unknown_covariates(config: Config) -> None:
    """Stop when a covariate joins that the cohort does not name.

    Raises:
        StopRun: ``config_value``.
    """
    unknown = sorted({*config.classify.covariates} - {*config.cohort.covariates})
    if unknown:
        message = f"classify.covariates names {', '.join(unknown)}, which cohort.covariates does not"
        raise StopRun("config_value", message, remedy="name it under cohort.covariates, too")
