"""All p values of an analysis, corrected for their number."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.discrimination.auc_tests import against_half, p_estimate
from analysis.discrimination.questions import primary_questions
from analysis.inference.corrected_p import corrected
from analysis.metrics import Metric
from analysis.part import Material
from analysis.patients.samples import Sample, subgroup_samples

PART = "multiplicity"
_HOLM, _BH = "holm", "fdr_bh"
NAMES = {_HOLM: "Holm", _BH: "Benjamini-Hochberg"}
_DECIMALS = 10  # of p values that are one and the same, computed twice
_ENDINGS = {_HOLM: "holm", _BH: "bh"}


@dataclass(frozen=True)
class Hypothesis:
    """One p value, as found and as corrected."""

    metric: Metric
    """Its quantity ends with ``_p``."""
    corrected: float
    """NaN where there is no p value."""
    method: str
    """A key of `NAMES`: which family it belongs to."""


def primary_tests(material: Material) -> list[Metric]:
    """The AUC of every primary question against 0.5, in the foremost split that has labels.

    Where several held-out cohorts are in that split, each is a hypothesis of its own.

    Raises:
        StopRun: as `analysis.discrimination.questions.primary_questions`.
    """
    asked = primary_questions(material.config)
    labeled = [sample for sample in material.samples if len(sample.y)]
    parts = _cohorts(material, labeled[0]) if labeled else []
    found = []
    for part in parts:
        for question in asked:
            condition, score = question.ask(part.y, part.probabilities)
            p = against_half(condition, score, names=question.names)
            place = (question.class_name, part.cohort)
            found.append(Metric(PART, part.split, f"{question.quantity}_p", p, *place))
    return found


def _cohorts(material: Material, sample: Sample) -> list[Sample]:
    """The cohorts of a held-out split, or the sample itself."""
    parts = subgroup_samples(material.frame, material.config.scheme, sample.split)
    cohorts = [part for part in parts if not part.site and len(part.y)]
    return cohorts if cohorts and sample.split != "oof" else [sample]


def correct(primary: Sequence[Metric], others: Iterable[Metric]) -> tuple[Hypothesis, ...]:
    """Primary hypotheses after Holm, all other p values after Benjamini and Hochberg.

    A primary hypothesis without a p value counts as one with p = 1, since it was planned; another one was never
    tested and does not count.

    Args:
        primary: the planned tests.
        others: any metrics; those whose quantity ends with ``_p`` are p values, and nothing else ends so. Those that
            were corrected already end with ``_p_adjusted``, and one that no claim may rest on with ``_p_naive``.

    Raises:
        ValueError: a quantity whose name ends with ``_p`` lies outside 0..1, and so is no p value.
    """
    planned = [1.0 if np.isnan(m.estimate.value) else m.estimate.value for m in primary]
    found = [
        Hypothesis(m, np.nan if np.isnan(m.estimate.value) else float(p), _HOLM)
        for m, p in zip(primary, corrected(planned, _HOLM), strict=True)
    ]
    tests = _once([m for m in others if m.quantity.endswith("_p") and np.isfinite(m.estimate.value)])
    wrong = sorted({m.quantity for m in tests if not 0 <= m.estimate.value <= 1})
    if wrong:
        raise ValueError(f"no p value, which lies in 0..1, but named as one: {', '.join(wrong)}")
    adjusted = corrected([m.estimate.value for m in tests], _BH)
    return (*found, *(Hypothesis(m, float(p), _BH) for m, p in zip(tests, adjusted, strict=True)))


def _once(tests: Sequence[Metric]) -> list[Metric]:
    """Without the tests that a second part of the analysis tells again, such as the log-rank test."""
    found: dict[tuple[str | int | float, ...], Metric] = {}
    for m in tests:
        place = (m.split, m.cohort, m.site, m.quantity, m.class_name, m.estimate.n)
        found.setdefault((*place, round(m.estimate.value, _DECIMALS)), m)
    return list(found.values())


def corrected_metrics(hypotheses: Sequence[Hypothesis]) -> list[Metric]:
    """The corrected p values as rows, quantities ending with ``_p_holm`` or ``_p_bh``."""
    rows = []
    for one in hypotheses:
        family = sum(other.method == one.method for other in hypotheses)
        method = f"{one.metric.estimate.method}, {NAMES[one.method]} among {family}"
        estimate = replace(
            p_estimate(one.corrected, one.metric.estimate.n, method), reason=one.metric.estimate.reason
        )
        quantity = f"{one.metric.quantity}_{_ENDINGS[one.method]}"
        rows.append(replace(one.metric, part=PART, quantity=quantity, estimate=estimate))
    return rows
