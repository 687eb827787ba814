"""The report's section on prognosis."""

import math

from analysis.evaluation import Evaluation
from analysis.figures.survival import hazard_figure, kaplan_meier_figure, months, shape_figure
from analysis.metrics import ESTIMATE_COLUMNS, estimate_cells
from analysis.page import Block, Data, Gallery, Heading, Paragraph, Section, Table, fold_later
from analysis.patients.samples import class_label
from analysis.sections.cox import depth_blocks, model_table
from analysis.survival.followup import counts_by_reason
from analysis.survival.prognosis import Prognosis
from analysis.wording import count, split_name, told, told_p
from triher.settings import AnalysisConfig

_WEAKENS = (
    "covariates_collinear",
    "few_events",
    "hazards_not_proportional",
    "monotone_likelihood",
    "score_stands_in",
)


def prognosis_section(evaluation: Evaluation, config: AnalysisConfig) -> Section:
    """Whether the score says something about survival."""
    parts = [split.prognosis for split in evaluation.splits if split.prognosis is not None]
    if not parts:
        text = "No predicted patient has a survival time and an event status, so prognosis was not looked at."
        return Section("prognosis", "Prognosis", [Paragraph(text)])
    strata = f" The baseline hazard may differ by {' and '.join(config.strata)}." if config.strata else ""
    text = (
        f"The score is the predicted probability of {class_label(config.score)}, of patients the model had not seen. "
        "The event, and the day from which time runs, are those of the cohort table, which does not name them: a "
        "paper has to. "
        "Hazard ratios are per standard deviation of the score; covariates were chosen beforehand and enter per "
        "unit, text as its levels against the most frequent one. Cox models use Efron's ties, those with Firth's "
        f"penalty Breslow's.{strata} Groups for the curves follow from the number of patients alone, never from the "
        "outcome."
    )
    blocks: list[Block] = [Paragraph(text), *fold_later([_split_blocks(part) for part in parts])]
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
    shape = [Gallery("", [shape_figure(part)])] if part.depth.shape.knots else []
    if not (part.alone.reason and (part.adjusted is None or part.adjusted.reason)):
        drawings.append(hazard_figure(part))
    blocks += [Gallery("", drawings), *shape, _group_table(part), _test_table(part), model_table(part)]
    blocks += [
        Paragraph(_sentence(note.text, part.split), tone="note") for note in part.notes if note.code in _WEAKENS
    ]
    return [*blocks, *depth_blocks(part)]


def _sentence(text: str, split: str) -> str:
    """A note under the heading of its split, which need not be named again.

    >>> _sentence("test: the adjusted model has 4.0 events per coefficient", "test")
    'The adjusted model has 4.0 events per coefficient.'
    """
    told = text.removeprefix(f"{split}: ")
    return f"{told[:1].upper()}{told[1:]}."


def _group_table(part: Prognosis) -> Table:
    """The Kaplan-Meier groups in numbers."""
    rows = [[g.label, str(g.n), str(g.events), months(g.median_months)] for g in part.groups]
    caption = f"Groups by {part.grouped_by}; Kaplan-Meier with log-log 95 % bands"
    data = Data(
        ["score", "patients", "events", "median_months", "reason"],
        [
            [
                g.label,
                g.n,
                g.events,
                *((g.median_months, "") if math.isfinite(g.median_months) else (None, "not reached")),
            ]
            for g in part.groups
        ],
    )
    header = ["Score", "Patients", "Events", "Median survival"]
    return Table(caption, header, rows, name=f"risk-groups-{part.split}", data=data)


def _test_table(part: Prognosis) -> Table:
    """What the score adds."""
    given = "the covariates" if part.adjusted else "no covariates"
    answers = {
        "Harrell's C of the score (0.5 is chance)": part.concordance,
        "Log-rank test between the groups, p": part.log_rank,
        f"Likelihood-ratio test of adding the score to {given}, p": part.added,
        "Likelihood-ratio test of a curved effect of the score against a straight one, p": part.depth.shape.nonlinear,
    }
    if part.adjusted:
        answers["Gain in Harrell's C over the covariates"] = part.concordance_gain
    rows = [[name, told_p(e) if name.endswith(", p") else told(e)] for name, e in answers.items()]
    data = Data(["question", *ESTIMATE_COLUMNS], [[name, *estimate_cells(e)] for name, e in answers.items()])
    return Table("What the score says", ["Question", "Answer"], rows, name=f"score-{part.split}", data=data)
