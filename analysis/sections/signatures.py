"""The report's words about immune signatures."""

import math
from collections.abc import Sequence

from analysis.figures.discrimination import ForestRow, forest_figure
from analysis.genes.gene_sets import GeneSets
from analysis.genes.single_sample import SetDifference
from analysis.inference.corrected_p import SMALL_P
from analysis.metrics import ESTIMATE_COLUMNS, estimate_cells, number_cell
from analysis.page import Block, Data, Gallery, Paragraph, Table
from analysis.patients.samples import class_label
from analysis.sections.gene_sets import dropped_cells, head_cells, overlap_text
from analysis.wording import count, p_value, told

_COLUMNS = (
    "signature", "source", "genes_listed", "genes_tested", "not_tested_because", *ESTIMATE_COLUMNS, "p", "p_adjusted",
    *(f"auc_{name}" for name in ESTIMATE_COLUMNS),
)  # fmt: skip


def signature_blocks(
    gene_sets: GeneSets,
    differences: Sequence[SetDifference],
    *,
    name: str,
    compare: tuple[str, str],
    covariates: Sequence[str] = (),
) -> list[Block]:
    """Sentences, figure and table of how the signatures differ between two classes.

    Args:
        gene_sets: what was tested, and what was not.
        differences: as `analysis.genes.single_sample.compare_scores` gives them.
        name: of the contrast, for the files: ``signatures-NAME``.
        compare: the two classes; above 0 is higher in the second.
        covariates: what the differences are adjusted for.
    """
    given = f", given {', '.join(covariates)}" if covariates else ""
    text = (
        "Scores of single samples (ssGSEA) say how high the genes of a signature rank within a tumor. They are "
        "relative: to the other genes, and to all cells of the sample. Differences are "
        f"{class_label(compare[1])} minus {class_label(compare[0])} in standard deviations{given}; p values are "
        f"corrected over the {count(len(differences), 'signature')} tested. Signatures share genes, so they do not "
        f"count as separate findings.{' The AUC is not adjusted.' if covariates else ''}"
    )
    blocks: list[Block] = [Paragraph(text), Paragraph(_told_differences(differences, compare))]
    blocks += _told_dropped(gene_sets)
    if any(math.isfinite(one.difference.value) for one in differences):
        rows = [ForestRow(one.gene_set.name, one.difference) for one in differences]
        label = f"Higher in {class_label(compare[1])} (standard deviations)"
        title = "Immune signatures: difference with 95 % interval"
        blocks.append(Gallery("", [forest_figure(f"signatures-{name}", title, rows, x_label=label, line_at=0.0)]))
    return [*blocks, _signature_table(gene_sets, differences, name)]


def _told_differences(differences: Sequence[SetDifference], compare: tuple[str, str]) -> str:
    """Which signatures differ."""
    if not any(math.isfinite(one.p) for one in differences):
        return "No immune signature could be tested."
    passing = [one for one in differences if one.p_adjusted < SMALL_P]
    if not passing:
        return "No immune signature differs between the classes after correction."
    sides = [[one.gene_set.name for one in passing if (one.difference.value > 0) == up] for up in (True, False)]
    told_sides = [
        f"higher in {class_label(compare[i])}: {', '.join(names)}"
        for i, names in ((1, sides[0]), (0, sides[1]))
        if names
    ]
    return f"After correction differ (p < 0.05), {'; '.join(told_sides)}."


def _told_dropped(gene_sets: GeneSets) -> list[Block]:
    """Which signatures were not tested, and why."""
    if not gene_sets.dropped:
        return []
    reasons: dict[str, list[str]] = {}
    for lost in gene_sets.dropped:
        reasons.setdefault(lost.reason, []).append(f"{lost.name} ({lost.n_genes} of {lost.n_listed})")
    said = "; ".join(f"{reason}: {', '.join(names)}" for reason, names in reasons.items())
    return [Paragraph(f"Not tested, with the genes there are: {said}.")]


def _signature_table(gene_sets: GeneSets, differences: Sequence[SetDifference], name: str) -> Table:
    """The signatures tested; those that were not are in the file as well."""
    rows, data = [], []
    for one in differences:
        own = one.gene_set
        rows.append(
            [own.name, overlap_text(own), told(one.difference), told(one.area), p_value(one.p_adjusted), own.source]
        )
        numbers = [*estimate_cells(one.difference), number_cell(one.p), number_cell(one.p_adjusted)]
        data.append([*head_cells(own), *numbers, *estimate_cells(one.area)])
    data += [dropped_cells(lost, len(_COLUMNS)) for lost in gene_sets.dropped]
    header = [
        "Signature",
        "Genes tested",
        "Difference (95 % interval)",
        "AUC (95 % interval)",
        "Adjusted p",
        "Source",
    ]
    caption = "Immune signatures"
    return Table(caption, header, rows, name=f"signatures-{name}", data=Data(_COLUMNS, data))
