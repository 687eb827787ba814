"""Published values beside this run's: does its interval hold them, and what would a study of its size show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.discrimination.questions import QUESTIONS
from analysis.inference.expected import expected_area, expected_mean_area, expected_share
from analysis.metrics import Metric, find
from analysis.part import Material
from analysis.patients.samples import Sample, class_label, subgroup_samples
from triher.errors import StopRun, unknown_name
from triher.estimate import Estimate, not_estimable
from triher.settings import PublishedConfig

_OF_POSITIVE = ("auc", "sensitivity", "specificity")
"""Quantities of a class that mean the positive one in the scheme of two classes."""
_AREAS = ("auc", "auc_zero_vs_rest", "auc_low_vs_positive")
_PROPORTIONS = ("accuracy", "sensitivity", "specificity")
_METHOD = "published value"
_TWO = 2


@dataclass(frozen=True)
class Sides:
    """Those with and those without a condition."""

    names: tuple[str, str]
    n_positive: int
    n_negative: int


@dataclass(frozen=True)
class Beside:
    """One published value, and what stands beside it."""

    published: PublishedConfig
    own: Estimate
    """This run's."""
    expected: Estimate
    """What a study with this run's numbers of patients would be expected to show if the published value were true."""
    sides: Sides | None
    """Whom the quantity tells apart; None where it is about all classes, or there is nobody."""

    @property
    def holds(self) -> bool | None:
        """Whether this run's interval holds the published value; None without an interval."""
        if not math.isfinite(self.own.low):
            return None
        return self.own.low <= self.published.value <= self.own.high


def compare_published(material: Material, metrics: Sequence[Metric]) -> tuple[Beside, ...]:
    """All of ``analysis.published``, in its order.

    Args:
        material: the patients.
        metrics: all rows of the analysis.

    Raises:
        StopRun: ``config_value`` for a quantity that this run does not have, with those that it has.
    """
    known = _known(material, metrics)
    for one in material.config.analysis.published:
        if one.quantity not in known:
            message = unknown_name("quantity in analysis.published", one.quantity, known).message
            raise StopRun("config_value", message, remedy="name one of these; CLASS of QUANTITY:CLASS is a class")
    return tuple(_beside(one, material, metrics) for one in material.config.analysis.published)


def _known(material: Material, metrics: Sequence[Metric]) -> list[str]:
    """Quantities that may be named: those of all classes together, and QUANTITY:CLASS."""
    classes = material.classes
    short = _OF_POSITIVE if len(classes) == _TWO else ()
    shown = [m for m in metrics if m.class_name in ("", *classes) and not (m.site or m.quantity.endswith("_p"))]
    return list(dict.fromkeys([*short, *(f"{m.quantity}:{m.class_name}".rstrip(":") for m in shown)]))


def place_of(quantity: str, classes: tuple[str, ...]) -> tuple[str, str]:
    """Quantity and class in ``metrics.csv``.

    >>> place_of("auc", ("negative", "positive")), place_of("auc:low", ("zero", "low", "positive"))
    (('auc', 'positive'), ('auc', 'low'))
    """
    name, _, class_name = quantity.partition(":")
    is_short = not class_name and name in _OF_POSITIVE and len(classes) == _TWO
    return name, classes[-1] if is_short else class_name


def _beside(one: PublishedConfig, material: Material, metrics: Sequence[Metric]) -> Beside:
    """This run's value and the expected one, or why there is none."""
    sample = _sample(one, material)
    if sample is None:
        nobody = not_estimable("no labeled patients", n=0, method=_METHOD)
        return Beside(one, nobody, nobody, None)
    name, class_name = place_of(one.quantity, material.classes)
    own = find(metrics, sample.split, name, class_name, cohort=sample.cohort)
    if own is None:
        own = not_estimable("not told of these patients", n=len(sample.y), method=_METHOD)
    sides = _sides(name, class_name, sample, material.classes)
    if name == "auc_macro":
        sizes = {class_label(c): int(np.sum(sample.y == i)) for i, c in enumerate(material.classes)}
        expected = expected_mean_area(one.value, sizes)
    else:
        expected = _expected(one.value, name, sides, own)
    return Beside(one, own, expected, sides)


def _sample(one: PublishedConfig, material: Material) -> Sample | None:
    """The patients that a published value is about; a split of one cohort is that cohort."""
    samples = [sample for sample in material.samples if sample.split == one.split and len(sample.y)]
    if not samples or not one.cohort:
        return samples[0] if samples else None
    frame = material.frame[material.frame["split"] == one.split]
    if set(frame["cohort"]) == {one.cohort}:
        return samples[0]
    parts = subgroup_samples(material.frame, material.config.scheme, one.split)
    return next((part for part in parts if part.cohort == one.cohort and not part.site and len(part.y)), None)


def _expected(value: float, name: str, sides: Sides | None, own: Estimate) -> Estimate:
    """What a study of this size would be expected to show, where a formula tells it from the sizes."""
    if name in _AREAS and sides is not None:
        return expected_area(value, sides.n_positive, sides.n_negative, names=sides.names)
    if name.startswith(_PROPORTIONS):
        return expected_share(value, own.n) if own.n else not_estimable(own.reason, n=0, method=own.method)
    return not_estimable("no formula tells it from numbers of patients", n=own.n, method=_METHOD)


def _sides(name: str, class_name: str, sample: Sample, classes: tuple[str, ...]) -> Sides | None:
    """Who has the condition that a quantity is about, and who has not; None where it is about all classes."""
    if class_name or len(classes) == _TWO:
        label, is_it = class_label(class_name or classes[-1]), sample.y == classes.index(class_name or classes[-1])
        return Sides((label, f"other than {label}"), int(is_it.sum()), int((~is_it).sum()))
    for quantity, question in QUESTIONS.items():
        if name.endswith(quantity.removeprefix("auc")) and not question.class_name:
            condition, _ = question.ask(sample.y, sample.probabilities)
            return Sides(question.names, int(condition.sum()), int((~condition).sum()))
    return None
