"""The report's section on prognosis."""

from analysis.cox import CoxModel
from analysis.evaluation import Evaluation
from analysis.figures_survival import hazard_figure, kaplan_meier_figure, months
from analysis.followup import counts_by_reason
from analysis.page import Block, Gallery, Heading, Paragraph, Section, Table
from analysis.prognosis import Prognosis
from analysis.samples import class_label
from analysis.wording import count, p_value, split_name, told, told_p
from triher.settings import AnalysisConfig

_STABLE_EVENTS = 10
_ALPHA = 0.05


def prognosis_section(evaluation: Evaluation, config: AnalysisConfig) -> Section:
    """Whether the score says something about survival."""
    parts = [split.prognosis for split in evaluation.splits if split.prognosis is not None]
    if not parts:
        text = "No predicted patient has a survival time and an event status, so prognosis was not looked at."
        return Section("prognosis", "Prognosis", [Paragraph(text)])
    strata = f" The baseline hazard may differ by {' and '.join(config.strata)}." if config.strata else ""
    text = (
        f"The score is the predicted probability of {class_label(config.score)}, of patients the model had not seen. "
        "Hazard ratios are per standard deviation of the score; covariates were chosen beforehand and enter as "
        f"numbers, per unit. Cox models use Efron's ties.{strata} Groups for the curves follow from the number of "
        "patients alone, never from the outcome."
    )
    blocks: list[Block] = [Paragraph(text)]
    for part in parts:
        blocks += _split_blocks(part)
    return Section("prognosis", "Prognosis", blocks)


def _split_blocks(part: Prognosis) -> list[Block]:
    """One split: numbers, curves, models, warnings."""
    data = part.follow_up
    events = int(data.event.sum())
    text = (
        f"{count(len(data.patient_id), 'patient')} with {count(events, 'event')}; median follow-up "
        f"{months(part.median_follow_up_months)}."
    )
    blocks: list[Block] = [Heading(split_name(part.split)), Paragraph(text)]
    reasons = [f"{reason}: {n}" for reason, n in counts_by_reason(data.left_out)]
    if part.n_incomplete:
        reasons.append(f"a covariate is missing (adjusted model only): {part.n_incomplete}")
    if reasons:
        blocks.append(Paragraph(f"Left out of this part only: {'; '.join(reasons)}."))
    n_zero = sum(note.code == "time_zero" for note in data.notes)
    if n_zero:
        blocks.append(Paragraph(f"A survival time of 0 was taken as half a day in {count(n_zero, 'patient')}."))
    blocks += [Paragraph(f"The {note.text}.") for note in data.notes if note.code == "covariate_left_out"]
    drawings = [kaplan_meier_figure(part)]
    if not (part.alone.reason and (part.adjusted is None or part.adjusted.reason)):
        drawings.append(hazard_figure(part))
    blocks += [Gallery("", drawings), _group_table(part), _test_table(part), _model_table(part)]
    return [*blocks, *_warnings(part)]


def _group_table(part: Prognosis) -> Table:
    """The Kaplan-Meier groups in numbers."""
    rows = [[g.label, str(g.n), str(g.events), months(g.median_months)] for g in part.groups]
    caption = f"Groups by {part.grouped_by}; Kaplan-Meier with log-log 95 % bands"
    return Table(caption, ["Score", "Patients", "Events", "Median survival"], rows)


def _test_table(part: Prognosis) -> Table:
    """What the score adds."""
    given = "the covariates" if part.adjusted else "no covariates"
    rows = [
        ["Harrell's C of the score (0.5 is chance)", told(part.concordance)],
        ["Log-rank test between the groups, p", told_p(part.log_rank)],
        [f"Likelihood-ratio test of adding the score to {given}, p", told_p(part.added)],
    ]
    if part.adjusted:
        rows.append(["Gain in Harrell's C over the covariates", told(part.concordance_gain)])
    return Table("What the score says", ["Question", "Answer"], rows)


def _model_table(part: Prognosis) -> Table:
    """Hazard ratios of both models, with the test of proportional hazards."""
    rows = _model_rows("alone", part.alone)
    rows += _model_rows("adjusted", part.adjusted) if part.adjusted else []
    header = ["Model and variable", "Hazard ratio (95 %)", "p", "Proportional hazards, p"]
    return Table("Cox models; the last column is the exact Grambsch-Therneau score test (km)", header, rows)


def _model_rows(kind: str, model: CoxModel) -> list[list[str]]:
    """One line a coefficient."""
    proportional = {test.name: p_value(test.p) for test in model.proportionality}
    return [
        [f"{line.name} ({kind})", told(line.hazard_ratio), p_value(line.p), proportional.get(line.name, "-")]
        for line in model.coefficients
    ]


def _warnings(part: Prognosis) -> list[Block]:
    """What weakens the models."""
    texts = []
    for kind, model in (("score alone", part.alone), ("adjusted model", part.adjusted)):
        if model is None or model.reason:
            continue
        if model.events_per_coefficient < _STABLE_EVENTS:
            ratio = f"{model.events_per_coefficient:.1f} events per coefficient"
            texts.append(f"The {kind} has {ratio}; below {_STABLE_EVENTS} its hazard ratios are unstable.")
        bent = [test.name for test in model.proportionality if test.p < _ALPHA and test.name != "GLOBAL"]
        if bent:
            texts.append(f"In the {kind}, hazards are not proportional for: {', '.join(bent)}.")
    return [Paragraph(text, tone="note") for text in texts]
