"""The part of the analysis that compares the model with others, and cohorts with each other."""

import math
from collections.abc import Sequence

from analysis.discrimination.comparisons import (
    Comparison,
    Contrast,
    compare_cohorts,
    compare_models,
    comparison_metrics,
    contrast_metrics,
)
from analysis.figures.canvas import Drawing, plain
from analysis.figures.discrimination import ForestRow, forest_figure
from analysis.metrics import ESTIMATE_COLUMNS, Cell, Metric, estimate_cells
from analysis.page import Block, Data, Gallery, Heading, Paragraph, Section, Table, fold_later
from analysis.part import Material, Part
from analysis.sections.beside import companion_name
from analysis.wording import split_name, told, told_p

_COLUMNS = ("split", "compared_with", "quantity", *ESTIMATE_COLUMNS)


def judge_comparisons(material: Material) -> Part:
    """Compare with every companion and with every run of ``analysis.compare``; cohorts of a split with each other.

    Raises:
        StopRun: as `analysis.discrimination.comparisons.compare_models`.
    """
    models, cohorts = compare_models(material), compare_cohorts(material)
    if not models and not cohorts:
        return Part()
    metrics = [row for model in models for row in comparison_metrics(model)]
    metrics += [row for contrast in cohorts for row in contrast_metrics(contrast)]
    blocks = [*_model_blocks(models), *_cohort_blocks(cohorts)]
    return Part(tuple(metrics), Section("comparisons", "Compared with other models, and between cohorts", blocks))


def _model_blocks(models: Sequence[Comparison]) -> list[Block]:
    """Text, table and figure for the comparisons of models."""
    if not models:
        return []
    text = (
        "Above 0 the model is better. Differences are paired, on the patients whom both models predicted: the macro "
        "AUC by a bootstrap that gives both the same resamples, the AUC of a single question by DeLong's covariance. "
        "McNemar's test asks whether both name the right class equally often. The p values here are not corrected; "
        "see the section on all p values. The macro AUC of what was trained beside the model stands in the section "
        "on it."
    )
    limits = (
        "What these tests do not say: for out-of-fold predictions, which several models gave, they describe and do "
        "not test, and DeLong's intervals are not widened for that. And where one model has all inputs of the other "
        "and both were fitted on these same patients, DeLong's test finds too little; the added term is then tested "
        "by a likelihood ratio."
    )
    blocks: list[Block] = [Paragraph(text), Paragraph(limits, tone="note")]
    splits = []
    for split in dict.fromkeys(model.split for model in models):
        inside = [model for model in models if model.split == split]
        drawing = _model_forest(split, inside)
        figure: list[Block] = [Gallery("", [drawing])] if drawing else []
        splits.append([Heading(split_name(split)), _model_table(split, inside), *figure])
    return blocks + fold_later(splits)


def _model_table(split: str, models: Sequence[Comparison]) -> Table:
    """A line for each other model."""
    asked = [question for question, _ in models[0].tested]
    others = _other_runs(models)
    rows = []
    for model in models:
        cells = [told(model.areas["auc_macro_ahead"]) if model in others else "-"] if others else []
        for _, tested in model.tested:
            cells += [told(tested.difference), told_p(tested.p)]
        rows.append([companion_name(model.name), *cells, told_p(model.right.exact_p), str(model.n)])
    header = ["The model minus", *(["Macro AUC"] if others else [])]
    for question in asked:
        header += [question.label, "p"]
    caption = f"{split_name(split)}: difference in AUC (95 % interval)"
    data = Data(_COLUMNS, [_line(metric) for model in models for metric in _all_metrics(model)])
    return Table(caption, [*header, "McNemar p", "n"], rows, name=f"comparisons-{split}", data=data)


def _all_metrics(model: Comparison) -> list[Metric]:
    """The rows of a comparison with the macro AUC of companions, which other rows of ``metrics.csv`` tell."""
    found = comparison_metrics(model)
    there = {metric.quantity for metric in found}
    areas = [Metric("", model.split, q, e, model.name) for q, e in model.areas.items() if q not in there]
    return [*areas, *found]


def _other_runs(models: Sequence[Comparison]) -> list[Comparison]:
    """The models of ``analysis.compare``; the macro AUC of companions is told beside the model."""
    return [m for m in models if any(metric.quantity == "auc_macro_ahead" for metric in comparison_metrics(m))]


def _line(metric: Metric) -> list[Cell]:
    """A row of the table's file."""
    return [metric.split, metric.class_name, metric.quantity, *estimate_cells(metric.estimate)]


def _model_forest(split: str, models: Sequence[Comparison]) -> Drawing | None:
    """All differences with their intervals, by question; none where nothing can be estimated."""
    others = _other_runs(models)
    rows = [ForestRow("Macro AUC")] if others else []
    rows += [ForestRow(companion_name(model.name), model.areas["auc_macro_ahead"]) for model in others]
    for i, (question, _) in enumerate(models[0].tested):
        rows.append(ForestRow(question.label))
        rows += [ForestRow(companion_name(model.name), model.tested[i][1].difference) for model in models]
    title = "The model minus the others, with 95 % intervals"
    label = "Difference in AUC (macro: bootstrap, others: DeLong)" if others else "Difference in AUC, DeLong"
    return _forest(f"comparisons-{split}", title, rows, label)


def _forest(name: str, title: str, rows: list[ForestRow], label: str) -> Drawing | None:
    """A forest of differences, or nothing where there is no number."""
    if not any(row.estimate is not None and math.isfinite(row.estimate.value) for row in rows):
        return None
    return forest_figure(name, title, rows, x_label=label, line_at=0.0)


def _cohort_blocks(cohorts: Sequence[Contrast]) -> list[Block]:
    """Text, table and figure for the comparisons of cohorts."""
    if not cohorts:
        return []
    text = (
        "Cohorts of one split share no patient, so their AUCs are compared by the unpaired test of DeLong with "
        "Welch's degrees of freedom. A difference may come from other patients as well as from another scanner; a "
        "missing one is no proof of equality."
    )
    rows = [
        [
            f"{plain(c.cohorts[0])} minus {plain(c.cohorts[1])}: {c.question.label}",
            split_name(c.split),
            told(c.tested.difference),
            told_p(c.tested.p),
            str(c.tested.difference.n),
        ]
        for c in cohorts
    ]
    header = ["Cohorts and question", "Split", "Difference in AUC", "p", "n"]
    data = Data(_COLUMNS, [_line(metric) for contrast in cohorts for metric in contrast_metrics(contrast)])
    caption = "Cohorts against each other (95 % interval)"
    blocks: list[Block] = [Heading("Between cohorts"), Paragraph(text)]
    blocks.append(Table(caption, header, rows, name="comparisons-cohorts", data=data))
    found = [_cohort_forest(split, cohorts) for split in dict.fromkeys(c.split for c in cohorts)]
    drawings = [drawing for drawing in found if drawing is not None]
    return [*blocks, *([Gallery("", drawings)] if drawings else [])]


def _cohort_forest(split: str, cohorts: Sequence[Contrast]) -> Drawing | None:
    """The differences between the cohorts of one split, by question."""
    rows: list[ForestRow] = []
    for question in dict.fromkeys(c.question for c in cohorts):
        inside = [c for c in cohorts if c.split == split and c.question == question]
        rows += [ForestRow(question.label), *(ForestRow(c.name, c.tested.difference) for c in inside)]
    title = f"Cohorts against each other, {split_name(split).lower()}"
    return _forest(f"comparisons-cohorts-{split}", title, rows, "Difference in AUC, DeLong")
