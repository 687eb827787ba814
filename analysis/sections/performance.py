"""The report's sections on discrimination and the nested tasks."""

from collections.abc import Collection, Mapping

from analysis.evaluation import Evaluation, SplitEvaluation
from analysis.figures.canvas import Drawing
from analysis.figures.discrimination import (
    ForestRow,
    confusion_figure,
    forest_figure,
    probability_figure,
    roc_figure,
)
from analysis.long_table import long_data
from analysis.metrics import Metric, find
from analysis.page import Block, Gallery, Heading, Paragraph, Section, Table
from analysis.patients.samples import Sample, class_label
from analysis.wording import split_name, told
from triher.estimate import Estimate

_OVERALL = {
    "auc_macro": "Macro AUC (mean of the classes)",
    "auc_within_site": "Macro AUC among patients of one site",
    "auc_hand_till": "Hand and Till's M (mean over pairs of classes)",
    "auc_micro": "Micro AUC (all patient-class pairs)",
    "reference_auc_macro": "Macro AUC of the reference, same patients",
    "auc_macro_behind": "Reference minus model",
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "majority_share": "Accuracy of always naming the most common class",
    "kappa_quadratic": "Kappa, quadratic weights",
    "mcc": "Matthews correlation",
}
_WHERE_THERE_ARE = ("auc_within_site", "auc_hand_till", "reference_auc_macro", "auc_macro_behind")
_PER_CLASS = {
    "auc": "AUC",
    "auc_partial": "AUC at a specificity of 90 % or more",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "Predictive value",
}
_NESTED = {"auc_zero_vs_rest": "Zero against low or positive", "auc_low_vs_positive": "Low against positive"}
_MANY_PARTS = 8  # beyond this the table hides


def discrimination_section(evaluation: Evaluation, opened: list[Block]) -> Section:
    """How well the classes are told apart; `opened` says how often held-out patients were predicted."""
    metrics = evaluation.metrics
    has_reference = any(metric.part == "reference" for metric in metrics)
    text = (
        "The AUC is the chance that a patient of a class gets a higher probability for it than a patient of another "
        "class: 0.5 is guessing, 1 is perfect. Intervals are 95 %: DeLong for single classes, 2.5 and 97.5 % "
        "percentiles of a bootstrap for means over classes, which resamples patients within each class and, where "
        "several cohorts are pooled, within each cohort."
    )
    blocks: list[Block] = [Paragraph(text)]
    if any(split.sample.split == "oof" for split in evaluation.splits):
        held_out = any(split.sample.split == "test" for split in evaluation.splits)
        text = (
            "Development patients were each predicted by a model that had not seen them. Several models gave those "
            f"scores, so their figures describe; {'the' if held_out else 'only'} held-out patients "
            f"{'test' if held_out else 'could test'}."
        )
        blocks.append(Paragraph(text))
    blocks += opened
    blocks.append(Gallery("", [_auc_forest(evaluation)]))
    if has_reference:
        text = "Hollow circles show the reference classifier on exactly the same patients."
        blocks.append(Paragraph(text))
    there = {metric.quantity for metric in metrics}
    if "auc_within_site" in there:
        text = (
            "Where patients come from several sites, an AUC over all of them also ranks the sites. The AUC among "
            "patients of one site compares only patients who share a site, all sites' pairs counted together."
        )
        blocks.append(Paragraph(text))
    shown = {key: label for key, label in _OVERALL.items() if key in there or key not in _WHERE_THERE_ARE}
    blocks.append(split_table("All classes together", evaluation, shown))
    blocks.append(_class_table(evaluation))
    for split in evaluation.splits:
        blocks += _split_figures(split, evaluation)
    return Section("discrimination", "Telling the classes apart", [*blocks, *_subgroup_tables(evaluation)])


def _auc_forest(evaluation: Evaluation) -> Drawing:
    """All AUCs with their intervals, by split."""
    rows: list[ForestRow] = []
    for split in evaluation.splits:
        name = split.sample.split
        rows.append(ForestRow(f"{split_name(name)} (n = {len(split.sample.y)})"))
        best = find(evaluation.metrics, name, "reference_auc_macro")
        rows.append(ForestRow("Macro", find(evaluation.metrics, name, "auc_macro"), best))
        for class_name in evaluation.classes:
            area = find(evaluation.metrics, name, "auc", class_name)
            best = find(evaluation.metrics, name, "reference_auc", class_name)
            rows.append(ForestRow(class_label(class_name), area, best, class_name))
    return forest_figure("auc", "One-vs-rest AUC with 95 % intervals", rows, x_label="AUC", line_at=0.5)


def split_table(caption: str, evaluation: Evaluation, quantities: Mapping[str, str], *, name: str = "") -> Table:
    """Quantities as rows, splits as columns."""
    header = ["", *(_column(split.sample) for split in evaluation.splits)]
    rows = [
        [label, *(told(find(evaluation.metrics, split.sample.split, key)) for split in evaluation.splits)]
        for key, label in quantities.items()
    ]
    data = long_data(_of_everybody(evaluation, quantities))
    return Table(f"{caption}: estimate (95 % interval)", header, rows, name=name, data=data)


def _of_everybody(evaluation: Evaluation, quantities: Collection[str], *, of_class: bool = False) -> list[Metric]:
    """The metrics with these names of whole splits: of all classes together, or of single classes."""
    whole = [m for m in evaluation.metrics if not (m.cohort or m.site) and bool(m.class_name) == of_class]
    return [m for m in whole if m.quantity in quantities]


def _column(sample: Sample) -> str:
    """Heading of a split's column."""
    return f"{split_name(sample.split)} (n = {len(sample.y)})"


def _class_table(evaluation: Evaluation) -> Table:
    """AUCs and proportions of each class in each split."""
    rows = []
    for split in evaluation.splits:
        sample = split.sample
        for c, name in enumerate(evaluation.classes):
            cells = [told(find(evaluation.metrics, sample.split, q, name)) for q in _PER_CLASS]
            label = f"{class_label(name)}, {split_name(sample.split)}"
            rows.append([label, str(int((sample.y == c).sum())), *cells])
    header = ["Class and split", "n", *_PER_CLASS.values()]
    caption = (
        "Each class against the others; partial AUC after McClish (0.5 is guessing, as for the AUC); sensitivity, "
        "specificity and predictive value of the likeliest class, Wilson limits"
    )
    return Table(caption, header, rows, data=long_data(_of_everybody(evaluation, _PER_CLASS, of_class=True)))


def _split_figures(split: SplitEvaluation, evaluation: Evaluation) -> list[Block]:
    """Curves, confusion and distributions of one split."""
    sample, classes = split.sample, evaluation.classes
    title = split_name(sample.split)
    if not len(sample.y):
        return [Heading(title), Paragraph("No patient of this split has a HER2 label.", tone="note")]
    areas = tuple(_found(evaluation, sample.split, "auc", name) for name in classes)
    first = [roc_figure(sample, classes, areas), confusion_figure(split.confusion, classes, sample.split)]
    ridges = [probability_figure(sample, classes, c) for c in range(len(classes))]
    return [Heading(title), Gallery("", first), Gallery("Predicted probabilities by true class", ridges)]


def _found(evaluation: Evaluation, split: str, quantity: str, class_name: str) -> Estimate:
    """An estimate that is known to be there."""
    estimate = find(evaluation.metrics, split, quantity, class_name)
    if estimate is None:
        raise KeyError(f"{quantity} of {class_name} in {split}")
    return estimate


def _subgroup_tables(evaluation: Evaluation) -> list[Block]:
    """The same per cohort and site, where there are several."""
    rows = []
    for split in evaluation.splits:
        for part in split.subgroups:
            place = {"cohort": part.cohort, "site": part.site}
            quantities = ("auc_macro", "balanced_accuracy", *(_NESTED if evaluation.scheme == "triple" else ()))
            cells = [told(find(evaluation.metrics, part.split, q, **place)) for q in quantities]
            name = part.site or f"{part.cohort} (all sites)"
            where = f": {split_name(part.split)}" if len(evaluation.splits) > 1 else ""
            rows.append([f"{name}{where}", str(len(part.y)), *cells])
    header = ["Cohort and site", "n", "Macro AUC", "Balanced accuracy"]
    header += ["Zero against rest", "Low against positive"] if evaluation.scheme == "triple" else []
    if not rows:
        return []
    folded = f"All {len(rows)} cohorts and sites" if len(rows) > _MANY_PARTS else ""
    return [Heading("By cohort and site"), Table("AUC (95 % interval) in parts", header, rows, folded=folded)]


def nested_section(evaluation: Evaluation) -> Section:
    """The two questions asked one after the other."""
    text = (
        "The same probabilities answer two questions in a row. First: is the tumor HER2-zero, or low or positive "
        "(score 1 - p(zero))? Second, among patients who truly are low or positive: which of the two "
        "(score p(positive) / (p(low) + p(positive)))?"
    )
    table = split_table("AUC of the two questions, DeLong", evaluation, _NESTED)
    return Section("nested", "Two questions in a row", [Paragraph(text), table])
