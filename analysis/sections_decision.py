"""The report's section on net benefit: what deciding by the model would gain."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.actions import ACTIONS, Action, benefits_label
from analysis.canvas import plain
from analysis.decision import Curve, decision_curve, given_shares
from analysis.figures_decision import decision_figure, lead_figure
from analysis.metrics import ESTIMATE_COLUMNS, Metric, estimate_cells
from analysis.page import Block, Data, Gallery, Heading, Paragraph, Section, Table
from analysis.part import Material, Part
from analysis.samples import Sample, split_samples, subgroup_samples
from analysis.wording import count, split_name
from triher.estimate import Estimate
from triher.types import Labels, Probabilities

BASELINE = "clinical"
"""The companion whose curve stands beside the model's."""
NAMED = (0.1, 0.2, 0.3, 0.5, 0.7)
"""Thresholds of the table and of ``metrics.csv``."""
_MOST_SPANS = 3
_EVERY = 5  # thresholds in the printed table of the whole curve
_HEADINGS = {
    "net_benefit": "Model",
    "net_benefit_all": "Treat everybody",
    "net_benefit_lead": "Model minus the better of all and none",
    "standardized_net_benefit": "Standardized (1 is perfect)",
    "interventions_avoided": "Avoided in 100",
    "net_benefit_baseline": "Covariates alone",
    "net_benefit_ahead": "Model minus covariates alone",
}
_INTRO = (
    "Net benefit puts right and vain treatments on one scale: the share of patients rightly treated, minus the share "
    "treated in vain times the odds of the threshold. The threshold is the probability of benefit from which on one "
    "would treat; at 20 % one vain treatment counts as much as a quarter of a right one (Vickers & Elkin, Med Decis "
    "Making 2006;26:565). A model is of use at a threshold only if it beats treating everybody and treating nobody. "
    "No threshold is agreed on for a prediction from images, so read the curve where yours lies."
)
_BANDS = (
    "Bands are pointwise 95 % intervals of a bootstrap that resamples patients freely, so the share of those who "
    "benefit varies, too; model, defaults and baseline see the same resamples. What to do follows from the curve "
    "itself, however wide its band; the band says how much more patients could teach (Vickers et al., Diagn Progn "
    "Res 2023;7:11)."
)
_SHARES = (
    "The share of those who benefit is that of these patients, and the curve with it. Where a cohort was enriched, "
    "or picked by class as cases and controls are, it is not the curve of a clinic; give the class shares there as "
    "analysis.prevalence."
)


@dataclass(frozen=True)
class Judged:
    """One action in one split."""

    sample: Sample
    curve: Curve
    given: Curve | None
    """With the class shares of ``analysis.prevalence``."""
    beside: Curve | None
    """Model and baseline on the patients whom both predicted."""
    cohorts: Mapping[str, Curve]
    """Cohort -> its curve, where there are several."""


def judge_decision(material: Material) -> Part:
    """The net benefit of every action in every split.

    Raises:
        StopRun: as `analysis.decision.given_shares`.
    """
    shares = given_shares(material.config.analysis.prevalence, material.classes)
    judged = [
        _judge(material, sample, action, shares)
        for sample in material.samples
        for action in ACTIONS[material.config.scheme]
        if len(sample.y)
    ]
    if not judged:
        return Part()
    actions = ACTIONS[material.config.scheme]
    told = "; ".join(f"{a.label} for {benefits_label(a)} ({a.source})" for a in actions)
    blocks: list[Block] = [Paragraph(_INTRO), Paragraph(f"Taken to benefit: {told}."), Paragraph(_BANDS)]
    blocks.append(Paragraph(_SHARES, tone="note"))
    for split in dict.fromkeys(j.sample.split for j in judged):
        blocks += _split_blocks([j for j in judged if j.sample.split == split])
    metrics = tuple(metric for j in judged for metric in _metrics(j))
    return Part(metrics, Section("decision", "What deciding by the model would gain", blocks))


def _judge(material: Material, sample: Sample, action: Action, shares: np.ndarray | None) -> Judged:
    """All curves of one action in one split."""
    config, classes = material.config, material.classes

    def curve(
        y: Labels, p: Probabilities, other: Probabilities | None = None, given: np.ndarray | None = None
    ) -> Curve:
        draws = {"resamples": config.analysis.resamples, "seed": config.seed}
        return decision_curve(y, p, classes, action, baseline=other, shares=given, **draws)

    common = _common(material.companions, sample, config.scheme)
    parts = subgroup_samples(material.frame, config.scheme, sample.split)
    return Judged(
        sample,
        curve(sample.y, sample.probabilities),
        None if shares is None else curve(sample.y, sample.probabilities, given=shares),
        None if common is None else curve(*common),
        {part.cohort: curve(part.y, part.probabilities) for part in parts if not part.site},
    )


def _common(
    companions: pd.DataFrame | None, sample: Sample, scheme: str
) -> tuple[Labels, Probabilities, Probabilities] | None:
    """Labels, and both models' predictions, of the patients whom model and baseline predicted."""
    if companions is None:
        return None
    rows = companions[(companions["split"] == sample.split) & (companions["model"] == BASELINE)]
    if rows.empty:
        return None
    [other] = split_samples(rows, scheme)
    place = {patient_id: i for i, patient_id in enumerate(other.patient_id)}
    mine = [i for i, patient_id in enumerate(sample.patient_id) if patient_id in place]
    theirs = [place[sample.patient_id[i]] for i in mine]
    return sample.y[mine], sample.probabilities[mine], other.probabilities[theirs]


def _metrics(judged: Judged) -> Iterator[Metric]:
    """The named thresholds as rows."""
    curves = [("", "", judged.curve), ("", "_given_shares", judged.given), ("", "", judged.beside)]
    curves += [(cohort, "", curve) for cohort, curve in judged.cohorts.items()]
    for cohort, suffix, curve in curves:
        if curve is None:
            continue
        shown = ("net_benefit_baseline", "net_benefit_ahead") if curve is judged.beside else curve.quantities
        for quantity in shown:
            for t in NAMED:
                name = f"{quantity}_at_{100 * t:.0f}{suffix}"
                place = (judged.sample.split, name, curve.at(quantity, t), curve.action.name)
                yield Metric("decision", *place, cohort=cohort)


def _split_blocks(judged: Sequence[Judged]) -> list[Block]:
    """Sentences, tables and figures of one split."""
    split = judged[0].sample.split
    blocks: list[Block] = [Heading(split_name(split))]
    drawings, given = [], []
    for j in judged:
        action, name = j.curve.action, f"{split}-{j.curve.action.name.replace('_', '-')}"
        blocks.append(Paragraph(_sentence(j)))
        if not math.isfinite(j.curve.at("net_benefit", 0.5).value):
            continue
        drawings.append(decision_figure(f"decision-{name}", f"{action.label}: net benefit", j.curve, j.beside))
        drawings.append(lead_figure(f"decision-lead-{name}", f"{action.label}: lead", j.curve, j.beside))
        if j.given is not None and math.isfinite(j.given.at("net_benefit", 0.5).value):
            title = f"{action.label}: net benefit with the given class shares"
            given.append(decision_figure(f"decision-given-{name}", title, j.given, None))
    blocks.append(_named_table(judged))
    if drawings:
        blocks.append(Gallery("", drawings))
    if given:
        text = (
            "With the class shares of analysis.prevalence the rates within each class count by these shares. The "
            "predictions stay as they are: if the model was trained on other shares, recalibrate it first "
            "(analysis.recalibrate). Resampled within classes."
        )
        blocks += [Paragraph(text), Gallery("", given)]
    if any(j.cohorts for j in judged):
        blocks.append(_cohort_table(judged))
    return [*blocks, _whole_table(judged)]


def _sentence(judged: Judged) -> str:
    """Where the model is ahead of both defaults."""
    curve = judged.curve
    lead, action = curve.quantities["net_benefit_lead"], curve.action
    who = f"{action.label} ({benefits_label(action)}, {curve.share:.0%} of {count(curve.n, 'patient')})"
    if not math.isfinite(lead[0].value):
        return f"{action.label}: not estimable, {lead[0].reason}."
    ahead = _spans(curve.thresholds, [e.value > 0 for e in lead])
    surely = _spans(curve.thresholds, [e.low > 0 for e in lead])
    if not ahead:
        return f"{who}: at no threshold is the model worth more than the better of treating everybody and nobody."
    more = f", with an interval above 0 at {surely}" if surely else "; nowhere does its interval exclude 0"
    return f"{who}: the model is worth more than the better of treating everybody and nobody at {ahead}{more}."


def _spans(thresholds: Sequence[float], holds: Sequence[bool]) -> str:
    """Runs of thresholds as text, the longest ones when there are many; empty when nothing holds.

    >>> _spans((0.1, 0.2, 0.3, 0.4), (True, True, False, True))
    '10 to 20 % and 40 %'
    """
    spans: list[list[float]] = []
    for previous, (t, held) in zip((False, *holds), zip(thresholds, holds, strict=True), strict=False):
        if held and previous:
            spans[-1][-1] = t
        elif held:
            spans.append([t, t])
    longest = sorted(sorted(spans, key=lambda s: s[0] - s[1])[:_MOST_SPANS])
    words = [f"{100 * a:.0f} to {100 * b:.0f} %" if a < b else f"{100 * a:.0f} %" for a, b in longest]
    more = ["some more"] if len(spans) > _MOST_SPANS else []
    *first, last = [*words, *more] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _named_table(judged: Sequence[Judged]) -> Table:
    """The named thresholds, one a line."""
    rows = [row for j in judged for row in _printed(j, NAMED)]
    split = judged[0].sample.split
    caption = f"{split_name(split)}: net benefit at some thresholds, estimate (95 % interval)"
    return Table(caption, _header(judged), rows, name=f"decision-thresholds-{split}", data=_data(judged, NAMED))


def _whole_table(judged: Sequence[Judged]) -> Table:
    """The whole curves, folded."""
    thresholds = judged[0].curve.thresholds
    rows = [row for j in judged for row in _printed(j, thresholds[_EVERY - 1 :: _EVERY])]
    split = judged[0].sample.split
    caption = f"{split_name(split)}: net benefit over all thresholds, estimate (95 % interval)"
    return Table(
        caption,
        _header(judged),
        rows,
        folded="The whole curves as numbers",
        name=f"decision-curves-{split}",
        data=_data(judged, thresholds),
    )


def _header(judged: Sequence[Judged]) -> list[str]:
    """The columns of `_printed`."""
    names = list(_HEADINGS.values())
    return ["Decision, threshold", *(names if any(j.beside for j in judged) else names[:-2])]


def _printed(judged: Judged, thresholds: Sequence[float]) -> list[list[str]]:
    """One line a threshold."""
    lines = []
    for t in thresholds:
        cells = [
            _cell(curve.at(quantity, t), 1 if quantity == "interventions_avoided" else 3)
            for curve, quantity in _columns(judged)
        ]
        lines.append([f"{judged.curve.action.label}, {100 * t:.0f} %", *cells])
    return lines


def _columns(judged: Judged) -> list[tuple[Curve, str]]:
    """Which curve each column is of."""
    own = [(judged.curve, quantity) for quantity in judged.curve.quantities]
    if judged.beside is None:
        return own
    return own + [(judged.beside, quantity) for quantity in ("net_benefit_baseline", "net_benefit_ahead")]


def _cell(estimate: Estimate, digits: int) -> str:
    """A number with its interval."""
    if not math.isfinite(estimate.value):
        return f"not estimable: {estimate.reason}"
    value = f"{estimate.value:.{digits}f}"
    if not math.isfinite(estimate.low):
        return value
    return f"{value} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def _data(judged: Sequence[Judged], thresholds: Sequence[float]) -> Data:
    """The same in full precision, with the given shares."""
    rows: list[list[str | int | float | None]] = []
    for j in judged:
        columns = [(curve, quantity, "cohort") for curve, quantity in _columns(j)]
        columns += [(j.given, quantity, "given") for quantity in (j.given.quantities if j.given else ())]
        for curve, quantity, shares in columns:
            place = [j.sample.split, curve.action.name, shares, quantity]
            rows += [[*place, t, *estimate_cells(curve.at(quantity, t))] for t in thresholds]
    return Data(("split", "action", "class_shares", "quantity", "threshold", *ESTIMATE_COLUMNS), rows)


def _cohort_table(judged: Sequence[Judged]) -> Table:
    """The lead in each cohort, whose share of those who benefit is its own."""
    split = judged[0].sample.split
    lines = [(j.curve.action, cohort, curve) for j in judged for cohort, curve in j.cohorts.items()]
    rows = [
        [f"{action.label}, {plain(cohort)}", str(curve.n), _share(curve), *_leads(curve)]
        for action, cohort, curve in lines
    ]
    data = [
        [split, action.name, cohort, t, *estimate_cells(curve.at("net_benefit_lead", t))]
        for action, cohort, curve in lines
        for t in NAMED
    ]
    caption = f"{split_name(split)}, by cohort: model minus the better of treating everybody and nobody"
    header = ["Decision, cohort", "n", "Benefit", *(f"At {100 * t:.0f} %" for t in NAMED)]
    columns = ("split", "action", "cohort", "threshold", *ESTIMATE_COLUMNS)
    return Table(caption, header, rows, name=f"decision-cohorts-{split}", data=Data(columns, data))


def _share(curve: Curve) -> str:
    """The share of those who benefit."""
    return f"{curve.share:.0%}" if math.isfinite(curve.share) else "-"


def _leads(curve: Curve) -> list[str]:
    """The lead at the named thresholds."""
    return [_cell(curve.at("net_benefit_lead", t), 3) for t in NAMED]
