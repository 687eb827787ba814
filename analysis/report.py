"""The report: every result on one self-contained page, with a summary in plain words."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from analysis.evaluation import Evaluation, SplitEvaluation
from analysis.limits.facts import Facts, Limit
from analysis.metrics import find
from analysis.page import Card, Page, Section, estimate_card
from analysis.patients.acquisition import Acquisition
from analysis.patients.flow import Flow, patient_flow
from analysis.patients.population import flow_blocks
from analysis.sections.beside import beside_section
from analysis.sections.calibration import calibration_section
from analysis.sections.cost import cost_section
from analysis.sections.limits import limits_section
from analysis.sections.opened import opened_blocks, opened_too_often
from analysis.sections.origin import model_section, provenance_section
from analysis.sections.performance import discrimination_section, nested_section
from analysis.sections.shortcut import shortcut_section
from analysis.sections.survival import prognosis_section
from analysis.sections.table_one import table_one_blocks
from analysis.summary import chosen_model, control_sentence, covariate_names, limit_sentence, plain_words
from analysis.wording import class_list, count, interval, split_name
from triher import __version__
from triher.cohort import Cohort
from triher.errors import Note, Skipped
from triher.settings import Config

_TOPICS = {
    "Patients": ("patients",),
    "Telling apart": (
        "discrimination", "nested", "paper", "operating", "subgroups", "beside", "comparisons", "shortcuts",
    ),
    "Probabilities": ("calibration", "calibrators", "recalibration"),
    "Deciding": ("decision", "conformal", "reject"),
    "Reasons": ("explanations", "matched"),
    "Survival": ("prognosis", "survival-measures"),
    "Genes": ("transcriptomics",),
    "Variants": ("study",),
    "How it was done": ("limits", "multiplicity", "model", "cost", "provenance"),
}  # fmt: skip
"""Topic of the contents -> anchors of its sections, in reading order."""


def build_page(
    evaluation: Evaluation,
    frame: pd.DataFrame,
    cohort: Cohort,
    config: Config,
    *,
    sections: Sequence[Section],
    summary: Sequence[str] = (),
    own_data: Collection[str] = (),
    further_limits: Sequence[Limit] = (),
    skipped: Sequence[Skipped],
    notes: Sequence[Note],
    record: Mapping[str, Any],
    acquisition: Acquisition | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Page:
    """Put the sections in the order of a reader: who, how well, how surely, what for, and how it was made.

    Args:
        evaluation: all numbers and curves.
        frame: the prediction table.
        cohort: the cohort table.
        config: the run's configuration.
        sections: of the further parts.
        summary: sentences of the further parts for the top of the page.
        own_data: ids of patients whose own data the further parts show.
        further_limits: of the further parts.
        skipped: rows of ``skipped.csv``.
        notes: rows of ``notes.csv``.
        record: contents of ``run.json``.
        acquisition: facts about the source images, where they are known.
        sizes: bytes of what the earlier stages left, by name.
    """
    flow = patient_flow(frame, cohort, skipped, n_classes=len(evaluation.classes), has_images=config.has_images)
    facts = Facts(evaluation, frame, flow, config, record, tuple(further_limits))
    table_one = table_one_blocks(frame, cohort, evaluation.classes, acquisition or {})
    who = [*flow_blocks(flow, evaluation.classes, notes), *table_one]
    shown = [
        Section("patients", "Who was in, who was left out", who),
        discrimination_section(evaluation, opened_blocks(record)),
        *beside_section(evaluation, record),
        *shortcut_section(evaluation),
        *([nested_section(evaluation)] if evaluation.scheme == "triple" else []),
        calibration_section(evaluation),
        prognosis_section(evaluation, config.analysis),
        *sections,
        model_section(record, config),
        provenance_section(record, __version__),
        *cost_section(evaluation, frame, record, sizes or {}),
        limits_section(facts),
    ]
    origin = "breast DCE-MRI" if config.has_images else "a table of features"
    cohorts = " and ".join(sorted(frame["cohort"].unique()))
    return Page(
        title=f"{class_list(evaluation.classes)} from {origin}",
        lead=f"Cohort {cohorts}: {count(len(flow.done), 'patient')} predicted, {flow.n_cohort} in the cohort table.",
        summary=[
            *control_sentence(record),
            *plain_words(evaluation, frame, config.analysis.score),
            *opened_too_often(record),
            *([" ".join(summary)] if summary else []),
            *limit_sentence(facts),
        ],
        cards=_cards(evaluation),
        sections=_in_order(shown),
        patient_level=_patient_level(flow, notes, own_data),
        footer=f"Made by TriHER {__version__}. Research use only.",
    )


def _patient_level(flow: Flow, notes: Sequence[Note], own_data: Collection[str]) -> str:
    """Which patients the page names or shows."""
    named = {row.patient_id for row in flow.left_out} | {note.patient_id for note in notes} | set(flow.unaccounted)
    n_named = len(named - {""})
    ids = [f"the ids of {count(n_named, 'patient')} who were left out or remarked on"] if n_named else []
    ids += [f"ids, pathology, covariates or slices of {count(len(set(own_data)), 'patient')}"] if own_data else []
    return f"yes: {'; '.join(ids)}" if ids else "no; figures show groups and unnamed curves"


def _in_order(sections: Sequence[Section]) -> list[Section]:
    """The sections by topic; one that no topic names comes last."""
    found = {section.anchor: section for section in sections}
    named = [(topic, anchor) for topic, anchors in _TOPICS.items() for anchor in anchors if anchor in found]
    rest = [("Further", anchor) for anchor in found if anchor not in {anchor for _, anchor in named}]
    return [replace(found[anchor], topic=topic) for topic, anchor in [*named, *rest]]


def _cards(evaluation: Evaluation) -> list[Card]:
    """Key numbers of the foremost split with labels."""
    labeled = [split for split in evaluation.splits if len(split.sample.y)]
    if not labeled:
        return []
    split = labeled[0]
    name = split.sample.split
    where = f"{split_name(name)}, n = {len(split.sample.y)}"
    chance = f"Guessing gives {1 / len(evaluation.classes):z.2f}"
    wanted = [
        ("auc_macro", "Macro AUC", where),
        ("reference_auc_macro", "Macro AUC of the reference", "Same patients"),
        ("auc_zero_vs_rest", "AUC, zero against low or positive", "Score 1 - p(zero)"),
        ("auc_low_vs_positive", "AUC, low against positive", "Among those two classes"),
        ("balanced_accuracy", "Balanced accuracy", chance),
        ("ece_top_label", "Calibration error", _expected_error(evaluation, name)),
    ]
    cards = [
        estimate_card(label, estimate, note)
        for quantity, label, note in wanted
        if (estimate := find(evaluation.metrics, name, quantity)) is not None
    ]
    return cards + _prognosis_card(split)


def _expected_error(evaluation: Evaluation, split: str) -> str:
    """The yardstick of the calibration error."""
    chance = find(evaluation.metrics, split, "ece_top_label_if_calibrated")
    if chance is None or not math.isfinite(chance.value):
        return ""
    return f"A perfectly calibrated model of this size: {chance.value:z.2f} ({interval(chance)})"


def _prognosis_card(split: SplitEvaluation) -> list[Card]:
    """The hazard ratio of the score."""
    part = split.prognosis
    if part is None:
        return []
    model = chosen_model(part)
    note = f"Adjusted for {covariate_names(part)}" if model is part.adjusted else "Not adjusted for any covariate"
    card = estimate_card("Hazard ratio of the score, per SD", model.coefficients[0].hazard_ratio, note)
    return [Card(card.label, card.value, card.interval, card.note)]
