"""The report's section on gene expression, and the part of the analysis that makes it."""

import math

from analysis.discrimination.shortcut import EVERYBODY
from analysis.figures.transcriptomics import agreement_figure, volcano_figure
from analysis.genes.amplicon import GENES, REGION, in_amplicon
from analysis.genes.gene_tests import GeneTests
from analysis.genes.tables import (
    SHORT,
    agreement_blocks,
    rounds,
    side_blocks,
    sides,
    summary_table,
)
from analysis.genes.transcriptomics import PREDICTED, TRUE, Transcriptomics, judge_transcriptomics
from analysis.metrics import Metric
from analysis.page import Block, Folded, Gallery, Paragraph, Section
from analysis.part import Material, Part
from analysis.patients.samples import class_label
from analysis.sections.pathways import PART, pathway_blocks, pathway_metrics
from analysis.wording import count
from triher.estimate import Estimate, not_estimable
from triher.settings import TranscriptomicsConfig

_TOLD_WITH_THE_SETS = {"gene_set_dropped", "gene_set_partial"}


def transcriptomics_part(material: Material) -> Part:
    """Gene expression by true and predicted class, where a table of it is configured.

    Raises:
        StopRun: as `analysis.genes.transcriptomics.judge_transcriptomics`.
    """
    config = material.config.analysis.transcriptomics
    if config is None:
        return Part()
    found = judge_transcriptomics(material, config)
    section = Section("transcriptomics", "Gene expression", _blocks(found, config))
    return Part(tuple(_metrics(found, config)), section, found.notes, summary=(_summary(found, config),))


def _summary(found: Transcriptomics, config: TranscriptomicsConfig) -> str:
    """How many genes tell the classes apart, by true and by predicted class."""
    first, second = (class_label(name) for name in config.compare)
    said = [
        f"by {by} {int(tests.significant(config.fdr).sum())} of {len(tests.genes)}"
        for by, tests in sides(found.all_genes)
    ]
    if found.no_prediction:
        said.append("by predicted class not estimable")
    return f"Genes that tell {second} from {first} (false discovery rate {config.fdr:g}): {', '.join(said)}."


def _metrics(found: Transcriptomics, config: TranscriptomicsConfig) -> list[Metric]:
    """The numbers of the section."""
    sizes = {TRUE: sum(found.n_true), PREDICTED: sum(found.n_predicted)}
    metrics: list[Metric] = []

    def add(quantity: str, estimate: Estimate, class_name: str = "") -> None:
        metrics.append(Metric(PART, EVERYBODY, quantity, estimate, class_name))

    for suffix, _, part in rounds(found):
        for by, tests in sides(part):
            add(f"genes_tested{suffix}", _number(len(tests.genes), sizes[by], "number of genes"), by)
            n_passed = int(tests.significant(config.fdr).sum())
            add(f"genes_significant{suffix}", _number(n_passed, sizes[by], _passing(tests, config)), by)
        if part.predicted is None:
            nothing = not_estimable(found.no_prediction, n=sizes[PREDICTED], method="number of genes")
            add(f"genes_significant{suffix}", nothing, PREDICTED)
        else:
            both = part.true.significant(config.fdr) & part.predicted.significant(config.fdr)
            add(f"genes_significant_both{suffix}", _number(int(both.sum()), sizes[PREDICTED], "number of genes"))
        if part.differences is not None:
            n_different = int((part.differences.q < config.fdr).sum())
            method = f"genes whose two contrasts differ, FDR below {config.fdr:g}, patient bootstrap"
            add(f"genes_different{suffix}", _number(n_different, sizes[PREDICTED], method))
        for by, pathways in part.pathways.items():
            metrics += pathway_metrics(pathways, suffix=suffix, by=by, fdr=config.fdr, n=sizes[by])
        add(f"fold_change_correlation{suffix}", part.correlation)
        add(f"fold_change_correlation_by_confusion{suffix}", part.by_confusion)
    return metrics


def _number(value: int, n: int, method: str) -> Estimate:
    """A count, which has no interval."""
    return Estimate(float(value), math.nan, math.nan, n, method)


def _passing(tests: GeneTests, config: TranscriptomicsConfig) -> str:
    """What was counted."""
    return f"genes with FDR below {config.fdr:g} (Benjamini-Hochberg over all tested), {tests.method}"


def _blocks(found: Transcriptomics, config: TranscriptomicsConfig) -> list[Block]:
    """Everything, in order."""
    blocks: list[Block] = [Paragraph(text) for text in _introduction(found, config)]
    if found.groups.left_out:
        reasons = "; ".join(f"{n} {why}" for why, n in found.groups.left_out)
        blocks.append(Paragraph(f"Predicted patients left out of this part: {reasons}."))
    told = [note.text.rstrip(".") for note in found.notes if note.code not in _TOLD_WITH_THE_SETS]
    if told:
        blocks.append(Paragraph(f"On the data: {'; '.join(told)}."))
    blocks += [summary_table(found, config), *map(Paragraph, _empty_sentences(found, config))]
    drawings = [
        volcano_figure(f"genes-{SHORT[by]}", tests, config.compare, config.fdr, by)
        for by, tests in sides(found.all_genes)
    ]
    if found.all_genes.predicted is not None:
        predicted, correlation = found.all_genes.predicted, found.all_genes.correlation
        drawings.append(agreement_figure(found.all_genes.true, predicted, config.compare, config.fdr, correlation))
    blocks.append(Gallery("", drawings))
    for by, _ in sides(found.all_genes):
        blocks += side_blocks(by, found, config)
    blocks += agreement_blocks(found, config)
    covariates = config.covariates
    for suffix, name, part in rounds(found):
        for by, pathways in part.pathways.items():
            place = {"name": f"{SHORT[by]}{suffix.replace('_', '-')}", "title": f"{by}, {name}"}
            inside = pathway_blocks(pathways, **place, compare=config.compare, fdr=config.fdr, covariates=covariates)
            blocks += [Folded(f"Gene sets and signatures by {by}, {name}", inside)] if suffix else inside
    return blocks


def _introduction(found: Transcriptomics, config: TranscriptomicsConfig) -> list[str]:
    """What was compared with what, how, and what follows from it."""
    first, second = (class_label(name) for name in config.compare)
    design = f", adjusted for {' and '.join(config.covariates)}" if config.covariates else ""
    n_neither = len(found.groups.patient_id) - sum(found.n_predicted)
    predicted = (
        f"By predicted class (the likeliest one, from models that had not seen the patient) the same patients are "
        f"{found.n_predicted[1]} and {found.n_predicted[0]}"
    )
    outside = (
        f"; {count(n_neither, 'patient')} predicted to be of another class are left out there" if n_neither else ""
    )
    unit = "raw counts" if config.kind == "counts" else "log2 values"
    return [
        f"{second} ({found.n_true[1]} patients) against {first} ({found.n_true[0]}) by true class, from {unit}: "
        f"{found.all_genes.true.method}{design}. A log2 fold change above 0 is higher in {second}. "
        f"{predicted}{outside}.",
        f"Genes of {REGION} are amplified together with ERBB2 and so tell HER2-positive tumors by definition. "
        f"Everything is repeated without them: the {len(GENES)} genes from {GENES[0]} to {GENES[-1]}, of which "
        f"{int(in_amplicon(found.all_genes.true.genes).sum())} were tested. Amplicons that reach further exist.",
        "Genes by predicted class are no independent confirmation: most patients are in the same group both times, "
        "and the p values take the predicted classes as given.",
    ]


def _empty_sentences(found: Transcriptomics, config: TranscriptomicsConfig) -> list[str]:
    """Say where no gene passes, and why a contrast is missing."""
    sentences = [
        f"By {by}, {name}, no gene passes a false discovery rate of {config.fdr:g}. That is no proof of equality: "
        "the patients may be too few."
        for _, name, part in rounds(found)
        for by, tests in sides(part)
        if not tests.significant(config.fdr).any()
    ]
    if found.no_prediction:
        sentences.append(f"Genes by predicted class are not estimable: {found.no_prediction}.")
    return sentences
