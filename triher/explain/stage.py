"""The stage ``explain``: bundle, slabs and embeddings to maps, attributions, projections and sanity tests."""

import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from threadpoolctl import threadpool_limits

from classify.archive import MANIFEST
from classify.attribution.everyone import Everyone, everyone_of
from classify.bundle import Bundle, read_bundle
from classify.source import Source, read_source, source_key
from triher import __version__
from triher.cohort import Cohort, read_cohort
from triher.errors import StopRun
from triher.explain.attributed import attribute
from triher.explain.drawn import explain_pictures
from triher.explain.extras import require_extras
from triher.explain.material import Material
from triher.explained import NAME as CHOSEN
from triher.explanation_checks import NAME as CHECKS
from triher.explanation_tables import PROJECTION, PURITY, SHAP_FEATURES, SHAP_GROUPS
from triher.explanations import NAME as MAPS
from triher.files import sha256_of_file, sha256_of_json
from triher.predictions import read_predictions
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config, ExplainConfig

STAGE = "explain"
FILES = (MAPS, CHOSEN, CHECKS, SHAP_GROUPS, SHAP_FEATURES, PROJECTION, PURITY)
"""All that the stage can leave in ``explanations/``."""


def explain(config: Config, run: RunFolder, features: Path, reporter: Reporter) -> bool:
    """Say of a run why its model said so, and put what is said to the test.

    Args:
        config: the run's configuration; uses ``explain``, or its defaults.
        run: the run folder, with ``predictions.csv`` and ``bundle/`` in it; ``explanations/`` is written.
        features: the feature store, or table, that the model was trained on.
        reporter: where progress is said.

    Returns:
        True when something was written, False when all was up to date.

    Raises:
        StopRun: ``file_unreadable`` without predictions, ``output_changed`` when they were changed,
            ``bundle_encoder`` when the bundle is of other features;
            ``transform_drift`` when the encoder gives other embeddings than the store holds; ``extra_missing``; as
            the modules of `extract.saliency` and `classify.attribution`.
    """
    start = time.monotonic()
    require_extras()
    if not run.predictions_file.is_file():
        message = f"there are no predictions at {run.predictions_file}"
        raise StopRun("file_unreadable", message, remedy="run `triher classify CONFIG` first")
    _refuse_applied(run)
    cohort = read_cohort(config.cohort, images=config.has_images)
    key = inputs_key(config, run, cohort, features)
    if run.is_fresh(STAGE, key):
        reporter.say(f"explain: up to date ({run.explanations})")
        return False
    run.require_unchanged(run.predictions_file)
    predictions = read_predictions(run.predictions_file, config.scheme)
    source, bundle = read_source(features), _bundle(run)
    predicted = set(predictions["patient_id"])
    everyone = None if bundle is None else _everyone(bundle, source, cohort, predicted)
    material = Material(config, run, cohort, source, everyone, predictions)
    facts = {"predictions": sha256_of_file(run.predictions_file), "n_patients": predictions["patient_id"].nunique()}
    _clear(run, facts)
    with threadpool_limits(limits=1):  # on matrices this small, BLAS threads only wait for each other
        written = attribute(material, reporter)
    written += explain_pictures(material, reporter)
    run.write_notes(STAGE, written.notes)
    run.record_stage(STAGE, key, written.files, time.monotonic() - start, **facts, **written.facts)
    reporter.say(f"explain: {run.explanations}")
    return True


def _refuse_applied(run: RunFolder) -> None:
    """Stop where the predictions are of a bundle that was trained elsewhere."""
    stages = run.read_record()["stages"]
    if "apply" in stages and "classify" not in stages:
        message = f"the predictions in {run.path} are of a bundle that was applied ({stages['apply'].get('bundle')})"
        raise StopRun("output_folder", message, remedy="explain the run that trained it, with that run's --out")


def _clear(run: RunFolder, facts: Mapping[str, object]) -> None:
    """Remove all earlier explanations, also those of a run that was killed, and say of what the next ones will be.

    A run that ends before its time leaves some files, which then are not taken for those of later predictions.
    """
    for name in FILES:
        (run.explanations / name).unlink(missing_ok=True)
    run.record_stage(STAGE, "", (), 0.0, **facts)


def inputs_key(config: Config, run: RunFolder, cohort: Cohort, features: Path) -> str:
    """Hash of everything that the outputs depend on.

    Args:
        config: the run's configuration.
        run: the run folder.
        cohort: what patients are matched on.
        features: the feature store or table.
    """
    rows = [
        [p.patient_id, p.cohort, p.site, {name: repr(value) for name, value in p.covariates.items()}, p.groups]
        for p in cohort.patients
    ]
    manifest = run.bundle / MANIFEST
    return sha256_of_json(
        {
            "version": __version__,
            "explain": (config.explain or ExplainConfig()).model_dump(mode="json"),
            "extract": config.extract.choices() if config.has_images else {},
            "resamples": config.analysis.resamples,
            "scheme": config.scheme,
            "seed": config.seed,
            "features": source_key(features),
            "predictions": sha256_of_file(run.predictions_file),
            "bundle": sha256_of_file(manifest) if manifest.is_file() else "",
            "rows": rows,
        }
    )


def _bundle(run: RunFolder) -> Bundle | None:
    """The bundle of the last training; None where its head was not locked."""
    outputs = run.read_record()["stages"].get("classify", {}).get("outputs", {})
    has_bundle = f"{run.bundle.name}/{MANIFEST}" in outputs
    return read_bundle(run.bundle) if has_bundle else None


def _everyone(bundle: Bundle, source: Source, cohort: Cohort, predicted: Collection[str]) -> Everyone:
    """The predicted patients before the model, whose features they must be; nobody of whom the run makes no use."""
    if bundle.header.identity != source.header.identity:
        message = "the bundle was trained on other features than the configuration names"
        raise StopRun("bundle_encoder", message, remedy="run 'triher classify CONFIG' first")
    people = tuple(patient for patient in cohort.patients if patient.patient_id in predicted)
    return everyone_of(bundle, source, replace(cohort, patients=people))
