"""Cubes for encoders of volumes: the stretched one is torch's, the isotropic one keeps proportions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import adaptive_avg_pool3d

from extract.cache import cut_slab
from extract.crops import CROPS, CropRecipe, crop, volumes
from extract.exam import read_exam
from extract.fusion import find_fusion
from extract.recipe import SlabRecipe
from extract.regions import Box
from triher.errors import StopRun

TIGHT = CropRecipe("tight", 48)
ISOTROPIC = CropRecipe("isotropic", 48)


@pytest.fixture
def exam(write_exam):
    return read_exam(write_exam().patient)


@pytest.fixture
def slab(exam):
    return cut_slab(exam, SlabRecipe("box", 5.0, depth_mm=10.0))


def reference(voxels: np.ndarray, mask: np.ndarray, side: int) -> torch.Tensor:
    """The crop of FM-BCMRI, from the whole volume."""
    where = np.argwhere(mask)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    part = torch.from_numpy(voxels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float32))
    cube = adaptive_avg_pool3d(part[None, None], side)[0, 0]
    return (cube - cube.mean()) / (cube.std(unbiased=False) + 1e-8)


@pytest.mark.parametrize("side", [8, 48])
def test_the_tight_crop_is_that_of_the_whole_volume(exam, slab, side):
    recipe = replace(TIGHT, side=side)
    (found,) = volumes(slab, find_fusion("early", slab.phases), recipe)
    torch.testing.assert_close(found, reference(exam.voxels[1], exam.mask, side), atol=2e-5, rtol=1e-5)
    (difference,) = volumes(slab, find_fusion("early-pre", slab.phases), recipe)
    raw = exam.voxels[1].astype(np.float32) - exam.voxels[0]
    torch.testing.assert_close(difference, reference(raw, exam.mask, side), atol=2e-5, rtol=1e-5)


def test_the_lesion_alone(exam, slab):
    (found,) = volumes(slab, find_fusion("early", slab.phases), TIGHT, slab.mask)
    expected = reference(np.where(exam.mask, exam.voxels[1], 0), exam.mask, 48)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


def test_three_inputs_of_bl4as(slab):
    cubes = volumes(slab, find_fusion("kinetics", slab.phases), TIGHT)
    assert cubes.shape == (3, 48, 48, 48)
    assert cubes.dtype == torch.float32
    for cube, name in zip(cubes, ("early-pre", "early", "late-early"), strict=True):
        torch.testing.assert_close(cube, volumes(slab, find_fusion(name, slab.phases), TIGHT)[0])


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_every_crop_has_mean_0_and_deviation_1(data):
    shape = tuple(data.draw(st.integers(2, 12)) for _ in range(3))
    volume = np.random.default_rng(data.draw(st.integers(0, 99))).normal(50, 9, shape)
    start = [data.draw(st.integers(0, n - 2)) for n in shape]
    box = Box(*((a, data.draw(st.integers(a + 1, n))) for a, n in zip(start, shape, strict=True)))
    spacing = tuple(data.draw(st.floats(0.5, 3)) for _ in range(3))
    recipe = CropRecipe(data.draw(st.sampled_from(sorted(CROPS))), 9, data.draw(st.floats(0, 5)))
    cube = crop(volume, box, spacing, recipe)
    inside = cube if recipe.mode == "tight" else cube[cube != 0]  # a tight cube is filled, also with exact zeros
    if inside.size > 1 and np.ptp(inside) > 0:
        assert inside.mean() == pytest.approx(0, abs=1e-4)
        assert inside.std() == pytest.approx(1, abs=1e-3)


def test_a_ball_stays_a_ball_only_in_the_isotropic_cube():
    spacing = (2.5, 0.8, 1.25)
    grid = np.indices((24, 75, 48))
    mm = [(g - (n - 1) / 2) * s for g, n, s in zip(grid, grid.shape[1:], spacing, strict=True)]
    ball = sum(x**2 for x in mm) < 15**2
    box = Box((3, 21), (10, 65), (8, 40))  # no cube, around the ball's middle
    cube = crop(ball.astype(np.int16), box, spacing, replace(ISOTROPIC, margin_mm=2.0))
    widths = np.array([(cube > 0.5).any(axis=axes).sum() for axes in ((1, 2), (0, 2), (0, 1))])
    mm_a_voxel = (max(18 * 2.5, 55 * 0.8, 32 * 1.25) + 4) / 48
    np.testing.assert_allclose(widths * mm_a_voxel, 30, atol=3.5)
    stretched = crop(ball.astype(np.int16), box, spacing, TIGHT)
    widths = [(stretched > 0.5).any(axis=axes).sum() for axes in ((1, 2), (0, 2), (0, 1))]
    assert max(widths) > 1.05 * min(widths)


def test_a_ramp_in_millimeters_stays_a_ramp():
    spacing = (3.0, 0.7, 1.1)
    shape = (20, 60, 50)
    for axis in range(3):
        ramp = np.indices(shape)[axis] * spacing[axis]
        cube = crop(ramp, Box((7, 13), (20, 40), (15, 35)), spacing, CropRecipe("isotropic", 6))
        steps = np.diff(cube, axis=axis)
        np.testing.assert_allclose(steps, steps.mean(), rtol=0.25)
        others = tuple(a for a in range(3) if a != axis)
        np.testing.assert_allclose(cube.std(axis=others), 0, atol=1e-5)


def test_what_lies_outside_the_volume_is_the_mean():
    volume = np.random.default_rng(0).normal(100, 5, (4, 40, 40))
    cube = crop(volume, Box((0, 4), (10, 30), (10, 30)), (1.0, 1.0, 1.0), CropRecipe("isotropic", 20))
    assert (cube[:8] == 0).all()
    assert (cube[12:] == 0).all()
    part = volume[:, 10:30, 10:30]
    np.testing.assert_allclose(cube[8:12], (part - part.mean()) / part.std(), atol=1e-5)


def test_a_constant_crop_is_0_and_an_unknown_one_is_refused():
    flat, box = np.full((4, 5, 6), 7, np.uint8), Box((1, 3), (1, 3), (1, 3))
    assert not crop(flat, box, (1.0, 1.0, 1.0), TIGHT).any()
    with pytest.raises(StopRun, match="did you mean 'tight'"):
        crop(flat, box, (1.0, 1.0, 1.0), CropRecipe("tigth", 48))
