"""Run the stages one after the other, each only where it is stale."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from triher.cohort import labels, read_cohort
from triher.config import STAGES, CohortConfig, Config, ExtractConfig, dump_config, read_config
from triher.errors import StopRun
from triher.predictions import write_predictions
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.store import read_index, read_store

if TYPE_CHECKING:
    from classify.bundle import Bundle


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    did_work: bool
    n_skipped: int


def run_stages(config: Config, run: RunFolder, reporter: Reporter, stages: tuple[str, ...] = STAGES) -> Outcome:
    """Run some of the stages in their order; a fresh one says so and does nothing.

    Raises:
        StopRun: whatever a stage stops with.
    """
    run.prepare()
    run.record_command(" ".join(("triher", *stages)), dump_config(config))
    did_work = False
    if "extract" in stages:
        from extract.stage import extract

        did_work |= extract(config, run, reporter).did_work
    if "classify" in stages:
        from classify.stage import classify

        did_work |= classify(config, run, find_store(run, config), reporter)
    if "analysis" in stages:
        from analysis.stage import analyze

        did_work |= analyze(config, run, reporter)
    if not did_work:
        reporter.say("everything is up to date: nothing was computed")
    return Outcome(did_work, len(run.read_skipped()))


def find_store(run: RunFolder, config: Config) -> Path:
    """The feature store that the last extraction in this folder left.

    Raises:
        StopRun: ``file_unreadable`` when there is none, ``store_stale`` when it was made with other choices than
            the configuration's.
    """
    facts = run.read_record()["stages"].get("extract", {})
    if "store" not in facts or not (run.features / facts["store"]).is_file():
        message = f"{run.path} holds no feature store"
        raise StopRun("file_unreadable", message, remedy="run 'triher extract CONFIG' with the same --out first")
    wanted, found = config.extract.choices(), facts["choices"]
    differing = [
        f"extract.{key}: {found.get(key)} -> {value}" for key, value in wanted.items() if found.get(key) != value
    ]
    if differing:
        raise StopRun("store_stale", f"{facts['store']} was made with other choices: {'; '.join(differing)}")
    return run.features / str(facts["store"])


def apply_to_cohort(bundle_path: Path, cohort_file: Path, run: RunFolder, reporter: Reporter) -> pd.DataFrame:
    """Predict the patients of a new cohort with a locked bundle.

    Args:
        bundle_path: the bundle's folder.
        cohort_file: a cohort table with our column names, or a configuration with a ``cohort`` section.
        run: where the feature store and ``predictions.csv`` go.
        reporter: where progress goes.

    Returns:
        The prediction table, with the prediction set and what lies outside the training range.

    Raises:
        StopRun: as extraction and the bundle; ``output_folder`` when the folder holds a training run.
    """
    from classify.apply import apply_bundle
    from classify.bundle import read_bundle
    from extract.stage import extract

    start = time.monotonic()
    bundle = read_bundle(bundle_path)
    if run.bundle.exists():
        raise StopRun("output_folder", f"{run.path} holds a training run, whose predictions would be overwritten")
    config = config_for_bundle(bundle, cohort_file)
    run.prepare()
    run.record_command("triher apply", dump_config(config))
    extracted = extract(config, run, reporter)
    header, features = read_store(extracted.store)
    cohort = read_cohort(config.cohort)
    known = labels(cohort, config.scheme)[0] if "ihc" in cohort.columns else None
    predictions = apply_bundle(bundle, header, features, cohort, labels=known)
    write_predictions(run.predictions_file, predictions, config.scheme)
    key = read_index(extracted.store).content
    run.record_stage("apply", key, [run.predictions_file], time.monotonic() - start, bundle=str(bundle_path))
    return predictions


def config_for_bundle(bundle: "Bundle", cohort_file: Path) -> Config:
    """The configuration that extracts a cohort as the bundle's training cohort was extracted."""
    if cohort_file.suffix in (".yaml", ".yml"):
        given = read_config(cohort_file)
        cohort, options = given.cohort, given.extract
    else:
        cohort, options = CohortConfig(table=cohort_file.resolve()), ExtractConfig()
    recipe: dict[str, Any] = {key: bundle.recipe[key] for key in ("region", "slices", "normalization", "n4")}
    recipe |= {"fusions": list(bundle.recipe["fusions"])}
    recipe |= {"encoder": bundle.encoder["name"], "tokens": bundle.encoder["tokens"]}
    extract_config = ExtractConfig.model_validate(options.model_dump() | recipe)
    return Config(cohort=cohort, scheme=bundle.scheme, extract=extract_config)
