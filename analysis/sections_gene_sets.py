"""The report's words about gene sets."""

import math
from collections import Counter
from collections.abc import Sequence

from analysis.enrichment import CORRELATION, SetEnrichment, SetOverlap
from analysis.figures_gene_sets import enrichment_figure, most_certain
from analysis.gene_sets import PARTLY, DroppedSet, GeneSet, GeneSets
from analysis.page import Block, Data, Gallery, Paragraph, Table
from analysis.samples import class_label
from analysis.wording import count, p_value

_MOST = 40  # rows in print; the CSV has all
Cells = list[str | int | float | None]

_SET_COLUMNS = (
    "gene_set", "source", "genes_listed", "genes_tested", "not_tested_because", "score", "normalized_score", "p",
    "p_adjusted", "p_correlated", "p_correlated_adjusted", "leading_edge", "significant_genes", "expected",
    "p_over_representation", "p_over_representation_adjusted", "hits",
)  # fmt: skip


def gene_set_blocks(
    gene_sets: GeneSets,
    enriched: Sequence[SetEnrichment],
    overlaps: Sequence[SetOverlap],
    *,
    name: str,
    compare: tuple[str, str],
    fdr: float,
) -> list[Block]:
    """Sentences, figure and table of one contrast; a table without rows where no set passes.

    Args:
        gene_sets: what was tested, and what was not.
        enriched: as `analysis.enrichment.enrichment` gives them.
        overlaps: as `analysis.enrichment.over_representation` gives them, of the same sets.
        name: of the contrast, for the files: ``gene-sets-NAME``.
        compare: the two classes; above 0 is higher in the second.
        fdr: false discovery rate.
    """
    blocks: list[Block] = [Paragraph(_held_against(gene_sets))]
    if enriched:
        blocks += [
            Paragraph(text) for text in (_told_enriched(enriched, compare, fdr), _told_overlaps(overlaps, fdr))
        ]
        blocks += [Paragraph(_CAUTION, tone="note")]
        title = f"Gene sets between {class_label(compare[0])} and {class_label(compare[1])}"
        figure = enrichment_figure(enriched, name=f"gene-sets-{name}", title=title, compare=compare, fdr=fdr)
        blocks.append(Gallery("", [figure]))
    return [*blocks, _set_table(gene_sets, enriched, overlaps, name, fdr)]


_CAUTION = (
    "The p value of the enrichment score compares a set with random sets of genes, as if genes varied independently. "
    "Genes of one pathway do not, so it is too small; the column beside it allows for a correlation of "
    f"{CORRELATION:g} between the genes of a set (limma's cameraPR). Neither says that a pathway is the cause: "
    "cell composition and hormone receptor status shift many sets at once."
)


def _held_against(gene_sets: GeneSets) -> str:
    """How many sets of which files were tested on how many genes."""
    sources = [one.source for one in gene_sets.sets] + [one.source for one in gene_sets.dropped]
    files = list(dict.fromkeys(sources))
    reasons = Counter(one.reason for one in gene_sets.dropped).most_common()
    dropped = f"; {count(len(gene_sets.dropped), 'set')} not tested ({_joined(reasons)})" if reasons else ""
    return (
        f"{count(len(gene_sets.sets), 'gene set')} of {', '.join(files) or 'no file'} "
        f"{'was' if len(gene_sets.sets) == 1 else 'were'} held against the {len(gene_sets.background)} genes tested"
        f"{dropped}.{_partly(gene_sets)} P values are corrected over all sets tested, also those without a "
        "significant gene."
    )


def _partly(gene_sets: GeneSets) -> str:
    """How many sets are tested with less than half of their genes."""
    n = sum(len(one.genes) < PARTLY * one.n_listed for one in gene_sets.sets)
    return f" Of {n} of them less than half of the genes were tested." if n else ""


def _joined(reasons: Sequence[tuple[str, int]]) -> str:
    """Reasons with their counts."""
    return "; ".join(f"{reason}: {n}" for reason, n in reasons)


def _told_enriched(enriched: Sequence[SetEnrichment], compare: tuple[str, str], fdr: float) -> str:
    """How many sets pass, on which side."""
    passing = [one for one in enriched if one.p_adjusted < fdr]
    if not passing:
        first = most_certain(enriched)[0]
        return (
            f"No gene set passes a false discovery rate of {fdr:.0%} by its enrichment score; the smallest adjusted "
            f"p value is {p_value(first.p_adjusted)} ({first.gene_set.name}).{_too_few(enriched, fdr)}"
        )
    higher = sum(one.normalized > 0 for one in passing)
    both = sum(one.p_correlated_adjusted < fdr for one in passing)
    return (
        f"{len(passing)} of {count(len(enriched), 'gene set')} pass a false discovery rate of {fdr:.0%} by the "
        f"enrichment score: {higher} with genes higher in {class_label(compare[1])}, {len(passing) - higher} with "
        f"genes higher in {class_label(compare[0])}. Of these, {both} also pass where the genes of a set are "
        "correlated."
    )


def _too_few(enriched: Sequence[SetEnrichment], fdr: float) -> str:
    """Whether no set alone could pass, however extreme, because p values by permutation have a smallest value."""
    smallest = min(1 / (one.n_random + 1) for one in enriched)
    if smallest * len(enriched) < fdr:
        return ""
    return (
        f" With so few permutations p is at least {p_value(smallest)}, so that one set among {len(enriched)} could "
        "not pass: raise analysis.transcriptomics.permutations."
    )


def _told_overlaps(overlaps: Sequence[SetOverlap], fdr: float) -> str:
    """How many sets hold more significant genes than chance."""
    if not any(one.hits for one in overlaps):
        return "No significant gene is in a set, so that none is over-represented."
    n = sum(one.p_adjusted < fdr for one in overlaps)
    holding = "No gene set holds" if n == 0 else f"{count(n, 'gene set')} {'holds' if n == 1 else 'hold'}"
    return (
        f"{holding} more of the significant genes than chance (hypergeometric test, false discovery rate {fdr:.0%})."
    )


def _set_table(
    gene_sets: GeneSets, enriched: Sequence[SetEnrichment], overlaps: Sequence[SetOverlap], name: str, fdr: float
) -> Table:
    """The sets that pass in print, all of them in the file."""
    over = {one.gene_set.name: one for one in overlaps}
    ordered = most_certain(enriched)
    passing = [one for one in ordered if one.p_adjusted < fdr or _over_p(over, one) < fdr]
    rows = [_printed(one, over) for one in passing[:_MOST]]
    more = f"; {len(passing) - _MOST} more are in the file" if len(passing) > _MOST else ""
    header = [
        "Gene set",
        "Genes tested",
        "NES",
        "Adjusted p",
        "Adjusted p, genes correlated",
        "Significant genes",
        "Adjusted p, over-representation",
    ]
    caption = f"Gene sets that pass a false discovery rate of {fdr:.0%} by either test{more}"
    data = [_recorded(one, over.get(one.gene_set.name)) for one in ordered]
    data += [dropped_cells(one, len(_SET_COLUMNS)) for one in gene_sets.dropped]
    return Table(caption, header, rows, name=f"gene-sets-{name}", data=Data(_SET_COLUMNS, data))


def _over_p(over: dict[str, SetOverlap], one: SetEnrichment) -> float:
    """The adjusted p value of over-representation, 1 where it was not tested."""
    found = over.get(one.gene_set.name)
    return 1.0 if found is None else found.p_adjusted


def overlap_text(one: GeneSet) -> str:
    """Genes tested of those listed."""
    return f"{len(one.genes)} of {one.n_listed}"


def _printed(one: SetEnrichment, over: dict[str, SetOverlap]) -> list[str]:
    """One set as a row of the page."""
    found = over.get(one.gene_set.name)
    cells = [one.gene_set.name, overlap_text(one.gene_set), f"{one.normalized:.2f}"]
    cells += [p_value(one.p_adjusted), p_value(one.p_correlated_adjusted)]
    hits = [f"{len(found.hits)} ({found.expected:.1f} by chance)", p_value(found.p_adjusted)] if found else ["-", "-"]
    return cells + hits


def head_cells(one: GeneSet) -> Cells:
    """The first cells of a set that was tested."""
    return [one.name, one.source, one.n_listed, len(one.genes), ""]


def number_cell(value: float) -> float | None:
    """None for what cannot be estimated."""
    return value if math.isfinite(value) else None


def _recorded(one: SetEnrichment, found: SetOverlap | None) -> Cells:
    """One set as a row of the file."""
    numbers = [one.score, one.normalized, one.p, one.p_adjusted, one.p_correlated, one.p_correlated_adjusted]
    cells: Cells = [*head_cells(one.gene_set), *map(number_cell, numbers), ";".join(one.leading_edge)]
    if found is None:
        return [*cells, None, None, None, None, ""]
    return [*cells, len(found.hits), found.expected, found.p, found.p_adjusted, ";".join(found.hits)]


def dropped_cells(one: DroppedSet, width: int) -> Cells:
    """A set that was dropped as a row of the file."""
    head: Cells = [one.name, one.source, one.n_listed, one.n_genes, one.reason]
    return head + [None] * (width - len(head))
