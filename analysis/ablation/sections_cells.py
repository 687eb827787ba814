"""The report's section on the cells: their values, on a picture of the lattice and in a table."""

import math
from collections.abc import Sequence

from analysis.ablation.figures_lattice import lattice_figure
from analysis.ablation.figures_probabilities import calibration_scatter
from analysis.ablation.findings import ArenaFindings, Findings
from analysis.ablation.layout import lay_out
from analysis.ablation.measures import find_measure
from analysis.ablation.sections_top import capital, nothing_compared, who
from analysis.figures.canvas import Drawing
from analysis.metrics import ESTIMATE_COLUMNS, estimate_cells
from analysis.page import Block, Data, Gallery, Heading, Paragraph, Section, Table, fold_later
from analysis.wording import count, told
from triher.estimate import Estimate
from triher.study import BASE

MOST_OPEN = 20
"""Cells of a table that is not folded."""
_LEAST_SCATTER = 4  # points that are a picture
_ERRORS = ("ece", "brier")
_PRINTED = (
    "auc_macro", "auc_zero_vs_rest", "auc_low_vs_positive", "accuracy", "balanced_accuracy", "sensitivity:positive",
    "specificity:positive", "brier", "ece",
)  # fmt: skip
"""Measures of the printed tables beside the study's own; all are in the files."""
_TEXT = (
    "All cells are judged on the same patients: those whom every cell predicted by models that had not seen them. "
    "Several seeds of a cell are judged one by one and averaged. An interval tells how well the value of one cell is "
    "known; whether two cells differ is told by their difference below, not by whether their intervals overlap."
)


def arena_name(arena: ArenaFindings) -> str:
    """An arena as a heading."""
    return capital(who(arena))


def split_slug(arena: ArenaFindings) -> str:
    """An arena within a file name."""
    return arena.arena.split.replace(" ", "-")


def cells_section(found: Findings) -> Section:
    """Values of all cells, split by split."""
    blocks: list[Block] = [Paragraph(_TEXT)]
    if not found.arenas:
        alone: list[list[Block]] = [[Heading(arena_name(arena)), _table(found, arena)] for arena in found.alone]
        return Section("cells", "The cells", [Paragraph(nothing_compared(found), tone="note"), *fold_later(alone)])
    splits = [_arena_blocks(found, arena) for arena in found.arenas]
    return Section("cells", "The cells", blocks + fold_later(splits))


def _arena_blocks(found: Findings, arena: ArenaFindings) -> list[Block]:
    """Pictures and table of one arena."""
    drawings = [drawing for drawing in (_lattice(found, arena), _scatter(found, arena)) if drawing is not None]
    figures: list[Block] = [Gallery("", [drawing]) for drawing in drawings]
    listed = sum(not result.cell.levels for result in found.material.results)
    remark: list[Block] = []
    if listed and found.material.axes:
        have = "has" if listed == 1 else "have"
        text = f"{count(listed, 'cell')} listed by name {have} no place on the picture of the axes."
        remark = [Paragraph(text)]
    return [Heading(arena_name(arena)), *figures[:1], *remark, _table(found, arena), *figures[1:]]


def _lattice(found: Findings, arena: ArenaFindings) -> Drawing | None:
    """The picture of the axes; none for cells listed by name."""
    material = found.material
    grid = lay_out(material.axes, [result.cell for result in material.results], material.design)
    if grid is None:
        return None
    return lattice_figure(
        f"ablation-lattice-{split_slug(arena)}",
        capital(f"{found.metric.label} of each cell"),
        grid,
        arena.values(found.metric.name),
        base=BASE,
        best=arena.winner.cell if arena.winner else "",
        failed={result.cell.name for result in found.left},
        good=found.good,
    )


def _scatter(found: Findings, arena: ArenaFindings) -> Drawing | None:
    """Calibration beside discrimination; none for a few cells, whom the table tells as well."""
    name = next((name for name in _ERRORS if name in arena.measures and name != found.metric.name), "")
    if not name:
        return None
    metric, error = arena.values(found.metric.name), arena.values(name)
    n = sum(math.isfinite(metric[cell].value + error[cell].value) for cell in metric if cell in error)
    if n < _LEAST_SCATTER:
        return None
    named = {arena.winner.cell: "best value"} if arena.winner else {}
    label = find_measure(name, found.material.config.scheme).label
    corner = "bottom right" if found.metric.higher_is_better else "bottom left"
    best = f": {corner} is best" if found.metric.ideal is None else ""
    return calibration_scatter(
        f"ablation-calibration-{split_slug(arena)}",
        capital(f"{found.metric.label} and {label} of each cell{best}"),
        (capital(found.metric.label), metric),
        (capital(label), error),
        named={**named, BASE: "base"},
    )


def _table(found: Findings, arena: ArenaFindings) -> Table:
    """A line a cell, the best first; failed ones are named in a table of their own."""
    scheme = found.material.config.scheme
    shown = printed(arena)
    values = {name: arena.values(name) for name in shown}
    metric = found.metric
    order = sorted(arena.arena.names, key=lambda cell: _place(found, values[metric.name].get(cell)))
    rows = []
    for cell in order:
        n_seeds = len(found.material.result(cell).runs)
        numbers = [told(values[name].get(cell)) for name in shown]
        rows.append([cell, *numbers, str(arena.arena.n_own.get(cell, 0)), str(n_seeds)])
    header = ["Cell", *(capital(find_measure(name, scheme).label) for name in shown), "Predicted", "Seeds"]
    n = len(arena.arena.patient_id)
    on = f"All cells on the same {count(n, 'patient')}" if found.arenas else f"One cell on its {count(n, 'patient')}"
    caption = f"{on}: estimate (95 % interval){'; the best on top' if found.arenas else ''}"
    folded = f"The values of all {len(rows)} cells" if len(rows) > MOST_OPEN else ""
    return Table(caption, header, rows, folded, name=f"ablation-cells-{split_slug(arena)}", data=_data(arena))


def printed(arena: ArenaFindings) -> list[str]:
    """The measures of printed tables: the study's first."""
    return [name for k, name in enumerate(arena.measures) if k == 0 or name in _PRINTED]


def _place(found: Findings, estimate: Estimate | None) -> float:
    """Sort key: the best first."""
    if estimate is None or not math.isfinite(estimate.value):
        return math.inf
    return -found.good(estimate.value)


def _data(arena: ArenaFindings) -> Data:
    """A line a cell and measure, in full precision."""
    rows = [[one.cell, one.measure, *estimate_cells(one.own)] for one in arena.compared]
    return Data(["cell", "measure", *ESTIMATE_COLUMNS], rows)


def names_of(cells: Sequence[str], n_all: int) -> str:
    """Some cells in words: all, how many, or which.

    >>> names_of(["a", "b"], 2), names_of(["a"], 2), names_of(list("abcdef"), 9)
    ('all', 'a', '6 of 9 cells')
    """
    if len(cells) == n_all:
        return "all"
    return "; ".join(cells) if len(cells) <= 3 else f"{len(cells)} of {n_all} cells"
