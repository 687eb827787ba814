"""The analysis stage: from the prediction table to metrics, figures and the report."""

import time
from dataclasses import astuple
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits

from analysis.ablation.stage import study_key
from analysis.checklists.export import write_checklists
from analysis.checklists.facts import gather
from analysis.checklists.fill import fill
from analysis.checklists.section import add_checklists
from analysis.discrimination.beside import read_companions
from analysis.discrimination.shortcut import Shortcut, read_shortcuts
from analysis.evaluation import Evaluation, evaluate
from analysis.explained_run import explained_files
from analysis.metrics import find, write_metrics
from analysis.part import Material, Part
from analysis.parts import judge_parts
from analysis.patients.acquisition import read_acquisition
from analysis.patients.samples import split_samples
from analysis.rendering import write_page
from analysis.report import build_page
from analysis.sections.cost import sizes_of
from analysis.sections.study import base_config
from analysis.survival.followup import all_follow_ups
from triher import __version__
from triher.cohort import Cohort, read_cohort
from triher.config import dump_config
from triher.errors import Note, StopRun
from triher.files import sha256_of_file, sha256_of_json
from triher.predictions import OUT_OF_SAMPLE, REFERENCE, read_predictions, refuse_trained, write_predictions
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.study import StudyFolder

STAGE = "analysis"
# Of the record, told in the report.
_EXTRACTED = ("outputs", "seconds", "device", "peak_memory_mb")
_FACTS = (
    "baselines_left_out",
    "labels_shuffled",
    "seconds",
    "test_opened",
    "thresholds",
)


def analyze(config: Config, run: RunFolder, reporter: Reporter) -> bool:
    """Judge the predictions of a run and write ``metrics.csv``, ``figures/`` and ``report.html``.

    Args:
        config: the run's configuration.
        run: the run folder, with ``predictions.csv`` in it, and ``companions.csv`` and ``shortcuts.csv`` where
            there are any.
        reporter: where progress is said.

    Returns:
        True when something was written, False when all was up to date.

    Raises:
        StopRun: ``file_unreadable`` when there are no predictions yet; ``output_changed`` when they were changed; as
            the readers of the tables; ``score_in_sample`` as `triher.predictions.refuse_trained`; ``unknown_name`` as
            `analysis.survival.followup.follow_up`.
    """
    start = time.monotonic()
    if not run.predictions_file.is_file():
        message = f"there are no predictions at {run.predictions_file}"
        raise StopRun("file_unreadable", message, remedy="run `triher classify CONFIG` first")
    cohort = read_cohort(config.cohort, images=config.has_images)
    key = inputs_key(config, run, cohort)
    if run.is_fresh(STAGE, key):
        reporter.say("analysis: up to date")
        return False
    run.require_unchanged(run.predictions_file, run.companions_file, run.shortcuts_file)
    frame = read_predictions(run.predictions_file, config.scheme)
    refuse_trained(frame)
    reporter.say(f"analysis: judging {frame['patient_id'].nunique()} patients")
    follow_ups = all_follow_ups(frame, cohort, config)
    companions = _companions(config, run)
    samples = split_samples(frame, config.scheme)
    material = Material(frame, companions, samples, follow_ups, cohort, config, run.read_record(), run)
    with threadpool_limits(limits=1):  # on matrices this small, BLAS threads only wait for each other
        evaluation = evaluate(
            frame, _reference(config), follow_ups, config, companions=companions, shortcuts=_shortcuts(run)
        )
        parts = judge_parts(material, evaluation.metrics)
    outputs = _write(evaluation, parts, material, run)
    run.remove_stale(STAGE, outputs)
    run.record_stage(STAGE, key, outputs, time.monotonic() - start, headline=_headline(evaluation))
    reporter.say(f"analysis: {run.report_file}")
    return True


def _reference(config: Config) -> pd.DataFrame | None:
    """The reference's prediction table, if one is configured."""
    path = config.analysis.reference
    return None if path is None else read_predictions(path, config.scheme, (*OUT_OF_SAMPLE, REFERENCE))


def _companions(config: Config, run: RunFolder) -> pd.DataFrame | None:
    """The models beside the model, if any were trained."""
    path = run.companions_file
    return read_companions(path, config.scheme) if path.is_file() else None


def _shortcuts(run: RunFolder) -> tuple[Shortcut, ...]:
    """How the features tell site, vendor and cohort, if that was looked at."""
    return read_shortcuts(run.shortcuts_file) if run.shortcuts_file.is_file() else ()


def _write(evaluation: Evaluation, parts: dict[str, Part], material: Material, run: RunFolder) -> list[Path]:
    """Write all numbers, the tables, the figures and the page."""
    run.write_notes(STAGE, _notes(evaluation, parts, material, run))
    page = build_page(
        evaluation,
        material.frame,
        material.cohort,
        material.config,
        sections=[part.section for part in parts.values() if part.section is not None],
        summary=[text for part in parts.values() for text in part.summary],
        own_data=[name for part in parts.values() for name in part.named],
        further_limits=[limit for part in parts.values() for limit in part.limits],
        skipped=run.read_skipped(),
        notes=run.read_notes(),
        record=material.record,
        acquisition=read_acquisition(run, material.record),
        sizes=sizes_of(run),
    )
    metrics = [*evaluation.metrics, *(m for part in parts.values() for m in part.metrics)]
    write_metrics(run.metrics_file, metrics)
    outputs = [run.metrics_file]
    for part in parts.values():
        for name, predictions in (part.predictions or {}).items():
            outputs.append(run.path / f"{name}.csv")
            write_predictions(outputs[-1], predictions, material.config.scheme)
    filled = fill(gather(evaluation, metrics, material, page, run))
    return [*outputs, *write_checklists(filled, run), *write_page(add_checklists(page, filled), run)]


def _notes(evaluation: Evaluation, parts: dict[str, Part], material: Material, run: RunFolder) -> list[Note]:
    """Remarks of all parts, those about the table that no stage made before, and whom the survival part lacks."""
    earlier = run.read_notes(but=STAGE)
    notes = [note for note in material.cohort.notes if note not in earlier]
    notes += [note for split in evaluation.splits if split.prognosis for note in split.prognosis.notes]
    notes += [note for part in parts.values() for note in part.notes]
    text = "left out of the survival part only"
    rows = [row for followed in material.follow_ups.values() for row in followed.left_out]
    return [*notes, *(Note(row.patient_id, row.code, f"{row.reason}; {text}") for row in rows)]


def inputs_key(config: Config, run: RunFolder, cohort: Cohort) -> str:
    """Hash of everything that the outputs depend on.

    Args:
        config: the run's configuration.
        run: the run folder; its tables and what its record says of the classification.
        cohort: follow-up and covariates.
    """
    stages = run.read_record()["stages"]
    classified = stages.get("classify", {})
    follow_up = [
        [p.patient_id, repr(p.time_months), p.event, {name: repr(v) for name, v in p.covariates.items()}, p.groups]
        for p in cohort.patients
    ]
    explained = explained_files(run)
    pathology = [p.her2_entry() for p in cohort.patients] if explained else []
    stale = bool(explained) and run.explanations_are_stale
    notes = [astuple(note) for note in (*run.read_notes(but=STAGE), *cohort.notes)]
    return sha256_of_json(
        {
            "analysis": dump_config(config)["analysis"],
            "scheme": config.scheme,
            "seed": config.seed,
            "predictions": sha256_of_file(run.predictions_file),
            "beside": [_digest(run.companions_file), _digest(run.shortcuts_file)],
            "extracted": [stages.get("extract", {}).get(name) for name in _EXTRACTED],
            "classified": [classified.get(name) for name in _FACTS],
            "skipped": [
                _digest(run.skipped_file),
                notes,
            ],
            "follow_up": follow_up,
            "files": [_digest(path) for path in _files(config)],
            "explained": [pathology, stale, [[path.name, _digest(path)] for path in explained]],
            "matching": dump_config(config)["explain"],
            "study": _study_key(config),
            "version": __version__,
        }
    )


def _files(config: Config) -> list[Path]:
    """The files that the section ``analysis`` names."""
    own = config.analysis
    genes = [] if own.transcriptomics is None else [own.transcriptomics.expression, *own.transcriptomics.gene_sets]
    return [*([own.reference] if own.reference else []), *own.compare.values(), *genes]


def _study_key(config: Config) -> str:
    """Hash of the ablation study that is told in the report, empty without one."""
    if config.analysis.study is None:
        return ""
    folder = StudyFolder(RunFolder(config.analysis.study))
    return study_key(base_config(folder.read_study(), folder), folder)


def _digest(path: Path) -> str:
    """SHA-256 of a file, empty when there is none."""
    return sha256_of_file(path) if path.is_file() else ""


def _headline(evaluation: Evaluation) -> dict[str, str]:
    """The macro AUC of every split, for the record."""
    found = {
        split.sample.split: find(evaluation.metrics, split.sample.split, "auc_macro") for split in evaluation.splits
    }
    return {split: str(estimate) for split, estimate in found.items() if estimate is not None}
