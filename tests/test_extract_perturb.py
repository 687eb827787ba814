"""Disturbed images and masks: each disturbance does what it says, by images and draw alone; the rest stays."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extract.cache import _digest, cut_slab, ensure_slab, read_slab
from extract.exam import Exam, read_exam
from extract.fusion import find_fusion, find_fusions
from extract.histograms import count
from extract.normalization import find_normalization
from extract.perturb import disturb, generator
from extract.perturb_mask import dilate, erode, move
from extract.perturb_voxels import draw_field
from extract.pictures import Drawing, PictureRecipe
from extract.recipe import SlabRecipe, perturb_facts, slab_recipe, used
from extract.slices import POLICIES, choose_slices, jitter
from extract.stage import extract
from extract.task import Task, decide
from triher.config import read_config
from triher.errors import SkipPatient, StopRun
from triher.files import sha256_of_json
from triher.progress import Reporter
from triher.recorded import recipe_options
from triher.runfolder import RunFolder
from triher.settings import Config, ExtractConfig, PerturbConfig, RegionConfig
from triher.store import identity, read_index, read_store
from triher.store_compare import compare_stores
from triher.tables import write_table

PHASES = ("pre", "early", "late")
SPACING = (2.0, 0.5, 0.8)
QUIET = Reporter(quiet=True)


def disk(radius_mm: float, spacing: tuple[float, float, float] = SPACING, shape=(3, 160, 120)) -> np.ndarray:
    """A disk in the middle slice."""
    _, rows, cols = np.indices(shape)
    mask = np.hypot((rows - shape[1] // 2) * spacing[1], (cols - shape[2] // 2) * spacing[2]) <= radius_mm
    mask[[0, 2]] = False
    return mask


def exam_of(voxels: np.ndarray, mask: np.ndarray | None = None) -> Exam:
    """An exam in memory, hashed by its values."""
    mask = disk(10.0, shape=voxels.shape[1:]) if mask is None else mask
    digests = {name: hashlib.sha256(phase.tobytes()).hexdigest() for name, phase in zip(PHASES, voxels, strict=True)}
    return Exam(PHASES, voxels, mask, np.eye(4), SPACING, "axial", digests | {"mask": "m"}, ())


@pytest.fixture(scope="module")
def exam() -> Exam:
    """Three smooth phases of whole numbers."""
    slices, rows, cols = np.indices((4, 60, 50))
    base = 200 + 3 * rows + cols + 5 * slices
    return exam_of(np.stack([base, 2 * base, 2 * base - 40]).astype(np.int16), disk(10.0, shape=base.shape))


# What is not disturbed stays as it was


def test_undisturbed_slabs_and_stores_keep_their_names():
    voxels = np.zeros((3, 2, 2, 2), np.int16)
    digests = {"pre": "a" * 64, "early": "b" * 64, "late": "c" * 64, "mask": "d" * 64}
    exam = Exam(PHASES, voxels, voxels[0] > 0, np.eye(4), (2.5, 1.2, 1.2), "axial", digests, ())
    window = RegionConfig(kind="window", largest_component=True)
    assert [
        _digest(exam, slab_recipe(RegionConfig(), "none", None)),
        _digest(exam, slab_recipe(window, "shared", 2)),
    ] == [
        "a3e9a05750d52fe7168bb714898849874baa9fb3f0a2fe0f2cc6e2937bd6a3ee",
        "a3e9a05750d52fe7168bb71489884987f7cd75e3f6818a2ffc3ae52b85e3c23e",
    ]  # of the version before there were disturbances
    recipe = task().recipe()
    assert sha256_of_json(recipe) == "ebfcbe5aa7cde86778f992bc99f80ca03f033d0e77d0f78d12dff4dd62bd3332"
    toy = {"name": "toy", "sha256": "0" * 64}
    assert identity(toy, recipe) == "e31ec2e7297271e9aef855079bb79d4bb07ffcf8bbd37b9bd85d732fd4078fa3"
    assert task(draw=3).recipe() == recipe
    assert SlabRecipe("box", 5.0).facts() == {
        "region": "box", "margin_mm": 5.0, "n4": "none", "mask_label": None, "margin_px": 0, "window_mm": 0.0,
        "depth_mm": 0.0, "largest_component": False,
    }  # fmt: skip


def test_an_undisturbed_exam_is_not_copied(exam):
    assert disturb(exam, PerturbConfig(draw=2)) is exam
    found = disturb(exam, PerturbConfig(mask_mm=1))
    assert found.voxels is exam.voxels
    assert disturb(exam, PerturbConfig(noise=0.1)).mask is exam.mask
    assert found.sha256 == exam.sha256


def task(**perturb) -> Task:
    config = Config.model_validate({"cohort": {"table": "cohort.csv"}, "extract": {"perturb": perturb}})
    return Task(config, (), find_fusions(config.extract.fusions, PHASES))


def test_equal_disturbances_are_written_alike():
    assert perturb_facts(PerturbConfig(mask_mm=2, draw=4)) == {"perturb": {"mask_mm": 2.0}}
    assert sha256_of_json(task(mask_mm=2).recipe()) == sha256_of_json(task(mask_mm=2.0, draw=1).recipe())
    assert used(PerturbConfig(drop_phase="late", draw=1)) == PerturbConfig(drop_phase="late")
    for drawn in ({"shift_mm": 2}, {"noise": 0.1}, {"bias_field": 0.1}, {"jitter_slices": 1}):
        assert perturb_facts(PerturbConfig(**drawn, draw=1)) == {"perturb": drawn | {"draw": 1}}


def test_the_jitter_of_slices_shares_the_slab():
    assert cut(jitter_slices=3, draw=1) == cut()
    assert cut(jitter_slices=3, shift_mm=2.0, draw=1) == cut(shift_mm=2, draw=1) != cut(shift_mm=2)
    assert len({cut(), cut(mask_mm=1), cut(noise=0.1), cut(bias_field=0.1), cut(drop_phase="pre")}) == 5


def cut(**perturb) -> SlabRecipe:
    return slab_recipe(RegionConfig(), "none", None, PerturbConfig(**perturb))


# The mask


@pytest.mark.parametrize("by_mm", [-6.0, -2.5, 2.5, 6.0])
def test_a_disk_of_15_mm_grows_and_shrinks_by_what_was_asked_for(by_mm):
    spacing = (2.0, 0.3, 0.4)
    before = disk(15.0, spacing, (3, 160, 120))
    after = (dilate if by_mm > 0 else erode)(before, spacing, abs(by_mm))
    radius = math.sqrt(after.sum() * spacing[1] * spacing[2] / math.pi)
    assert radius == pytest.approx(15 + by_mm, abs=0.2)  # half a voxel
    assert not after[[0, 2]].any()


@st.composite
def outlines(draw):
    """Any mask in a few slices, its spacing, and millimeters."""
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    bits = draw(st.lists(st.booleans(), min_size=math.prod(shape), max_size=math.prod(shape)))
    mask = np.array(bits).reshape(shape)
    mask.flat[draw(st.integers(0, mask.size - 1))] = True
    return mask, (draw(st.floats(0.5, 4)), draw(st.floats(0.3, 2)), draw(st.floats(0.3, 2))), draw(st.floats(0.1, 6))


@settings(max_examples=40, deadline=None)
@given(outlines())
def test_masks_change_as_all_distances_say(outline):
    mask, spacing, by_mm = outline
    rows, cols = np.indices(mask.shape[1:])
    larger, smaller = dilate(mask, spacing, by_mm), erode(mask, spacing, by_mm)
    for k, plane in enumerate(mask):
        for found, points in ((larger[k], plane), (~smaller[k], ~plane)):
            apart = [np.hypot((rows - r) * spacing[1], (cols - c) * spacing[2]) for r, c in np.argwhere(points)]
            nearest = np.min(apart, axis=0) if apart else np.full(plane.shape, np.inf)
            clear = np.abs(nearest - by_mm) > 2e-3
            assert ((nearest <= by_mm) == found)[clear].all()
    assert (smaller <= mask).all()
    assert (mask <= larger).all()
    assert not larger[~mask.any(axis=(1, 2))].any()


def test_a_spacing_rounded_in_the_header_is_as_good_as_the_exact_one():
    mask = np.zeros((1, 1, 21), bool)
    mask[0, 0, 10] = True
    assert dilate(mask, (1.0, 1.0, float(np.float32(1.2))), 6.0).sum() == 11


def test_a_lesion_cut_off_at_the_border_is_eroded_from_inside_alone():
    mask = np.zeros((1, 10, 10), bool)
    mask[0, :, :5] = True
    assert erode(mask, (1.0, 1.0, 1.0), 2.0)[0].any(axis=0).tolist() == [True] * 3 + [False] * 7
    assert erode(np.ones((1, 4, 4), bool), (1.0, 1.0, 1.0), 2.0).all()


@pytest.mark.parametrize("by_mm", [0.5, 4.0, 12.5])
def test_the_mask_moves_so_far_in_directions_that_differ(by_mm):
    before = disk(6.0)
    angles = []
    for draw in range(20):
        after = move(before, SPACING, by_mm, np.random.default_rng(draw))
        assert after.sum() == before.sum()
        assert not after[[0, 2]].any()
        step = [(np.argwhere(after)[:, axis].mean() - np.argwhere(before)[:, axis].mean()) for axis in (1, 2)]
        way = (step[0] * SPACING[1], step[1] * SPACING[2])
        assert math.hypot(*way) == pytest.approx(by_mm, abs=math.hypot(0.25, 0.4))
        angles.append(math.atan2(*way))
    if by_mm > 2:
        assert abs(np.exp(1j * np.array(angles)).mean()) < 0.5  # of 20 uniform directions: p < 0.01 (Rayleigh)
    steps = [round(way[0] / SPACING[1]), round(way[1] / SPACING[2])]
    np.testing.assert_array_equal(after, np.roll(before, steps, (1, 2)))  # nothing leaves the image


def test_what_moves_out_of_the_image_is_cut_off():
    mask = np.ones((2, 6, 8), bool)
    found = [move(mask, (1.0, 1.0, 1.0), 3.0, np.random.default_rng(draw)) for draw in range(20)]
    for one in found:
        assert 0 < one.sum() < mask.sum()
        assert (one[0] == one[1]).all()
    assert not move(mask, (1.0, 1.0, 1.0), 50.0, np.random.default_rng(0)).any()


def test_a_lesion_that_vanishes_is_a_named_skip(exam):
    with pytest.raises(
        SkipPatient, match=r"lesion of 1\.3 ml \(1570 voxels\), eroded by 10\.5 mm, has 0 voxels"
    ) as caught:
        disturb(exam, PerturbConfig(mask_mm=-10.5))
    assert caught.value.code == "perturb_empty"
    with pytest.raises(SkipPatient, match=r"eroded by 2 mm and moved by 50 mm, has 0 voxels left; 3 or more"):
        disturb(exam, PerturbConfig(mask_mm=-2, shift_mm=50))


# The voxels


def test_noise_has_the_deviation_that_was_asked_for(exam):
    found = disturb(exam, PerturbConfig(noise=0.05))
    assert found.voxels.dtype == exam.voxels.dtype
    for before, after in zip(exam.voxels, found.voxels, strict=True):
        noise = after.astype(float) - before
        deviation = 0.05 * np.quantile(before, 0.98)
        assert noise.std() == pytest.approx(deviation, rel=0.03)  # 12,000 voxels: 0.6 % is one standard error
        assert abs(noise.mean()) < 4 * deviation / math.sqrt(noise.size)
    first, second = (
        after.astype(float) - before for before, after in zip(exam.voxels[:2], found.voxels, strict=False)
    )
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.04


def test_more_noise_is_the_same_noise_stronger(exam):
    little, much = (
        disturb(exam, PerturbConfig(noise=share)).voxels.astype(float) - exam.voxels for share in (0.04, 0.08)
    )
    np.testing.assert_allclose(much, 2 * little, atol=1.6)  # two roundings


def test_noise_stays_in_the_type_and_a_magnitude_stays_one():
    dark = np.tile(np.arange(60, dtype=np.uint8), (3, 3, 40, 1)) * 4
    dark += np.arange(3, dtype=np.uint8)[:, None, None, None]
    exam = exam_of(dark)
    found = disturb(exam, PerturbConfig(noise=0.5)).voxels
    assert (found.min(), found.max()) == (0, 255)
    signed = disturb(replace(exam, voxels=dark.astype(np.int16)), PerturbConfig(noise=0.5)).voxels
    np.testing.assert_array_equal(np.minimum(signed, 255), found)
    floats = disturb(exam_of(dark.astype(np.float32) - 1), PerturbConfig(noise=0.5)).voxels
    assert floats.dtype == np.float32
    assert floats.min() < -20  # this one had negative values


@pytest.mark.parametrize("shape", [(8, 40, 30), (1, 64, 64), (2, 3, 5)])
def test_the_field_is_smooth_and_within_its_bounds(shape):
    for draw in range(5):
        field = draw_field(shape, 0.3, np.random.default_rng(draw))
        volume = np.stack([field.plane(k) for k in range(shape[0])])
        assert volume.shape == shape
        assert np.abs(volume - 1).max() == pytest.approx(0.3, rel=1e-5)
        assert volume.mean() == pytest.approx(1, abs=1e-6)
        if shape[1] > 10:  # at most three half waves: no part of it in higher ones
            spectrum = np.abs(np.fft.rfft(np.concatenate([volume, volume[:, ::-1]], axis=1), axis=1))
            assert spectrum[:, 4:].max() < 1e-3 * spectrum[:, :4].max()


def test_the_field_leaves_enhancement_and_changes_all_else(exam):
    found = disturb(exam, PerturbConfig(bias_field=0.4)).voxels.astype(float)
    ratio, before = found[1] / found[0], exam.voxels[1] / exam.voxels[0]
    np.testing.assert_allclose(ratio, before, rtol=0.01)  # rounding
    gain = found / exam.voxels
    np.testing.assert_allclose(gain[0], gain[2], atol=0.01)
    assert (gain.min(), gain.max()) >= (0.59, 1.2)
    assert gain.max() <= 1.41


def test_noise_comes_behind_the_field(exam):
    both = disturb(exam, PerturbConfig(noise=0.1, bias_field=0.4)).voxels.astype(float)
    noise, field = (
        disturb(exam, PerturbConfig(**one)).voxels.astype(float) for one in ({"noise": 0.1}, {"bias_field": 0.4})
    )
    free = (noise > 0) & (both > 0)
    np.testing.assert_allclose((both - field)[free], (noise - exam.voxels)[free], atol=1.6)


@pytest.mark.parametrize(("dropped", "order"), [("pre", (1, 1, 2)), ("early", (0, 0, 2)), ("late", (0, 1, 1))])
def test_the_neighbor_stands_for_a_dropped_phase(exam, dropped, order):
    found = disturb(exam, PerturbConfig(drop_phase=dropped))
    np.testing.assert_array_equal(found.voxels, exam.voxels[list(order)])
    assert found.phases == PHASES
    noisy = disturb(exam, PerturbConfig(noise=0.1)).voxels
    both = disturb(exam, PerturbConfig(noise=0.1, drop_phase=dropped)).voxels
    np.testing.assert_array_equal(both, noisy[list(order)])


def test_a_phase_that_cannot_be_dropped_stops_the_run():
    table = {"table": "cohort.csv"}
    with pytest.raises(StopRun, match=r"phase in extract\.perturb\.drop_phase 'erly'; did you mean 'early'"):
        decide(Config.model_validate({"cohort": table, "extract": {"perturb": {"drop_phase": "erly"}}}))
    only = {"cohort": table | {"phases": {"pre": "{pre}"}}, "extract": {"perturb": {"drop_phase": "pre"}}}
    with pytest.raises(StopRun, match="the only phase") as caught:
        decide(Config.model_validate(only))
    assert caught.value.code == "config_value"


# The draws


def test_draws_follow_the_images_and_nothing_else(tmp_path, write_exam):
    recipe = cut(noise=0.1, shift_mm=3, bias_field=0.2)
    first, copy = write_exam("P1", seed=3).patient, write_exam("P9", seed=3, folder="elsewhere").patient
    other = write_exam("P2", seed=4).patient
    a, b = (cut_slab(read_exam(patient), recipe) for patient in (first, copy))
    np.testing.assert_array_equal(a.voxels, b.voxels)
    np.testing.assert_array_equal(a.mask, b.mask)
    again = ensure_slab(tmp_path / "slabs", copy, recipe)
    assert again.path == ensure_slab(tmp_path / "slabs", first, recipe).path
    assert again.sha256[:32] == ensure_slab(tmp_path / "slabs", first, cut()).sha256[:32] == a.images
    np.testing.assert_array_equal(read_slab(again.path).voxels, a.voxels)
    assert read_slab(again.path).images == a.images
    drawn = [
        generator("noise", digest, draw).random()
        for digest in (a.images, read_exam(other).sha256["pre"])
        for draw in (0, 1)
    ]
    assert len(set(drawn)) == 4
    assert generator("noise", "ab", 0).random() != generator("field", "ab", 0).random()


def test_another_draw_is_another_disturbance_and_a_phase_is_disturbed_alike_in_any_company(exam):
    noisy = [disturb(exam, PerturbConfig(noise=0.1, draw=draw)).voxels for draw in (0, 0, 1)]
    np.testing.assert_array_equal(noisy[0], noisy[1])
    assert (noisy[0] != noisy[2]).mean() > 0.9
    swapped = replace(exam, phases=("early", "late"), voxels=exam.voxels[1:])
    np.testing.assert_array_equal(disturb(swapped, PerturbConfig(noise=0.1)).voxels, noisy[0][1:])
    outlined = replace(exam, sha256=exam.sha256 | {"mask": "another"})
    for how in ({"noise": 0.1}, {"bias_field": 0.1}, {"shift_mm": 4}):
        one, two = (disturb(e, PerturbConfig(**how)) for e in (exam, outlined))
        np.testing.assert_array_equal(one.voxels, two.voxels)
        np.testing.assert_array_equal(one.mask, two.mask)


# The slices


@pytest.mark.parametrize("policy", sorted(POLICIES))
@settings(max_examples=25, deadline=None)
@given(
    areas=st.lists(st.integers(0, 5), min_size=1, max_size=30).filter(any),
    n=st.integers(1, 10),
    reach=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_jitter_stays_near_on_the_lesion_and_takes_no_slice_twice(policy, areas, n, reach, seed):
    area_mm2 = np.array(areas, float)
    chosen = choose_slices(area_mm2, policy, n)
    found = jitter(chosen, area_mm2, reach, np.random.default_rng(seed))
    assert len(found) == len(chosen)
    assert (np.diff(found) > 0).all()
    assert (area_mm2[found] > 0).all()
    assert (np.abs(found - chosen) <= reach).all()  # in order, each as near as any other pairing allows
    if len(chosen) == np.count_nonzero(areas):
        np.testing.assert_array_equal(found, chosen)


def test_jitter_takes_every_slice_in_reach_equally_often():
    area_mm2, rng = np.ones(9), np.random.default_rng(0)
    found = [int(jitter(np.array([4]), area_mm2, 2, rng)[0]) for _ in range(2000)]
    values, counts = np.unique(found, return_counts=True)
    assert values.tolist() == [2, 3, 4, 5, 6]
    assert (np.abs(counts - 400) < 4 * math.sqrt(320)).all()


def test_pictures_of_other_slices_and_else_the_same(write_exam):
    slab = cut_slab(read_exam(write_exam().patient), cut())
    recipe = PictureRecipe(find_normalization("clip98-volume"), (find_fusion("rgb", PHASES),), "largest", 2)
    still = Drawing(slab, recipe)
    moved = [Drawing(slab, replace(recipe, jitter_slices=2, draw=draw)).chosen for draw in range(5)]
    assert len({tuple(one) for one in moved}) > 2
    assert tuple(Drawing(slab, replace(recipe, jitter_slices=2, draw=0)).chosen) == tuple(moved[0])
    assert (np.abs(np.array(moved) - still.chosen) <= 2).all()
    all_slices = Drawing(slab, replace(recipe, slice_policy="all"))
    moving = Drawing(slab, replace(recipe, jitter_slices=2, draw=1))
    np.testing.assert_array_equal(moving.views["rgb"], all_slices.views["rgb"][moving.chosen])
    np.testing.assert_array_equal(moving.slices.area_mm2, slab.area_mm2()[moving.chosen])


# Regions, N4 and statistics see what is disturbed


def test_statistics_and_n4_are_of_the_disturbed_images(exam, monkeypatch):
    seen = []
    monkeypatch.setattr("extract.cache.correct_bias", lambda voxels, spacing, how: seen.append(voxels) or voxels)
    slab = cut_slab(exam, cut(noise=0.2))
    expected = disturb(exam, PerturbConfig(noise=0.2)).voxels
    np.testing.assert_array_equal(seen[0], expected)
    assert slab.volume_histograms[1].quantile(0.98) == count(expected[1]).quantile(0.98)
    facts = cut_slab(exam, cut(mask_mm=2)).acquisition()
    assert facts["lesion_volume_ml"] > cut_slab(exam, cut()).acquisition()["lesion_volume_ml"]


def test_regions_follow_the_disturbed_mask(exam):
    def mask_of(region: RegionConfig, **perturb):
        return cut_slab(exam_with_two, slab_recipe(region, "none", None, PerturbConfig(**perturb))).mask

    mask = np.zeros(exam.mask.shape, bool)
    mask[1, 20:30, 10:30] = True
    mask[1, 40:44, 40:44] = True  # 4 voxels of 0.5 mm and 0.8 mm
    exam_with_two = replace(exam, mask=mask)
    one = RegionConfig(largest_component=True)
    assert mask_of(one).sum() == 200
    assert mask_of(one, mask_mm=0.8).sum() == dilate(mask, SPACING, 0.8)[:, :36].sum()
    assert mask_of(one, mask_mm=8).sum() == dilate(mask, SPACING, 8.0).sum()  # both parts are one now
    assert mask_of(RegionConfig(), mask_mm=-1).sum() == erode(mask, SPACING, 1.0).sum()
    assert mask_of(RegionConfig(kind="window", window_mm=10.0), shift_mm=2).any()


def test_the_control_is_without_lesion_whatever_the_mask_says(write_exam):
    exam = read_exam(write_exam(shape=(80, 36, 12)).patient)
    exam.voxels[:, :, :, :20] = 5  # air
    control = RegionConfig(kind="control", margin_mm=2.0)
    for how in ({}, {"mask_mm": -3}, {"mask_mm": 3}, {"shift_mm": 10}, {"shift_mm": 10, "draw": 1}):
        slab = cut_slab(exam, slab_recipe(control, "none", None, PerturbConfig(**how)))
        assert slab.voxels[1].max() < 500 < exam.voxels[1][exam.mask].mean()


# The stores


@pytest.fixture
def extracted(tmp_path, write_exam, toy_plugin) -> Callable[..., Path]:
    """Extract three patients, whose exam is one file, with encoders of pictures and of cubes."""
    rows = []
    for i in range(3):
        files = write_exam(f"P{i}", seed=i, shape=(32, 30, 10))
        path = tmp_path / f"P{i}_all.nii.gz"
        phases = np.stack([files.voxels[name] for name in PHASES], axis=-1)
        nib.save(nib.Nifti1Image(phases, nib.load(files.patient.mask).affine), path)
        rows.append([f"P{i}", path.name, str(files.patient.mask)])
    write_table(tmp_path / "cohort.csv", ["patient_id", "exam", "mask"], rows)
    (tmp_path / "config.yaml").write_text(
        "cohort: {table: cohort.csv, exam: '{exam}', phases: {pre: pre, early: first post, late: last}}\n"
        "extract:\n"
        "  {encoder: toy, also: [toy-cubes], fusions: [early], slices: {policy: largest, n: 2}}\n"
    )

    def run(*overrides: str, folder: str = "run") -> Path:
        config = read_config(tmp_path / "config.yaml", overrides)
        return extract(config, RunFolder(tmp_path / folder), QUIET).store

    return run


def test_stores_of_disturbed_images_stand_beside_the_others(extracted, opened_sources, tmp_path):
    base = extracted()
    n_files = 6  # exam and mask of three patients
    assert len(opened_sources) == n_files
    before = {path: path.read_bytes() for path in base.parent.glob("*.h5")}
    moved = extracted("extract.perturb.jitter_slices=2")
    assert len(opened_sources) == n_files
    dilated = extracted("extract.perturb={mask_mm: 2}")
    extracted("extract.perturb={mask_mm: 2.0, draw: 1, jitter_slices: 0}")
    assert len(opened_sources) == 2 * n_files
    noisy = extracted("extract.perturb={noise: 0.1, bias_field: 0.2, shift_mm: 2, drop_phase: late}")
    assert len(opened_sources) == 3 * n_files
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(base.parent.glob("*.h5"))) == 2 * 4
    assert "perturb" not in read_index(base).recipe
    assert [read_index(one).recipe["perturb"] for one in (moved, dilated)] == [{"jitter_slices": 2}, {"mask_mm": 2.0}]
    found = compare_stores(dilated, noisy)
    keys = {line.split(":")[0] for line in found.essential}
    assert keys == {f"recipe.perturb.{name}" for name in ("mask_mm", "noise", "bias_field", "shift_mm", "drop_phase")}
    assert compare_stores(base, moved).essential == ("recipe.perturb: missing -> {'jitter_slices': 2}",)
    _, features = read_store(base)
    for other in (moved, dilated, noisy):
        _, rest = read_store(other)
        assert rest.patient_id == features.patient_id
        assert not np.array_equal(rest.views["early"], features.views["early"])
    cubes = [read_store(path)[1].views["early"] for path in sorted(base.parent.glob("toy-cubes-*.h5"))]
    # Cubes have no slices to choose, so those of the jitter are as without.
    assert len({cube.tobytes() for cube in cubes}) == 3


def test_order_workers_and_company_change_no_draw(extracted, tmp_path):
    how = "extract.perturb={noise: 0.1, bias_field: 0.2, shift_mm: 2, jitter_slices: 2, draw: 3}"
    _, together = read_store(extracted(how, "extract.also=[]"))
    table = tmp_path / "cohort.csv"
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([header, *rows[:0:-1]]) + "\n", encoding="utf-8")
    _, alone = read_store(
        extracted(how, "extract.also=[]", "extract.readers=1", "extract.shard_patients=1", folder="other")
    )
    assert alone.patient_id == together.patient_id[:0:-1]
    for i, name in enumerate(alone.patient_id):
        assert alone.checksum(i) == together.checksum(together.patient_id.index(name))


def test_who_has_no_lesion_left_is_named_and_the_others_are_done(extracted, tmp_path):
    path = tmp_path / "images" / "P1_mask.nii.gz"
    image = nib.load(path)
    small = np.zeros(image.shape, np.uint8)
    small[14:17, 14:17, 4:6] = 1
    nib.save(nib.Nifti1Image(small, image.affine), path)
    store = extracted("extract.perturb.mask_mm=-3", "extract.also=[]")
    assert list(read_index(store).inputs) == ["P0", "P2"]
    (skipped,) = RunFolder(tmp_path / "run").read_skipped()
    assert (skipped.patient_id, skipped.code) == ("P1", "perturb_empty")
    assert "eroded by 3 mm" in skipped.reason


def test_a_disturbance_is_read_back_from_a_recipe():
    for perturb in ({}, {"mask_mm": -2}, {"noise": 0.1, "draw": 2}, {"drop_phase": "late", "jitter_slices": 1}):
        found = task(**perturb).recipe()
        options = ExtractConfig.model_validate({"perturb": {"mask_mm": 9}} | recipe_options(found))
        assert options.perturb == used(PerturbConfig(**perturb))
        assert task(**options.perturb.model_dump()).recipe() == found
