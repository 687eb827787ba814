"""The demonstration: a synthetic cohort with known truth through the whole chain, and a table for newcomers."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from triher.config import read_config, write_config
from triher.files import sha256_of_json
from triher.labels import scheme_classes
from triher.pipeline import Outcome, run_stages
from triher.predictions import read_predictions, write_predictions
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.systems import PROBE_FOLDER, find_system, reduced_tree
from triher.tables import read_own_table

COHORT_FOLDER, CONFIG_FILE = "cohort", "config.yaml"
BINARY_REFERENCE = "best_possible_binary.csv"
_TRIPLE = scheme_classes("triple")


@dataclass(frozen=True)
class Demo:
    """What is to be shown."""

    n_patients: int
    """Over three sites; two are trained on, the third is held out."""
    seed: int
    """Of the phantom and of the run."""
    system: str = ""
    """A key of `triher.systems.SYSTEMS`, which then runs in its reduced size; empty for the chain with its defaults."""


def run_demo(run: RunFolder, demo: Demo, *, overrides: Sequence[str], reporter: Reporter) -> Outcome:
    """Write the phantom cohort where it is not there yet, then run every stage that is stale.

    A system with a probe runs that one first, in a folder within the run's, and is compared with it.

    Args:
        run: everything goes here, the cohort included.
        demo: what is to be shown.
        overrides: as ``--set``.
        reporter: where progress goes.

    Raises:
        StopRun: as the stages; ``unknown_name`` for a system that is none.
    """
    path = _write_inputs(run, demo, reporter)
    if demo.system and find_system(demo.system).probe:
        probe = RunFolder(run.path / PROBE_FOLDER)
        reporter.say(f"the frozen encoder that the trained one is compared with: {probe.path}")
        frozen = read_config(path, [*overrides, *find_system(demo.system).probe])
        run_stages(frozen, probe, reporter, ("extract", "classify", "analysis"))
    return run_stages(read_config(path, overrides), run, reporter)


def demo_config(seed: int) -> Config:
    """The configuration of the demo, with paths relative to the run folder."""
    return Config.model_validate(
        {
            "cohort": {
                "table": f"{COHORT_FOLDER}/cohort.csv",
                "name": "phantom",
                "covariates": ["age"],
                "time_unit": "months",
            },
            "seed": seed,
            "classify": {"split": {"kind": "sites", "test": ["C"]}},
            "analysis": {
                "covariates": ["age"],
                "strata": ["site"],
                "reference": f"{COHORT_FOLDER}/best_possible.csv",
            },
            "explain": {"patients": 8, "sanity_patients": 6},
        }
    )


def system_config(name: str, seed: int) -> Config:
    """The configuration of a published system in its reduced size, with paths relative to the run folder.

    Raises:
        StopRun: ``unknown_name`` for a system that is none.
    """
    return Config.model_validate(reduced_tree(find_system(name), seed=seed))


def _write_inputs(run: RunFolder, demo: Demo, reporter: Reporter) -> Path:
    """The cohort and the configuration; the path of the latter."""
    from extract import phantom
    from extract.encoders import find_encoder
    from extract.weights import locate_weights

    config = system_config(demo.system, demo.seed) if demo.system else demo_config(demo.seed)
    locate_weights(find_encoder(config.extract.encoder), None)
    run.prepare()
    folder = run.path / COHORT_FOLDER
    facts = {"n_patients": demo.n_patients, "seed": demo.seed}
    key = sha256_of_json(facts)
    if run.is_fresh("phantom", key):
        reporter.say(f"phantom: up to date ({demo.n_patients} patients in {folder})")
    else:
        start = time.monotonic()
        phantom.write_phantom(folder, **facts, reporter=reporter)
        tables = sorted(folder.glob("*.csv"))
        run.record_stage("phantom", key, tables, time.monotonic() - start, **facts)
    if config.scheme == "binary":
        _write_binary_reference(folder)
    path = run.path / CONFIG_FILE
    write_config(config, path)
    return path


def _write_binary_reference(folder: Path) -> None:
    """The best possible classifier of positive against all others, from that of three classes."""
    best = read_predictions(folder / "best_possible.csv", "triple")
    negative = best.pop("p_zero") + best.pop("p_low")
    both = best.assign(p_negative=negative, y=(best["y"] == len(_TRIPLE) - 1).astype(int))
    write_predictions(folder / BINARY_REFERENCE, both, "binary")


def closing_table(run: RunFolder) -> Table:
    """What came out, in words for a newcomer."""
    stages = run.read_record()["stages"]
    rows = [{str(k): str(v) for k, v in row.items()} for row in read_own_table(run.metrics_file).to_dict("records")]
    found = {(r["split"], r["quantity"], r["class"]): r for r in rows if not r["site"] and not r["cohort"]}
    extraction, training = stages["extract"], stages["classify"]
    control = " (negative control: labels shuffled within sites)" if training["labels_shuffled"] else ""
    table = Table(title=f"What the demo found{control}", title_justify="left", show_lines=True)
    for name in ("question", "answer", "how to read it"):
        table.add_column(name, overflow="fold")
    table.add_row(
        "Who was in?",
        f"{extraction['n_patients']} patients, {extraction['n_done']} embedded, {extraction['n_skipped']} left out",
        "Nobody is lost silently: skipped.csv names everyone who was left out, and why.",
    )
    table.add_row(
        "Can it tell the classes apart at a site it has not seen?",
        f"macro AUC {_estimate(found, 'test', 'auc_macro')} on {_n(found, 'auc_macro')} patients of site C",
        "0.5 is guessing, 1 is perfect. In brackets the 95 % interval.",
    )
    table.add_row(
        "How well could anybody do?",
        f"macro AUC {_estimate(found, 'test', 'reference_auc_macro')}",
        "The best possible classifier, which knows the true tissue parameters of the same patients.",
    )
    table.add_row(
        "Do the probabilities mean what they say?",
        f"calibration error {_estimate(found, 'test', 'ece_top_label')}",
        f"0 is best; a perfectly calibrated model of this size would show "
        f"{_estimate(found, 'test', 'ece_top_label_if_calibrated')}.",
    )
    table.add_row(
        "Does the score say something about survival?",
        f"hazard ratio {_estimate(found, 'test', 'hazard_ratio_adjusted', 'score, per SD')} per SD at site C, "
        f"{_estimate(found, 'oof', 'hazard_ratio_adjusted', 'score, per SD')} at the training sites",
        "Above 1: a higher probability of HER2-positive goes with earlier events, at equal age. "
        "Scores are of models that did not see the patient.",
    )
    seconds = ", ".join(f"{name} {entry['seconds']:.0f} s" for name, entry in stages.items())
    table.add_row("What did it cost?", seconds, f"encoder {extraction['encoder']['name']}, head {training['head']}")
    return table


def _estimate(found: dict[tuple[str, str, str], dict[str, str]], split: str, quantity: str, name: str = "") -> str:
    """A number with its interval, or why there is none."""
    row = found.get((split, quantity, name))
    if row is None:
        return "not estimated"
    if not row["value"]:
        return f"not estimable ({row['reason']})"
    interval = f" ({float(row['low']):.2f} to {float(row['high']):.2f})" if row["low"] else ""
    return f"{float(row['value']):.2f}{interval}"


def _n(found: dict[tuple[str, str, str], dict[str, str]], quantity: str) -> str:
    """How many patients a number of the test part rests on."""
    row = found.get(("test", quantity, ""))
    return row["n"] if row else "0"
