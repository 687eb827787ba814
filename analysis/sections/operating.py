"""The part of the analysis that judges the operating points of the training on held-out patients."""

from collections.abc import Sequence

from analysis.decisions.operating import (
    MEASURES,
    OperatingPoint,
    everybody_in_turn,
    held_out_points,
    point_metrics,
    thresholds,
)
from analysis.figures.canvas import Drawing
from analysis.figures.discrimination import ForestRow, forest_figure
from analysis.metrics import ESTIMATE_COLUMNS, estimate_cells
from analysis.page import Block, Data, Gallery, Paragraph, Section, Table
from analysis.part import Material, Part
from analysis.wording import question_of, split_name, told

_NAMES = {"sensitivity": "Sensitivity", "specificity": "Specificity", "ppv": "PPV", "npv": "NPV"}
_COLUMNS = ("split", "question", "threshold", "quantity", *ESTIMATE_COLUMNS)


def judge_thresholds(material: Material) -> Part:
    """Sensitivity, specificity and predictive values at the thresholds on record; nothing where there are none.

    Raises:
        StopRun: as `analysis.decisions.operating.held_out_points`.
    """
    points = held_out_points(material)
    if points:
        section = Section("operating", "At the thresholds of the training", _blocks(points))
        return Part(tuple(row for point in points for row in point_metrics(point)), section)
    held_out = any(sample.split != "oof" for sample in material.samples)
    if not (thresholds(material.record) and held_out and everybody_in_turn(material)):
        return Part()
    text = (
        "Every patient was held out in turn. The thresholds on record belong to the final model, which was trained "
        "on everybody, so there is no patient left to judge them by."
    )
    return Part(section=Section("operating", "At the thresholds of the training", [Paragraph(text)]))


def _blocks(points: Sequence[OperatingPoint]) -> list[Block]:
    """Text, table and figure."""
    text = (
        "The thresholds were chosen on development patients, before these patients were looked at; none is chosen "
        "here, as the best threshold of a test is always too good for the next patients. Out-of-fold patients are "
        "left out: the thresholds were chosen on their predictions. Predictive values hold for class shares as they "
        "are here."
    )
    rows = [
        [
            f"{question_of(point.task)}: {split_name(point.split).lower()}",
            f"{point.threshold:.3f}",
            *(told(point.measures[name]) for name in MEASURES),
            str(point.n),
        ]
        for point in points
    ]
    data = Data(
        _COLUMNS,
        [
            [point.split, point.task, point.threshold, name, *estimate_cells(point.measures[name])]
            for point in points
            for name in MEASURES
        ],
    )
    header = ["Question and split", "Yes at or above", *(_NAMES[name] for name in MEASURES), "n"]
    table = Table("Held-out patients, Wilson limits", header, rows, name="operating-points", data=data)
    splits = dict.fromkeys(point.split for point in points)
    drawings = [_figure(split, [point for point in points if point.split == split]) for split in splits]
    return [Paragraph(text), table, Gallery("", drawings)]


def _figure(split: str, points: Sequence[OperatingPoint]) -> Drawing:
    """All proportions of one split with their limits."""
    rows: list[ForestRow] = []
    for point in points:
        rows.append(ForestRow(question_of(point.task)))
        rows += [ForestRow(_NAMES[name], point.measures[name]) for name in MEASURES]
    title = f"At the thresholds of the training, {split_name(split).lower()}, 95 % limits"
    return forest_figure(f"operating-points-{split}", title, rows, x_label="Share", line_at=1.0)
