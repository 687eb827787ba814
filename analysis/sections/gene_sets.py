"""The report's words about gene sets."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from analysis.figures.gene_sets import enrichment_figure
from analysis.genes.camera import SetShift
from analysis.genes.enrichment import SetEnrichment, SetOverlap
from analysis.genes.gene_sets import PARTLY, DroppedSet, GeneSet, GeneSets
from analysis.metrics import Cell, number_cell
from analysis.page import Block, Data, Gallery, Paragraph, Table
from analysis.patients.samples import class_label
from analysis.wording import count, p_value

_MOST = 40  # rows in print; the CSV has all
_FIRST = 5  # rows in print where no set passes

Result = tuple[SetShift, SetEnrichment, SetOverlap]
"""What the three tests say of one set."""

_COLUMNS = (
    "gene_set", "source", "genes_listed", "genes_tested", "not_tested_because",
    "shift", "gene_correlation", "p_camera", "p_camera_adjusted",
    "score", "normalized_score", "p_gsea", "p_gsea_adjusted", "leading_edge",
    "significant_genes", "expected", "p_over_representation", "p_over_representation_adjusted", "hits",
)  # fmt: skip


def gene_set_blocks(
    gene_sets: GeneSets,
    shifts: Sequence[SetShift],
    enriched: Sequence[SetEnrichment],
    overlaps: Sequence[SetOverlap],
    *,
    name: str,
    compare: tuple[str, str],
    fdr: float,
) -> list[Block]:
    """Sentences, figure and table of one contrast; a folded table of the first sets where none passes.

    Args:
        gene_sets: what was tested, and what was not.
        shifts: as `analysis.genes.camera.camera` gives them.
        enriched: of the same sets, as `analysis.genes.enrichment.enrichment` gives them.
        overlaps: of the same sets, as `analysis.genes.enrichment.over_representation` gives them.
        name: of the contrast, for the files: ``gene-sets-NAME``.
        compare: the two classes; above 0 is higher in the second.
        fdr: false discovery rate.
    """
    results = sorted(zip(shifts, enriched, overlaps, strict=True), key=lambda r: (r[0].p, r[0].gene_set.name))
    blocks: list[Block] = [Paragraph(_held_against(gene_sets))]
    if results:
        blocks += [Paragraph(_told_shifts(results, compare, fdr)), Paragraph(_told_others(enriched, overlaps, fdr))]
        blocks.append(Paragraph(_caution(results), tone="note"))
        title = f"Gene sets between {class_label(compare[0])} and {class_label(compare[1])}"
        named = {"name": f"gene-sets-{name}", "title": title}
        blocks.append(Gallery("", [enrichment_figure(shifts, enriched, **named, compare=compare, fdr=fdr)]))
    return [*blocks, _table(gene_sets, results, name, fdr)]


def _held_against(gene_sets: GeneSets) -> str:
    """How many sets of which files were tested on how many genes."""
    sources = [one.source for one in gene_sets.sets] + [one.source for one in gene_sets.dropped]
    files = list(dict.fromkeys(sources))
    reasons = Counter(one.reason for one in gene_sets.dropped).most_common()
    why = "; ".join(f"{reason}: {n}" for reason, n in reasons)
    dropped = f"; {count(len(gene_sets.dropped), 'set')} not tested ({why})" if reasons else ""
    n_partly = sum(len(one.genes) < PARTLY * one.n_listed for one in gene_sets.sets)
    partly = f" Of {n_partly} of them less than half of the genes were tested." if n_partly else ""
    return (
        f"{count(len(gene_sets.sets), 'gene set')} of {', '.join(files) or 'no file'} "
        f"{'was' if len(gene_sets.sets) == 1 else 'were'} held against the {len(gene_sets.background)} genes tested"
        f"{dropped}.{partly} P values are corrected over all sets tested, also those without a significant gene."
    )


def _told_shifts(results: Sequence[Result], compare: tuple[str, str], fdr: float) -> str:
    """How many sets pass, on which side."""
    passing = [shift for shift, _, _ in results if shift.p_adjusted < fdr]
    if not passing:
        first = results[0][0]
        return (
            f"No gene set passes a false discovery rate of {fdr:.0%}; the smallest adjusted p value is "
            f"{p_value(first.p_adjusted)} ({first.gene_set.name})."
        )
    higher = sum(shift.shift > 0 for shift in passing)
    return (
        f"{len(passing)} of {count(len(results), 'gene set')} pass a false discovery rate of {fdr:.0%}: {higher} "
        f"with genes higher in {class_label(compare[1])}, {len(passing) - higher} with genes higher in "
        f"{class_label(compare[0])}."
    )


def _told_others(enriched: Sequence[SetEnrichment], overlaps: Sequence[SetOverlap], fdr: float) -> str:
    """How many sets would pass by the tests that take genes for independent."""
    n_enriched = sum(one.p_adjusted < fdr for one in enriched)
    n_over = sum(one.p_adjusted < fdr for one in overlaps)
    hits = "" if any(one.hits for one in overlaps) else "; no significant gene is in a set"
    return (
        f"By GSEA alone {n_enriched} would pass, by over-representation among the significant genes {n_over}{hits}."
    )


def _caution(results: Sequence[Result]) -> str:
    """Which p value to rely on, and what none of them says."""
    correlation = float(np.median([shift.correlation for shift, _, _ in results]))
    return (
        "Passing is judged by camera, which allows for the correlation between the genes of a set, estimated among "
        f"patients of one class (median over the sets {correlation:z.2f}). The p values of GSEA and of "
        "over-representation take genes for independent, which those of one pathway are not, and are too small: they "
        "are given for comparison with other work. A set that passes need not be a cause: cell composition and "
        "hormone receptor status shift many sets at once."
    )


def _table(gene_sets: GeneSets, results: Sequence[Result], name: str, fdr: float) -> Table:
    """The sets that pass in print, all of them in the file."""
    passing = [result for result in results if result[0].p_adjusted < fdr]
    more = f"; {len(passing) - _MOST} more are in the file" if len(passing) > _MOST else ""
    header = [
        "Gene set",
        "Genes tested",
        "NES",
        "Adjusted p, camera",
        "Adjusted p, GSEA",
        "Significant genes",
        "Adjusted p, over-representation",
    ]
    caption = f"Gene sets that pass a false discovery rate of {fdr:.0%}{more}; all sets are in the file"
    first = results[:_FIRST]
    folded = "" if passing or not results else f"No gene set passes; the {len(first)} with the smallest p value"
    if folded:
        caption = "The gene sets with the smallest p value, none of which passes; all sets are in the file"
    data = [_recorded(*result) for result in results]
    data += [dropped_cells(one, len(_COLUMNS)) for one in gene_sets.dropped]
    printed = [_printed(*result) for result in (first if folded else passing[:_MOST])]
    return Table(caption, header, printed, folded=folded, name=f"gene-sets-{name}", data=Data(_COLUMNS, data))


def _printed(shift: SetShift, one: SetEnrichment, found: SetOverlap) -> list[str]:
    """One set as a row of the page."""
    return [
        one.gene_set.name,
        overlap_text(one.gene_set),
        f"{one.normalized:z.2f}",
        p_value(shift.p_adjusted),
        p_value(one.p_adjusted),
        f"{len(found.hits)} ({found.expected:z.1f} by chance)",
        p_value(found.p_adjusted),
    ]


def _recorded(shift: SetShift, one: SetEnrichment, found: SetOverlap) -> list[Cell]:
    """One set as a row of the file."""
    return [
        *head_cells(one.gene_set),
        *map(number_cell, (shift.shift, shift.correlation, shift.p, shift.p_adjusted)),
        *map(number_cell, (one.score, one.normalized, one.p, one.p_adjusted)),
        ";".join(one.leading_edge),
        len(found.hits),
        *map(number_cell, (found.expected, found.p, found.p_adjusted)),
        ";".join(found.hits),
    ]


def overlap_text(one: GeneSet) -> str:
    """Genes tested of those listed.

    >>> overlap_text(GeneSet("A", "a.gmt", ("X",), 4))
    '1 of 4'
    """
    return f"{len(one.genes)} of {one.n_listed}"


def head_cells(one: GeneSet) -> list[Cell]:
    """The first cells of a set that was tested."""
    return [one.name, one.source, one.n_listed, len(one.genes), ""]


def dropped_cells(one: DroppedSet, width: int) -> list[Cell]:
    """A set that was not tested as a row of the file."""
    head: list[Cell] = [one.name, one.source, one.n_listed, one.n_genes, one.reason]
    return head + [None] * (width - len(head))
