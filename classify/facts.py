"""What the record of a run says of the stage ``classify``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from classify.cases import Gathered
from classify.predicting import Outcome
from triher.errors import StopRun
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.store import Header
from triher.types import Labels


def openings(config: Config, run: RunFolder, key: str) -> tuple[str, ...]:
    """The keys of all runs in this folder that predicted held-out patients, this one included.

    Each setting that is tried on held-out patients makes their result a little less a test.

    Raises:
        StopRun: ``test_opened`` when held-out cohorts were opened before with other settings.
    """
    before = tuple(run.read_record()["stages"].get("classify", {}).get("openings", ()))
    if config.classify.split.kind == "none":
        return before
    if before and key not in before and config.classify.split.kind == "cohorts" and not config.classify.split.reopen:
        own = config.classify.split
        cohorts = ", ".join(own.test) or f"other than {', '.join(own.train)}"
        times = "once" if len(before) == 1 else f"{len(before)} times"
        raise StopRun("test_opened", f"the held-out cohorts {cohorts} were opened {times} in {run.path} already")
    return before if key in before else (*before, key)


def record_of(
    config: Config,
    gathered: Gathered,
    outcome: Outcome,
    header: Header,
    opened: Sequence[str],
    baselines_left_out: Mapping[str, str],
) -> dict[str, Any]:
    """The facts for ``run.json``."""
    model, table = outcome.model, outcome.predictions
    first = table[table["repeat"] == 0]
    counts = {
        str(split): class_counts(rows["y"].to_numpy(int), gathered.cases.classes)
        for split, rows in first.groupby("split")
    }
    left_out = {"features", "control", "storage", "workers"}
    settings = config.classify.model_dump(mode="json", exclude=left_out)
    return {
        "n": len(gathered.patients),
        "n_skipped": len(gathered.skipped),
        "class_counts": counts,
        "settings": {"scheme": config.scheme, "seed": config.seed, **settings},
        "encoder": header.encoder,
        "recipe": header.recipe,
        "head": model.head,
        "params": model.params,
        "inner_log_loss": model.log_loss,
        "search": model.search,
        "temperature": model.temperature,
        "thresholds": [asdict(threshold) for threshold in model.thresholds],
        "conformal": asdict(model.conformal),
        "seed": config.seed,
        "labels_shuffled": config.classify.shuffle_labels,
        "baselines_left_out": dict(baselines_left_out),
        "test_opened": len(opened),
        "openings": list(opened),
    }


def class_counts(y: Labels, classes: Sequence[str]) -> dict[str, int]:
    """Patients of each class."""
    return {name: int(n) for name, n in zip(classes, np.bincount(y, minlength=len(classes)), strict=True)}
