"""The tables of the section on gene expression."""

import math

import numpy as np

from analysis.genes.amplicon import in_amplicon
from analysis.genes.contrast_agreement import Differences
from analysis.genes.gene_tests import LEAST_P, GeneTests
from analysis.genes.transcriptomics import PREDICTED, TRUE, Round, Transcriptomics
from analysis.metrics import Cell
from analysis.page import Block, Data, Heading, Paragraph, Table
from analysis.patients.samples import class_label
from analysis.wording import p_value, told
from triher.settings import TranscriptomicsConfig

WITHOUT = "without_amplicon"
_SHOWN = 15
SHORT = {TRUE: "true", PREDICTED: "predicted"}
_HEADER = ("Gene", "Log2 fold change", "p", "FDR", "Amplicon")
_COLUMNS = ("gene", "in_amplicon", "mean", "log2_fold_change", "standard_error", "statistic", "p", "fdr")


def rounds(found: Transcriptomics) -> list[tuple[str, str, Round]]:
    """Suffix of quantities, name in print, and result of each choice of genes."""
    rounds = [("", "all genes", found.all_genes)]
    if found.without_amplicon is not None:
        rounds.append((f"_{WITHOUT}", "without the ERBB2 amplicon", found.without_amplicon))
    return rounds


def sides(part: Round) -> list[tuple[str, GeneTests]]:
    """The contrasts that there are."""
    return [(TRUE, part.true), *([(PREDICTED, part.predicted)] if part.predicted is not None else [])]


def summary_table(found: Transcriptomics, config: TranscriptomicsConfig) -> Table:
    """How many genes pass, by contrast and choice of genes."""
    sizes = {TRUE: found.n_true, PREDICTED: found.n_predicted}
    rows: list[list[str]] = []
    data: list[list[Cell]] = []
    for _, name, part in rounds(found):
        for by, tests in sides(part):
            passed = tests.significant(config.fdr)
            up = int(np.sum(passed & (tests.log2_fold_change > 0)))
            n = int(passed.sum())
            cells = [len(tests.genes), n, up, n - up, *sizes[by]]
            rows.append([f"By {by}, {name}", *map(str, cells)])
            data.append([by, name, *cells])
    first, second = (class_label(name) for name in config.compare)
    header = [
        "Contrast",
        "Genes tested",
        f"FDR below {config.fdr:g}",
        f"Higher in {second}",
        "Lower",
        f"n {first}",
        f"n {second}",
    ]
    columns = ["by", "genes", "tested", "significant", "higher", "lower", "n_first", "n_second"]
    caption = f"Genes that tell {second} from {first}"
    return Table(caption, header, rows, name="genes-summary", data=Data(columns, data))


def side_blocks(by: str, found: Transcriptomics, config: TranscriptomicsConfig) -> list[Block]:
    """The genes of one contrast."""
    short = SHORT[by]
    blocks: list[Block] = [Heading(f"By {by}")]
    for suffix, name, part in rounds(found):
        tests = dict(sides(part))[by]
        passed = [i for i in tests.order() if tests.q[i] < config.fdr]
        more = f", the first {_SHOWN} of {len(passed)}" if len(passed) > _SHOWN else ""
        caption = f"Genes with FDR below {config.fdr:g} by {by}, {name}{more}"
        file = f"genes-{short}{suffix.replace('_', '-')}"
        rows = [_printed(tests, i) for i in passed[:_SHOWN]]
        data = Data(_COLUMNS, [_exact(tests, i) for i in passed])
        folded = f"The genes {name}" if suffix else ""
        width = len(_HEADER) - bool(suffix)
        blocks.append(Table(caption, _HEADER[:width], [row[:width] for row in rows], folded, name=file, data=data))
    return [*blocks, _all_genes_table(by, found)]


def _all_genes_table(by: str, found: Transcriptomics) -> Table:
    """The strongest genes, significant or not; all genes of both rounds go into the file."""
    tests = dict(sides(found.all_genes))[by]
    part = found.without_amplicon
    again = dict(sides(part))[by] if part is not None else tests
    place = {gene: i for i, gene in enumerate(again.genes)}
    rows = []
    for i in tests.order():
        j = place.get(tests.genes[i])
        rows.append([*_exact(tests, i), *([None, None] if j is None else [float(again.p[j]), float(again.q[j])])])
    columns = [*_COLUMNS, f"p_{WITHOUT}", f"fdr_{WITHOUT}"]
    caption = f"The {_SHOWN} strongest genes by {by}, significant or not; the file holds all {len(tests.genes)}"
    printed = [_printed(tests, i) for i in tests.order()[:_SHOWN]]
    folded = f"The strongest genes by {by}, significant or not"
    name = f"genes-{SHORT[by]}-all"
    return Table(caption, _HEADER, printed, folded=folded, name=name, data=Data(columns, rows))


def _flag(gene: str) -> bool:
    """Whether one gene lies in the amplicon."""
    return bool(in_amplicon([gene])[0])


def _printed(tests: GeneTests, i: int) -> list[str]:
    """A gene as a row of the page."""
    flag = "yes" if _flag(tests.genes[i]) else ""
    return [tests.genes[i], f"{tests.log2_fold_change[i]:+z.2f}", _small(tests.p[i]), _small(tests.q[i]), flag]


def _exact(tests: GeneTests, i: int) -> list[Cell]:
    """A gene as a row of the file."""
    numbers = (tests.mean, tests.log2_fold_change, tests.standard_error, tests.statistic, tests.p, tests.q)
    flag = "yes" if _flag(tests.genes[i]) else "no"
    return [tests.genes[i], flag, *(float(v[i]) if math.isfinite(v[i]) else None for v in numbers)]


def _small(p: float) -> str:
    """A p value whose order of magnitude matters.

    >>> _small(3.21e-9), _small(0.0421)
    ('3e-09', '0.042')
    """
    if p < LEAST_P:
        return f"< {LEAST_P:.0e}"
    return f"{p:.0e}" if p < 0.001 else p_value(float(p))


def agreement_blocks(found: Transcriptomics, config: TranscriptomicsConfig) -> list[Block]:
    """How far the contrasts agree, and which genes differ."""
    part = found.all_genes
    if part.predicted is None or part.differences is None:
        return []
    blocks: list[Block] = [Heading("True and predicted class side by side"), _agreement_table(found, config)]
    log_of = "log2 counts per million" if config.kind == "counts" else "the log2 values"
    blocks += [
        Paragraph(
            f"The correlation is Spearman's, of least-squares fold changes of {log_of}. Beside it stands what it "
            "would be if the predictions knew nothing of a patient beyond the true class: predicted classes permuted "
            "among the patients of each true class, with 95 % of the permutations. A correlation within that range "
            "says no more than that the predictions are partly right."
        )
    ]
    text = (
        "A gene that is not listed may differ as well: the test rests on the patients whose predicted class is not "
        "the true one."
    )
    table = _difference_table(part.true, part.predicted, part.differences, config)
    return [*blocks, table, Paragraph(text, tone="note")]


def _difference_table(
    true: GeneTests, predicted: GeneTests, differences: Differences, config: TranscriptomicsConfig
) -> Table:
    """The genes whose fold changes differ between the contrasts; all genes go into the file."""
    order = np.lexsort((np.arange(len(differences.p)), differences.p))
    passed = [int(i) for i in order if differences.q[i] < config.fdr]
    columns = [
        "gene", "in_amplicon", "by_true_class", "by_predicted_class", "difference", "standard_error", "p", "fdr",
    ]  # fmt: skip
    change = (true.log2_fold_change, predicted.log2_fold_change, differences.difference)
    vectors = (*change, differences.standard_error, differences.p, differences.q)
    genes = true.genes
    data = [[genes[i], "yes" if _flag(genes[i]) else "no", *(float(v[i]) for v in vectors)] for i in order]
    rows = [
        [genes[i], *(f"{v[i]:+z.2f}" for v in change), _small(differences.p[i]), _small(differences.q[i])]
        for i in passed[:_SHOWN]
    ]
    more = f", the first {_SHOWN}" if len(passed) > _SHOWN else ""
    caption = (
        f"{len(passed)} of {len(genes)} genes whose log2 fold change by predicted class differs from that by true "
        f"class, FDR below {config.fdr:g}{more}; {differences.n_draws} resamples of the patients, normal p values"
    )
    header = ["Gene", "By true class", "By predicted class", "Difference", "p", "FDR"]
    return Table(caption, header, rows, name="genes-difference", data=Data(columns, data))


def _agreement_table(found: Transcriptomics, config: TranscriptomicsConfig) -> Table:
    """Correlation and shared genes, by choice of genes."""
    rows: list[list[str]] = []
    data: list[list[Cell]] = []
    for _, name, part in rounds(found):
        if part.predicted is None or part.differences is None:
            continue
        mine, theirs = part.true.significant(config.fdr), part.predicted.significant(config.fdr)
        shared, n = int((mine & theirs).sum()), len(mine)
        by_chance = float(mine.sum()) * float(theirs.sum()) / n
        same = int((mine & theirs & (part.true.log2_fold_change * part.predicted.log2_fold_change > 0)).sum())
        n_different = int((part.differences.q < config.fdr).sum())
        correlation, confusion = part.correlation, part.by_confusion
        printed = [f"{shared} ({by_chance:z.1f} by chance)", str(same), str(n_different)]
        rows.append([name[:1].upper() + name[1:], told(correlation), told(confusion), *printed])
        numbers = [v for e in (correlation, confusion) for v in (e.value, e.low, e.high)]
        data.append([name, *numbers, shared, by_chance, same, n_different])
    header = [
        "Genes",
        "Correlation (95 %)",
        "If only the true class",
        "Significant in both",
        "Same sign",
        "Different",
    ]
    columns = [
        "genes", "correlation", "low", "high", "by_confusion", "by_confusion_low", "by_confusion_high",
        "significant_in_both", "by_chance", "same_sign", "different",
    ]  # fmt: skip
    caption = "Agreement of the two contrasts"
    return Table(caption, header, rows, name="genes-agreement", data=Data(columns, data))
