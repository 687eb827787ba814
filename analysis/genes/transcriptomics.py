"""Which genes tell two classes apart, by the true and by the predicted class of the same patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from analysis.genes.amplicon import in_amplicon
from analysis.genes.contrast_agreement import (
    Differences,
    Grouping,
    contrast_differences,
    correlation_by_confusion,
    fold_change_correlation,
    resamples,
)
from analysis.genes.contrasts import Column, Design, build_design, complete_rows, covariate_columns, of_rows
from analysis.genes.counts import negative_binomial
from analysis.genes.expression import Expression, Values, read_expression
from analysis.genes.filtering import expressed, log_counts, normalization_factors
from analysis.genes.gene_tests import GeneTests
from analysis.genes.moderated import moderated_t
from analysis.genes.pathways import Pathways, judge_pathways
from analysis.part import Material
from triher.cohort import Cohort
from triher.errors import Note, StopRun, unknown_name
from triher.estimate import Estimate, not_estimable
from triher.predictions import OUT_OF_SAMPLE
from triher.settings import Config, TranscriptomicsConfig

TRUE, PREDICTED = "true class", "predicted class"


@dataclass(frozen=True)
class Groups:
    """The patients who are compared, ordered by id."""

    patient_id: tuple[str, ...]
    true: Bool[np.ndarray, " patient"]
    """Whether a patient is of the second class."""
    predicted: Int[np.ndarray, " patient"]
    """1 for the second class, 0 for the first, -1 for any other."""
    columns: Mapping[str, Column]
    """Covariates."""
    left_out: tuple[tuple[str, int], ...]
    """Reason -> number of patients."""


@dataclass(frozen=True)
class Round:
    """Both contrasts over one choice of genes."""

    true: GeneTests
    predicted: GeneTests | None
    differences: Differences | None
    """Predicted minus true."""
    correlation: Estimate
    by_confusion: Estimate
    """What the correlation would be if the predictions knew no more than the true class."""
    pathways: Mapping[str, Pathways]
    """`TRUE` and, where there is one, `PREDICTED` -> what gene sets and signatures say of the contrast."""


@dataclass(frozen=True)
class Transcriptomics:
    """All that the genes say."""

    groups: Groups
    n_true: tuple[int, int]
    n_predicted: tuple[int, int]
    all_genes: Round
    without_amplicon: Round | None
    """None when no gene of the amplicon was tested."""
    no_prediction: str
    """Why there is no contrast by predicted class, or an empty text."""
    notes: tuple[Note, ...]


def judge_transcriptomics(material: Material, config: TranscriptomicsConfig) -> Transcriptomics:
    """Read the genes and contrast the two classes, with all genes and without those of the ERBB2 amplicon.

    Predictions are those of models that had not seen the patient; patients of all splits are taken together.

    Raises:
        StopRun: ``unknown_name`` for classes, covariates and the column of samples; ``config_value`` when a class is
            compared with itself; ``design_rank``; as `analysis.genes.expression.read_expression`; ``sample_empty``;
            ``extra_missing``.
    """
    _check_classes(config, material.classes)
    classes, elsewhere = _predicted_patients(material, config)
    expression = read_expression(config, _samples(material.cohort, config, sorted(classes)))
    groups = _groups(material.cohort, config, expression, classes, elsewhere)
    values = expression.of(groups.patient_id)
    true = build_design(groups.true, groups.columns, config.compare, by=TRUE)
    predicted, no_prediction = _predicted_design(groups, config)
    kept, notes = _tested(values, groups, config)
    names = np.array(expression.genes, dtype=object)
    flagged = in_amplicon(expression.genes)
    rounds = [
        _round(values[:, genes], tuple(names[genes]), groups, (true, predicted), material.config, no_prediction)
        for genes in ([kept, kept & ~flagged] if (kept & flagged).any() else [kept])
    ]
    fitted = [tests for tests in (rounds[0].true, rounds[0].predicted) if tests is not None]
    remarks = sorted({remark for tests in fitted for remark in tests.remarks})
    said = (Note("", "model_remark", remark) for remark in remarks)
    return Transcriptomics(
        groups=groups,
        n_true=(int(np.sum(~groups.true)), int(np.sum(groups.true))),
        n_predicted=(int(np.sum(groups.predicted == 0)), int(np.sum(groups.predicted == 1))),
        all_genes=rounds[0],
        without_amplicon=rounds[1] if len(rounds) > 1 else None,
        no_prediction=no_prediction,
        notes=(*expression.notes, *notes, *rounds[0].pathways[TRUE].gene_sets.notes, *said),
    )


def _check_classes(config: TranscriptomicsConfig, classes: tuple[str, ...]) -> None:
    """Two different classes of the scheme."""
    for name in config.compare:
        if name not in classes:
            raise unknown_name("class in analysis.transcriptomics.compare", name, classes)
    if config.compare[0] == config.compare[1]:
        message = f"analysis.transcriptomics.compare names '{config.compare[0]}' twice; two classes were expected"
        raise StopRun("config_value", message)


def _predicted_patients(
    material: Material, config: TranscriptomicsConfig
) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Patient id -> true and likeliest class (0 and 1 as compared, -1 for others); reason -> patients left out."""
    code = {material.classes.index(name): i for i, name in enumerate(config.compare)}
    known: dict[str, tuple[int, int]] = {}
    n_seen = n_other = 0
    for sample in material.samples:
        if sample.split not in OUT_OF_SAMPLE:
            n_seen += len(sample.patient_id)
            continue
        likeliest = sample.probabilities.argmax(axis=1)
        for patient_id, true, predicted in zip(sample.patient_id, sample.y, likeliest, strict=True):
            if int(true) not in code:
                n_other += 1
            elif patient_id not in known:
                known[patient_id] = (code[int(true)], code.get(int(predicted), -1))
    return known, {"of another class than the two": n_other, "predicted by a model that may have seen them": n_seen}


def _samples(cohort: Cohort, config: TranscriptomicsConfig, patient_id: Sequence[str]) -> dict[str, str]:
    """Patient id -> name of the sample, without those whose cell is empty."""
    if not config.samples:
        return {name: name for name in patient_id}
    patients = {patient.patient_id: patient for patient in cohort.patients}
    known = next(iter(cohort.patients)).groups if cohort.patients else {}
    if config.samples not in known:
        kind = "column for analysis.transcriptomics.samples (not under cohort.groups)"
        raise unknown_name(kind, config.samples, known)
    cells = {name: patients[name].groups[config.samples] for name in patient_id}
    return {name: cell for name, cell in cells.items() if cell}


def _groups(
    cohort: Cohort,
    config: TranscriptomicsConfig,
    expression: Expression,
    classes: Mapping[str, tuple[int, int]],
    elsewhere: Mapping[str, int],
) -> Groups:
    """Those of the compared patients who have a sample and all covariates."""
    measured = expression.patient_id
    columns = covariate_columns(cohort, measured, config.covariates)
    complete = complete_rows(columns, len(measured))
    ids = tuple(name for name, whole in zip(measured, complete, strict=True) if whole)
    reasons = {
        **elsewhere,
        "without a sample in the expression table": len(classes) - len(measured),
        "with a covariate of the design missing": int((~complete).sum()),
    }
    pairs = np.array([classes[name] for name in ids], dtype=np.int64).reshape(len(ids), 2)
    left_out = tuple((why, n) for why, n in reasons.items() if n)
    return Groups(ids, pairs[:, 0] == 1, pairs[:, 1], of_rows(columns, complete), left_out)


def _predicted_design(groups: Groups, config: TranscriptomicsConfig) -> tuple[Design | None, str]:
    """The design by predicted class, or why there can be none."""
    takes_part = groups.predicted >= 0
    columns = of_rows(groups.columns, takes_part)
    try:
        design = build_design(groups.predicted[takes_part] == 1, columns, config.compare, by=PREDICTED)
    except StopRun as error:
        return None, error.message
    return design, ""


def _tested(
    values: Values, groups: Groups, config: TranscriptomicsConfig
) -> tuple[Bool[np.ndarray, " gene"], list[Note]]:
    """Which genes are tested: all of log values, of counts those with enough reads."""
    if config.kind == "log":
        return np.ones(values.shape[1], dtype=bool), []
    empty = np.flatnonzero(values.sum(axis=1) == 0)
    if len(empty):
        who = groups.patient_id[int(empty[0])]
        raise StopRun("sample_empty", f"{config.expression}: the sample of patient '{who}' has no read in any gene")
    kept = expressed(values, groups.true)
    told = f"{int((~kept).sum())} of {len(kept)} genes have too few reads to be tested (edgeR's filterByExpr)"
    if not kept.any():
        raise StopRun("expression_genes", f"{config.expression}: {told}")
    return kept, [] if kept.all() else [Note("", "gene_few_reads", told)]


def _round(
    values: Values,
    genes: tuple[str, ...],
    groups: Groups,
    designs: tuple[Design, Design | None],
    config: Config,
    no_prediction: str,
) -> Round:
    """Both contrasts over some genes."""
    is_counts = _own(config).kind == "counts"
    logs = log_counts(values, normalization_factors(values)) if is_counts else values
    true, predicted = designs
    tests = _test(values, genes, true, is_counts=is_counts)
    n, method = int(np.sum(groups.predicted >= 0)), "Spearman correlation of log2 fold changes"
    nothing = not_estimable(no_prediction, n=n, method=method)
    pathways = {TRUE: _pathways(tests, logs, true, config)}
    if predicted is None:
        return Round(tests, None, None, nothing, nothing, pathways)
    takes_part = groups.predicted >= 0
    theirs = _test(values[takes_part], genes, predicted, is_counts=is_counts)
    pathways[PREDICTED] = _pathways(theirs, logs[takes_part], predicted, config)
    first = Grouping(np.ones_like(takes_part), groups.true, true.matrix[:, :-1])
    spread = np.zeros((len(takes_part), predicted.matrix.shape[1] - 1))
    spread[takes_part] = predicted.matrix[:, :-1]
    second = Grouping(takes_part, groups.predicted == 1, spread)
    times = resamples(groups.true, config.analysis.resamples, config.seed)
    return Round(
        true=tests,
        predicted=theirs,
        differences=contrast_differences(logs, first, second, times),
        correlation=fold_change_correlation(logs, first, second, times),
        by_confusion=correlation_by_confusion(logs, first, second, config.seed),
        pathways=pathways,
    )


def _test(
    values: Float64[np.ndarray, "member gene"], genes: tuple[str, ...], design: Design, *, is_counts: bool
) -> GeneTests:
    """The test that the kind of values asks for."""
    if is_counts:
        return negative_binomial(values, genes, design)[0]
    return moderated_t(values, genes, design)[0]


def _own(config: Config) -> TranscriptomicsConfig:
    """The settings of this part, which is only run where there are any."""
    own = config.analysis.transcriptomics
    if own is None:
        raise ValueError("the configuration has no section analysis.transcriptomics")
    return own


def _pathways(
    tests: GeneTests, values: Float64[np.ndarray, "member gene"], design: Design, config: Config
) -> Pathways:
    """Gene sets and signatures of one contrast; a gene without a statistic counts as one without effect."""
    own = _own(config)
    statistic, passing = np.nan_to_num(tests.statistic), tests.significant(own.fdr)
    return judge_pathways(tests.genes, statistic, passing, values, design.matrix, config=own, seed=config.seed)
