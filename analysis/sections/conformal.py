"""The report's section on prediction sets: whether they hold the true class as often as promised."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analysis.decisions.coverage import Coverage, Sets, always_in, fewest_calibration, judge_coverage, split_sets
from analysis.figures.canvas import plain
from analysis.figures.discrimination import ForestRow, forest_figure
from analysis.inference.corrected_p import SMALL_P
from analysis.limits.facts import Limit
from analysis.metrics import ESTIMATE_COLUMNS, Cell, Metric, estimate_cells
from analysis.page import Block, Data, Gallery, Heading, Paragraph, Section, Table, fold_later
from analysis.part import Material, Part
from analysis.patients.samples import class_label
from analysis.wording import count, split_name, told, told_p
from triher.settings import Config

_MANY_SITES = 8  # beyond this their table hides, and the figure leaves them out
_COLUMNS = ("set_size", "sets_single", "sets_full", "sets_empty")


def judge_conformal(material: Material) -> Part:
    """Coverage and size of the prediction sets of every split.

    Raises:
        StopRun: as `analysis.decisions.coverage.split_sets`.
    """
    alpha, scheme = promised_alpha(material.record, material.config), material.config.scheme
    splits: list[list[Block]] = []
    metrics: list[Metric] = []
    summary: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    for sample in material.samples:
        if not len(sample.y):
            continue
        sets = split_sets(material.frame, scheme, sample.split, alpha)
        heading = Heading(split_name(sample.split))
        if isinstance(sets, str):
            splits.append([heading, Paragraph(f"No prediction sets: {sets}.")])
            continue
        rows = judge_coverage(sets, material.classes, alpha)
        metrics += _metrics(sets.split, rows)
        if not summary:
            summary, limits = (_summary(rows, alpha),), _limits(sets, rows, alpha)
        splits.append([heading, *_split_blocks(sets, rows, material.classes, alpha)])
    if not splits:
        return Part()
    blocks = [Paragraph(_intro(alpha)), *fold_later(splits)]
    return Part(tuple(metrics), Section("conformal", "Prediction sets", blocks), summary=summary, limits=limits)


def _summary(rows: Sequence[Coverage], alpha: float) -> str:
    """Whether the promise was kept, and of how much use the sets are."""
    covered, single = rows[0].covered, rows[0].sizes["sets_single"]
    low = _too_low(rows)
    spread = f"95 % interval {covered.low:.0%} to {covered.high:.0%}; " if math.isfinite(covered.low) else ""
    less = f", and less than promised beyond chance for {'; '.join(map(_who, low))}" if low else ""
    return (
        f"Prediction sets hold the true class in {covered.value:.0%} of {count(covered.n, 'patient')} "
        f"({spread}{1 - alpha:.0%} were promised){less}; in {single.value:.0%} they name a single class."
    )


def promised_alpha(record: Mapping[str, Any], config: Config) -> float:
    """The error rate that the sets were made for, from the record of training or application where it says so."""
    stages = record.get("stages", {})
    settings = [stages.get(name, {}).get("settings", {}) for name in ("classify", "apply")]
    return float(next((s["alpha"] for s in settings if "alpha" in s), config.classify.alpha))


def _too_low(rows: Sequence[Coverage]) -> list[Coverage]:
    """The groups of which less was covered than promised, beyond chance."""
    return [row for row in rows if row.p_adjusted is not None and row.p_adjusted.value < SMALL_P]


def _limits(sets: Sets, rows: Sequence[Coverage], alpha: float) -> tuple[Limit, ...]:
    """A promise that is not kept."""
    said = "; ".join(f"{_who(row)} {told(row.covered)}" for row in _too_low(rows))
    if not said:
        return ()
    text = (
        f"{split_name(sets.split)}: they hold the true class less often than the promised {1 - alpha:.0%}, beyond "
        f"chance: {said}. A class that a set leaves out is not ruled out."
    )
    return (Limit(63, "Prediction sets do not keep their promise", text),)


def _intro(alpha: float) -> str:
    """What a set is, and what it promises."""
    return (
        "A prediction set names the classes that cannot be ruled out for a patient. It should hold the true class "
        f"in {1 - alpha:.0%} of the patients of every class (classify.alpha {alpha:g}), if they are like those who "
        "calibrated it (class-conditional conformal prediction, Vovk, Gammerman & Shafer 2005). Nothing promises it "
        "elsewhere: other scanners, sites or patients void it, so the coverage that was observed is told for each "
        "cohort and site. The p value asks whether the sets, as they are, cover less than promised (exact binomial "
        "test, one-sided; in brackets corrected after Benjamini and Hochberg over all tests of the split). With few "
        "calibration patients sets can come out too small by chance, so a small p shows a promise that is not kept, "
        "and not why; a large one in few patients shows nothing."
    )


def _metrics(split: str, rows: Sequence[Coverage]) -> Iterator[Metric]:
    """All groups as rows."""
    for row in rows:
        found = {"coverage": row.covered, "coverage_p": row.p, "coverage_p_adjusted": row.p_adjusted, **row.sizes}
        for quantity, estimate in found.items():
            if estimate is not None:
                yield Metric("conformal", split, quantity, estimate, row.class_name, row.cohort, row.site)


def _split_blocks(sets: Sets, rows: Sequence[Coverage], classes: tuple[str, ...], alpha: float) -> list[Block]:
    """Sentences, table and figure of one split."""
    blocks: list[Block] = [Paragraph(f"Sets {sets.origin}. {_sizes(rows[0])}")]
    low = _too_low(rows)
    if low:
        said = "; ".join(f"{_who(row)} {row.covered.value:.0%}" for row in low)
        text = f"Less was covered than the promised {1 - alpha:.0%}, beyond chance: {said}."
        blocks.append(Paragraph(text, tone="note"))
    for name in always_in(sets.members, classes):
        text = (
            f"{class_label(name)} is in every set, so its coverage is no achievement. A set can leave a class out "
            f"when at least {fewest_calibration(alpha)} patients of it calibrated the sets; beyond that, it stays in "
            "where the model never gives it a small probability."
        )
        blocks.append(Paragraph(text, tone="note"))
    n_sites = sum(bool(row.site) and not row.class_name for row in rows)
    many = n_sites > _MANY_SITES
    blocks.append(_table(sets.split, [row for row in rows if not (many and row.site)], alpha))
    blocks += [_table(sets.split, [row for row in rows if row.site], alpha, n_sites=n_sites)] if many else []
    shown = [row for row in rows if _is_shown(row) and not (many and row.site)]
    forest = [ForestRow(_who(row), row.covered, class_name=row.class_name) for row in shown]
    n = rows[0].covered.n
    title = f"Coverage of the sets (n = {n}) with Wilson's 95 % intervals; promised {1 - alpha:.0%}"
    label = "Share of patients whose set holds the true class"
    figure = forest_figure(f"coverage-{sets.split}", title, forest, x_label=label, line_at=1 - alpha)
    return [*blocks, Gallery("", [figure])]


def _is_shown(row: Coverage) -> bool:
    """Whether a group stands in the figure: classes of single cohorts and sites are in the table alone."""
    return not (row.class_name and row.cohort) and math.isfinite(row.covered.value)


def _sizes(row: Coverage) -> str:
    """How large the sets are, as a sentence."""
    size, single, full, empty = (row.sizes[name] for name in _COLUMNS)
    mean = f"{size.value:.2f} classes on average, " if math.isfinite(size.value) else ""
    n = row.covered.n
    one, every, none = (round(share.value * n) for share in (single, full, empty))
    return (
        f"They hold {mean}one class in {one} of {count(n, 'patient')}, all classes (which says nothing) in {every}, "
        f"none in {none}."
    )


def _who(row: Coverage) -> str:
    """The group in words.

    >>> from triher.estimate import not_estimable
    >>> _who(Coverage("A", "", "low", not_estimable("", n=0, method=""), {}))
    'A, HER2-low'
    """
    place = f"{plain(row.cohort)}: {plain(row.site)}" if row.site else plain(row.cohort)
    label = class_label(row.class_name) if row.class_name else ""
    return ", ".join(filter(None, [place, label])) or "All patients"


def _table(split: str, rows: Sequence[Coverage], alpha: float, *, n_sites: int = 0) -> Table:
    """All groups, one a line; folded where it is one of many sites alone."""
    printed = [
        [_who(row), str(row.covered.n), told(row.covered), _p(row), *(told(row.sizes[name]) for name in _COLUMNS)]
        for row in rows
        if not (row.class_name and row.cohort)
    ]
    data: list[list[Cell]] = []
    for row in rows:
        found = {"coverage": row.covered, "coverage_p": row.p, "coverage_p_adjusted": row.p_adjusted, **row.sizes}
        place = [split, row.cohort, row.site, row.class_name]
        data += [[*place, name, 1 - alpha, *estimate_cells(e)] for name, e in found.items() if e is not None]
    header = [
        "Patients",
        "n",
        "Coverage",
        "p (corrected)",
        "Classes in a set",
        "One class",
        "All classes",
        "No class",
    ]
    caption = f"{split_name(split)}: coverage and size of the prediction sets, estimate (95 % interval)"
    columns = ("split", "cohort", "site", "class", "quantity", "promised_coverage", *ESTIMATE_COLUMNS)
    name, folded = f"conformal-{split}", ""
    if n_sites:
        name, folded = f"conformal-sites-{split}", f"Coverage at each of the {n_sites} sites"
    return Table(caption, header, printed, folded=folded, name=name, data=Data(columns, data))


def _p(row: Coverage) -> str:
    """The p value with the corrected one behind it."""
    if row.p is None:
        return "-"
    return told_p(row.p) if row.p_adjusted is None else f"{told_p(row.p)} ({told_p(row.p_adjusted)})"
