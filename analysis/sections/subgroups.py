"""The report's section on subgroups."""

import math
from collections.abc import Iterator, Sequence

from analysis.discrimination.subgroups import Interaction, Level, Subgrouping, judge_subgroups, of_everybody
from analysis.figures.subgroups import PANELS, level_label, subgroup_figure
from analysis.inference.corrected_p import SMALL_P
from analysis.inference.cross_validation import folds_of
from analysis.metrics import ESTIMATE_COLUMNS, Cell, Metric, estimate_cells, number_cell
from analysis.page import Block, Data, Gallery, Heading, Paragraph, Section, Table, fold_later
from analysis.part import Material, Part
from analysis.patients.groupings import PLACES
from analysis.patients.samples import class_label
from analysis.wording import equals, p_value, split_name, told
from triher.estimate import Estimate

_TEXT = (
    "The same AUCs in subgroups. Subgroup analyses are exploratory: with many of them some differ by chance, so a "
    "difference here is a question for another cohort and no finding. Whether subgroups differ is told by the test "
    "of interaction alone; that two intervals overlap, or that one excludes 0.5 and the other does not, is no test. "
    "The test (for two levels the unpaired DeLong test, for more Cochran's Q of the logit AUCs) takes the variances "
    "as known and is approximate with few patients in a level; levels that have no variance, and patients whose "
    "level is not known, are shown and left out of it. P values are corrected after Benjamini and Hochberg over all "
    "interactions of a split. Levels with fewer than 5 patients on a side show no interval. "
    "Calibration in the large is on the logit scale: above 0 the class is more frequent than predicted."
)
_POOLED = (
    "Out of fold, several models gave the scores of each level. The intervals are widened for that, a level's by its "
    "share of the patients; the tests need no such thing, as what the levels have in common cancels out."
)

_MOST_OPEN = 12  # levels in a table that is not folded


def subgroups_part(material: Material) -> Part:
    """The AUCs of all subgroups, as rows, table and figure; nothing where no grouping is asked for or needed.

    Raises:
        StopRun: as `analysis.patients.groupings.groupings`.
    """
    found = judge_subgroups(material)
    if not found:
        return Part()
    blocks: list[Block] = [Paragraph(_TEXT)]
    if any(folds_of(material.frame, group.split) is not None for group in found):
        blocks.append(Paragraph(_POOLED))
    splits: list[list[Block]] = []
    for sample in material.samples:
        groups = [group for group in found if group.split == sample.split]
        if groups:
            remarks = [Paragraph(text) for group in groups if group.name in PLACES for text in _heterogeneity(group)]
            figure = Gallery("", [subgroup_figure(groups, of_everybody(sample, material))])
            tables = [_interaction_table(groups), _large_table(groups, material.classes)]
            splits.append(
                [Heading(split_name(sample.split)), *remarks, figure, _level_table(groups, material.classes), *tables]
            )
    blocks += fold_later(splits)
    section = Section("subgroups", "Subgroups", blocks)
    summary = _summary(found, asked=bool(material.config.analysis.subgroups))
    return Part(tuple(_metrics(found, material.classes)), section, summary=summary)


def _summary(found: Sequence[Subgrouping], *, asked: bool) -> tuple[str, ...]:
    """Whether an AUC differs between the levels of a grouping in the foremost split.

    Nothing without a test, and no word on places that do not differ where no subgroup was asked for.
    """
    tests = [
        (group.name, test)
        for group in found
        for test in group.interactions
        if group.split == found[0].split and math.isfinite(test.p_adjusted.value)
    ]
    if not tests:
        return ()
    names = list(dict.fromkeys(name for name, _ in tests))
    small = [(name, test) for name, test in tests if test.p_adjusted.value < SMALL_P]
    if not small and not asked:
        return ()
    if not small:
        tried = "The test found" if len(tests) == 1 else f"{len(tests)} tests found"
        return (
            f"{tried} no AUC that differs between subgroups ({', '.join(names)}), which is no proof of equality.",
        )
    said = "; ".join(f"{PANELS[t.quantity]} by {name} (p {equals(p_value(t.p_adjusted.value))})" for name, t in small)
    return (f"Exploratory: after correction an AUC differs between subgroups: {said}.",)


def _heterogeneity(group: Subgrouping) -> list[str]:
    """How far cohorts or sites lie apart; nothing where fewer than two have an AUC.

    The share of the spread beyond chance is Higgins & Thompson's I squared (Stat Med 2002;21:1539).
    """
    known = [(level.areas["auc_macro"], level) for level in group.levels]
    known = [(area, level) for area, level in known if math.isfinite(area.value)]
    if len(known) < 2:
        return []
    least, most = (pick(known, key=lambda pair: pair[0].value) for pick in (min, max))
    ends = [f"{area.value:z.2f} ({level_label(level.label)}, n = {level.n})" for area, level in (least, most)]
    text = f"Between {group.name}s the macro AUC runs from {ends[0]} to {ends[1]}"
    test = next((test for test in group.interactions if test.quantity == "auc_macro"), None)
    if test is None or not math.isfinite(test.p.value):
        reason = f": {test.p.reason}" if test and test.p.reason else ""
        return [f"{text}; whether that is more than chance is not estimable{reason}."]
    beyond = max(0.0, 1 - test.degrees / test.q.value) if test.q.value > 0 else 0.0
    return [
        f"{text}; p of heterogeneity {equals(p_value(test.p.value))} before correction, {beyond:.0%} of the spread "
        "beyond chance (I\u00b2)."
    ]


def _metrics(found: Sequence[Subgrouping], classes: Sequence[str]) -> Iterator[Metric]:
    """All numbers as rows; the level stands behind its grouping in the column of the class."""
    for group in found:
        for level in group.levels:
            place = f"{group.name}: {level.label or 'not known'}"
            for quantity, area in level.areas.items():
                yield Metric("subgroups", group.split, f"subgroup_{quantity}", area, place)
            for name, large in zip(classes, level.in_the_large, strict=True):
                quantity = f"subgroup_calibration_in_the_large_{name}"
                yield Metric("subgroups", group.split, quantity, large, place)
        for test in group.interactions:
            for suffix, estimate in (("q", test.q), ("p", test.p), ("p_adjusted", test.p_adjusted)):
                quantity = f"interaction_{test.quantity}_{suffix}"
                yield Metric("subgroups", group.split, quantity, estimate, group.name)


def _level_table(groups: Sequence[Subgrouping], classes: Sequence[str]) -> Table:
    """A line a level."""
    quantities = list(groups[0].levels[0].areas)
    rows = [
        [
            _level_name(group.name, level.label),
            str(level.n),
            " / ".join(map(str, level.counts)),
            *(told(level.areas[quantity]) for quantity in quantities),
        ]
        for group in groups
        for level in group.levels
    ]
    header = ["Subgroup", "n", " / ".join(classes), *(PANELS[quantity] for quantity in quantities)]
    split = groups[0].split
    caption = f"Subgroups, {split_name(split)}: estimate (95 % interval)"
    folded = f"The AUCs of all {len(rows)} levels" if len(rows) > _MOST_OPEN else ""
    data = _level_data(groups, classes)
    return Table(caption, header, rows, folded=folded, name=f"subgroups-{split}", data=data)


def _large_table(groups: Sequence[Subgrouping], classes: Sequence[str]) -> Table:
    """Calibration in the large of each level."""
    rows = [
        [_level_name(group.name, level.label), str(level.n), *map(_large, level.in_the_large)]
        for group in groups
        for level in group.levels
    ]
    data = [
        [group.name, level.label or "not known", name, *estimate_cells(large)]
        for group in groups
        for level in group.levels
        for name, large in zip(classes, level.in_the_large, strict=True)
    ]
    split = groups[0].split
    return Table(
        f"Calibration in the large by subgroup, {split_name(split)}: estimate (95 % interval)",
        ["Subgroup", "n", *map(class_label, classes)],
        rows,
        folded="Calibration in the large of each level",
        name=f"subgroups-calibration-{split}",
        data=Data(["grouping", "level", "class", *ESTIMATE_COLUMNS], data),
    )


def _level_name(grouping: str, label: str) -> str:
    """A level with its grouping, which cut points name already.

    >>> _level_name("age", "age >= 50"), _level_name("site", "A")
    ('age ≥ 50', 'site: A')
    """
    return level_label(label) if label.startswith(f"{grouping} ") else f"{grouping}: {level_label(label)}"


def _large(estimate: Estimate) -> str:
    """Calibration-in-the-large, short."""
    return told(estimate) if math.isfinite(estimate.value) else "-"


def _level_data(groups: Sequence[Subgrouping], classes: Sequence[str]) -> Data:
    """A line for each estimate of each level, in full precision."""
    columns = ["grouping", "level", *(f"n_{name}" for name in classes), "quantity", "class", *ESTIMATE_COLUMNS]
    rows: list[list[Cell]] = []
    for group in groups:
        for level in group.levels:
            place: list[Cell] = [group.name, level.label or "not known", *level.counts]
            rows += [[*place, *cells] for cells in _estimates(level, classes)]
    return Data(columns, rows)


def _estimates(level: Level, classes: Sequence[str]) -> Iterator[list[Cell]]:
    """Name, class and cells of each estimate."""
    for quantity, area in level.areas.items():
        yield [quantity, "", *estimate_cells(area)]
    for name, large in zip(classes, level.in_the_large, strict=True):
        yield ["calibration_in_the_large", name, *estimate_cells(large)]


def _interaction_table(groups: Sequence[Subgrouping]) -> Table:
    """A line a test."""
    tests = [(group.name, test) for group in groups for test in group.interactions]
    rows = [row for group in groups for row in _test_rows(group)]
    header = ["Grouping", "AUC", "Levels compared", "Left out of the test", "Q", "df", "p", "p, corrected"]
    columns = ["grouping", "quantity", "compared", "left_out", "n", "q", "df", "p", "p_adjusted", "method", "reason"]
    data = Data(columns, [[name, test.quantity, *_cells(test)] for name, test in tests])
    split = groups[0].split
    caption = f"Is the AUC the same in all levels? Tests of interaction, {split_name(split)}"
    return Table(caption, header, rows, name=f"interactions-{split}", data=data)


def _test_rows(group: Subgrouping) -> list[list[str]]:
    """The tests of a grouping in print; one line where none of them can be made, for the same reason."""
    rows = [[group.name, PANELS[test.quantity], *_told(test)] for test in group.interactions]
    reasons = {test.p.reason for test in group.interactions if not math.isfinite(test.p.value)}
    if len(rows) > 1 and len(reasons) == 1 and all(not math.isfinite(test.p.value) for test in group.interactions):
        return [[group.name, "All AUCs", *rows[0][2:]]]
    return rows


def _told(test: Interaction) -> list[str]:
    """One test in print."""
    left_out = ", ".join(map(level_label, test.left_out)) or "-"
    if not math.isfinite(test.p.value):
        return [str(len(test.compared)), left_out, "-", "-", f"not estimable: {test.p.reason}", "-"]
    numbers = [f"{test.q.value:.2f}", str(test.degrees), p_value(test.p.value), p_value(test.p_adjusted.value)]
    return [str(len(test.compared)), left_out, *numbers]


def _cells(test: Interaction) -> list[Cell]:
    """One test for machines."""
    left_out = " | ".join(label or "not known" for label in test.left_out)
    numbers = [number_cell(v) for v in (test.p.value, test.p_adjusted.value)]
    q = number_cell(test.q.value)
    tail = [*numbers, test.p_adjusted.method, test.p.reason]
    return [" | ".join(test.compared), left_out, test.p.n, q, test.degrees, *tail]
