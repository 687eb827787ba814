"""Pooling of tokens and feature maps: worked examples, and agreement with plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from extract.encoders import ENCODERS
from extract.tokens import Layout, check_pooling, patch_weights, pool
from triher.errors import StopRun

VIT = Layout(n_prefix=3, has_cls=True, grid=(2, 2))  # a class token and two registers
TOKENS = torch.tensor([[9.0, 0.0], [100.0, 100.0], [100.0, 100.0], [1.0, 1.0], [2.0, 0.0], [3.0, 1.0], [6.0, 2.0]])[
    None
]


def mask_of(*rows: str) -> torch.Tensor:
    return torch.tensor([[float(value) for value in row] for row in rows])[None]


def test_registers_are_no_patches():
    assert pool(TOKENS, "mean", VIT, None).tolist() == [[3.0, 1.0]]
    assert pool(TOKENS, "cls", VIT, None).tolist() == [[9.0, 0.0]]


def test_patches_weigh_as_much_as_their_share_of_lesion():
    """The lower left patch is half lesion, the lower right a quarter: (2 x [3, 1] + [6, 2]) / 3."""
    mask = mask_of("0000", "0000", "1000", "1001")
    np.testing.assert_allclose(patch_weights(mask, (2, 2)), [[0, 0, 2 / 3, 1 / 3]], rtol=1e-6)
    np.testing.assert_allclose(pool(TOKENS, "mask", VIT, mask), [[4, 4 / 3]], rtol=1e-6)


def test_a_picture_without_lesion_has_the_plain_mean():
    both = torch.cat([mask_of("0000", "0000", "0000", "0000"), mask_of("1100", "1100", "0000", "0000")])
    pooled = pool(TOKENS.expand(2, -1, -1), "mask", VIT, both)
    np.testing.assert_allclose(pooled, [[3, 1], [1, 1]], rtol=1e-6)


def test_parts_are_concatenated_in_the_order_of_their_names():
    mask = mask_of("1100", "1100", "0000", "0000")
    assert pool(TOKENS, "cls+mean+mask", VIT, mask).tolist() == [[9.0, 0.0, 3.0, 1.0, 1.0, 1.0]]


def test_a_feature_map_is_pooled_by_the_lesion_whatever_its_axes_order():
    chart = torch.tensor(np.random.default_rng(0).normal(size=(2, 5, 7, 7)), dtype=torch.float32)
    mask = torch.zeros(2, 224, 224)
    mask[:, 32:64, 96:160] = 1  # one row of the map, two of its columns
    expected = chart[:, :, 1, 3:5].mean(dim=2)
    np.testing.assert_allclose(pool(chart, "mask", Layout(), mask), expected, rtol=1e-5, atol=1e-6)
    moved = chart.permute(0, 2, 3, 1)
    np.testing.assert_allclose(pool(moved, "mask", Layout(channels_last=True), mask), expected, rtol=1e-5, atol=1e-6)


def test_in_three_dimensions_a_patch_counts_when_any_voxel_of_it_is_lesion():
    mask = torch.zeros(1, 16, 16, 16)
    mask[0, 0, 0, 0] = mask[0, 8:, 8:, 8:] = 1
    assert patch_weights(mask, (2, 2, 2)).tolist() == [[0.5, 0, 0, 0, 0, 0, 0, 0.5]]


@given(st.integers(0, 2**16), st.sampled_from([(2, 2), (7, 7), (16, 16)]))
def test_weights_sum_to_one_and_are_nothing_where_no_lesion_is(seed, grid):
    mask = torch.from_numpy((np.random.default_rng(seed).random((2, 56, 56)) < 0.02).astype(np.float32))
    weights = patch_weights(mask, grid)
    np.testing.assert_allclose(weights.sum(dim=1), 1, rtol=1e-5)
    assert (weights >= 0).all()
    if mask.sum() == 0:
        assert len(weights.unique()) == 1


def test_a_mask_may_be_soft():
    np.testing.assert_allclose(patch_weights(torch.full((1, 8, 8), 0.3), (2, 2)), [[0.25] * 4], rtol=1e-6)


def test_mask_pooling_without_masks_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="needs the lesion's mask"):
        pool(TOKENS, "mask", VIT, None)


@pytest.mark.parametrize(
    ("tokens", "layout", "message"),
    [
        ("cls", Layout(), "has no class token, so extract.tokens=cls has no meaning"),
        ("cls+mask", Layout(), "has no class token"),
        ("mean", None, "gives its own vector only"),
        ("max", VIT, "unknown pooling of tokens 'max'"),
        ("cls,mask", VIT, r"did you mean 'cls\+mask'"),
    ],
)
def test_a_pooling_that_the_network_cannot_give_is_refused(tokens, layout, message):
    from dataclasses import replace

    with pytest.raises(StopRun, match=message):
        check_pooling(replace(ENCODERS["resnet50"], tokens=tokens), layout)


def test_a_last_layer_that_is_no_map_is_refused():
    with pytest.raises(StopRun, match=r"no feature map: it has the shape \(2, 3, 4\)"):
        pool(torch.zeros(2, 3, 4), "mean", Layout(), None)
