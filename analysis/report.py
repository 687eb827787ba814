"""The report: every result on one self-contained page, with a summary in plain words."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from analysis.acquisition import Acquisition
from analysis.cox import CoxModel
from analysis.evaluation import Evaluation, SplitEvaluation
from analysis.flow import patient_flow
from analysis.limits import Facts, limits
from analysis.metrics import find
from analysis.page import Card, Page, Section, estimate_card
from analysis.population import flow_blocks
from analysis.prognosis import Prognosis
from analysis.samples import class_label
from analysis.sections_beside import baseline_sentences, beside_section
from analysis.sections_calibration import calibration_section
from analysis.sections_cost import cost_section
from analysis.sections_limits import limits_section
from analysis.sections_origin import model_section, provenance_section
from analysis.sections_performance import discrimination_section, nested_section
from analysis.sections_shortcut import opened_blocks, opened_too_often, shortcut_section
from analysis.sections_survival import prognosis_section
from analysis.sections_table_one import table_one_blocks
from analysis.wording import class_list, count, interval, p_value, places, split_name
from triher import __version__
from triher.cohort import Cohort
from triher.errors import Note, Skipped
from triher.settings import Config

_TOPICS = {
    "Patients": ("patients",),
    "Telling apart": (
        "discrimination", "nested", "operating", "subgroups", "beside", "comparisons", "shortcuts",
    ),
    "Probabilities": ("calibration", "calibrators", "recalibration"),
    "Deciding": ("decision", "conformal", "reject"),
    "Why the model said so": ("explanations", "matched"),
    "Survival": ("prognosis", "survival-measures"),
    "Genes": ("transcriptomics",),
    "Variants": ("study",),
    "How it was done": ("limits", "multiplicity", "model", "cost", "provenance"),
}  # fmt: skip
"""Topic of the contents -> anchors of its sections, in reading order."""
_HEAVY = 60  # weight of a limit that belongs to the top of the page
_KINDS = {"test": "held-out", "oof": "development", "new": "new"}


def build_page(
    evaluation: Evaluation,
    frame: pd.DataFrame,
    cohort: Cohort,
    config: Config,
    *,
    sections: Sequence[Section],
    summary: Sequence[str] = (),
    own_data: Collection[str] = (),
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
        skipped: rows of ``skipped.csv``.
        notes: rows of ``notes.csv``.
        record: contents of ``run.json``.
        acquisition: facts about the source images, where they are known.
        sizes: bytes of what the earlier stages left, by name.
    """
    flow = patient_flow(frame, cohort, skipped, n_classes=len(evaluation.classes), has_images=config.has_images)
    facts = Facts(evaluation, frame, flow, config, record)
    table_one = table_one_blocks(frame, cohort, evaluation.classes, acquisition or {})
    who = [*flow_blocks(flow, evaluation.classes, notes), *table_one]
    shown = [
        Section("patients", "Who was in, who was left out", who),
        discrimination_section(evaluation, opened_blocks(record)),
        *beside_section(evaluation, record),
        *shortcut_section(evaluation),
    ]
    if evaluation.scheme == "triple":
        shown.append(nested_section(evaluation))
    shown += [
        calibration_section(evaluation),
        prognosis_section(evaluation, config.analysis),
        *sections,
        model_section(record, config),
        provenance_section(record, __version__),
        *cost_section(evaluation, frame, record, sizes or {}),
        limits_section(facts),
    ]
    named = {row.patient_id for row in flow.left_out} | {note.patient_id for note in notes} | set(flow.unaccounted)
    n_named = len(named - {""})
    ids = [f"the ids of {count(n_named, 'patient')} who were left out or remarked on"] if n_named else []
    ids += [f"ids, pathology, covariates or slices of {count(len(set(own_data)), 'patient')}"] if own_data else []
    origin = "breast DCE-MRI" if config.has_images else "a table of features"
    cohorts = " and ".join(sorted(frame["cohort"].unique()))
    return Page(
        title=f"{class_list(evaluation.classes)} from {origin}",
        lead=f"Cohort {cohorts}: {count(len(flow.done), 'patient')} predicted, {flow.n_cohort} in the cohort table.",
        summary=[
            *_control_sentence(record),
            *_summary(evaluation, frame, config.analysis.score),
            *opened_too_often(record),
            *([" ".join(summary)] if summary else []),
            *_limit_sentence(facts),
        ],
        cards=_cards(evaluation),
        sections=_in_order(shown),
        patient_level=f"yes: {'; '.join(ids)}" if ids else "no; figures show groups and unnamed curves",
        footer=f"Made by TriHER {__version__}. Research use only.",
    )


def _in_order(sections: Sequence[Section]) -> list[Section]:
    """The sections by topic; one that no topic names comes last."""
    found = {section.anchor: section for section in sections}
    named = [(topic, anchor) for topic, anchors in _TOPICS.items() for anchor in anchors if anchor in found]
    rest = [("Further", anchor) for anchor in found if anchor not in {anchor for _, anchor in named}]
    return [replace(found[anchor], topic=topic) for topic, anchor in [*named, *rest]]


def _summary(evaluation: Evaluation, frame: pd.DataFrame, score: str) -> list[str]:
    """Plain words about the foremost split."""
    labeled = [split for split in evaluation.splits if len(split.sample.y)]
    if not labeled:
        return ["No predicted patient has a HER2 label, so nothing can be said about right or wrong."]
    split = labeled[0]
    sentences = [_headline(evaluation, split, frame), *_reference_sentence(evaluation, split)]
    sentences += _accuracy_sentence(evaluation, split)
    sentences += baseline_sentences(evaluation, split.sample.split)
    sentences += _calibration_sentence(evaluation, split) + _prognosis_sentence(split, score)
    return [" ".join(sentences)]


def _control_sentence(record: Mapping[str, Any]) -> list[str]:
    """A warning that the labels are not the patients' own."""
    if not record.get("stages", {}).get("classify", {}).get("labels_shuffled", False):
        return []
    return [
        "Negative control: the labels were shuffled within sites before training, so nothing but guessing is to be "
        "found, and every AUC should lie about 0.5."
    ]


def _headline(evaluation: Evaluation, split: SplitEvaluation, frame: pd.DataFrame) -> str:
    """Who was judged and how well the classes were told apart."""
    sample = split.sample
    sites = sorted(frame.loc[frame["split"] == sample.split, "site"].unique())
    kind = _KINDS.get(sample.split, sample.split)
    who = f"On {count(len(sample.y), f'{kind} patient')} of {places(sites)}"
    unseen = ", each predicted by a model that had not seen that patient," if sample.split == "oof" else ""
    macro = find(evaluation.metrics, sample.split, "auc_macro")
    if macro is None or not math.isfinite(macro.value):
        reason = macro.reason if macro else "no estimate"
        return f"{who}{unseen} the classes cannot be compared as a whole: {reason}."
    spread = f"95 % interval {interval(macro)}" if math.isfinite(macro.low) else f"no interval: {macro.reason}"
    return (
        f"{who}{unseen} the model told {class_list(evaluation.classes)} apart with a macro AUC of {macro.value:z.2f} "
        f"({spread}); 0.5 is guessing and 1 is perfect."
    )


def _accuracy_sentence(evaluation: Evaluation, split: SplitEvaluation) -> list[str]:
    """How often the likeliest class was right, beside naming one class always."""
    right = find(evaluation.metrics, split.sample.split, "accuracy")
    always = find(evaluation.metrics, split.sample.split, "majority_share")
    if right is None or always is None or not math.isfinite(right.value):
        return []
    n = len(split.sample.y)
    spread = f", 95 % interval {right.low:.0%} to {right.high:.0%}" if math.isfinite(right.low) else ""
    return [
        f"The likeliest class was the true one for {round(right.value * n)} of {n} ({right.value:.0%}{spread}); "
        f"naming the most common class for everybody is right in {always.value:.0%}."
    ]


def _limit_sentence(facts: Facts) -> list[str]:
    """What weighs most against the result."""
    found = [limit for limit in limits(facts) if limit.weight >= _HEAVY]
    return [f"What weighs most against it: {found[0].title.lower()}. {found[0].text}"] if found else []


def _reference_sentence(evaluation: Evaluation, split: SplitEvaluation) -> list[str]:
    """How near the model came to the reference."""
    best = find(evaluation.metrics, split.sample.split, "reference_auc_macro")
    if best is None or not math.isfinite(best.value):
        return []
    return [
        f"On the same patients the reference, the best possible classifier of a phantom, reaches {best.value:z.2f}."
    ]


def _calibration_sentence(evaluation: Evaluation, split: SplitEvaluation) -> list[str]:
    """Whether the calibration error is more than chance."""
    error = find(evaluation.metrics, split.sample.split, "ece_top_label")
    chance = find(evaluation.metrics, split.sample.split, "ece_top_label_if_calibrated")
    if error is None or chance is None or not (math.isfinite(error.value) and math.isfinite(chance.high)):
        return []
    verdict = (
        "more than a perfectly calibrated model of this size would show"
        if error.value > chance.high
        else "within what a perfectly calibrated model of this size would show"
    )
    return [f"The calibration error is {error.value:z.2f}, {verdict} ({interval(chance)})."]


def _prognosis_sentence(split: SplitEvaluation, score: str) -> list[str]:
    """What the score said about survival."""
    part = split.prognosis
    if part is None:
        return []
    model = _model(part)
    if model.reason:
        return [f"Whether the score goes with survival is not estimable ({model.reason})."]
    line = model.coefficients[0]
    ratio = line.hazard_ratio
    return [
        f"Per standard deviation of the predicted probability of {class_label(score)} the hazard of an event is "
        f"multiplied by {ratio.value:.2f} (95 % interval {interval(ratio)}, p {_equals(line.p)}), "
        f"{_given(part, model)}."
    ]


def _given(part: Prognosis, model: CoxModel) -> str:
    """What the hazard ratio takes into account, and why it is no more."""
    if model is part.adjusted:
        return "the covariates taken into account"
    if part.adjusted is None:
        return "with no covariate taken into account"
    return f"with no covariate taken into account: with them it is not estimable ({part.adjusted.reason})"


def _model(part: Prognosis) -> CoxModel:
    """The adjusted model where the events allow it, else the score alone."""
    return part.adjusted if part.adjusted and not part.adjusted.reason else part.alone


def _equals(p: float) -> str:
    """A p value after its letter."""
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


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
    model = _model(part)
    note = "Adjusted for the covariates" if model is part.adjusted else "Not adjusted for any covariate"
    card = estimate_card("Hazard ratio of the score, per SD", model.coefficients[0].hazard_ratio, note)
    return [Card(card.label, card.value, card.interval, card.note)]
