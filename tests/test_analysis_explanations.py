"""The section that shows explanations, and the slices in it."""

import io
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.explained_run import read_explained
from analysis.figures.explanations import features_figure, groups_figure
from analysis.figures.overlay import with_outline
from analysis.figures.projection import class_figure, site_figure
from analysis.page import Folded, Gallery, Page, Paragraph, Pictures, Table, unfolded
from analysis.part import Material
from analysis.patients.samples import split_samples
from analysis.patients.slides import Slides, slide_of
from analysis.rendering import render
from analysis.sections.explanations import judge_explanations
from analysis.sections.matched import judge_matched
from extract.cache import Slab, write_slab
from extract.histograms import count
from triher.cohort import Cohort, Patient
from triher.explained import Chosen, write_chosen
from triher.explanation_checks import DELETION, OVERLAP, RANDOMIZED, Check, write_checks
from triher.explanation_tables import FeatureShare, GroupShare, Projected, Purity, write_rows
from triher.explanations import PatientMaps, write_maps
from triher.predictions import probability_columns, write_predictions
from triher.runfolder import RunFolder
from triher.settings import CohortConfig, Config
from triher.store import Header, write_store

CLASSES = ("zero", "low", "positive")
HOSTILE = '<script>alert("1")</script>'
NAN = math.nan


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are drawn in tests of their own."""
    monkeypatch.setattr(
        "analysis.figures.canvas.FigureCanvasSVG.print_svg", lambda _, file, **__: file.write("<svg></svg>")
    )


def a_slab(seed=0, *, side=20, n_slices=4):
    rng = np.random.default_rng(seed)
    voxels = rng.integers(0, 400, (3, n_slices, side, side)).astype(np.int16)
    mask = np.zeros((n_slices, side, side), bool)
    for k in range(n_slices):
        mask[k, 4 : 8 + k, 5 : 9 + k] = True
    histograms = tuple(count(phase) for phase in voxels)
    slices = tuple(tuple(count(part) for part in phase) for phase in voxels)
    return Slab(
        ("pre", "early", "late"), voxels, mask, histograms, slices, 10, (3.0, 1.0, 1.0), "axial", (40, 64, 64)
    )


def some_maps(name="P1", *, side=20, places=(10, 12), seed=0, log_odds=(-1.0, 0.5, -2.0)):
    values = np.random.default_rng(seed).normal(size=(3, len(places), side, side)).astype(np.float32)
    return PatientMaps(name, values, np.array(places, np.int32), np.array(log_odds), seed % 2 == 0)


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture.png)))


def test_the_slice_with_most_lesion_is_shown():
    assert slide_of(a_slab()).number == 13
    slide = slide_of(a_slab(), some_maps())
    assert slide.number == 12
    assert np.array_equal(slide.heat, some_maps().maps[:, 1])


@pytest.mark.parametrize("wrong", [{"side": 19}, {"places": (9, 12)}, {"places": (12, 14)}])
def test_maps_of_another_slab_are_left_aside(wrong):
    slide = slide_of(a_slab(), some_maps(**wrong))
    assert slide.heat is None
    with pytest.raises(ValueError, match="no map"):
        slide.heated("P1", "HER2-low", 1)


def test_small_slices_are_repeated_and_large_ones_averaged():
    small = slide_of(a_slab()).picture("P1", 1)
    assert pixels(small).shape == (100, 100, 3)
    assert pixels(slide_of(a_slab(side=200)).picture("P1", 0)).shape == (100, 100, 3)
    assert pixels(slide_of(a_slab(side=401)).picture("P1", 0)).shape == (134, 134, 3)


def test_outline_and_phase_are_drawn():
    slab = a_slab()
    slide = slide_of(slab)
    low, high = slide.window
    gray = (np.clip((slab.voxels[2, 3] - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    expected = with_outline(gray.repeat(5, 0).repeat(5, 1), slab.mask[3].repeat(5, 0).repeat(5, 1))
    assert np.array_equal(pixels(slide.picture("P1", 2)), expected)
    assert "phase late" in slide.picture("P1", 2).alternative


def test_a_difference_of_maps_is_seen_from_both_sides():
    maps = some_maps()
    flat = replace(maps, maps=np.zeros_like(maps.maps))
    flat.maps[1, :, 15:, 15:] = 2.0
    flat.maps[0, :, :3, :3] = 1.0
    slide = slide_of(a_slab(), flat)
    plain = pixels(slide.picture("P1", 1)).astype(int)
    low = np.abs(pixels(slide.heated("P1", "low", 1, 0)) - plain).sum(axis=2).reshape(20, 5, 20, 5).max(axis=(1, 3))
    zero = np.abs(pixels(slide.heated("P1", "zero", 0, 1)) - plain).sum(axis=2).reshape(20, 5, 20, 5).max(axis=(1, 3))
    assert (low[15:, 15:] > 0).mean() > 0.9
    assert low[:15].sum() == 0
    assert (zero[:3, :3] > 0).mean() > 0.5
    assert zero[15:].sum() == 0


@pytest.fixture
def study(tmp_path, make_features, undrawn):
    """A run folder with slabs, store, predictions and explanations."""

    def build(n=9, *, failing=False, hostile=False, explained=True):
        features = make_features(n)
        run = RunFolder(tmp_path / "run")
        run.prepare()
        run.features.mkdir()
        write_store(
            run.features / "toy.h5", Header({"name": "toy"}, {}, {}, np.ones((2, 6), np.float32)), [features],
            n_slices=len(features.slice_index),
        )  # fmt: skip
        run.record_stage("extract", "key", [], 1.0, store="toy.h5")
        run.slabs.mkdir()
        for i, digest in enumerate(features.input_sha256):
            write_slab(run.slabs / f"{digest}.safetensors", a_slab(i))
        material = _material(features.patient_id, run, HOSTILE if hostile else "A")
        write_predictions(run.predictions_file, material.frame, "triple")
        if explained:
            _explain(run, features.patient_id, failing=failing)
        return material

    return build


def _material(ids, run, site):
    n = len(ids)
    y = np.arange(n) % 3
    p = np.full((n, 3), 0.1)
    p[np.arange(n), np.where(np.arange(n) < 3, (y + 1) % 3, y)] = 0.8  # the first three are errors
    p[1] = [0.02, 0.08, 0.9]  # the surest
    frame = pd.DataFrame({"patient_id": list(ids), "cohort": "here", "site": site, "split": "test"})
    frame = frame.assign(repeat=0, fold=0, seed=0, y=y.astype(float))
    frame[probability_columns("triple")] = p
    people = [
        Patient(who, "here", site, "", {}, None, ihc=("0", "1+", "3+")[i % 3], covariates={"age": 50.0 + i % 2})
        for i, who in enumerate(ids)
    ]
    config = Config(cohort=CohortConfig(table="t.csv", covariates=("age",)))
    cohort = Cohort(tuple(people), (), frozenset())
    return Material(frame, None, split_samples(frame, "triple"), {}, cohort, config, {}, run)


def _explain(run, ids, *, failing):
    folder = run.explanations
    folder.mkdir()
    write_maps(
        folder / "maps.h5", [some_maps(w, seed=i) for i, w in enumerate(ids)], classes=CLASSES, method="hirescam"
    )
    write_chosen(folder / "patients.csv", [Chosen(who, "least sure") for who in reversed(ids)])
    checks = [
        Check(RANDOMIZED, "rank correlation", 0.1, 0.05, 0.2, 12, 0.5, True, NAN),
        Check(RANDOMIZED, "structural similarity", 0.1, 0.05, 0.2, 12, NAN, None, NAN),
        Check(DELETION, "mean log-odds", -0.1, -0.3, 0.1, 12, -0.1, not failing, 0.4),
    ]
    write_checks(folder / "sanity.csv", checks)
    groups = [
        GroupShare(who, label, name, kind, value, phi, -0.7)
        for who in ids
        for label in CLASSES
        for name, kind, value, phi in (("rgb", "view", NAN, 1.25), ("age", "covariate", 51.0, -0.5))
    ]
    write_rows(folder / "shap_groups.csv", GroupShare, groups)
    features = [
        FeatureShare(w, c, f"rgb {k}", float(i), 0.1 * i - k)
        for i, w in enumerate(ids)
        for c in CLASSES
        for k in (0, 1)
    ]
    write_rows(folder / "shap_features.csv", FeatureShare, features)
    plane = [Projected(who, m, float(i), float(-i)) for m in ("t-SNE", "UMAP") for i, who in enumerate(ids)]
    write_rows(folder / "projection.csv", Projected, plane)
    purity = [Purity("class", 12, 3, 5, 0.7, 0.3, 0.001), Purity("site", 12, 2, 5, 0.4, 0.4, 0.6)]
    write_rows(folder / "projection_purity.csv", Purity, purity)


def blocks_of(part, kind):
    return [block for block in unfolded(part.section.blocks) if isinstance(block, kind)]


def text_of(part):
    return " ".join(block.text for block in blocks_of(part, Paragraph))


def test_everything_is_shown_errors_first(study):
    material = study()
    part = judge_explanations(material)
    assert "The maps passed all 2 sanity tests" in text_of(part)
    assert "70% are of the patient's own class" in text_of(part)
    assert "no proof that there is none" in text_of(part)
    drawn = [drawing.name for gallery in blocks_of(part, Gallery) for drawing in gallery.drawings]
    assert drawn == [
        "shap-groups", "shap-features-zero", "shap-features-low", "shap-features-positive", "projection-tsne-class",
        "projection-tsne-site", "projection-umap-class", "projection-umap-site",
    ]  # fmt: skip
    titles = [pictures.title for pictures in blocks_of(part, Pictures)]
    assert titles[0] == "SUBJECT-001: HER2-low by pathology (IHC 1+), likeliest HER2-positive"
    assert len(titles) == len(part.named) == 9
    folded = [block for block in part.section.blocks if isinstance(block, Folded)]
    assert [block.text for block in folded] == ["Predicted rightly, or without HER2 label: 6"]
    table = next(block for block in blocks_of(part, Table) if block.caption == "Log-odds of HER2-low, SUBJECT-001")
    assert table.rows == [
        ["Mean of training patients", "-0.70"], ["rgb", "+1.25"], ["age 51", "-0.50"], ["This patient", "0.05"],
    ]  # fmt: skip
    assert part.summary == ()


def test_the_answer_and_the_truth_get_a_map(study):
    part = judge_explanations(study())
    captions = {
        pictures.title.split(":")[0]: [one.caption for one in pictures.pictures]
        for pictures in blocks_of(part, Pictures)
    }
    assert captions["SUBJECT-001"] == ["early, slice 13", "Speaks for HER2-low"]
    assert captions["SUBJECT-000"] == ["early, slice 13", "Speaks for HER2-low", "Speaks for HER2-zero"]
    words = [block.text for block in blocks_of(part, Paragraph) if "SUBJECT" not in block.text]
    assert any("which was not trained on this patient and says low 0.62" in text for text in words)


def test_a_failed_sanity_test_comes_first_and_reaches_the_summary(study):
    material = study(failing=True)
    assert "The maps failed sanity tests (deletion)" in text_of(judge_matched(material))
    part = judge_explanations(material)
    assert part.summary[0].startswith("The maps failed 1 of 2 sanity tests (deletion)")
    [note] = [block for block in blocks_of(part, Paragraph) if block.tone == "note"]
    assert "must not be read as the reasons" in note.text
    table = next(block for block in blocks_of(part, Table) if block.name == "sanity")
    assert table.rows[0][:2] == ["deletion", "failed"]


def test_no_verdict_is_no_pass(study):
    material = study()
    checks = [Check(OVERLAP, "share", 0.5, NAN, NAN, 1, 0.4, None, NAN)]
    write_checks(material.run.explanations / "sanity.csv", checks)
    part = judge_explanations(material)
    assert "nothing says whether the maps can be trusted" in text_of(part)


def test_nothing_explained_is_one_sentence(study):
    material = study(explained=False)
    part = judge_explanations(material)
    assert len(part.section.blocks) == 1
    assert "`triher explain CONFIG`" in text_of(part)
    assert read_explained(material.run) is None
    assert judge_explanations(replace(material, run=None)).section is None


def test_explanations_of_another_model_are_not_shown(study):
    material = study()
    material.run.record_stage("explain", "key", [], 1.0, predictions="0" * 64)
    part = judge_explanations(material)
    assert "of an earlier model" in text_of(part)
    assert part.named == ()


def test_the_page_stays_within_its_budget(study, monkeypatch):
    monkeypatch.setattr("analysis.sections.patients._BUDGET", 15_000)
    part = judge_explanations(study())
    assert 0 < len(part.named) < 9
    assert f"{9 - len(part.named)} more patients would make this page too large" in text_of(part)
    spent = sum(len(one.uri) for pictures in blocks_of(part, Pictures) for one in pictures.pictures)
    assert spent <= 15_000


def test_pairs_are_shown_with_both_maps(study):
    part = judge_matched(study())
    shown = blocks_of(part, Pictures)
    assert len(shown) == 4  # the surest right pair and the median one; or the surest wrong
    assert [one.caption for one in shown[0].pictures] == [
        "pre, slice 13", "early, slice 13", "late, slice 13", "Speaks for low rather than zero",
        "Speaks for zero rather than low",
    ]  # fmt: skip


def test_lost_and_damaged_slabs_leave_no_picture(study):
    material = study()
    first, second, *_ = sorted(material.run.slabs.glob("*.safetensors"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-20])
    slides = Slides(material.run)
    assert sum(slides.of(who) is None for who in material.frame["patient_id"]) == 2
    assert Slides(RunFolder(material.run.path.parent)).of("SUBJECT-000") is None
    assert "No pictures are left" in text_of(judge_explanations(material))


def test_hostile_names_stay_text(study, monkeypatch):
    material = study(hostile=True)
    monkeypatch.undo()
    write_rows(material.run.explanations / "shap_features.csv", FeatureShare, [])
    part = judge_explanations(material)
    html = render(Page("t", "l", [], [], [part.section], "yes", "f"))
    assert "alert" in html
    assert '<script>alert("1")' not in html


def test_figures_of_many_patients_stay_small():
    ids = [f"P{i:04d}" for i in range(3000)]
    plane = [Projected(who, "UMAP", float(i % 60), float(i // 60)) for i, who in enumerate(ids)]
    sites = {who: f"s{i % 11}" for i, who in enumerate(ids)}
    drawing = site_figure(plane, sites)
    assert len(drawing.svg) < 200_000
    assert drawing.description.count("; ") == 7
    assert "others" in drawing.description
    classes = class_figure(plane, {who: CLASSES[i % 3] if i % 5 else "" for i, who in enumerate(ids)}, CLASSES)
    assert "not known" in classes.description
    shares = [FeatureShare(who, "low", "rgb 1", float(i), 0.01 * i) for i, who in enumerate(ids)]
    assert len(features_figure(shares, "low").svg) < 100_000
    assert features_figure(shares, "low").description.startswith("3000 patients")


def test_equal_shares_can_be_drawn():
    rows = [FeatureShare(f"P{i}", "low", "rgb 1", 1.0, 0.0) for i in range(3)]
    assert "HER2-low" in features_figure(rows, "low").title
    groups = [GroupShare("P1", "low", "rgb", "view", NAN, -0.5, 0.1)]
    assert "low 0.50" in groups_figure(groups, CLASSES).description
