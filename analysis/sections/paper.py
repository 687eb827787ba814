"""The part of the analysis that prints the table of the papers, with what papers leave out of it."""

import math
from collections.abc import Iterable, Sequence

from analysis.discrimination.paper_rows import MODEL, TRAINED, Row, View
from analysis.discrimination.published import Beside, compare_published
from analysis.discrimination.questions import QUESTIONS
from analysis.figures.canvas import plain
from analysis.metrics import ESTIMATE_COLUMNS, Cell, Metric, estimate_cells, find, number_cell
from analysis.page import Block, Data, Heading, Paragraph, Section, Table, fold_later
from analysis.part import Material, Part
from analysis.patients.samples import class_label
from analysis.sections.beside import companion_name
from analysis.wording import p_value, split_name, told
from triher.estimate import Estimate

_MEASURES = {
    "accuracy": "Accuracy",
    "auc": "AUC",
    "auc_macro": "Macro AUC",
    "auc_micro": "Micro AUC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "balanced_accuracy": "Balanced accuracy",
}
"""Measure -> its column, in the order of the papers."""
_TESTED = ("auc", "accuracy", "sensitivity", "specificity")
_PLACE = ("split", "cohort", "question", "model", "kind", "threshold")
_COLUMNS = (*_PLACE, "quantity", *ESTIMATE_COLUMNS)
_TEST_COLUMNS = (*_PLACE, "quantity", "p", "corrected_p", "n", "method", "reason")
_PUBLISHED = (
    "source", "quantity", "split", "cohort", "published", "published_low", "published_high",
    *(f"own_{name}" for name in ESTIMATE_COLUMNS), "own_interval_holds_it", "expected_low", "expected_high",
    "expected_method", "expected_reason", "n_positive", "n_negative",
)  # fmt: skip
_TITLE = "As papers print it: accuracy, AUC, sensitivity, specificity"


def paper_part(material: Material, rows: Sequence[Row], new: Sequence[Metric], all_metrics: Sequence[Metric]) -> Part:
    """The section, and the rows of ``metrics.csv`` that stand nowhere else.

    Args:
        material: what every part is given.
        rows: as `analysis.discrimination.paper_rows.paper_rows` gives them.
        new: as `analysis.discrimination.paper_rows.new_metrics` gives them.
        all_metrics: every row of the analysis, also `new` and the corrected p values.

    Raises:
        StopRun: as `analysis.discrimination.published.compare_published`.
    """
    if not rows:
        text = "No predicted patient has a HER2 label, so there is nothing to print."
        return Part(section=Section("paper", _TITLE, [Paragraph(text, tone="note")]))
    blocks: list[Block] = [Paragraph(text) for text in _texts(rows)]
    splits: list[list[Block]] = []
    for split in dict.fromkeys(row.sample.split for row in rows):
        inside = [row for row in rows if row.sample.split == split]
        splits.append([Heading(split_name(split)), *_split_blocks(split, inside, all_metrics)])
    published = compare_published(material, all_metrics)
    section = Section("paper", _TITLE, [*blocks, *fold_later(splits), *_published_blocks(published)])
    return Part(tuple(new), section)


def _texts(rows: Sequence[Row]) -> list[str]:
    """What the columns are."""
    questions = any(row.view.question is not None for row in rows)
    several = any(row.view.question is None for row in rows)
    text = (
        "The columns that papers on this task print, with what they leave out: an interval of each number (AUC of "
        "one question: DeLong; proportions: Wilson; means over classes: bootstrap), how many patients have the "
        "condition, balanced accuracy, which naming the most common class for everybody does not lift, and paired "
        "tests. "
    )
    text += "With several classes the likeliest one is taken. " if several else ""
    text += "A question is answered yes where its score is above 0.5. " if questions else ""
    found = [f"{text}No operating point was chosen on the patients who are judged."]
    if any(row.kind == TRAINED for row in rows):
        found.append(
            "Lines that name a threshold answer yes at or above what the training chose on development patients. "
            "Their AUC is that of the model, which needs no threshold."
        )
    if any(row.p for row in rows):
        found.append(
            "Tests are paired, on the patients whom both models predicted: DeLong's for the AUC, McNemar's exact one "
            "for accuracy, sensitivity and specificity at 0.5. Behind each p value stands the one corrected after "
            "Benjamini and Hochberg among all exploratory p values of the analysis. "
            f"{'The macro AUC is compared in the sections on other models. ' if several else ''}"
            "For out-of-fold predictions the tests describe."
        )
    return found


def _split_blocks(split: str, rows: Sequence[Row], metrics: Iterable[Metric]) -> list[Block]:
    """The tables of one split, view by view."""
    known, blocks = list(metrics), list[Block]()
    for view in dict.fromkeys(row.view for row in rows):
        inside = [row for row in rows if row.view == view]
        slug = f"{split}{view.suffix.replace('_', '-')}"
        blocks.append(_table(view, inside, slug))
        tested = [row for row in inside if row.p]
        blocks += [_test_table(view, tested, slug, known)] if tested else []
    return blocks


def _table(view: View, rows: Sequence[Row], slug: str) -> Table:
    """The columns of the papers for one question."""
    shown = [name for name in _MEASURES if name in rows[0].measures]
    classes = [name.removeprefix("prevalence_") for name in rows[0].measures if name.startswith("prevalence_")]
    sizes = f"n ({' / '.join(classes)})" if classes else "With the condition"
    cells = [[_label(row), _sizes(row), *(told(row.measures[name]) for name in shown)] for row in rows]
    header = ["Model", sizes, *(_MEASURES[name] for name in shown)]
    lines = [
        [*_place(row), name, *estimate_cells(estimate)] for row in rows for name, estimate in row.measures.items()
    ]
    caption = f"{view.label}: estimate (95 % interval)"
    return Table(caption, header, cells, name=f"paper-{slug}", data=Data(_COLUMNS, lines))


def _test_table(view: View, rows: Sequence[Row], slug: str, metrics: Sequence[Metric]) -> Table:
    """The p values against this run's model."""
    shown = [name for name in _TESTED if name in rows[0].p]
    cells, lines = [], []
    for row in rows:
        after = {name: _corrected(row, name, metrics) for name in shown}
        cells.append([_label(row), *(_told_p(row.p[name], after[name]) for name in shown), str(row.p["accuracy"].n)])
        for name in shown:
            p = row.p[name]
            numbers = [number_cell(v) for v in (p.value, after[name])]
            lines.append([*_place(row), name, *numbers, p.n, p.method, p.reason])
    header = ["The model against", *(f"{_MEASURES[name]}: p" for name in shown), "n"]
    caption = f"{view.label}: paired tests, p (corrected)"
    return Table(caption, header, cells, name=f"paper-tests-{slug}", data=Data(_TEST_COLUMNS, lines))


def _corrected(row: Row, measure: str, metrics: Sequence[Metric]) -> float:
    """The p value after Benjamini and Hochberg; NaN where there is none."""
    quantity = f"{row.view.p_name(measure)}_bh"
    found = find(metrics, row.sample.split, quantity, row.name, cohort=row.sample.cohort)
    return math.nan if found is None else found.value


def _told_p(p: Estimate, after: float) -> str:
    """Both p values, or the reason why there is none."""
    if not math.isfinite(p.value):
        return f"not estimable: {p.reason}"
    return f"{p_value(p.value)} ({p_value(after)})" if math.isfinite(after) else p_value(p.value)


def _label(row: Row) -> str:
    """The line's heading: cohort and model."""
    own = {MODEL: "the model", TRAINED: f"the model at {row.threshold:.2f}, the threshold of the training"}
    name = own.get(row.kind) or companion_name(row.name)
    return f"{plain(row.sample.cohort)}: {name}" if row.sample.cohort else f"{name[:1].upper()}{name[1:]}"


def _sizes(row: Row) -> str:
    """How many patients, and of what."""
    share = row.measures.get("prevalence")
    if share is not None:
        return f"{round(share.value * share.n)} of {share.n} ({share.value:.0%})" if share.n else "0 of 0"
    each = [e for name, e in row.measures.items() if name.startswith("prevalence_")]
    return f"{len(row.sample.y)} ({' / '.join(str(round(e.value * e.n)) for e in each)})"


def _place(row: Row) -> list[Cell]:
    """The first columns of the files."""
    threshold = number_cell(row.threshold)
    return [row.sample.split, row.sample.cohort, row.view.label, row.name, row.kind, threshold]


def _published_blocks(found: Sequence[Beside]) -> list[Block]:
    """Published values beside this run's."""
    if not found:
        return []
    text = (
        "Does this run's interval hold the published value, and how well could it? The last interval is what a study "
        "of as many patients with and without the condition as here would be expected to show if the published value "
        "were true (AUC: Hanley and McNeil, macro AUC: with the same AUC for each class, proportions: Wilson). "
        "Where it is wide, holding the published value says little. The patients of a publication are others than "
        "these: a difference may come from them as well as from the model."
    )
    header = ["Source", "Quantity", "Patients", "Published", "This run", "Holds it", "With / without"]
    header.append("Expected here if true")
    rows = [_published_cells(one) for one in found]
    table = Table(
        "Published values beside this run's (95 % intervals)", header, rows, name="paper-published",
        data=Data(_PUBLISHED, [_published_line(one) for one in found]),
    )  # fmt: skip
    return [Heading("Published values"), Paragraph(text), table]


def _published_cells(one: Beside) -> list[str]:
    """A line of the printed table."""
    it = one.published
    limits = f" ({it.low:z.2f} to {it.high:z.2f})" if it.low is not None and it.high is not None else ""
    holds = {None: "-", True: "yes", False: "no"}[one.holds]
    expected = f"{one.expected.low:z.2f} to {one.expected.high:z.2f}"
    return [
        it.source,
        _quantity(it.quantity),
        ", ".join(filter(None, [split_name(it.split), plain(it.cohort)])),
        f"{it.value:z.2f}{limits}",
        told(one.own),
        holds,
        f"{one.sides.n_positive} / {one.sides.n_negative}" if one.sides else "-",
        expected if math.isfinite(one.expected.low) else f"not estimable: {one.expected.reason}",
    ]


def _quantity(quantity: str) -> str:
    """A quantity in words.

    >>> _quantity("sensitivity_low_vs_positive"), _quantity("auc:low")
    ('Sensitivity, low against positive', 'AUC, HER2-low')
    """
    name, _, class_name = quantity.partition(":")
    for measure, question in ((m, q) for m in _MEASURES for q in QUESTIONS.values()):
        if name == measure + question.quantity.removeprefix("auc") and not question.class_name:
            return f"{_MEASURES[measure]}, {question.label[:1].lower()}{question.label[1:]}"
    words = _MEASURES.get(name, name[:1].upper() + name[1:].replace("_", " "))
    return f"{words}, {class_label(class_name)}" if class_name else words


def _published_line(one: Beside) -> list[Cell]:
    """A line of the file."""
    it, expected = one.published, one.expected
    holds = None if one.holds is None else int(one.holds)
    limits = [number_cell(v) for v in (expected.low, expected.high)]
    sides = (one.sides.n_positive, one.sides.n_negative) if one.sides else (None, None)
    first = [it.source, it.quantity, it.split, it.cohort, it.value, it.low, it.high, *estimate_cells(one.own), holds]
    return [*first, *limits, expected.method, expected.reason, *sides]
