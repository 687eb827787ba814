"""Run the stages one after the other, each only where it is stale."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from triher.cohort import Cohort, labels, read_cohort, sources_sha256
from triher.config import dump_config, read_config
from triher.effective import effective
from triher.errors import Note, StopRun, unknown_name
from triher.files import sha256_of_json
from triher.labels import scheme_classes
from triher.predictions import write_predictions
from triher.progress import Reporter
from triher.recorded import encoder_options, recipe_options
from triher.runfolder import RunFolder, changed_libraries
from triher.settings import STAGES, CohortConfig, Config, ExtractConfig
from triher.store import read_index
from triher.study import StudyFolder
from triher.trained import find_trained

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
    stages = _without_images(config, _unasked(config, stages))
    cohort = read_cohort(config.cohort, survival="analysis" in stages, images=config.has_images)
    _check_choices(config, cohort, stages)
    if StudyFolder(run).study_file.exists():
        raise StopRun("output_folder", f"{run.path} holds an ablation study, whose records a run would overwrite")
    run.prepare()
    _refuse_other_cohort(run, cohort, config.cohort.table)
    run.record_command(" ".join(("triher", *stages)), dump_config(config))
    did_work = False
    for stage in stages:
        made_with = config if stage == "finetune" else effective(config, run)
        did_work |= _RUNNERS[stage](made_with, run, cohort, reporter)
    if not did_work:
        reporter.say("everything is up to date: nothing was computed")
    return Outcome(did_work, len(run.read_skipped()))


def _finetune(config: Config, run: RunFolder, _: Cohort, reporter: Reporter) -> bool:
    """Train the encoder."""
    from extract.finetune import finetune

    return finetune(config, run, reporter).did_work


def _extract(config: Config, run: RunFolder, _: Cohort, reporter: Reporter) -> bool:
    """Make the feature stores."""
    from extract.stage import extract

    return extract(config, run, reporter).did_work


def _classify(config: Config, run: RunFolder, cohort: Cohort, reporter: Reporter) -> bool:
    """Predict everybody, and lock a model."""
    from classify.stage import classify

    return classify(config, run, config.classify.features or find_store(run, config, cohort), reporter)


def _explain(config: Config, run: RunFolder, cohort: Cohort, reporter: Reporter) -> bool:
    """Draw and test maps, and attribute."""
    from triher.explain.stage import explain

    return explain(config, run, config.classify.features or find_store(run, config, cohort), reporter)


def _analyze(config: Config, run: RunFolder, _: Cohort, reporter: Reporter) -> bool:
    """Judge the predictions, and write the report."""
    from analysis.stage import analyze

    return analyze(config, run, reporter)


_RUNNERS: dict[str, Callable[[Config, RunFolder, Cohort, Reporter], bool]] = {
    "finetune": _finetune,
    "extract": _extract,
    "classify": _classify,
    "explain": _explain,
    "analysis": _analyze,
}


def _unasked(config: Config, stages: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out training and explanations where all stages run and the configuration does not ask for them.

    Raises:
        StopRun: ``config_value`` when nothing but a training was asked for that the configuration does not describe.
    """
    if stages == ("finetune",) and config.finetune is None:
        remedy = "add one, 'finetune: {}' for the defaults; docs/training.md says what can stand there"
        raise StopRun("config_value", "the configuration has no section finetune", remedy=remedy)
    if stages != STAGES:
        return stages
    asked = {"finetune": config.finetune, "explain": config.explain}
    return tuple(stage for stage in stages if asked.get(stage, stage) is not None)


def _without_images(config: Config, stages: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out the extraction where features come from a table.

    Raises:
        StopRun: ``config_value`` when nothing else was asked for.
    """
    if config.has_images:
        return stages
    if stages in (("extract",), ("finetune",)):
        message = f"classify.features names {config.classify.features}, so there is nothing to {stages[0]}"
        raise StopRun("config_value", message, remedy="take classify.features out, or run 'triher classify'")
    if config.finetune is not None:
        message = f"classify.features names {config.classify.features}, so there is nothing to finetune"
        raise StopRun("config_value", message, remedy="take classify.features out, or set finetune to null")
    return tuple(stage for stage in stages if stage not in ("extract", "finetune"))


def _check_choices(config: Config, cohort: Cohort, stages: Sequence[str]) -> None:
    """Refuse mistakes of later stages before the first one begins."""
    if "classify" in stages:
        check_classification(config, cohort)
    if "explain" in stages:
        from triher.explain.extras import require_extras

        require_extras()
    if "analysis" in stages:
        _check_analysis(config)
    if {"extract", "classify"} <= {*stages}:
        _check_classes(config, cohort)


def _check_classes(config: Config, cohort: Cohort) -> None:
    """Refuse to read images for a training that has too few patients of a class."""
    from classify.plan import refuse_small_classes

    known, _ = labels(cohort, config.scheme)
    refuse_small_classes(config.classify.split, cohort.patients, known, scheme_classes(config.scheme))


def check_classification(config: Config, cohort: Cohort) -> None:
    """Refuse an unknown head, pooling or covariate, a head without what it needs, and a split that there is not.

    Raises:
        StopRun: as the modules of `classify`.
    """
    from classify.encoder_saw import refuse_stacking
    from classify.heads import check_head
    from classify.network import check_encoder
    from classify.pooling import check_pooling
    from classify.splits import partitions
    from classify.stage import refuse_unknown_covariates

    if check_head(config.classify).takes_probabilities:
        check_encoder(config)
    if config.finetune is not None:
        refuse_stacking(config)
    check_pooling(config.classify.pooling)
    refuse_unknown_covariates(config)
    labels(cohort, config.scheme)
    partitions(config.classify.split, cohort.patients)


def _check_analysis(config: Config) -> None:
    """Refuse covariates, scores and files that are not there."""
    own, genes = config.analysis, config.analysis.transcriptomics
    unknown = sorted({*own.covariates} - {*config.cohort.covariates, *config.cohort.groups})
    if unknown:
        message = f"analysis.covariates names {', '.join(unknown)}, which cohort.covariates and cohort.groups do not"
        remedy = "name numbers under cohort.covariates, too, and text under cohort.groups"
        raise StopRun("config_value", message, remedy=remedy)
    classes = scheme_classes(config.scheme)
    if own.score not in classes:
        raise unknown_name("class for analysis.score", own.score, classes)
    files = [("reference", own.reference)] if own.reference else []
    files += [(f"compare.{name}", path) for name, path in own.compare.items()]
    if genes is not None:
        files.append(("transcriptomics.expression", genes.expression))
        files += [("transcriptomics.gene_sets", path) for path in genes.gene_sets]
    for key, path in files:
        if not path.is_file():
            raise StopRun("file_unreadable", f"analysis.{key}: there is no file {path}")
    if own.study is not None:
        StudyFolder(RunFolder(own.study)).read_study()


def _refuse_other_cohort(run: RunFolder, cohort: Cohort, table: Path) -> None:
    """A run folder belongs to one cohort: without a patient in common, results of two would be mixed."""
    name = run.read_record()["stages"].get("extract", {}).get("store", "")
    if not name or not (run.features / name).is_file():
        return
    held = read_index(run.features / name).inputs.keys()
    if held.isdisjoint(cohort.ids()):
        message = f"{run.path} holds {len(held)} patients, none of whom is in {table}"
        raise StopRun("output_folder", message, remedy="choose another folder with --out")


def find_store(run: RunFolder, config: Config, cohort: Cohort) -> Path:
    """The feature store that the last extraction in this folder left.

    Raises:
        StopRun: ``file_unreadable`` when there is none, ``store_stale`` when it was made with other choices than
            the configuration's.
    """
    facts = run.read_record()["stages"].get("extract", {})
    if "store" not in facts or not (run.features / facts["store"]).is_file():
        message = f"{run.path} holds no feature store"
        raise StopRun("file_unreadable", message, remedy="run 'triher extract CONFIG' with the same --out first")
    wanted, found = config.extract.choices(), facts.get("choices", {})
    differing = [
        f"extract.{key}: {found.get(key)} -> {value}" for key, value in wanted.items() if found.get(key) != value
    ]
    if differing:
        raise StopRun("store_stale", f"{facts['store']} was made with other choices: {'; '.join(differing)}")
    if facts.get("sources") != sources_sha256(cohort, config.cohort):
        message = f"{facts['store']} was made from other files than {config.cohort.table} names now"
        raise StopRun("store_stale", message)
    return run.features / str(facts["store"])


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
    from classify.bundle import read_bundle
    from classify.source import read_source, source_key

    start = time.monotonic()
    bundle = read_bundle(bundle_path)
    if bundle.training.labels_shuffled:
        raise StopRun("bundle_shuffled", f"{bundle_path} is a negative control, trained on shuffled labels")
    if run.bundle.exists():
        raise StopRun("output_folder", f"{run.path} holds a training run, whose predictions would be overwritten")
    if features is None and bundle.feature_names:
        message = f"{bundle_path} was trained on a table of {len(bundle.feature_names)} features"
        raise StopRun("bundle_encoder", message, remedy="give the new patients' table with --features")
    config = config_for_bundle(bundle, cohort_file, images=features is None, beside=bundle_path.absolute().parent)
    cohort = read_cohort(config.cohort, survival=False, images=features is None)
    of_rows = () if features is None else cohort.notes  # or the extraction writes them
    run.prepare()
    _refuse_other_cohort(run, cohort, config.cohort.table)
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
    if cohort_file.suffix in (".yaml", ".yml"):
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
