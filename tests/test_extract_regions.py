"""Regions: where they lie, what they hold, and which of them share a slab."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.ndimage import label as connected

from extract.cache import cut_slab, ensure_slab, read_slab
from extract.control import control_box
from extract.exam import read_exam
from extract.histograms import count
from extract.recipe import SlabRecipe, slab_recipe
from extract.regions import Box, largest_part, lesion_box, lesion_region
from extract.visible import blacken, ring, visible
from triher.errors import SkipPatient
from triher.settings import RegionConfig

SPACING = (2.5, 1.2, 1.2)


@st.composite
def lesions(draw):
    """A volume with one or two blocks of lesion, and its spacing."""
    shape = tuple(draw(st.integers(4, 30)) for _ in range(3))
    mask = np.zeros(shape, bool)
    for _ in range(draw(st.integers(1, 2))):
        start = [draw(st.integers(0, n - 1)) for n in shape]
        stop = [draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True)]
        mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask, tuple(draw(st.floats(0.3, 4)) for _ in range(3))


def inside(box: Box, shape: tuple[int, ...]) -> bool:
    bounds = zip((box.slices, box.rows, box.cols), shape, strict=True)
    return all(0 <= low < high <= size for (low, high), size in bounds)


@settings(max_examples=80, deadline=None)
@given(lesions(), st.sampled_from(["box", "slice"]), st.floats(0, 20), st.integers(0, 9), st.floats(0, 12))
def test_boxes_and_slices_hold_the_lesion_and_stay_inside(lesion, kind, margin_mm, margin_px, depth_mm):
    mask, spacing = lesion
    recipe = SlabRecipe(kind, margin_mm, margin_px=margin_px, depth_mm=depth_mm)
    box = lesion_region(mask, spacing, recipe)
    assert inside(box, mask.shape)
    assert mask[box.index()].sum() == mask.sum()
    n_more = int(np.ceil(depth_mm / spacing[0] - 1e-9))
    present = np.flatnonzero(mask.any(axis=(1, 2)))
    assert box.slices == (max(0, present[0] - n_more), min(len(mask), present[-1] + 1 + n_more))
    if kind == "slice":
        assert (box.rows, box.cols) == ((0, mask.shape[1]), (0, mask.shape[2]))


def test_the_larger_of_two_margins_counts():
    mask = np.zeros((3, 100, 100), bool)
    mask[1, 40:50, 40:50] = True
    assert lesion_box(mask, SPACING, 6.0).rows == (35, 55)
    assert lesion_box(mask, SPACING, 6.0, 8).rows == (32, 58)
    assert lesion_box(mask, SPACING, 12.0, 8).rows == (30, 60)


@settings(max_examples=80, deadline=None)
@given(lesions(), st.floats(5, 60))
def test_windows_are_of_one_size_and_stay_inside(lesion, side_mm):
    mask, spacing = lesion
    recipe = SlabRecipe("window", window_mm=side_mm)
    try:
        box = lesion_region(mask, spacing, recipe)
    except SkipPatient:
        return
    assert inside(box, mask.shape)
    for (low, high), size_mm, size in zip((box.rows, box.cols), spacing[1:], mask.shape[1:], strict=True):
        assert high - low == min(size, int(np.ceil(side_mm / size_mm - 1e-9)))


def test_a_window_between_two_lesions_says_what_to_do():
    mask = np.zeros((3, 200, 200), bool)
    mask[1, 10:14, 10:14] = mask[1, 180:190, 180:190] = True
    recipe = SlabRecipe("window", window_mm=80.0)
    with pytest.raises(SkipPatient, match=r"largest_component"):
        lesion_region(mask, SPACING, recipe)
    assert lesion_region(largest_part(mask), SPACING, recipe).rows == (133, 200)


@settings(max_examples=60, deadline=None)
@given(lesions())
def test_the_largest_part_is_connected_and_the_largest(lesion):
    mask, _ = lesion
    part = largest_part(mask)
    parts, n_parts = connected(mask, np.ones((3, 3, 3)))
    assert part.sum() == max((parts == i).sum() for i in range(1, n_parts + 1))
    assert connected(part, np.ones((3, 3, 3)))[1] == 1
    assert not (part & ~mask).any()


# The negative control


@st.composite
def breasts(draw):
    """Tissue in a random part of a volume, and a lesion anywhere."""
    mask, spacing = draw(lesions())
    tissue = np.zeros(mask.shape, np.int16)
    first, last = sorted(draw(st.tuples(st.integers(0, mask.shape[2] - 1), st.integers(1, mask.shape[2]))))
    assume(first < last)
    tissue[:, :, first:last] = 200
    noise = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 40, mask.shape)
    return (tissue + noise).astype(np.int16), mask, spacing


@settings(max_examples=150, deadline=None)
@given(breasts(), st.floats(0, 4), st.tuples(st.integers(0, 3), st.integers(0, 3)), st.booleans())
def test_the_control_is_as_large_in_tissue_and_free_of_lesion(breast, margin_mm, gap, mirrored):
    volume, mask, spacing = breast
    box = lesion_box(mask, spacing, margin_mm)
    histogram = count(volume)
    try:
        control = control_box(volume, histogram, mask, box, gap, mirrored=mirrored)
    except SkipPatient:
        return
    assert inside(control, volume.shape)
    assert control.slices == box.slices
    sizes = [[high - low for low, high in (b.rows, b.cols)] for b in (control, box)]
    assert sizes[0] == sizes[1]
    assert not mask[control.index()].any()
    widened = [(low - g, high + g) for (low, high), g in zip((box.rows, box.cols), gap, strict=True)]
    meets = [a < d and c < b for (a, b), (c, d) in zip(widened, (control.rows, control.cols), strict=True)]
    assert not all(meets)
    assert (volume[control.index()] > 100).mean() >= 0.45
    assert control_box(volume, histogram, mask, box, gap, mirrored=mirrored) == control


def test_the_mirror_image_is_preferred_and_else_the_place_with_most_tissue():
    volume = np.zeros((4, 40, 60), np.int16)
    volume[:, 5:35, 5:55] = 300
    mask = np.zeros(volume.shape, bool)
    mask[1:3, 12:18, 10:16] = True
    box = lesion_box(mask, SPACING, 0.0)
    args = (volume, count(volume), mask, box, (2, 2))
    assert control_box(*args, mirrored=True) == Box((1, 3), (12, 18), (44, 50))
    assert control_box(*args, mirrored=False) == Box((1, 3), (5, 11), (18, 24))
    volume[:, :, 40:] = 0
    assert control_box(volume, count(volume), *args[2:], mirrored=True) == Box((1, 3), (5, 11), (18, 24))


def test_no_tissue_without_lesion_is_a_named_skip():
    volume = np.zeros((4, 40, 60), np.int16)
    volume[:, 10:30, 10:30] = 300
    mask = volume > 0
    box = lesion_box(mask, SPACING, 3.0)
    with pytest.raises(SkipPatient, match=r"no tissue without lesion of 25 x 25 voxels") as caught:
        control_box(volume, count(volume), mask, box, (2, 2), mirrored=True)
    assert caught.value.code == "region_missing"


def test_the_control_keeps_slices_and_areas(write_exam):
    exam = read_exam(write_exam(shape=(80, 36, 12)).patient)
    exam.voxels[:, :, :, :20] = 5  # air
    lesion, control = (cut_slab(exam, SlabRecipe(cut, 2.0)) for cut in ("box", "control"))
    np.testing.assert_array_equal(control.area_mm2(), lesion.area_mm2())
    assert (control.first_slice, control.voxels.shape) == (lesion.first_slice, lesion.voxels.shape)
    early = 1
    assert control.voxels[early][control.mask].mean() < 0.5 * lesion.voxels[early][lesion.mask].mean()


# What is shown


@settings(max_examples=60, deadline=None)
@given(lesions(), st.floats(0.5, 12))
def test_the_ring_surrounds_the_lesion_without_it(lesion, ring_mm):
    mask, spacing = lesion
    around = ring(mask, spacing, ring_mm)
    assert not (around & mask).any()
    rows, cols = np.indices(mask.shape[1:])
    for index in range(len(mask)):
        points = np.argwhere(mask[index])
        if not len(points):
            assert not around[index].any()
            continue
        apart = [np.hypot((rows - r) * spacing[1], (cols - c) * spacing[2]) for r, c in points]
        nearest = np.min(apart, axis=0)
        unclear = np.abs(nearest - ring_mm) < 1e-6
        expected = (nearest > 0) & (nearest <= ring_mm)
        assert (around[index] == expected)[~unclear].all()


@settings(max_examples=40, deadline=None)
@given(lesions(), st.floats(0.5, 12), st.floats(0, 6))
def test_the_slab_of_a_ring_holds_all_of_it(lesion, ring_mm, margin_mm):
    mask, spacing = lesion
    recipe = slab_recipe(RegionConfig(kind="ring", ring_mm=ring_mm, margin_mm=margin_mm), "none", None)
    box = lesion_region(mask, spacing, recipe)
    whole = ring(mask, spacing, ring_mm)
    assert ring(mask[box.index()], spacing, ring_mm).sum() == whole.sum() == whole[box.index()].sum()


def test_what_is_not_shown_is_black_in_all_channels(write_exam):
    slab = cut_slab(read_exam(write_exam().patient), SlabRecipe("box", 5.0, depth_mm=5.0))
    assert visible(slab, RegionConfig()) is None
    pictures = np.full((len(slab.mask), 3, *slab.mask.shape[1:]), 127, np.uint8)
    shown = visible(slab, RegionConfig(kind="mask"))
    assert (blacken(pictures, shown) == 127 * slab.mask[:, None]).all()
    assert slab.area_mm2()[0] == slab.area_mm2()[-1] == 0


# Which regions share a slab


def test_mask_and_ring_open_no_source_after_the_box(tmp_path, write_exam, opened_sources):
    patient = write_exam().patient
    regions = [RegionConfig(kind=kind) for kind in ("box", "mask", "ring")]
    paths = set()
    for region in regions:
        paths.add(ensure_slab(tmp_path / "slabs", patient, slab_recipe(region, "none", None)).path)
        assert len(opened_sources) == 4
    (path,) = paths
    slab = read_slab(path)
    assert [None if visible(slab, r) is None else int(visible(slab, r).sum()) > 0 for r in regions] == [
        None,
        True,
        True,
    ]


def test_recipes_hold_what_the_cut_depends_on_and_nothing_else():
    def recipe(**facts):
        return slab_recipe(RegionConfig(**facts), "none", None)

    assert recipe(kind="mask") == recipe(kind="box", ring_mm=9.0, window_mm=50.0)
    assert recipe(kind="ring", ring_mm=8.0) == recipe(kind="box", margin_mm=8.0)
    assert recipe(kind="slice", margin_mm=8.0) == recipe(kind="slice")
    assert recipe(kind="window", margin_px=3) == recipe(kind="window")
    different = [
        recipe(), recipe(margin_mm=6.0), recipe(margin_px=3), recipe(kind="window"), recipe(kind="slice"),
        recipe(kind="window", window_mm=60.0), recipe(kind="control"), recipe(depth_mm=4.0),
        recipe(largest_component=True), slab_recipe(RegionConfig(), "shared", None),
        slab_recipe(RegionConfig(), "none", 2),
    ]  # fmt: skip
    assert len(set(different)) == len(different)


def test_one_part_of_the_mask_is_cut_alone(write_exam):
    exam = read_exam(write_exam().patient)
    mask = exam.mask.copy()
    mask[0, 0, :4] = True
    both, one = (
        cut_slab(replace(exam, mask=mask), SlabRecipe("box", 5.0, largest_component=alone)) for alone in (False, True)
    )
    assert both.mask.sum() == one.mask.sum() + 4
    np.testing.assert_array_equal(one.voxels, cut_slab(exam, SlabRecipe("box", 5.0)).voxels)
