"""The demonstration: a synthetic cohort with known truth through the whole chain, or through a published system."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from triher.config import read_config, write_config
from triher.files import sha256_of_json
from triher.labels import scheme_classes
from triher.pipeline import Outcome, run_stages
from triher.predictions import REFERENCE, read_predictions, write_predictions
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.systems import PROBE_FOLDER, find_system, reduced_tree

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
    """A key of `triher.systems.SYSTEMS`, which then runs in its reduced size; empty for the chain by default."""


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
        run_stages(frozen, probe, reporter, ("extract", "classify"))
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
    from extract.encoders import find_encoder
    from extract.phantom import cohort as phantom
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
        phantom.write_phantom(folder, n_patients=demo.n_patients, seed=demo.seed, reporter=reporter)
        tables = sorted(folder.glob("*.csv"))
        run.record_stage("phantom", key, tables, time.monotonic() - start, **facts)
    if config.scheme == "binary":
        write_binary_reference(folder)
    path = run.path / CONFIG_FILE
    write_config(config, path)
    return path


def write_binary_reference(folder: Path) -> None:
    """The best possible classifier of positive against all others, from that of three classes."""
    best = read_predictions(folder / "best_possible.csv", "triple", (REFERENCE,))
    negative = best.pop("p_zero") + best.pop("p_low")
    both = best.assign(p_negative=negative, y=(best["y"] == len(_TRIPLE) - 1).astype(int))
    write_predictions(folder / BINARY_REFERENCE, both, "binary")
