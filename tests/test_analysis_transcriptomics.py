"""Genes by true and by predicted class side by side: agreement, the ERBB2 amplicon, the section, and real data."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from analysis.discrimination.shortcut import EVERYBODY
from analysis.genes.amplicon import GENES, in_amplicon
from analysis.genes.contrast_agreement import (
    Grouping,
    contrast_differences,
    correlation_by_confusion,
    effect_weights,
    fold_change_correlation,
    resamples,
)
from analysis.genes.transcriptomics import judge_transcriptomics
from analysis.metrics import find
from analysis.page import Gallery, Page, Paragraph, Table, tables
from analysis.part import Material, Part
from analysis.parts import PARTS
from analysis.patients.samples import Sample
from analysis.rendering import render
from analysis.sections.transcriptomics import transcriptomics_part
from triher.cohort import Cohort, Patient, labels
from triher.errors import StopRun
from triher.settings import AnalysisConfig, CohortConfig, Config, TranscriptomicsConfig
from triher.tables import is_missing, read_cells

N = 48
AMPLICON = ("ERBB2", "GRB7", "STARD3")


def sample_of(y, likeliest, split="oof", first=0):
    probabilities = 0.1 + 0.7 * np.eye(3)[np.asarray(likeliest)]
    ids = tuple(f"P{i:02d}" for i in range(first, first + len(y)))
    return Sample(
        split, "", "", ids, np.asarray(y, dtype=np.int64), probabilities, 0, np.zeros(len(y), dtype=np.int64)
    )


def material_of(predicted, path, *, kind="log", covariates=None, groups=None, resamples=100, **settings):
    ids = [name for sample in predicted for name in sample.patient_id]
    patients = tuple(
        Patient(
            name,
            "x",
            "A",
            "",
            {},
            None,
            covariates={key: values[i] for key, values in (covariates or {}).items()},
            groups={key: values[i] for key, values in (groups or {}).items()},
        )
        for i, name in enumerate(ids)
    )
    genes = TranscriptomicsConfig(expression=path, kind=kind, **settings)
    config = Config(
        cohort=CohortConfig(table="t.csv"), analysis=AnalysisConfig(resamples=resamples, transcriptomics=genes)
    )
    cohort = Cohort(patients, (), frozenset())
    return Material(pd.DataFrame(), None, tuple(predicted), {}, cohort, config, {})


@pytest.fixture
def write(tmp_path):
    """Log values or counts of the amplicon (higher in class 2) and other genes, samples in rows."""

    def writing(y, *, n_genes=40, shift=2.0, others=0, counts=False, seed=0, name="rna.csv"):
        rng = np.random.default_rng(seed)
        genes = [*AMPLICON, *(f"G{i}" for i in range(n_genes))]
        values = rng.normal(6, 1, size=(len(y), len(genes)))
        values[:, : len(AMPLICON) + others] += shift * (np.asarray(y) == 2)[:, None]
        if counts:
            values = rng.poisson(2.0**values)
        frame = pd.DataFrame(values, columns=genes, index=[f"P{i:02d}" for i in range(len(y))])
        frame.to_csv(tmp_path / name, index_label="sample")
        return tmp_path / name

    return writing


@pytest.fixture
def noisy():
    """True classes, and predictions of which every sixth is wrong and some of class zero."""
    y = np.tile([1, 2, 1, 0], N // 4)
    likeliest = y.copy()
    likeliest[::6] = np.where(y[::6] == 2, 1, 2)
    likeliest[4] = 0
    return y, likeliest


def value(part, quantity, class_name=""):
    return find(part.metrics, EVERYBODY, quantity, class_name)


def test_fold_changes_of_resamples_are_those_of_least_squares():
    rng = np.random.default_rng(0)
    second, age = rng.random(20) < 0.5, rng.normal(55, 9, 20)
    takes_part = np.arange(20) < 16
    covariates = np.column_stack([np.ones(20), age]) * takes_part[:, None]
    values = rng.normal(size=(20, 3))
    times = resamples(second, 50, seed=1)
    assert (times[:, second].sum(axis=1) == second.sum()).all()
    found = effect_weights(Grouping(takes_part, second, covariates), second[None].astype(float), times) @ values
    for draw in (0, 17):
        rows = np.repeat(np.arange(16), times[draw, :16].astype(int))
        matrix = np.column_stack([covariates[rows], second[rows]])
        expected = np.linalg.lstsq(matrix, values[rows], rcond=None)[0][-1]
        np.testing.assert_allclose(found[draw], expected, rtol=1e-8)


def grouping(second, takes_part=None):
    takes_part = np.ones(len(second), dtype=bool) if takes_part is None else takes_part
    return Grouping(takes_part, second, np.ones((len(second), 1)) * takes_part[:, None])


def test_equal_groupings_do_not_differ_and_correlate_fully():
    rng = np.random.default_rng(0)
    second, values = np.arange(30) % 3 == 0, rng.normal(size=(30, 25))
    times = resamples(second, 100, seed=0)
    found = contrast_differences(values, grouping(second), grouping(second), times)
    assert not found.difference.any()
    assert (found.p == 1).all()
    correlation = fold_change_correlation(values, grouping(second), grouping(second), times)
    assert (correlation.value, correlation.low, correlation.high) == pytest.approx((1, 1, 1))


def test_the_test_of_differences_keeps_its_level_and_finds_what_is_there():
    rng = np.random.default_rng(4)
    true, predicted = np.arange(120) % 2 == 0, rng.random(120) < 0.5
    predicted = np.where(rng.random(120) < 0.6, true, predicted)
    values = rng.normal(size=(120, 2000))
    times = resamples(true, 300, seed=0)
    found = contrast_differences(values, grouping(true), grouping(predicted), times)
    assert (found.p < 0.05).mean() == pytest.approx(0.05, abs=0.02)
    values[:, 0] += 3 * true
    found = contrast_differences(values, grouping(true), grouping(predicted), times)
    assert found.q[0] < 0.05
    assert found.difference[0] < 0
    assert found.n_draws == 300


def test_predictions_that_know_only_the_class_lie_where_permutations_lie():
    rng = np.random.default_rng(5)
    true = np.arange(100) % 2 == 0
    values = rng.normal(size=(100, 150)) + np.outer(true, rng.normal(size=150))
    values += np.outer(hidden := rng.normal(size=100), rng.normal(size=150))  # a second process, unrelated to truth
    blind = np.where(rng.random(100) < 0.7, true, ~true)
    knowing = np.where(hidden > 0.7, True, np.where(hidden < -0.7, False, true))
    for predicted, inside in ((blind, True), (knowing, False)):
        correlation = fold_change_correlation(
            values, grouping(true), grouping(predicted), resamples(true, 100, seed=0)
        )
        expected = correlation_by_confusion(values, grouping(true), grouping(predicted), seed=0)
        assert (expected.low <= correlation.value <= expected.high) == inside
    matrix = [np.column_stack([np.ones(100), g]) for g in (true, predicted)]
    changes = [np.linalg.lstsq(m, values, rcond=None)[0][-1] for m in matrix]
    assert correlation.value == pytest.approx(spearmanr(*changes).statistic)


def test_resamples_without_a_group_are_left_out():
    second = np.zeros(12, dtype=bool)
    second[:3] = True
    takes_part = np.ones(12, dtype=bool)
    takes_part[:2] = False
    times = resamples(second, 100, seed=0)
    found = contrast_differences(
        np.random.default_rng(0).normal(size=(12, 5)), grouping(second), grouping(second, takes_part), times
    )
    assert 50 < found.n_draws < 100


def test_without_a_table_of_expression_the_part_is_empty():
    material = material_of([sample_of([1, 2], [1, 2])], "none.csv")
    bare = material.config.model_copy(update={"analysis": AnalysisConfig()})
    assert PARTS["transcriptomics"](replace(material, config=bare)) == Part()


def test_both_contrasts_stand_side_by_side_with_and_without_the_amplicon(write, noisy, tmp_path):
    y, likeliest = noisy
    sets = tmp_path / "own.gmt"
    sets.write_text("UP\tx\tG0\tG1\tG2\tG3\nSTILL\tx\tG8\tG9\tG10\tG11\n", encoding="utf-8")
    settings = {"gene_sets": (sets,), "min_genes": 3, "permutations": 100}
    part = transcriptomics_part(material_of([sample_of(y, likeliest)], write(y, others=4), **settings))
    assert value(part, "genes_tested", "true class").value == 43
    assert value(part, "genes_tested_without_amplicon", "true class").value == 40
    assert value(part, "genes_significant", "true class").value >= 7
    assert value(part, "genes_significant_without_amplicon", "true class").value >= 4
    assert value(part, "genes_tested", "true class").n == 36
    outside = int(((likeliest == 0) & (y > 0)).sum())
    assert value(part, "genes_tested", "predicted class").n == 36 - outside
    correlation = value(part, "fold_change_correlation")
    assert correlation.low <= correlation.value <= correlation.high
    assert value(part, "fold_change_correlation_by_confusion").n == 36 - outside
    assert value(part, "fold_change_correlation_without_amplicon").value < 1
    text = " ".join(block.text for block in part.section.blocks if isinstance(block, Paragraph))
    assert "HER2-positive (12 patients) against HER2-low (24) by true class" in text
    assert "12 of another class than the two" in text
    assert "predicted to be of another class are left out" in text
    page = Page("t", "l", [], [], [part.section], "no", "f")
    files = tables(page)
    everything = files["genes-true-all"]
    assert len(everything.rows) == 43
    row = dict(zip(everything.columns, everything.rows[0], strict=True))
    assert row["p"] == min(row[6] for row in everything.rows)
    flagged = [row for row in everything.rows if row[0] in AMPLICON]
    assert {(row[1], row[-1]) for row in flagged} == {("yes", None)}
    assert len(files["genes-difference"].rows) == 43
    assert {row[1] for row in files["genes-true-without-amplicon"].rows} == {"no"}
    names = [d.name for block in part.section.blocks if isinstance(block, Gallery) for d in block.drawings]
    assert names[:3] == ["genes-true", "genes-predicted", "genes-agreement"]
    assert len(set(names)) == len(names)
    for by, short in (("true class", "true"), ("predicted class", "predicted")):
        for suffix in ("", "_without_amplicon"):
            assert value(part, f"gene_sets_tested{suffix}", by).value == 2
            rows = {row[0]: row for row in files[f"gene-sets-{short}{suffix.replace('_', '-')}"].rows}
            assert rows.keys() == {"UP", "STILL"}
    html = render(page)
    assert "ERBB2" in html
    assert str(write(y)) not in html


def test_the_order_of_patients_and_of_splits_changes_nothing(write, noisy):
    y, likeliest = noisy
    path = write(y)
    halves = [sample_of(y[24:], likeliest[24:], "test", 24), sample_of(y[:24], likeliest[:24], "oof")]
    materials = material_of([sample_of(y, likeliest)], path), material_of(halves, path)
    whole, split = (judge_transcriptomics(m, m.config.analysis.transcriptomics) for m in materials)
    assert split.groups.patient_id == whole.groups.patient_id
    assert split.all_genes.correlation == whole.all_genes.correlation
    np.testing.assert_array_equal(split.all_genes.differences.q, whole.all_genes.differences.q)
    np.testing.assert_array_equal(split.without_amplicon.predicted.p, whole.without_amplicon.predicted.p)


def test_predictions_of_models_that_may_have_seen_the_patient_are_left_out(write, noisy):
    y, likeliest = noisy
    halves = [sample_of(y[:32], likeliest[:32]), sample_of(y[32:], likeliest[32:], "train", 32)]
    material = material_of(halves, write(y))
    found = judge_transcriptomics(material, material.config.analysis.transcriptomics)
    assert len(found.groups.patient_id) == 24
    assert ("predicted by a model that may have seen them", 16) in found.groups.left_out


def test_covariates_join_the_design_and_patients_without_them_are_counted(write, noisy):
    y, likeliest = noisy
    age = [float(50 + i % 17) for i in range(N)]
    er = ["+" if i % 5 else "-" for i in range(N)]
    age[1], er[2] = math.nan, ""
    extra = {"covariates": {"age": age}, "groups": {"er": er}}
    material = material_of([sample_of(y, likeliest)], write(y), **extra)
    config = material.config.analysis.transcriptomics.model_copy(update={"covariates": ("age", "er")})
    found = judge_transcriptomics(material, config)
    assert len(found.groups.patient_id) == 34
    assert ("with a covariate of the design missing", 2) in found.groups.left_out
    with pytest.raises(StopRun, match="did you mean 'age'") as stop:
        judge_transcriptomics(material, config.model_copy(update={"covariates": ("agee",)}))
    assert stop.value.code == "unknown_name"


def test_samples_are_found_by_their_column(write, noisy, tmp_path):
    y, likeliest = noisy
    frame = pd.read_csv(write(y), index_col=0)
    frame.index = [f"GSM{i}" for i in range(N)]
    frame.to_csv(tmp_path / "own.csv")
    names = [f"GSM{i}" if i % 10 else "" for i in range(N)]
    material = material_of([sample_of(y, likeliest)], tmp_path / "own.csv", groups={"gsm": names}, samples="gsm")
    found = judge_transcriptomics(material, material.config.analysis.transcriptomics)
    assert len(found.groups.patient_id) == 36 - sum(i % 10 == 0 and y[i] > 0 for i in range(N))
    assert found.groups.left_out[-1][0] == "without a sample in the expression table"


@pytest.mark.fault("F17")
def test_where_no_gene_passes_there_is_an_empty_table_and_a_sentence(write, noisy):
    y, likeliest = noisy
    part = transcriptomics_part(material_of([sample_of(y, likeliest)], write(y, shift=0.0), fdr=1e-9))
    assert value(part, "genes_significant", "true class").value == 0
    files = tables(Page("t", "l", [], [], [part.section], "no", "f"))
    for name in ("genes-true", "genes-true-without-amplicon", "genes-predicted"):
        assert files[name].rows == []
        assert files[name].columns[0] == "gene"
    texts = [block.text for block in part.section.blocks if isinstance(block, Paragraph)]
    assert any(text.startswith("By true class, all genes, no gene passes") for text in texts)
    assert any(isinstance(block, Table) and block.name == "genes-true" for block in part.section.blocks)


@pytest.mark.fault("F14")
def test_too_few_patients_stop_by_true_class_and_are_not_estimable_by_predicted(write, noisy):
    y, likeliest = noisy
    path = write(y)
    part = transcriptomics_part(material_of([sample_of(y, np.ones(N, dtype=int))], path))
    reason = (
        "a contrast by predicted class needs 3 samples in each group; found 36 of HER2-low and 0 of HER2-positive"
    )
    assert value(part, "genes_significant", "predicted class").reason == reason
    assert value(part, "fold_change_correlation").reason == reason
    assert any(isinstance(b, Paragraph) and b.text.endswith(f"{reason}.") for b in part.section.blocks)
    few = np.where((y == 2) & (np.arange(N) > 8), 1, y)
    with pytest.raises(StopRun) as stop:
        transcriptomics_part(material_of([sample_of(few, likeliest)], path))
    assert stop.value.code == "design_rank"


@pytest.mark.parametrize(
    ("settings", "code"),
    [({"compare": ("low", "positiv")}, "unknown_name"), ({"compare": ("low", "low")}, "config_value")],
)
def test_classes_must_be_two_of_the_scheme(write, noisy, settings, code):
    y, likeliest = noisy
    with pytest.raises(StopRun) as stop:
        transcriptomics_part(material_of([sample_of(y, likeliest)], write(y), **settings))
    assert stop.value.code == code


@pytest.mark.fault("F18")
def test_counts_are_filtered_and_tested_without_network(write, noisy, tmp_path):
    y, likeliest = noisy
    path = write(y, counts=True, n_genes=12, others=2)
    frame = pd.read_csv(path, index_col=0).assign(SILENT=0)
    frame.to_csv(path)
    part = transcriptomics_part(material_of([sample_of(y, likeliest)], path, kind="counts"))
    assert value(part, "genes_tested", "true class").value == 15
    assert value(part, "genes_significant", "true class").value >= 5
    assert "DESeq2" in value(part, "genes_significant", "predicted class").method
    assert "gene_few_reads" in {note.code for note in part.notes}
    frame.loc["P01"] = 0
    frame.to_csv(tmp_path / "empty.csv")
    with pytest.raises(StopRun, match="patient 'P01' has no read") as stop:
        transcriptomics_part(material_of([sample_of(y, likeliest)], tmp_path / "empty.csv", kind="counts"))
    assert stop.value.code == "sample_empty"


def test_the_amplicon_is_known_by_symbols_and_ids():
    assert len(GENES) == 30
    assert in_amplicon(["erbb2", "PERLD1", "ENSG00000141738", "ESR1", "TOP2A", "TOP2B"]).tolist() == [
        True, True, True, False, True, False,
    ]  # fmt: skip


@pytest.mark.fault("F12", "F13")
def test_in_real_tumors_the_amplicon_comes_out_on_top(shared):
    folder = shared / "data" / "tcga-brca"
    header, *rows = read_cells(folder / "clinical_patient_brca.txt")
    column = {name: i for i, name in enumerate(header)}

    def cell(row, name):
        return "" if is_missing(row[column[name]]) else row[column[name]]

    patients = tuple(
        Patient(
            cell(row, "bcr_patient_barcode"),
            "TCGA",
            "",
            "",
            {},
            None,
            ihc=cell(row, "her2_ihc_score"),
            ish=cell(row, "her2_fish_status"),
            ish_ratio=cell(row, "her2_cent17_ratio"),
            ish_copies=cell(row, "her2_copy_number"),
            groups={"er": cell(row, "er_status_by_ihc")},
        )
        for row in rows[2:]
    )
    cohort = Cohort(patients, (), frozenset({"ihc"}), her2_rules="either-test")
    known, _ = labels(cohort, "triple")
    ids = tuple(sorted(known))
    y = np.array([known[name] for name in ids])
    sample = replace(sample_of(y, np.ones(len(y), dtype=int)), patient_id=ids)
    path = folder / "rna_log2_6000x769.csv.gz"
    material = replace(material_of([sample], path, covariates=None, groups=None), cohort=cohort)
    config = material.config.analysis.transcriptomics.model_copy(update={"covariates": ("er",)})
    found = judge_transcriptomics(material, config)
    assert found.n_true == (278, 81)
    tests = found.all_genes.true
    top = [tests.genes[i] for i in tests.order()[:9]]
    assert set(top[:4]) == {"ERBB2", "STARD3", "GRB7", "PGAP3"}
    assert in_amplicon(top).all()
    assert (tests.log2_fold_change[tests.order()[:4]] > 2).all()
    assert found.without_amplicon.true.p.min() > 1e8 * tests.p.min()
