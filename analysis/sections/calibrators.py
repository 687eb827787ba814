"""The part that asks whether another recalibration would have been better, and its section."""

import math

from analysis.calibration.calibrators import CALIBRATORS, FOLDS
from analysis.calibration.comparison import AS_PREDICTED, Comparison, compare_calibrators
from analysis.figures.discrimination import ForestRow, forest_figure
from analysis.long_table import long_data
from analysis.metrics import find
from analysis.page import Block, Gallery, Heading, Paragraph, Section, Table, fold_later
from analysis.part import Material, Part
from analysis.wording import count, split_name, told
from triher.errors import Note

_COLUMNS = {
    "log_loss": "Log loss",
    "log_loss_change": "Change in log loss",
    "brier": "Brier score",
    "ece_classwise": "Classwise calibration error",
    "slope_of_logs": "Slope of log p (ideal 1)",
    "likeliest_class_changed": "Likeliest class changed",
    "auc_macro_change": "Change in macro AUC",
}
_TEXT = (
    f"The predictions carry the model's own calibration already, a temperature that was fitted inside the training "
    f"folds. This table asks whether another recalibration on top would have been better: each is fitted on four "
    f"fifths of a split's patients and applied to the last fifth, over {FOLDS} stratified folds. It is exploratory, "
    f"and none of it is applied to anything else in this report. A change in log loss below 0 is an improvement; "
    f"changes are paired, on the same patients and resamples. A temperature keeps each patient's likeliest class, "
    f"but not the order of different patients, so it may change the AUC of more than two classes. The slope is that "
    f"of all log probabilities together, 1 / temperature."
)
_ZERO = "calibrator_zero"


def calibrators_part(material: Material) -> Part:
    """Judge every recalibration of ``analysis.calibrators`` in every split.

    Raises:
        StopRun: ``unknown_name``.
    """
    if not material.config.analysis.calibrators:
        return Part()
    found = [
        compare_calibrators(sample, material.classes, material.config) for sample in material.samples if len(sample.y)
    ]
    if not found:
        return Part()
    blocks: list[Block] = [Paragraph(_TEXT), *fold_later([_split_blocks(comparison) for comparison in found])]
    section = Section("calibrators", "Would another recalibration have been better?", blocks)
    metrics = tuple(metric for comparison in found for metric in comparison.metrics)
    return Part(metrics, section, tuple(note for comparison in found for note in _notes(comparison)))


def _split_blocks(comparison: Comparison) -> list[Block]:
    """Table and figure of one split."""
    split, metrics = comparison.split, comparison.metrics
    names = list(dict.fromkeys(metric.class_name for metric in metrics))
    rows = [[_title(name), *(_cell(comparison, q, name) for q in _COLUMNS)] for name in names]
    caption = f"{split_name(split)}: recalibrations, each judged on other patients than it was fitted on"
    table = Table(caption, ["Method", *_COLUMNS.values()], rows, name=f"calibrators-{split}", data=long_data(metrics))
    blocks: list[Block] = [Heading(split_name(split)), table, *_asked_for(comparison)]
    changes = [ForestRow(_title(n), find(metrics, split, "log_loss_change", n)) for n in names if n != AS_PREDICTED]
    if any(row.estimate is not None and math.isfinite(row.estimate.value) for row in changes):
        title = "Change in log loss with 95 % intervals; below 0 is better"
        drawing = forest_figure(
            f"calibrators-{split}", title, changes, x_label="Log loss after minus before", line_at=0.0
        )
        blocks.append(Gallery("", [drawing]))
    return blocks


def _cell(comparison: Comparison, quantity: str, name: str) -> str:
    """A number as printed."""
    estimate = find(comparison.metrics, comparison.split, quantity, name)
    if estimate is None:
        return "-"
    if quantity == "likeliest_class_changed":
        return f"{estimate.value:.0f} of {estimate.n}"
    return told(estimate)


def _title(name: str) -> str:
    """How a method is called in print."""
    return CALIBRATORS[name].title if name in CALIBRATORS else "As predicted"


def _asked_for(comparison: Comparison) -> list[Block]:
    """Remarks on methods that ask for more patients, and on probabilities of 0."""
    sizes = {metric.class_name: metric.estimate.n for metric in comparison.metrics}
    lines = [
        f"{CALIBRATORS[name].title} is known to overfit with fewer than about {CALIBRATORS[name].asks_for} patients; "
        f"here are {n}."
        for name, n in sizes.items()
        if name in CALIBRATORS and n < CALIBRATORS[name].asks_for
    ]
    lines += [f"{note.text}." for note in _notes(comparison)]
    return [Paragraph(" ".join(lines), tone="note")] if lines else []


def _notes(comparison: Comparison) -> list[Note]:
    """Methods that gave a patient's own class no chance at all."""
    return [
        Note(
            "",
            _ZERO,
            f"{_title(name)} gives {count(n, 'patient')} ({split_name(comparison.split)}) a probability of 0 "
            f"for their own class, which counts as 1e-15 in the log loss",
        )
        for name, n in comparison.zeros.items()
        if n
    ]
