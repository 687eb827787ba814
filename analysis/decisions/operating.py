"""How the operating points that were chosen in training serve on held-out patients."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from analysis.inference.intervals import wilson
from analysis.metrics import Metric
from analysis.part import Material
from analysis.patients.samples import Sample
from classify.thresholds import nested_score, nested_tasks
from triher.errors import unknown_name
from triher.estimate import Estimate
from triher.types import Scores

PART = "thresholds"
MEASURES = ("sensitivity", "specificity", "ppv", "npv")


@dataclass(frozen=True)
class OperatingPoint:
    """One question at its threshold in one split."""

    split: str
    task: str
    threshold: float
    n: int
    measures: Mapping[str, Estimate]
    """By the names of `MEASURES`."""


def at_threshold(condition: Bool[np.ndarray, " patient"], score: Scores, threshold: float) -> dict[str, Estimate]:
    """Sensitivity, specificity and predictive values of saying yes at or above a threshold, Wilson limits.

    Predictive values hold for the share of the condition among these patients.

    Args:
        condition: who has the condition.
        score: higher means likelier.
        threshold: chosen on other patients.
    """
    yes = score >= threshold
    return {
        "sensitivity": wilson(int(np.sum(yes & condition)), int(condition.sum()), of_what="with the condition"),
        "specificity": wilson(int(np.sum(~yes & ~condition)), int((~condition).sum()), of_what="without it"),
        "ppv": wilson(int(np.sum(yes & condition)), int(yes.sum()), of_what="at or above the threshold"),
        "npv": wilson(int(np.sum(~yes & ~condition)), int((~yes).sum()), of_what="below the threshold"),
    }


def held_out_points(material: Material) -> tuple[OperatingPoint, ...]:
    """Every threshold on record in every held-out split; none is chosen here.

    Out-of-fold patients are left out, as the thresholds were chosen on their very predictions. So are all patients
    where each was held out in turn: the thresholds on record are those of the final model, which saw everybody.

    Raises:
        StopRun: ``unknown_name`` when the record asks a question that the scheme does not have.
    """
    if everybody_in_turn(material):
        return ()
    held_out = [sample for sample in material.samples if sample.split != "oof" and len(sample.y)]
    return tuple(
        _point(sample, recorded, material) for sample in held_out for recorded in thresholds(material.record)
    )


def thresholds(record: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """What ``run.json`` says of the thresholds, of the training or of the bundle that was applied."""
    stages = record.get("stages", {})
    found = [stages.get(name, {}).get("thresholds", ()) for name in ("classify", "apply")]
    return tuple(found[0] or found[1])


def everybody_in_turn(material: Material) -> bool:
    """Whether every patient was held out once, so that the final model saw all of them."""
    return material.config.classify.split.kind.startswith("leave-one")


def _point(sample: Sample, recorded: Mapping[str, Any], material: Material) -> OperatingPoint:
    """One threshold on the patients of a split whom its question concerns."""
    tasks, task = nested_tasks(material.classes), recorded["task"]
    if task not in tasks:
        raise unknown_name("question of run.json", task, tasks)
    level = tasks.index(task)
    concerned = sample.y >= level
    score = nested_score(sample.probabilities[concerned], level)
    measures = at_threshold(sample.y[concerned] > level, score, recorded["threshold"])
    return OperatingPoint(sample.split, task, recorded["threshold"], int(concerned.sum()), measures)


def point_metrics(point: OperatingPoint) -> list[Metric]:
    """The rows of one operating point."""
    return [Metric(PART, point.split, f"threshold_{name}", point.measures[name], point.task) for name in MEASURES]
