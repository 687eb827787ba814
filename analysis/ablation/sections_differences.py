"""The report's section on how the cells differ from the base."""

import math

from analysis.ablation.comparison import Compared
from analysis.ablation.figures_differences import MOST, differences_figure
from analysis.ablation.findings import ArenaFindings, Findings
from analysis.ablation.measures import find_measure
from analysis.ablation.sections_cells import MOST_OPEN, arena_name, printed, split_slug
from analysis.ablation.sections_top import capital
from analysis.metrics import ESTIMATE_COLUMNS, estimate_cells, number_cell
from analysis.page import Block, Data, Gallery, Heading, Paragraph, Section, Table, fold_later
from analysis.wording import count, p_value, told

_TEXT = (
    "The same patients, drawn the same way in each resample, judge a cell and the base, so that what makes patients "
    "hard for both cancels out. P values of the study's metric are corrected after Holm: those of the cells that "
    "ablation.primary names among themselves, all others among themselves. A cell that does not differ is not proven "
    "to be equal; its interval says which differences are still possible."
)
_OTHER = "Other measures than the study's, and other patients than the foremost, describe and are not tested."
_BESIDE = ("auc_macro", "brier", "ece")  # measures whose differences are printed
_FOLDED = (
    "Out of fold, the models of the folds share most of their training patients. The intervals are widened for that "
    "as far as they can be."
)


def differences_section(found: Findings) -> Section:
    """Figure and table of the differences, split by split."""
    splits = [inside for arena in found.arenas if (inside := _arena_blocks(found, arena))]
    blocks: list[Block] = [Paragraph(_TEXT), Paragraph(_OTHER)]
    if any(arena.arena.folds is not None for arena in found.arenas):
        blocks.append(Paragraph(_FOLDED))
    return Section("differences", "Compared with the base", blocks + fold_later(splits))


def _arena_blocks(found: Findings, arena: ArenaFindings) -> list[Block]:
    """One arena."""
    heading: Block = Heading(arena_name(arena))
    if arena.no_base:
        return [heading, Paragraph(f"Nothing is compared with the base: {arena.no_base}.", tone="note")]
    compared = [one for one in arena.by(found.metric.name) if one.difference is not None]
    if not compared:
        return []
    planned = [found.is_confirmatory(one.cell) for one in compared if one.is_primary]
    figure = differences_figure(
        split_slug(arena),
        f"Difference in {found.metric.label} to the base",
        compared,
        label=capital(found.metric.label),
        sign=1 if found.metric.higher_is_better else -1,
        planned_as="Registered: confirmatory" if planned and all(planned) else "Planned, not registered: exploratory",
    )
    blocks: list[Block] = [heading]
    if figure is not None:
        blocks.append(Gallery("", [figure]))
    n_others = sum(not one.is_primary for one in compared)
    if n_others > MOST:
        text = (
            f"The figure shows the best {MOST // 2} and the worst {MOST // 2} of {count(n_others, 'cell')}"
            f"{', and all that were planned' if n_others < len(compared) else ''}; blue are those whose corrected p "
            "is below 0.05. All are in the table, and with all measures in results.csv."
        )
        blocks.append(Paragraph(text))
    return [*blocks, _table(found, arena, compared)]


def _table(found: Findings, arena: ArenaFindings, compared: list[Compared]) -> Table:
    """A line a cell: the study's metric with its p values, and the differences by the other measures."""
    others = [name for name in printed(arena)[1:] if name in _BESIDE]
    by_cell = {(one.cell, one.measure): one for one in arena.compared}
    scheme = found.material.config.scheme
    rows = []
    for one in sorted(compared, key=lambda one: (not one.is_primary, _order(one))):
        rest = [told(by_cell[one.cell, name].difference) for name in others if (one.cell, name) in by_cell]
        planned = [_planned(found, one)] if found.material.own.primary else []
        rows.append([one.cell, *planned, told(one.difference), p_value(one.p), p_value(one.p_corrected), *rest])
    header = [
        "Cell minus base",
        *(["Planned"] if found.material.own.primary else []),
        capital(found.metric.label),
        "p",
    ]
    header += ["p, Holm", *(capital(find_measure(name, scheme).label) for name in others)]
    n = len(arena.arena.patient_id)
    caption = f"Differences to the base on {count(n, 'patient')}, the same for every cell (95 % interval)"
    folded = f"The differences of all {len(rows)} cells" if len(rows) > MOST_OPEN else ""
    return Table(caption, header, rows, folded, name=f"ablation-differences-{split_slug(arena)}", data=_data(arena))


def _planned(found: Findings, one: Compared) -> str:
    """Whether a comparison was planned, and registered."""
    if not one.is_primary:
        return "no"
    return "yes, registered" if found.is_confirmatory(one.cell) else "yes, not registered"


def _order(one: Compared) -> tuple[float, float]:
    """Sort key: small p first, those without last."""
    corrected, plain = (p if math.isfinite(p) else math.inf for p in (one.p_corrected, one.p))
    return corrected, plain


def _data(arena: ArenaFindings) -> Data:
    """A line a cell and measure, in full precision."""
    rows = [
        [
            one.cell,
            one.measure,
            one.is_primary,
            *estimate_cells(one.difference),
            number_cell(one.p),
            number_cell(one.p_corrected),
        ]
        for one in arena.compared
        if one.difference is not None
    ]
    return Data(["cell", "measure", "planned", *ESTIMATE_COLUMNS, "p", "p_holm"], rows)
