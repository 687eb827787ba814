"""Table 1: who the patients are, by training and held out (or cohort, or site), and by class."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.metrics import Cell, number_cell
from analysis.page import Block, Data, Heading, Paragraph, Table
from analysis.patients.acquisition import SHOWN, Acquisition
from analysis.patients.samples import class_label
from analysis.patients.standardized import chance_limit, in_words
from analysis.patients.table_one import Group, Line, Numbers, Variable, describe, numbers, words
from analysis.survival.kaplan_meier import median_follow_up
from analysis.wording import split_name
from triher.cohort import Cohort, Patient
from triher.tables import is_missing

_MANY_SITES = 20
_MOST_COLUMNS = 6
_COLUMNS = (
    "variable", "level", "group", "n", "missing", "count", "mean", "sd", "median", "quartile_1", "quartile_3",
    "largest_difference", "between",
)  # fmt: skip


def table_one_blocks(
    frame: pd.DataFrame, cohort: Cohort, classes: tuple[str, ...], acquisition: Acquisition
) -> list[Block]:
    """Table 1 in two ways: by how the patients were used, and by what they are.

    Args:
        frame: the prediction table.
        cohort: covariates, groups, vendor and follow-up.
        classes: of the label scheme.
        acquisition: facts about the source images.
    """
    people = frame.drop_duplicates("patient_id")
    if people.empty:
        return []
    kind, parts = _parts(frame, people)
    labeled = people[people["y"].notna()]
    by_class = [
        Group(class_label(name), tuple(labeled.loc[labeled["y"] == c, "patient_id"]))
        for c, name in enumerate(classes)
    ]
    known = {patient.patient_id: patient for patient in cohort.patients}
    variables = _variables(people, known, cohort, acquisition)
    of_class = {who: group.name for group in by_class for who in group.patient_id}
    ordered = Variable("HER2", of_class, tuple(map(class_label, classes)))
    use = [variable for variable in variables if variable.name.lower() != kind]
    compared = _text([group for group in parts if group.name != "All"])
    blocks: list[Block] = [Heading("Characteristics (table 1)"), *map(Paragraph, compared)]
    caption = f"Predicted patients by {_KINDS.get(kind, kind)}: number (percent), mean (SD) or median (quartiles)"
    blocks.append(_table(caption, "table-1", parts, [ordered, *use], known))
    if len(labeled):
        caption = "Labeled patients by class: number (percent), mean (SD) or median (quartiles)"
        blocks.append(_table(caption, "table-1-classes", by_class, variables, known))
    return blocks


_KINDS = {"split": "training and testing", "": "all together"}


def _parts(frame: pd.DataFrame, people: pd.DataFrame) -> tuple[str, list[Group]]:
    """The columns of the first table: splits where there are several, else cohorts, else sites; and all."""
    everybody = Group("All", tuple(people["patient_id"]))
    for kind in ("split", "cohort", "site"):
        levels = sorted(people[kind].unique(), key=lambda s: (s != "test", s))
        if 1 < len(levels) <= _MOST_COLUMNS:
            names = {level: split_name(str(level)) if kind == "split" else str(level) for level in levels}
            rows = {level: frame[frame[kind] == level].drop_duplicates("patient_id") for level in levels}
            return kind, [*(Group(names[v], tuple(rows[v]["patient_id"])) for v in levels), everybody]
    return "", [everybody]


def _variables(
    people: pd.DataFrame, known: Mapping[str, Patient], cohort: Cohort, acquisition: Acquisition
) -> list[Variable]:
    """Everything that is known of the patients, in the order of the table."""
    found = []
    for place in ("cohort", "site"):
        levels = people[place].unique()
        if 1 < len(levels) <= _MANY_SITES:
            found.append(words(place.capitalize(), {who: str(name) for who, name in _pairs(people, place)}))
    there = [known[who] for who in people["patient_id"] if who in known]
    if "vendor" in cohort.columns:
        found.append(words("Vendor", {p.patient_id: _cell(p.vendor) for p in there}))
    first = there[0] if there else None
    if first is not None:
        found += [numbers(name, {p.patient_id: p.covariates[name] for p in there}) for name in first.covariates]
        found += [words(name, {p.patient_id: _cell(p.groups[name]) for p in there}) for name in first.groups]
    for fact, facts in acquisition.items():
        here = {who: facts[who] for who in people["patient_id"] if who in facts}
        found.append(numbers(SHOWN[fact], here, few_as_words=fact != "lesion_volume_ml"))
    return [variable for variable in found if len(variable.levels) <= _MANY_SITES]


def _pairs(rows: pd.DataFrame, column: str) -> list[tuple[str, object]]:
    """Patient ids with the cells of a column."""
    return list(zip(rows["patient_id"].astype(str), rows[column], strict=True))


def _cell(cell: str) -> str:
    """A text cell, empty where it is missing."""
    return "" if is_missing(cell) else cell


def _text(groups: Sequence[Group]) -> list[str]:
    """What the standardized differences are, and how large chance makes them here."""
    first = (
        "Standardized differences are distances between groups in standard deviations (Austin 2009; for several "
        "levels the Mahalanobis distance of Yang & Dalton 2012), without sign, the largest of all pairs of groups. "
        'Above 0.1 a variable is said to differ, above 0.25 to differ much; "differs wholly" means that the groups '
        "share no value. Numbers with a skewness beyond 1 are told by median and quartiles, others by mean and "
        "standard deviation. Missing values are counted for each group in its order, and are in no percentage."
    )
    sizes = sorted(len(group.patient_id) for group in groups)
    if len(sizes) < 2 or not sizes[0]:
        return [first]
    limit = chance_limit(sizes[0], sizes[1])
    return [
        first,
        f"With groups of {sizes[0]} and {sizes[1]} patients, chance alone makes the standardized difference of a "
        f"number, or of two levels, up to {limit:.2f} in 95 of 100 variables that do not differ. Several levels, and "
        "the largest of several pairs of groups, exceed that more often.",
    ]


def _table(
    caption: str, name: str, groups: Sequence[Group], variables: Sequence[Variable], known: Mapping[str, Patient]
) -> Table:
    """One table 1."""
    compared = [k for k, group in enumerate(groups) if group.name != "All"]
    lines = [describe(variable, groups, compared) for variable in variables]
    rows = [["Patients", *(str(len(group.patient_id)) for group in groups), "", *[""] * (len(compared) > 1)]]
    for line in lines:
        rows += _rows(line, with_distance=len(compared) > 1, pair=len(compared) > 2)
    rows += [[*row, "", *[""] * (len(compared) > 1)] for row in _follow_up_lines(groups, known)]
    distance = ["Largest difference"] if len(compared) > 2 else ["Standardized difference"] * (len(compared) > 1)
    header = ["", *(group.name for group in groups), "Missing", *distance]
    cells = [cell for line in lines for cell in _cells(line, groups)]
    return Table(caption, header, rows, name=name, data=Data(_COLUMNS, cells), sortable=False)


def _rows(line: Line, *, with_distance: bool, pair: bool) -> list[list[str]]:
    """One variable: a line, or one for each level below its name."""
    told = in_words(line.distance)
    if pair and line.distance > 0:
        told = f"{told} ({' / '.join(name.removeprefix('HER2-') for name in line.between)})"
    tail = [_missing(line.groups), *([told] if with_distance else [])]
    variable = line.variable
    if not variable.levels:
        kind = "median (quartiles)" if line.skewed else "mean (SD)"
        return [[f"{variable.name}, {kind}", *(_number(n, skewed=line.skewed) for n in line.groups), *tail]]
    if len(variable.levels) == 1:
        return [[f"{variable.name}: {variable.levels[0]}", *(_share(n, 0) for n in line.groups), *tail]]
    if variable.levels == ("no", "yes"):
        return [[variable.name, *(_share(n, 1) for n in line.groups), *tail]]
    empty = [""] * len(tail)
    heading = [[variable.name, *[""] * len(line.groups), *tail]]
    levels = enumerate(variable.levels)
    return heading + [[f"... {level}", *(_share(n, k) for n in line.groups), *empty] for k, level in levels]


def _missing(groups: Sequence[Numbers]) -> str:
    """Missing values of each group; one number where nobody's is missing."""
    return " / ".join(str(n.missing) for n in groups) if any(n.missing for n in groups) else "0"


def _share(numbers_: Numbers, level: int) -> str:
    """Number and percent of a level."""
    n = numbers_.counts[level]
    return f"{n} ({n / numbers_.n:.0%})" if numbers_.n else "-"


def _number(numbers_: Numbers, *, skewed: bool) -> str:
    """Mean and standard deviation, or median and quartiles."""
    if not numbers_.n:
        return "-"
    low, middle, high = numbers_.quartiles
    if skewed:
        return f"{middle:.3g} ({low:.3g} to {high:.3g})"
    return f"{numbers_.mean:.3g} ({numbers_.sd:.3g})" if math.isfinite(numbers_.sd) else f"{numbers_.mean:.3g}"


def _cells(line: Line, groups: Sequence[Group]) -> list[list[Cell]]:
    """One variable for machines."""
    tail: list[Cell] = [number_cell(line.distance), " | ".join(filter(None, line.between))]
    rows: list[list[Cell]] = []
    for group, n in zip(groups, line.groups, strict=True):
        for k, level in enumerate(line.variable.levels):
            rows.append([line.variable.name, level, group.name, n.n, n.missing, n.counts[k], *[None] * 5, *tail])
        if not line.variable.levels:
            values = [number_cell(v) for v in (n.mean, n.sd, n.quartiles[1], n.quartiles[0], n.quartiles[2])]
            rows.append([line.variable.name, "", group.name, n.n, n.missing, None, *values, *tail])
    return rows


def _follow_up_lines(groups: Sequence[Group], known: Mapping[str, Patient]) -> list[list[str]]:
    """Events and median follow-up, where there is any."""
    followed = [
        [p for who in group.patient_id if (p := known.get(who)) is not None and p.event >= 0 and p.time_months >= 0]
        for group in groups
    ]
    if not any(followed):
        return []
    events = [f"{sum(p.event == 1 for p in members)} of {len(members)}" for members in followed]
    medians = [_median_follow_up(members) for members in followed]
    return [["Events", *events], ["Median follow-up, months (reverse Kaplan-Meier)", *medians]]


def _median_follow_up(followed: Sequence[Patient]) -> str:
    """Reverse Kaplan-Meier: censoring is the event, and any event, a competing one too, ends the view of it."""
    if not followed:
        return "-"
    time = np.array([p.time_months for p in followed], dtype=np.float64)
    median = median_follow_up(time, np.array([p.event == 0 for p in followed])).value
    return f"{median:.1f}" if math.isfinite(median) else "not reached"
