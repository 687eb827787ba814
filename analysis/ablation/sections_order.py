"""The report's sections on the best cell, the stability of the order, and what explains the differences."""

import math

from analysis.ablation.figures_differences import MOST, ranks_figure
from analysis.ablation.figures_shares import percent, shares_figure
from analysis.ablation.findings import ArenaFindings, Findings
from analysis.ablation.sections_cells import MOST_OPEN, arena_name, split_slug
from analysis.ablation.sections_top import capital, levels_dropped
from analysis.ablation.variance import NOISE, REST, Share
from analysis.metrics import ESTIMATE_COLUMNS, estimate_cells
from analysis.page import Block, Data, Gallery, Heading, Paragraph, Section, Table, fold_later
from analysis.wording import count, told
from triher.study import BASE

_WINNER = (
    "The best of many cells is partly the best by luck, so its value on the patients whom it was chosen by is too "
    "good. Corrected after Tsamardinos and others (BBC-CV, Mach Learn 2018;107:1895): in each resample the best cell "
    "is chosen on the patients drawn and judged on those not drawn."
)
_RANKS = (
    "In each resample of the patients the cells are ranked anew. A cell whose interval spans many ranks could as "
    "well have come out elsewhere; the order of such cells is no finding."
)
_SHARES = (
    "How much of what differs between cells and sites goes with each axis, with the site, and with pairs of them, "
    "after the part that drawing other patients alone would give was taken off. A site's share says that the sites "
    "differ, whatever the cell; an axis' share that its levels do. Shares describe these levels and sites: other "
    "levels would give other shares."
)
_MOST_SHARES = 16


def order_section(found: Findings) -> Section:
    """The best cell and the ranks, split by split."""
    splits = [_arena_blocks(found, arena) for arena in found.arenas if arena.winner or arena.ranks]
    blocks: list[Block] = [Paragraph(_WINNER), Paragraph(_RANKS)]
    if not splits:
        text = (
            f"The cells cannot be ordered: the {found.metric.label} cannot be estimated, or there is one cell alone."
        )
        blocks = [Paragraph(text, tone="note")]
    return Section("order", "The best cell, and how sure the order is", blocks + fold_later(splits))


def _arena_blocks(found: Findings, arena: ArenaFindings) -> list[Block]:
    """One arena."""
    blocks: list[Block] = [Heading(arena_name(arena))]
    if arena.winner:
        winner = arena.winner
        rows = [
            ["The best cell", "the base" if winner.cell == BASE else winner.cell],
            [f"Its {found.metric.label} on the patients whom it was chosen by", told(winner.naive)],
            [f"{capital(found.metric.label)} to be expected on others, corrected", told(winner.corrected)],
        ]
        data = Data(
            ["cell", "quantity", *ESTIMATE_COLUMNS],
            [
                [winner.cell, "naive", *estimate_cells(winner.naive)],
                [winner.cell, "corrected", *estimate_cells(winner.corrected)],
            ],
        )
        name = f"ablation-winner-{split_slug(arena)}"
        blocks.append(Table("The best cell", ["", "Value"], rows, text_cells=True, name=name, data=data))
    if arena.ranks:
        title = "Ranks over resamples" if len(arena.ranks) <= MOST else f"Ranks over resamples, the best {MOST}"
        blocks.append(Gallery("", [ranks_figure(split_slug(arena), title, arena.ranks, base=BASE)]))
        blocks.append(_ranks_table(arena))
    return blocks


def _ranks_table(arena: ArenaFindings) -> Table:
    """A line a cell."""
    chosen = arena.winner.chosen if arena.winner else {}
    ordered = sorted(arena.ranks, key=lambda rank: (rank.mean, rank.cell))
    rows = [
        [
            rank.cell,
            f"{rank.mean:.1f}",
            rank.interval,
            f"{rank.share_best:.0%}",
        ]
        for rank in ordered
    ]
    data = Data(
        ["cell", "mean_rank", "low", "high", "share_best", "share_chosen"],
        [[r.cell, r.mean, r.low, r.high, r.share_best, chosen.get(r.cell)] for r in ordered],
    )
    header = ["Cell", "Mean rank", "95 % of the resamples", "Best in"]
    return Table(
        f"Ranks of {count(len(rows), 'cell')} over resamples",
        header,
        rows,
        folded=f"The ranks of all {len(rows)} cells" if len(rows) > MOST_OPEN else "The ranks as numbers",
        name=f"ablation-ranks-{split_slug(arena)}",
        data=data,
    )


def variance_section(found: Findings) -> Section:
    """What explains the differences, split by split."""
    splits = [_variance_blocks(arena) for arena in found.arenas]
    return Section("variance", "What explains the differences", [Paragraph(_SHARES), *fold_later(splits)])


def _variance_blocks(arena: ArenaFindings) -> list[Block]:
    """One arena."""
    heading: Block = Heading(arena_name(arena))
    shares = arena.shares
    if isinstance(shares, str):
        return [heading, Paragraph(f"The variance is not split: {shares}.", tone="note")]
    known = [one for one in shares if one.source != NOISE]
    if not any(math.isfinite(one.share.value) for one in known):
        reasons = "; ".join(dict.fromkeys(one.share.reason for one in known))
        texts = [f"The variance is not split: {reasons}.", *levels_dropped(known)]
        return [heading, Paragraph(" ".join(texts), tone="note")]
    largest = sorted(known, key=lambda one: -one.share.value if math.isfinite(one.share.value) else 9)[:_MOST_SHARES]
    drawn = [*largest, *(one for one in shares if one.source == NOISE)]
    title = "Shares of the variance between cells and sites"
    if len(known) > _MOST_SHARES:
        title = f"{title}, the largest {_MOST_SHARES} of {len(known)}"
    figure = Gallery("", [shares_figure(split_slug(arena), title, drawn)])
    rows = [[_source(one), percent(one.share), str(one.degrees or "-"), one.share.reason or "-"] for one in shares]
    data = [[one.source, one.degrees, *estimate_cells(one.share)] for one in shares]
    table = Table(
        "Shares of the variance (95 % interval)",
        ["Source", "Share", "Degrees of freedom", "Remark"],
        rows,
        folded="The shares as numbers",
        name=f"ablation-variance-{split_slug(arena)}",
        data=Data(["source", "degrees", *ESTIMATE_COLUMNS], data),
    )
    return [heading, *map(Paragraph, levels_dropped(shares)), figure, table]


def _source(one: Share) -> str:
    """A source in print."""
    if one.source == NOISE:
        return "sampling noise, of all"
    return "three and more of them together" if one.source == REST else one.source
