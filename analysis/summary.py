"""The summary at the top of the report: plain words about the foremost split."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.calibration.metrics import joint_test
from analysis.evaluation import Evaluation, SplitEvaluation
from analysis.figures.canvas import plain
from analysis.inference.corrected_p import SMALL_P
from analysis.limits.facts import Facts
from analysis.limits.ranked import limits
from analysis.metrics import find
from analysis.patients.samples import class_label
from analysis.sections.beside import baseline_sentences
from analysis.survival.cox import CoxModel
from analysis.survival.prognosis import Prognosis
from analysis.wording import class_list, count, equals, interval, p_value, patients_of, places

_HEAVY = 60  # weight of a limit that belongs to the top of the page


def plain_words(evaluation: Evaluation, frame: pd.DataFrame, score: str) -> list[str]:
    """Plain words about the foremost split, in a paragraph for each question."""
    labeled = [split for split in evaluation.splits if len(split.sample.y)]
    if not labeled:
        return ["No predicted patient has a HER2 label, so nothing can be said about right or wrong."]
    split = labeled[0]
    answers = (
        [_headline(evaluation, split, frame), *_reference_sentence(evaluation, split)],
        _accuracy_sentence(evaluation, split) + baseline_sentences(evaluation, split.sample.split),
        _calibration_sentence(evaluation, split),
        _prognosis_sentence(split, score),
    )
    return [" ".join(sentences) for sentences in answers if sentences]


def limit_sentence(facts: Facts) -> list[str]:
    """What weighs most against the result."""
    found = [limit for limit in limits(facts) if limit.weight >= _HEAVY]
    return [f"What weighs most against it: {found[0].title.lower()}. {found[0].text}"] if found else []


def control_sentence(record: Mapping[str, Any]) -> list[str]:
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
    kind = patients_of(sample.split)
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
    joint = joint_test(evaluation.metrics, split.sample.split)
    tested = ""
    if joint is not None and joint.value < SMALL_P:
        but = "and" if error.value > chance.high else "yet"
        p = equals(p_value(joint.value))
        tested = f", {but} the test of all classes together finds the probabilities off (p {p})"
    return [f"The calibration error is {error.value:z.2f}, {verdict} ({interval(chance)}){tested}."]


def _prognosis_sentence(split: SplitEvaluation, score: str) -> list[str]:
    """What the score said about survival."""
    part = split.prognosis
    if part is None:
        return []
    model = chosen_model(part)
    if model.reason:
        return [f"Whether the score goes with survival is not estimable ({model.reason})."]
    line = model.coefficients[0]
    ratio = line.hazard_ratio
    unsure = ", which may be chance" if ratio.low <= 1 <= ratio.high else ""
    return [
        f"Per standard deviation of the predicted probability of {class_label(score)} the hazard of an event is "
        f"multiplied by {ratio.value:.2f} (95 % interval {interval(ratio)}, p {equals(p_value(line.p))}, "
        f"{count(model.events, 'event')}){unsure}; {_given(part, model)}."
    ]


def _given(part: Prognosis, model: CoxModel) -> str:
    """What the hazard ratio takes into account, and why it is no more."""
    if model is part.adjusted:
        return f"taken into account: {covariate_names(part)}"
    if part.adjusted is None:
        return "with no covariate taken into account"
    return f"with no covariate taken into account: with them it is not estimable ({part.adjusted.reason})"


def covariate_names(part: Prognosis) -> str:
    """The covariates that the adjusted model takes into account."""
    *most, last = dict.fromkeys(map(plain, part.follow_up.terms or part.follow_up.names))
    return f"{', '.join(most)} and {last}" if most else last


def chosen_model(part: Prognosis) -> CoxModel:
    """The adjusted model where the events allow it, else the score alone."""
    return part.adjusted if part.adjusted and not part.adjusted.reason else part.alone
