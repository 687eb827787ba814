"""A locked bundle applied to a new cohort, from its images or its features to the prediction table."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from triher.cohort import labels, read_cohort
from triher.config import dump_config, is_config_file, read_config
from triher.errors import Note, StopRun
from triher.files import sha256_of_json
from triher.pipeline import refuse_other_cohort
from triher.predictions import write_predictions
from triher.progress import Reporter
from triher.recorded import encoder_options, recipe_options
from triher.runfolder import RunFolder, changed_libraries
from triher.settings import CohortConfig, Config, ExtractConfig
from triher.trained import find_trained

if TYPE_CHECKING:
    from classify.bundle import Bundle


def apply_to_cohort(
    bundle_path: Path, cohort_file: Path, run: RunFolder, reporter: Reporter, *, features: Path | None = None
) -> pd.DataFrame:
    """Predict the patients of a new cohort with a locked bundle.

    Args:
        bundle_path: the bundle's folder or zip.
        cohort_file: a cohort table with our column names, or a configuration with a ``cohort`` section.
        run: where the feature store and ``predictions.csv`` go.
        reporter: where progress goes.
        features: a feature store or table of the cohort; extracted from its images when None.

    Returns:
        The prediction table, with the prediction set and what lies outside the training range.

    Raises:
        StopRun: as extraction and the bundle; ``output_folder`` when the folder holds a training run.
    """
    from classify.apply import apply_bundle
    from classify.source import read_source, source_key

    start = time.monotonic()
    bundle = _usable(bundle_path, run, features)
    config = config_for_bundle(bundle, cohort_file, images=features is None, beside=bundle_path.absolute().parent)
    cohort = read_cohort(config.cohort, survival=False, images=features is None)
    of_rows = () if features is None else cohort.notes  # or the extraction writes them
    run.prepare()
    refuse_other_cohort(run, cohort, config.cohort.table)
    run.record_command("triher apply", dump_config(config))
    if features is None:
        from extract.stage import extract

        features = extract(config, run, reporter).store
    known = labels(cohort, config.scheme)[0] if "ihc" in cohort.columns else None
    accounted = {row.patient_id for row in run.read_skipped() if row.stage != "classify"}
    predictions, skipped = apply_bundle(bundle, read_source(features), cohort, labels=known, accounted=accounted)
    run.write_skipped("classify", skipped)
    write_predictions(run.predictions_file, predictions, config.scheme)
    run.write_notes("apply", [*of_rows, *_library_notes(bundle_path)])
    key = sha256_of_json(source_key(features))
    facts = {
        "bundle": str(bundle_path),
        "settings": {"alpha": bundle.model.conformal.alpha},
        "thresholds": [asdict(threshold) for threshold in bundle.model.thresholds],
    }
    run.record_stage("apply", key, [run.predictions_file], time.monotonic() - start, **facts)
    return predictions


def _usable(bundle_path: Path, run: RunFolder, features: Path | None) -> "Bundle":
    """The bundle, unless it is a negative control, would overwrite its own run, or lacks its table of features."""
    from classify.bundle import read_bundle

    bundle = read_bundle(bundle_path)
    if bundle.training.labels_shuffled:
        raise StopRun("bundle_shuffled", f"{bundle_path} is a negative control, trained on shuffled labels")
    if run.bundle.exists():
        raise StopRun("output_folder", f"{run.path} holds a training run, whose predictions would be overwritten")
    if features is None and bundle.feature_names:
        message = f"{bundle_path} was trained on a table of {len(bundle.feature_names)} features"
        raise StopRun("bundle_encoder", message, remedy="give the new patients' table with --features")
    return bundle


def _library_notes(bundle_path: Path) -> list[Note]:
    """A remark where a bundle was trained with other versions of libraries."""
    from classify.archive import open_files, read_manifest

    changed = changed_libraries(read_manifest(open_files(bundle_path)).versions)
    return [Note("", "bundle_libraries", f"the bundle was trained with {'; '.join(changed)}")] if changed else []


def config_for_bundle(
    bundle: "Bundle", cohort_file: Path, *, images: bool = True, beside: Path | None = None
) -> Config:
    """The configuration that extracts a cohort as the bundle's training cohort was extracted.

    Args:
        bundle: the model.
        cohort_file: a configuration, or a cohort table with our column names.
        images: whether anything is to be extracted.
        beside: folder that the bundle lies in. A trained encoder is looked for in the cohort's
            ``extract.weights_dir``, then in ``encoders`` there.

    Raises:
        StopRun: ``bundle_encoder`` when the cohort has other phases, ``weights_missing`` when a trained encoder is in
            neither place; as `triher.config.read_config`.
    """
    if is_config_file(cohort_file):
        given = read_config(cohort_file)
        cohort, options = given.cohort, given.extract
    else:
        cohort, options = CohortConfig(table=cohort_file.resolve()), ExtractConfig()
    cohort = cohort.model_copy(update={"covariates": tuple(dict.fromkeys((*cohort.covariates, *bundle.covariates)))})
    if not images:
        return Config(cohort=cohort, scheme=bundle.scheme)
    if list(cohort.phases) != bundle.recipe["phases"]:
        message = f"the cohort has the phases {list(cohort.phases)}, the bundle needs {bundle.recipe['phases']}"
        raise StopRun("bundle_encoder", message, remedy="name the phases alike under cohort.phases, in that order")
    recorded = recipe_options(bundle.recipe) | encoder_options(bundle.encoder)
    extract_config = ExtractConfig.model_validate(options.model_dump() | recorded | {"also": ()})
    if extract_config.is_trained:
        folders = [folder for folder in (options.weights_dir, beside and beside / "encoders") if folder]
        extract_config = extract_config.model_copy(update={"encoder": find_trained(extract_config.encoder, folders)})
    return Config(cohort=cohort, scheme=bundle.scheme, extract=extract_config)
