"""Run the stages one after the other, each only where it is stale."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from triher.cohort import Cohort, labels, read_cohort, sources_sha256
from triher.config import dump_config
from triher.effective import effective
from triher.errors import StopRun, unknown_name
from triher.labels import scheme_classes
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import STAGES, Config
from triher.store import read_index
from triher.study import StudyFolder


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
    refuse_other_cohort(run, cohort, config.cohort.table)
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


def refuse_other_cohort(run: RunFolder, cohort: Cohort, table: Path) -> None:
    """A run folder belongs to one cohort: without a patient in common, results of two would be mixed.

    Raises:
        StopRun: ``output_folder``.
    """
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
