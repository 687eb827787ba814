"""The part of the analysis that corrects all p values for their number; it comes after all others."""

import math
from collections.abc import Iterable, Sequence

from analysis.discrimination.questions import QUESTIONS
from analysis.figures.canvas import plain
from analysis.inference.multiplicity import NAMES, Hypothesis, correct, corrected_metrics, primary_tests
from analysis.metrics import Cell, Metric, number_cell
from analysis.page import Block, Data, Paragraph, Section, Table
from analysis.part import Material, Part
from analysis.patients.samples import class_label
from analysis.sections.beside import companion_name
from analysis.wording import p_value, split_name
from triher.labels import SCHEMES

_COLUMNS = (
    "family",
    "part",
    "split",
    "cohort",
    "site",
    "quantity",
    "class",
    "n",
    "p",
    "corrected_p",
    "method",
    "reason",
)
_WORDS = {
    "mcnemar": "McNemar's test, right classes of the model and of",
    "multinomial_calibrated": "All classes calibrated, multinomial model",
    "multinomial_in_the_large": "All classes calibrated in the large, multinomial model",
    "unreliability": "Calibration: slope 1 and intercept 0",
    "spiegelhalter": "Calibration: Spiegelhalter's z",
    "log_rank": "Survival in the halves of the score, log-rank test",
    "log_rank_stratified": "Survival in the halves of the score, stratified log-rank test",
    "peto_peto": "Survival in the halves of the score, Peto-Peto test",
    "score_added": "Survival: adding the score to the covariates",
    "score_nonlinear": "Survival: curved effect of the score",
    "hazard_ratio_alone": "Hazard ratio, score alone",
    "hazard_ratio_adjusted": "Hazard ratio, adjusted",
    "proportionality_alone": "Proportional hazards, score alone",
    "proportionality_adjusted": "Proportional hazards, adjusted",
    "coverage": "Prediction sets cover less than promised",
    "interaction_auc_macro": "Macro AUC differs between the levels of",
}
_CLASSES = frozenset(name for classes in SCHEMES.values() for name in classes)
_HALVES = "rmst_difference_at_"


def judge_multiplicity(material: Material, metrics: Iterable[Metric]) -> Part:
    """Test the primary hypotheses, and correct their p values and all others.

    Args:
        material: as every part is given.
        metrics: the rows of everything else.

    Raises:
        StopRun: as `analysis.inference.multiplicity.primary_tests`.
    """
    primary = primary_tests(material)
    hypotheses = correct(primary, metrics)
    if not hypotheses:
        return Part()
    section = Section("multiplicity", "All p values", _blocks(hypotheses, primary))
    return Part((*primary, *corrected_metrics(hypotheses)), section)


def _blocks(hypotheses: Sequence[Hypothesis], primary: Sequence[Metric]) -> list[Block]:
    """Text, and one table a family."""
    text = (
        "Who looks at many p values finds small ones by chance. Those of the primary hypotheses (analysis.primary: "
        "is the AUC other than 0.5 in the foremost split, in each held-out cohort where there are several) are "
        "corrected after Holm, which keeps the chance of any false claim at 5 %. All others, exploratory ones, are "
        "corrected after Benjamini and Hochberg: of the claims with a corrected p below 0.05, about 5 % at most are "
        "false on average. Intervals are not corrected."
    )
    blocks: list[Block] = [Paragraph(text)]
    if primary and primary[0].split == "oof":
        text = (
            "No patient was held out: the primary p values rest on pooled out-of-fold predictions, which several "
            "models gave, and describe rather than test."
        )
        blocks.append(Paragraph(text, tone="note"))
    for method, name in NAMES.items():
        family = [one for one in hypotheses if one.method == method]
        if family:
            blocks.append(_table(family, method, name))
    return blocks


def _table(family: Sequence[Hypothesis], method: str, name: str) -> Table:
    """The p values of one family."""
    rows = [[_what(one.metric), _where(one.metric), _p(one), p_value(one.corrected)] for one in family]
    title = {"holm": "Primary hypotheses", "fdr_bh": "All other p values"}[method]
    caption = f"{title}: {len(family)}, corrected after {name}"
    header = ["Hypothesis", "Where", "p", "Corrected p"]
    folded = "" if method == "holm" else f"All {len(family)} other p values"
    data = Data(_COLUMNS, [_line(one) for one in family])
    file = {"holm": "p-values-primary", "fdr_bh": "p-values-others"}[method]
    return Table(caption, header, rows, folded=folded, name=file, data=data)


def _what(metric: Metric) -> str:
    """A hypothesis in words where there are some, else by the name of its quantity."""
    quantity = metric.quantity.removesuffix("_p")
    for name, question in QUESTIONS.items():
        endings = {
            name: "AUC is not 0.5",
            f"{name}_ahead": "the model minus",
            f"{name}_between_cohorts": "between",
            f"interaction_{name}": "AUC differs between the levels of",
        }
        if quantity in endings:
            whom = _whom(metric) if quantity != name else ""
            return f"{question.label}: {endings[quantity]} {whom}".strip()
    if quantity.startswith(_HALVES):
        when = quantity.removeprefix(_HALVES).replace("_", " ")
        return f"Restricted mean survival differs between the halves of the score at {when}"
    words = _WORDS.get(quantity, quantity.replace("_", " "))
    between = " " if words.endswith(" of") else ": "
    return f"{words[:1].upper()}{words[1:]}{f'{between}{_whom(metric)}' if metric.class_name else ''}"


def _whom(metric: Metric) -> str:
    """The class, companion, variable or grouping that a test is about."""
    if metric.quantity == "mcnemar_p" or metric.quantity.endswith("_ahead_p"):
        name = companion_name(metric.class_name)
        return f"{name[:1].lower()}{name[1:]}" if metric.class_name[:1].islower() else name
    if metric.class_name == "GLOBAL":
        return "all variables together"
    return class_label(metric.class_name) if metric.class_name in _CLASSES else plain(metric.class_name)


def _where(metric: Metric) -> str:
    """Split, cohort and site."""
    return ", ".join(filter(None, [split_name(metric.split), metric.cohort, metric.site]))


def _p(one: Hypothesis) -> str:
    """The p value, or why there is none."""
    estimate = one.metric.estimate
    return p_value(estimate.value) if math.isfinite(estimate.value) else f"not estimable: {estimate.reason}"


def _line(one: Hypothesis) -> list[Cell]:
    """A row of the table's file."""
    m = one.metric
    numbers = [number_cell(v) for v in (m.estimate.value, one.corrected)]
    place = [NAMES[one.method], m.part, m.split, m.cohort, m.site, m.quantity, m.class_name]
    return [*place, m.estimate.n, *numbers, m.estimate.method, m.estimate.reason]
