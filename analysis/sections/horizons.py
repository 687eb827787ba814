"""The report's section on survival measures, and the part that makes it."""

import math
from collections.abc import Iterator

from analysis.figures.horizons import auc_figure, error_figure, incidence_figure
from analysis.metrics import ESTIMATE_COLUMNS, estimate_cells
from analysis.page import Block, Data, Gallery, Heading, Paragraph, Section, Table, fold_later
from analysis.part import Material, Part
from analysis.survival.measures import CompetingRisks, SurvivalMeasures, judge_survival
from analysis.survival.rows import (
    Row,
    group_rows,
    half_rows,
    hazard_rows,
    horizon_notes,
    incidence_rows,
    ranking_rows,
    ratio,
    survival_metrics,
)
from analysis.wording import count, equals, p_value, split_name, told, told_p
from triher.estimate import Estimate

_BESIDES = ("quantity", "months", "group")


def horizons_part(material: Material) -> Part:
    """Survival measures of every split that has follow-up; nothing where none has."""
    config = material.config
    measures = [
        judge_survival(split, data, config.analysis, config.seed)
        for split, data in sorted(material.follow_ups.items(), key=lambda item: (item[0] != "test", item[0]))
    ]
    if not measures:
        return Part()
    blocks: list[Block] = [Paragraph(text) for text in _methods(config.seed)]
    blocks += fold_later([list(_split_blocks(one)) for one in measures])
    return Part(
        metrics=tuple(metric for one in measures for metric in survival_metrics(one)),
        section=Section("survival-measures", "Survival over time", blocks),
        notes=tuple(note for one in measures for note in horizon_notes(one)),
    )


def _methods(seed: int) -> tuple[str, ...]:
    """How the numbers are made, for the reader who must trust them."""
    return (
        "Time-dependent measures are cut at the time up to which 90 % of the events happen or 10 patients are still "
        "followed, whichever is earlier; horizons beyond it are dropped. Patients censored earlier are made up for "
        "by weighing the others with the inverse probability of being still followed, estimated from the patients "
        "who are judged here. This takes censoring to have nothing to do with the score or with the outcome.",
        "Harrell's C depends on the censoring, Uno's does not. The AUC at a time compares patients with the event by "
        "then with those without. Brier scores are of survival probabilities by a Cox model of the score, fitted to "
        f"four fifths of the patients for the other fifth (seed {seed}), beside Kaplan-Meier of the same four "
        "fifths; their intervals take these models as given. Kaplan-Meier limits are log-log, not R's default log. "
        "The halves of the score are cut at its median.",
    )


def _split_blocks(measures: SurvivalMeasures) -> Iterator[Block]:
    """One split: tables and figures."""
    data, limit = measures.follow_up, measures.horizons.limit
    events = int(data.event.sum())
    reach = (
        f"can be judged up to {limit:.1f} months" if limit else "is too short, or has too few events, to be judged"
    )
    yield Heading(split_name(measures.split))
    yield Paragraph(
        f"{count(len(data.patient_id), 'patient')} with {count(events, 'event')}; the follow-up {reach}. Median "
        f"follow-up {_told_months(measures.median_follow_up)}, median survival {_told_months(measures.median)}."
    )
    if measures.horizons.beyond:
        dropped = " and ".join(f"{t:g}" for t in measures.horizons.beyond)
        yield Paragraph(f"Dropped as beyond the follow-up: {dropped} months.", tone="note")
    yield _table(measures, "measures", _measures_table(measures), ranking_rows(measures))
    drawings = [auc_figure(measures)] if any(math.isfinite(e.value) for e in measures.auc) else []
    curve = error_figure(measures)
    drawings += [curve] if curve is not None else []
    if drawings:
        yield Gallery("", drawings)
    yield _table(measures, "halves", _halves_table(measures), half_rows(measures))
    yield _table(measures, "tests", _tests_table(measures), group_rows(measures))
    if measures.competing is not None:
        yield from _competing_blocks(measures, measures.competing)


def _told_months(estimate: Estimate) -> str:
    """A time with its limits.

    >>> _told_months(Estimate(math.nan, 31.0, math.nan, 40, "median", "not reached"))
    'not reached (lower limit 31.0 months)'
    """
    if not math.isfinite(estimate.value):
        lower = f" (lower limit {estimate.low:.1f} months)" if math.isfinite(estimate.low) else ""
        return f"{estimate.reason}{lower}"
    high = f"{estimate.high:.1f}" if math.isfinite(estimate.high) else "not reached"
    low = f"{estimate.low:.1f}" if math.isfinite(estimate.low) else "not reached"
    return f"{estimate.value:.1f} months ({low} to {high})"


def _table(measures: SurvivalMeasures, name: str, printed: Table, rows: list[Row]) -> Table:
    """The printed table with the numbers of its file."""
    cells = [[quantity, months, group, *estimate_cells(e)] for quantity, months, group, e in rows]
    data = Data((*_BESIDES, *ESTIMATE_COLUMNS), cells)
    return Table(printed.caption, printed.header, printed.rows, name=f"survival-{name}-{measures.split}", data=data)


def _measures_table(measures: SurvivalMeasures) -> Table:
    """Ranking and prediction, a horizon a line."""
    error = measures.error
    rows = [["Harrell's C", told(measures.harrell), "-", "-", "-"]]
    rows.append([f"Uno's C (up to {measures.horizons.limit:.1f} months)", told(measures.uno), "-", "-", "-"])
    for i, (t, auc) in enumerate(zip(measures.horizons.months, measures.auc, strict=True)):
        brier = [told(found[i]) for found in (error.model, error.null, error.scaled)] if error else ["-"] * 3
        rows.append([f"AUC and Brier score at {t:g} months", told(auc), *brier])
    if error is not None:
        found = (error.integrated, error.integrated_null, error.integrated_scaled)
        rows.append([f"Mean Brier score up to {error.limit:.1f} months", "-", *map(told, found)])
    header = ["", "C or AUC (95 %)", "Brier score", "Kaplan-Meier's", "Share taken away"]
    return Table("How the score ranks and predicts; Brier scores are of cross-fitted predictions", header, rows)


def _halves_table(measures: SurvivalMeasures) -> Table:
    """The halves, a horizon a line."""
    rows = []
    for half in measures.halves:
        who = f"{half.label.capitalize()} score: {count(half.n, 'patient')}, {count(half.events, 'event')}"
        rows.append([who, "-", f"median {_told_months(half.median)}", "-"])
        for t, at, mean in zip(measures.horizons.months, half.survival, half.restricted, strict=True):
            rows.append(
                [
                    f"{half.label.capitalize()} score, {t:g} months",
                    str(at.at_risk),
                    told(at.survival),
                    told(mean.months),
                ]
            )
    for t, difference in zip(measures.horizons.months, measures.differences, strict=bool(measures.differences)):
        text = f"{told(difference.months)}, p {equals(told_p(difference.p))}"
        rows.append([f"High minus low score, {t:g} months", "-", "-", text])
    header = ["Half of the score", "At risk", "Survival (95 %)", "Restricted mean, months (95 %)"]
    return Table("Survival of the halves; restricted mean survival time is the area under the curve", header, rows)


def _tests_table(measures: SurvivalMeasures) -> Table:
    """Whether the halves differ."""
    rows = [
        [
            test.p.method[0].upper() + test.p.method[1:].removesuffix(", p value"),
            f"{test.chisq:.2f}" if math.isfinite(test.chisq) else "-",
            str(test.df),
            told_p(test.p),
        ]
        for test in measures.tests
    ]
    return Table("Tests of equal survival in the halves", ["Test", "Chi-square", "df", "p"], rows)


def _competing_blocks(measures: SurvivalMeasures, risks: CompetingRisks) -> Iterator[Block]:
    """Incidences and cause-specific models."""
    text = (
        f"{count(risks.competing, 'patient')} had a competing event before the one that is asked about. They count "
        "as censored in Kaplan-Meier, C, AUC, Brier score, restricted mean and log-rank test, which therefore speak "
        "of a world without the competing event. 1 - Kaplan-Meier overestimates how many have the event in this "
        "world; the cumulative incidence (Aalen-Johansen) does not. Fine-Gray models and Gray's test have no kept "
        "Python library: use R (cmprsk) for them."
    )
    yield Paragraph(text)
    figure = incidence_figure(measures)
    if figure is not None:
        yield Gallery("", [figure])
    rows = [
        [
            f"{group.label.capitalize()}, {t:g} months",
            told(own),
            told(other),
            f"{naive:.2f}" if naive == naive else "-",
        ]
        for group in risks.groups
        for t, own, other, naive in zip(
            measures.horizons.months, group.own_at, group.other_at, group.naive_at, strict=True
        )
    ]
    header = ["Patients by score", "Event (95 %)", "Competing event (95 %)", "1 - Kaplan-Meier of the event"]
    if rows:
        yield _table(
            measures, "incidence", Table("Cumulative incidence", header, rows), incidence_rows(measures, risks)
        )
    rows = [
        [kind, str(model.events), told(ratio(model)), p_value(model.coefficients[0].p)]
        for kind, model in (("Event", risks.own_model), ("Competing event", risks.other_model))
    ]
    caption = "Cause-specific Cox models of the score alone, per SD"
    header = ["Hazard of", "Events", "Hazard ratio (95 %)", "p"]
    yield _table(measures, "causes", Table(caption, header, rows), hazard_rows(risks))
