"""From slab to picture: regions, slices, fusions and resizing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extract.cache import cut_slab
from extract.exam import read_exam
from extract.fusion import find_fusion
from extract.normalization import find_normalization
from extract.pictures import Drawing, PictureRecipe
from extract.recipe import SlabRecipe
from extract.regions import lesion_box
from extract.slices import POLICIES, choose_slices
from triher.errors import StopRun

PHASES = ("pre", "early", "late")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_box_holds_the_lesion_stays_inside_and_is_square(data):
    shape = tuple(data.draw(st.integers(4, 30)) for _ in range(3))
    spacing = tuple(data.draw(st.floats(0.3, 4)) for _ in range(3))
    mask = np.zeros(shape, bool)
    start = [data.draw(st.integers(0, n - 1)) for n in shape]
    stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True)]
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    box = lesion_box(mask, spacing, data.draw(st.floats(0, 20)))
    assert mask[box.index()].sum() == mask.sum()
    assert box.slices == (start[0], stop[0])
    assert box.rows[0] >= 0
    assert box.rows[1] <= shape[1]
    height, width = ((b - a) * s for (a, b), s in zip((box.rows, box.cols), spacing[1:], strict=True))
    uncut = box.rows != (0, shape[1]) and box.cols != (0, shape[2])
    assert not uncut or abs(height - width) <= max(spacing[1:]) + 1e-9


@pytest.mark.parametrize("policy", sorted(POLICIES))
@settings(max_examples=40, deadline=None)
@given(areas=st.lists(st.integers(0, 9), min_size=1, max_size=30).filter(any), n=st.integers(1, 12))
def test_slices_hold_lesion_ascend_and_are_at_most_n(policy, areas, n):
    chosen = choose_slices(np.array(areas, float), policy, n)
    assert (np.array(areas)[chosen] > 0).all()
    assert (np.diff(chosen) > 0).all()
    assert len(chosen) == (np.count_nonzero(areas) if policy == "all" else min(n, np.count_nonzero(areas)))


def test_policies_on_an_example():
    areas = np.array([0, 1, 5, 9, 4, 4, 1, 0.0])
    assert choose_slices(areas, "largest", 3).tolist() == [2, 3, 4]
    assert choose_slices(areas, "central", 3).tolist() == [2, 3, 4]
    assert choose_slices(areas, "spread", 3).tolist() == [2, 4, 6]
    assert choose_slices(areas, "all", 3).tolist() == [1, 2, 3, 4, 5, 6]
    with pytest.raises(StopRun, match="did you mean 'spread'"):
        choose_slices(areas, "spred", 3)


def recipe(**changes) -> PictureRecipe:
    facts = {
        "normalization": find_normalization("clip98-volume"),
        "fusions": (find_fusion("rgb", PHASES), find_fusion("wash-in", PHASES)),
        "slice_policy": "spread",
        "n_slices": 3,
    }
    return PictureRecipe(**(facts | changes))


def test_pictures_have_the_size_of_the_encoder_and_say_where_they_are_from(write_exam):
    files = write_exam()
    slab = cut_slab(read_exam(files.patient), SlabRecipe("box", 5.0))
    prepared = Drawing(slab, recipe()).pictures(64)
    assert list(prepared.views) == ["rgb", "wash-in"]
    assert prepared.views["rgb"].shape == (3, 3, 64, 64)
    assert prepared.views["rgb"].dtype == torch.uint8
    lesion_slices = np.flatnonzero(files.mask.any(axis=(0, 1)))
    assert set(prepared.slices.index) <= set(lesion_slices)
    for index, area in zip(prepared.slices.index, prepared.slices.area_mm2, strict=True):
        assert area == pytest.approx(files.mask[:, :, index].sum() * 1.44, rel=1e-5)


def test_a_lesion_at_the_edge_of_a_narrow_volume_keeps_its_proportions(write_exam):
    files = write_exam(shape=(40, 14, 12))
    slab = cut_slab(read_exam(files.patient), SlabRecipe("box", 6.0))
    assert slab.voxels.shape[2] < slab.voxels.shape[3]
    picture = Drawing(slab, recipe()).pictures(64).views["rgb"][0]
    black = (picture == 0).all(dim=0)
    assert black[0].all()
    assert black[-1].all()
    assert not black[32].all()
