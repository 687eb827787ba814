"""The rows of the table that papers print: a model on some patients, by one question, at one operating point."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

from analysis.decisions.operating import everybody_in_turn, thresholds
from analysis.discrimination.agreement import mcnemar_test
from analysis.discrimination.auc_tests import paired_test
from analysis.discrimination.aucs import auc
from analysis.discrimination.beside import Pair
from analysis.discrimination.comparisons import all_pairs, read_runs
from analysis.discrimination.confusion import (
    Confusion,
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    mean_sensitivity,
)
from analysis.discrimination.questions import Question, questions
from analysis.inference.bootstrap import macro_micro_auc
from analysis.inference.cross_validation import widened
from analysis.inference.intervals import wilson
from analysis.metrics import Metric, find
from analysis.part import Material
from analysis.patients.samples import Sample, subgroup_samples
from classify.thresholds import nested_tasks
from triher.estimate import Estimate, not_estimable
from triher.types import Labels, Probabilities

PART = "paper"
MODEL, TRAINED, COMPANION, RUN = "model", "at the threshold of the training", "companion", "other run"
"""Kinds of rows: this run's model twice, what was trained beside it, and the runs of ``analysis.compare``."""
HALF = 0.5
"""The default operating point: the likelier one of two."""
_LEVELS = {"auc_zero_vs_rest": 0, "auc_low_vs_positive": 1}
_BOUNDS = (0.0, 1.0)
_SIDES = ("sensitivity", "specificity")


@dataclass(frozen=True)
class View:
    """What the rows of one table ask: all classes at once (no question), or one question with two answers."""

    question: Question | None
    suffix: str
    """Of the quantities in ``metrics.csv``; empty where they are those of a class or of all classes together."""
    task: str = ""
    """What the question's threshold is called in ``run.json``; empty where none is kept."""

    @property
    def label(self) -> str:
        """In print."""
        return "All classes together" if self.question is None else self.question.label

    def place(self, measure: str) -> tuple[str, str]:
        """Quantity and class of a measure in ``metrics.csv``."""
        if self.question is None or measure == "prevalence":
            return f"{measure}{self.suffix}", ""
        if measure == "auc":
            return self.question.quantity, self.question.class_name
        of_class = measure in ("sensitivity", "specificity") and not self.suffix
        return f"{measure}{self.suffix}", self.question.class_name if of_class else ""

    def p_name(self, measure: str) -> str:
        """Quantity of the test of a measure against another model."""
        if measure == "accuracy" and not self.suffix:
            return "mcnemar_p"
        return f"{self.place(measure)[0]}_ahead_p"


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    view: View
    kind: str
    """One of `MODEL`, `TRAINED`, `COMPANION`, `RUN`."""
    name: str
    """Of the other model; empty for this run's."""
    sample: Sample
    """Whom it is judged on; of another model the patients whom both predicted."""
    threshold: float
    """Yes above it (`HALF`), or at or above it where it comes from the training; NaN where the likeliest of several
    classes is taken."""
    measures: Mapping[str, Estimate]
    p: Mapping[str, Estimate] = field(default_factory=dict)
    """Measure -> paired test against this run's model."""


def views(scheme: str, classes: tuple[str, ...]) -> tuple[View, ...]:
    """All classes at once where there are more than two, then each question of the scheme."""
    if len(classes) == 2:
        [question] = questions(scheme)
        return (View(question, "", nested_tasks(classes)[0]),)
    found = [View(None, "")]
    for question in questions(scheme):
        level = _LEVELS.get(question.quantity)
        suffix = "_positive_vs_rest" if level is None else question.quantity.removeprefix("auc")
        found.append(View(question, suffix, "" if level is None else nested_tasks(classes)[level]))
    return tuple(found)


def places(material: Material) -> Iterator[Sample]:
    """The splits that have labels, and behind each held-out one its cohorts where there are several."""
    for sample in material.samples:
        inside = (
            () if sample.split == "oof" else subgroup_samples(material.frame, material.config.scheme, sample.split)
        )
        for part in (sample, *(one for one in inside if not one.site)):
            if len(part.y):
                yield part


def paper_rows(material: Material, metrics: Sequence[Metric]) -> tuple[Row, ...]:
    """Every line of the table: place by place, view by view, this run's model before the others.

    Args:
        material: predictions of the model and of those beside it.
        metrics: the rows of the rest of the analysis, where most numbers of the model itself stand already.

    Raises:
        StopRun: as `analysis.discrimination.comparisons.read_runs` and `analysis.discrimination.beside.pair_up`.
    """
    runs = read_runs(material)
    found: list[Row] = []
    for sample in places(material):
        others = [pair for pair in all_pairs(material, runs, sample) if len(pair.common.y)]
        for view in views(material.config.scheme, material.classes):
            found += _own_rows(view, sample, material, metrics)
            for pair in others:
                kind = RUN if pair.name in runs else COMPANION
                found.append(_other_row(view, pair, kind, material))
    return tuple(found)


def new_metrics(rows: Iterable[Row], known: Iterable[Metric]) -> list[Metric]:
    """The numbers of the rows that stand nowhere else: those of the model itself, and the tests.

    Args:
        rows: of the table.
        known: the rows of the rest of the analysis.
    """
    there = {(m.split, m.cohort, m.site, m.quantity, m.class_name) for m in known}
    found = []
    for row in rows:
        split, cohort = row.sample.split, row.sample.cohort
        own = row.measures if row.kind == MODEL else {}
        told = [Metric(PART, split, *_swapped(row.view.place(name), e), cohort) for name, e in own.items()]
        told += [Metric(PART, split, row.view.p_name(name), e, row.name, cohort) for name, e in row.p.items()]
        found += [m for m in told if (split, cohort, "", m.quantity, m.class_name) not in there]
    return found


def _swapped(place: tuple[str, str], estimate: Estimate) -> tuple[str, Estimate, str]:
    """Quantity, estimate and class, in the order of a `Metric`."""
    return place[0], estimate, place[1]


def _own_rows(view: View, sample: Sample, material: Material, metrics: Sequence[Metric]) -> list[Row]:
    """This run's model, at its default and, on held-out patients, at the threshold of the training."""
    if view.question is None:
        names = ("accuracy", "auc_macro", "auc_micro", "balanced_accuracy")
        measures = {name: _known(metrics, sample, name) for name in names} | _shares(sample, material.classes)
        return [Row(view, MODEL, "", sample, math.nan, measures)]
    condition, score = view.question.ask(sample.y, sample.probabilities)
    area = _known(metrics, sample, *view.place("auc"))
    rows = [Row(view, MODEL, "", sample, HALF, _measures(view.question, condition, score > HALF, area, material))]
    threshold = _threshold(view, sample, material)
    if math.isfinite(threshold):
        at_it = _measures(view.question, condition, score >= threshold, area, material)
        rows.append(Row(view, TRAINED, "", sample, threshold, at_it))
    return rows


def _known(metrics: Sequence[Metric], sample: Sample, quantity: str, class_name: str = "") -> Estimate:
    """A number of the model that the evaluation has told."""
    found = find(metrics, sample.split, quantity, class_name, cohort=sample.cohort, site=sample.site)
    if found is None:
        raise KeyError(f"{quantity} of {class_name or 'all classes'} in {sample.split} {sample.cohort}")
    return found


def _threshold(view: View, sample: Sample, material: Material) -> float:
    """What the training chose for a question; NaN where there is nothing, or these patients chose it."""
    if sample.split == "oof" or everybody_in_turn(material):
        return math.nan
    found = [one["threshold"] for one in thresholds(material.record) if view.task and one["task"] == view.task]
    return float(found[0]) if found else math.nan


def _measures(
    question: Question, condition: Bool[np.ndarray, " concerned"], yes: Bool[np.ndarray, " concerned"],
    area: Estimate, material: Material,
) -> dict[str, Estimate]:  # fmt: skip
    """All columns of a question's row."""
    counts = _two_by_two(condition, yes)
    draws = {"resamples": material.config.analysis.resamples, "seed": material.config.seed}
    with_it, without = question.names
    return {
        "accuracy": accuracy(counts),
        "auc": area,
        "sensitivity": wilson(int(counts[1, 1]), int(counts[1].sum()), of_what=with_it),
        "specificity": wilson(int(counts[0, 0]), int(counts[0].sum()), of_what=without),
        "balanced_accuracy": mean_sensitivity(counts, (without, with_it), **draws),
        "prevalence": wilson(int(condition.sum()), len(condition), of_what="labeled patients"),
    }


def _two_by_two(condition: Bool[np.ndarray, " concerned"], yes: Bool[np.ndarray, " concerned"]) -> Confusion:
    """Those without and with the condition in rows, no and yes in columns."""
    return confusion_matrix(condition.astype(np.int64), np.column_stack([~yes, yes]).astype(np.float64))


def _shares(sample: Sample, classes: tuple[str, ...]) -> dict[str, Estimate]:
    """The share of every class."""
    n = len(sample.y)
    return {
        f"prevalence_{name}": wilson(int(np.sum(sample.y == c)), n, of_what="labeled patients")
        for c, name in enumerate(classes)
    }


def _other_row(view: View, pair: Pair, kind: str, material: Material) -> Row:
    """Another model on the patients whom both predicted, and the tests against this run's model."""
    common, theirs = pair.common, pair.companion
    if view.question is None:
        right = mcnemar_test(_right(common.y, common.probabilities), _right(common.y, theirs))
        tested = {"accuracy": right.exact_p}
        return Row(view, kind, pair.name, common, math.nan, _all_classes(pair, material), tested)
    question = view.question
    condition, mine = question.ask(common.y, common.probabilities)
    score = question.ask(common.y, theirs)[1]
    area = auc(condition, score, names=question.names)
    area = area if pair.folds is None else widened(area, pair.folds, bounds=_BOUNDS)
    measures = _measures(question, condition, score > HALF, area, material)
    tested = {"auc": paired_test(condition, mine, score, names=question.names).p}
    first, second = (mine > HALF) == condition, (score > HALF) == condition
    tested["accuracy"] = _mcnemar(first, second, "labeled patients")
    for name, who, label in zip(_SIDES, (condition, ~condition), question.names, strict=True):
        tested[name] = _mcnemar(first[who], second[who], label)
    return Row(view, kind, pair.name, common, HALF, measures, tested)


def _mcnemar(mine: Bool[np.ndarray, " who"], theirs: Bool[np.ndarray, " who"], label: str) -> Estimate:
    """Whether both are right equally often, exact; nobody is no test."""
    found = mcnemar_test(mine, theirs).exact_p
    return found if len(mine) else not_estimable(f"0 {label}", n=0, method=found.method)


def _all_classes(pair: Pair, material: Material) -> dict[str, Estimate]:
    """The columns of another model's row of all classes."""
    common, classes = pair.common, material.classes
    draws = {"resamples": material.config.analysis.resamples, "seed": material.config.seed}
    counts = confusion_matrix(common.y, pair.companion)
    areas = macro_micro_auc(common.y, pair.companion, classes, strata=pair.strata, **draws)
    macro, micro = (e if pair.folds is None else widened(e, pair.folds, bounds=_BOUNDS) for e in areas)
    found = {"accuracy": accuracy(counts), "auc_macro": macro, "auc_micro": micro}
    return {**found, "balanced_accuracy": balanced_accuracy(counts, classes, **draws), **_shares(common, classes)}


def _right(y: Labels, probabilities: Probabilities) -> Bool[np.ndarray, " patient"]:
    """Whose likeliest class is the true one."""
    return probabilities.argmax(axis=1) == y
