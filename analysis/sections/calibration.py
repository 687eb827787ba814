"""The report's section on calibration."""

from collections.abc import Collection

from analysis.calibration.slopes import too_few
from analysis.calibration.val_prob import VAL_PROB, val_prob
from analysis.evaluation import Evaluation, SplitEvaluation
from analysis.figures.calibration import reliability_figure
from analysis.long_table import long_data
from analysis.metrics import Cell, Metric, find
from analysis.page import Block, Data, Folded, Gallery, Paragraph, Section, Table
from analysis.patients.samples import class_label
from analysis.sections.performance import split_table
from analysis.wording import count, split_name, told, told_p

_OVERALL = {
    "brier": "Brier score (0 to 2, lower is better)",
    "scaled_brier": "Scaled Brier score (1 is perfect, 0 is the class shares)",
    "log_loss": "Log loss (lower is better)",
    "ece_top_label": "Calibration error of the likeliest class",
    "ece_top_label_if_calibrated": "... of a perfectly calibrated model of this size",
    "ece_classwise": "Calibration error, mean of the classes",
    "ece_classwise_if_calibrated": "... of a perfectly calibrated model of this size",
}
_EQUAL_MASS = {
    "ece_top_label_equal_mass": "Likeliest class, bins of equally many patients",
    "ece_top_label_equal_mass_if_calibrated": "... of a perfectly calibrated model of this size",
    "ece_classwise_equal_mass": "Mean of the classes, bins of equally many patients",
    "ece_classwise_equal_mass_if_calibrated": "... of a perfectly calibrated model of this size",
}
_SLOPES = {
    "calibration_slope": "Slope (ideal 1)",
    "calibration_intercept": "Intercept beside the slope (ideal 0)",
    "calibration_in_the_large": "Intercept at slope 1 (ideal 0)",
    "unreliability_p": "Slope 1 and intercept 0, p",
    "spiegelhalter_p": "Spiegelhalter's z, p",
}
_DISTANCES = {
    "ici": "ICI",
    "ici_if_calibrated": "ICI of a perfect model",
    "e50": "E50",
    "e90": "E90",
    "emax": "Emax",
}
_PARTS = {
    "brier_of_class": "Brier score (0 to 1)",
    "brier_reliability": "Reliability",
    "brier_resolution": "Resolution",
    "brier_uncertainty": "Uncertainty",
    "brier_within_variance": "Variance in bins",
    "brier_within_covariance": "Covariance in bins",
}


def calibration_section(evaluation: Evaluation) -> Section:
    """Whether probabilities can be taken at their word."""
    text = (
        "A well calibrated 30 % comes true in 30 of 100 patients. The calibration error is never 0 in a finite "
        "sample, so it stands beside the value that a perfectly calibrated model would show with as many patients "
        "(mean and 95 % range of 1000 simulations). Errors use 10 bins of equal width, closed on the left."
    )
    scores = split_table("Quality of the probabilities", evaluation, _OVERALL, name="calibration-scores")
    blocks: list[Block] = [Paragraph(text), scores]
    for split in evaluation.splits:
        blocks += _figures(split)
    blocks.append(_class_table(evaluation, _SLOPES, "Logistic recalibration of each class", "calibration-slopes"))
    text = "A slope below 1 means that the probabilities are too extreme, an intercept above 0 that they are too low."
    blocks.append(Paragraph(text))
    other_bins = split_table("Other bins", evaluation, _EQUAL_MASS, name="calibration-error-equal-mass")
    more = [
        *_distance_tables(evaluation),
        *_multinomial_blocks(evaluation),
        other_bins,
        *_val_prob_tables(evaluation),
    ]
    blocks.append(
        Folded("Distances from the diagonal, parts of the Brier score, all classes at once, other bins", more)
    )
    return Section("calibration", "Taking probabilities at their word", blocks)


def _figures(split: SplitEvaluation) -> list[Block]:
    """The reliability curves of one split."""
    drawn = [
        reliability_figure(curve, split.sample, c) for c, curve in enumerate(split.reliability) if curve.predicted
    ]
    if not drawn:
        return []
    bins = max(len(curve.predicted) for curve in split.reliability)
    title = (
        f"Reliability, {split_name(split.sample.split)}: loess with its 95 % bootstrap band, and up to "
        f"{count(bins, 'bin')} of equally many patients with Wilson limits; below, patients of the class up and "
        f"others down"
    )
    return [Gallery(title, drawn)]


def _distance_tables(evaluation: Evaluation) -> list[Block]:
    """Distances from the diagonal and parts of the Brier score of each class in each split."""
    text = (
        "The integrated calibration index (ICI) is the mean distance of predictions and smooth curve, E50, E90 and "
        "Emax are median, 90 % quantile and maximum (Austin & Steyerberg 2019). The Brier score is reliability - "
        "resolution + uncertainty + variance - covariance in bins."
    )
    return [
        Paragraph(text),
        _class_table(evaluation, _DISTANCES, "Distance from the diagonal, by loess", "calibration-distances"),
        _class_table(evaluation, _PARTS, "What the Brier score of each class is made of", "brier-parts"),
    ]


def _class_table(evaluation: Evaluation, quantities: dict[str, str], caption: str, name: str) -> Table:
    """A row for each class in each split."""
    rows = []
    for split in evaluation.splits:
        for class_name in evaluation.classes:
            found = {q: find(evaluation.metrics, split.sample.split, q, class_name) for q in quantities}
            cells = ["-" if e is None else told_p(e) if q.endswith("_p") else told(e) for q, e in found.items()]
            rows.append([f"{class_label(class_name)}, {split_name(split.sample.split)}", *cells])
    header = ["Class and split", *quantities.values()]
    return Table(caption, header, rows, name=name, data=long_data(_chosen(evaluation, quantities)))


def _chosen(evaluation: Evaluation, quantities: Collection[str]) -> list[Metric]:
    """The metrics of this section with these names."""
    return [m for m in evaluation.metrics if m.part == "calibration" and m.quantity in quantities]


def _multinomial_blocks(evaluation: Evaluation) -> list[Block]:
    """Recalibration of all classes at once."""
    first, *others = evaluation.classes
    names = {
        "multinomial_intercept_slopes_fixed": "Intercept, slopes fixed (ideal 0)",
        "multinomial_intercept": "Intercept (ideal 0)",
    }
    names |= {f"multinomial_slope_on_{k}": f"Slope on log p({k}) / p({first})" for k in others}
    rows = []
    for split in evaluation.splits:
        for class_name in others:
            cells = [told(find(evaluation.metrics, split.sample.split, q, class_name)) for q in names]
            rows.append([f"{class_label(class_name)}, {split_name(split.sample.split)}", *cells])
    tests = {
        "multinomial_calibrated_p": "Calibrated: intercepts 0, slopes 1 and 0",
        "multinomial_in_the_large_p": "Calibrated in the large: intercepts 0",
    }
    text = (
        f"All classes at once: a multinomial model of the class on the log ratios of the probabilities, against "
        f"{class_label(first)} (Van Hoorde et al. 2014). Ideal is a slope of 1 on a class's own ratio and 0 "
        f"on the others."
    )
    header = ["Class and split", *names.values()]
    table = Table(
        "Multinomial recalibration",
        header,
        rows,
        name="multinomial-recalibration",
        data=long_data(_chosen(evaluation, names)),
    )
    return [Paragraph(text), table, _test_table(evaluation, tests)]


def _test_table(evaluation: Evaluation, tests: dict[str, str]) -> Table:
    """The joint tests, splits as columns."""
    splits = [split.sample.split for split in evaluation.splits]
    rows = []
    for quantity, label in tests.items():
        found = [find(evaluation.metrics, split, quantity) for split in splits]
        rows.append([label, *("-" if p is None else told_p(p) for p in found)])
    caption = "Multinomial recalibration, likelihood ratio tests: p values"
    header = ["", *map(split_name, splits)]
    return Table(caption, header, rows, name="multinomial-tests", data=long_data(_chosen(evaluation, tests)))


def _val_prob_tables(evaluation: Evaluation) -> list[Block]:
    """Every class in every split as rms's val.prob tells it."""
    rows: list[list[Cell]] = []
    for split in evaluation.splits:
        sample = split.sample
        for c, name in enumerate(evaluation.classes):
            condition = sample.y == c
            if not too_few(condition, name):
                found = val_prob(condition, sample.probabilities[:, c].copy())
                values = [value if value == value else None for value in found.values()]
                rows.append([sample.split, name, len(condition), *values])
    if not rows:
        return []
    printed = [
        [f"{class_label(str(name))}, {split_name(str(split))}", str(n), *map(_number, values)]
        for split, name, n, *values in rows
    ]
    return [
        Table(
            "The table of rms::val.prob, with the exact area under the curve and Emax, E90 and Eavg by lowess",
            ["Class and split", "n", *VAL_PROB],
            printed,
            folded="Each class as rms::val.prob prints it",
            name="val-prob",
            data=Data(("split", "class", "n", *VAL_PROB), rows),
        )
    ]


def _number(value: str | float | None) -> str:
    """Three decimals, or a dash."""
    return "-" if value is None else f"{float(value):z.3f}"
