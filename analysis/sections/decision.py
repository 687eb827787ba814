"""The report's section on net benefit: what deciding by the model would gain."""

import math
from collections.abc import Sequence

from analysis.decisions.actions import ACTIONS, benefits_label
from analysis.decisions.benefit import Judged, action_metrics, judge_action
from analysis.decisions.net_benefit import TOLD, given_shares
from analysis.decisions.tables import cohort_table, named_table, whole_table
from analysis.figures.decision import decision_figure, lead_figure
from analysis.page import Block, Gallery, Heading, Paragraph, Section, fold_later
from analysis.part import Material, Part
from analysis.wording import count, split_name

_MOST_SPANS = 3
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
    "Res 2023;7:11). Where nobody was treated in vain, no resample holds such a patient either, and the interval is "
    f"too narrow. The sentences below speak of thresholds of {100 * TOLD[0]:.0f} to {100 * TOLD[1]:.0f} %: beyond "
    "them single patients decide. With so many thresholds some intervals exclude 0 by chance."
)
_SHARES = (
    "The share of those who benefit is that of these patients, and the curve with it. Where a cohort was enriched, "
    "or picked by class as cases and controls are, it is not the curve of a clinic; give the class shares there as "
    "analysis.prevalence."
)


def judge_decision(material: Material) -> Part:
    """The net benefit of every action in every split.

    Raises:
        StopRun: as `analysis.decisions.net_benefit.given_shares`.
    """
    shares = given_shares(material.config.analysis.prevalence, material.classes)
    judged = [
        judge_action(material, sample, action, shares)
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
    splits = dict.fromkeys(j.sample.split for j in judged)
    blocks += fold_later([_split_blocks([j for j in judged if j.sample.split == split]) for split in splits])
    metrics = tuple(metric for j in judged for metric in action_metrics(j))
    return Part(metrics, Section("decision", "What deciding by the model would gain", blocks))


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
        title = f"{action.label}: net benefit (n = {len(j.sample.y)}), pointwise 95 % bootstrap bands"
        drawings.append(decision_figure(f"decision-{name}", title, j.curve, j.beside))
        if j.given is not None and math.isfinite(j.given.at("net_benefit", 0.5).value):
            title = f"{action.label}: net benefit with the given class shares"
            given.append(decision_figure(f"decision-given-{name}", title, j.given, None))
    blocks.append(named_table(judged))
    if drawings:
        shown = [j.curve for j in judged if math.isfinite(j.curve.at("net_benefit", 0.5).value)]
        title = "Model minus the better of treating everybody and nobody"
        blocks.append(Gallery("", [*drawings, lead_figure(f"decision-lead-{split}", title, shown)]))
    if given:
        text = (
            "With the class shares of analysis.prevalence the rates within each class count by these shares. The "
            "predictions stay as they are: if the model was trained on other shares, recalibrate it first "
            "(analysis.recalibrate). Resampled within classes."
        )
        blocks += [Paragraph(text), Gallery("", given)]
    if any(j.cohorts for j in judged):
        blocks.append(cohort_table(judged))
    return [*blocks, whole_table(judged)]


def _sentence(judged: Judged) -> str:
    """Where the model is ahead of both defaults."""
    curve = judged.curve
    lead, action = curve.quantities["net_benefit_lead"], curve.action
    who = f"{action.label} ({benefits_label(action)}, {curve.share:.0%} of {count(curve.n, 'patient')})"
    if not math.isfinite(lead[0].value):
        return f"{action.label}: not estimable, {lead[0].reason}."
    told = [TOLD[0] <= t <= TOLD[1] for t in curve.thresholds]
    ahead = _spans(curve.thresholds, [inside and e.value > 0 for inside, e in zip(told, lead, strict=True)])
    surely = _spans(curve.thresholds, [inside and e.low > 0 for inside, e in zip(told, lead, strict=True)])
    if not ahead:
        return (
            f"{who}: at no threshold of {100 * TOLD[0]:.0f} to {100 * TOLD[1]:.0f} % is the model worth more than "
            "the better of treating everybody and nobody."
        )
    more = f", with an interval above 0 at {surely}" if surely else "; nowhere does its interval exclude 0"
    return f"{who}: the model is worth more than the better of treating everybody and nobody at {ahead}{more}."


def _spans(thresholds: Sequence[float], holds: Sequence[bool]) -> str:
    """Runs of thresholds as text, the longest ones when there are many; empty when nothing holds.

    >>> _spans((0.1, 0.2, 0.3, 0.4), (True, True, False, True))
    '10 to 20 % and 40 %'
    >>> _spans([k / 10 for k in range(1, 9)], [True, False] * 4)
    '10 %, 30 % and 50 % (the longest of 4 stretches)'
    """
    spans: list[list[float]] = []
    for previous, (t, held) in zip((False, *holds), zip(thresholds, holds, strict=True), strict=False):
        if held and previous:
            spans[-1][-1] = t
        elif held:
            spans.append([t, t])
    longest = sorted(sorted(spans, key=lambda s: s[0] - s[1])[:_MOST_SPANS])
    words = [f"{100 * a:.0f} to {100 * b:.0f} %" if a < b else f"{100 * a:.0f} %" for a, b in longest]
    *first, last = words or [""]
    rest = f" (the longest of {len(spans)} stretches)" if len(spans) > _MOST_SPANS else ""
    return f"{', '.join(first)} and {last}{rest}" if first else last
