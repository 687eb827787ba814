"""Attention rollout: a worked example by hand, and matrices that are those of the fused attention."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from extract.build_timm import layout_of, timm  # which mends torchvision first
from extract.builders import Network, assemble
from extract.encoders import ENCODERS, find_encoder
from extract.models import Encoder
from extract.saliency.attention import recorded_attention
from extract.saliency.rollout import gradient_rollout, plain_rollout, roll_out, roll_out_weighted
from extract.tokens import Layout
from extract.vit3d import Shape, ViT3D

CPU = torch.device("cpu")
SIDE = 32


def vit(**options) -> torch.nn.Module:
    facts = {"img_size": SIDE, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 0}
    return timm.models.vision_transformer.VisionTransformer(**(facts | options))


@pytest.fixture
def encoder_with(monkeypatch):
    """An encoder with a small random transformer of timm."""

    def make(tokens: str = "default", **options) -> Encoder:
        torch.manual_seed(0)
        module = vit(**options)
        spec = replace(find_encoder("efficientnet-lite0"), name="small", input_size=SIDE, tokens=tokens)

        def default(batch):
            return module.forward_head(module.forward_features(batch), pre_logits=True)

        return encoder_of(assemble(spec, module, default, module.forward_features, layout_of(module)), spec)

    def encoder_of(network: Network, spec) -> Encoder:
        monkeypatch.setattr("extract.models.build", lambda _spec, _weights: network)
        return Encoder(spec, Path("none"), CPU)

    make.of = encoder_of
    return make


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)


@pytest.fixture
def slopes() -> torch.Tensor:
    return torch.randn((3, 2, 24), generator=torch.Generator().manual_seed(1))


FIRST = torch.tensor([[[[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.2, 0.2, 0.6]]]])
LAST = torch.tensor([[[[0.0, 0.2, 0.8], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]])
CLS = torch.tensor([[1.0, 0.0, 0.0]])


def test_rollout_of_two_layers_by_hand():
    """Half of the class token stays, half goes by LAST: (0.5, 0.1, 0.4). FIRST then mixes each half in the same way:
    token 0 gets 0.25 + 0.5 (0.5 x 0.5 + 0.4 x 0.2) = 0.415, token 1 0.05 + 0.5 (0.25 + 0.1 + 0.08) = 0.265, token 2
    0.2 + 0.5 x 0.4 x 0.6 = 0.32."""
    torch.testing.assert_close(roll_out([FIRST, LAST], CLS), torch.tensor([[0.415, 0.265, 0.32]]))


def test_rollout_weighted_by_the_gradient_by_hand():
    """Of LAST's first row only 0.8 x 0.5 has a positive gradient: (1, 0, 0.4). FIRST with gradient 1 adds token 0's
    row and 0.4 of token 2's: (0.5 + 0.08, 0.5 + 0.08, 0.24). Without the class token itself: (0.58, 0.58, 0.64)."""
    gradients = [torch.ones_like(FIRST), torch.tensor([[[[1.0, -1.0, 0.5], [0, 0, 0], [0, 0, 0]]]])]
    found = roll_out_weighted([FIRST, LAST], gradients, CLS)
    torch.testing.assert_close(found, torch.tensor([[0.58, 0.58, 0.64]]))


def test_the_mean_is_taken_over_heads():
    heads = torch.cat([LAST, FIRST], dim=1)
    torch.testing.assert_close(roll_out([heads], CLS), torch.tensor([[0.625, 0.175, 0.2]]))


def test_recording_changes_nothing_and_ends(encoder_with, pictures):
    encoder = encoder_with(reg_tokens=2)
    fused = torch.nn.functional.scaled_dot_product_attention
    with torch.no_grad(), recorded_attention() as matrices:
        rows = encoder.trace(pictures)
    assert torch.nn.functional.scaled_dot_product_attention is fused
    torch.testing.assert_close(rows, encoder.embed(pictures), rtol=1e-4, atol=1e-5)
    assert [matrix.shape for matrix in matrices] == [(2, 2, 19, 19)] * 2
    for matrix in matrices:
        torch.testing.assert_close(matrix.sum(dim=3), torch.ones(2, 2, 19))


def test_torchs_own_module_is_recorded_as_open_clip_uses_it():
    torch.manual_seed(0)
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
    tokens = torch.randn(3, 5, 8)
    expected, weights = attention(tokens, tokens, tokens, average_attn_weights=False)
    with torch.no_grad(), recorded_attention() as matrices:
        found, _ = attention(tokens, tokens, tokens, need_weights=False)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(matrices[0], weights)


def test_masks_of_both_kinds_hide_tokens():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 4, 8).unbind()
    shown = torch.tensor([True, True, False, True]).expand(4, 4)
    for mask in (shown, torch.zeros(4, 4).masked_fill(~shown, -torch.inf)):
        expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        with recorded_attention() as matrices:
            found = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        torch.testing.assert_close(found, expected)
        assert (matrices[0][..., 2] == 0).all()


def test_a_transformers_vit_is_recorded():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    module = transformers.Dinov2Model(transformers.Dinov2Config(**size, image_size=SIDE, patch_size=8)).eval()
    with torch.no_grad(), recorded_attention() as matrices:
        module(torch.randn(1, 3, SIDE, SIDE))
    assert [matrix.shape for matrix in matrices] == [(1, 2, 17, 17)] * 2


@pytest.mark.parametrize("tokens", ["default", "mean", "cls+mean"])
def test_relevance_begins_where_the_vector_is_pooled(encoder_with, pictures, tokens):
    """All of it with the class token alone, 1/16 with each patch for their mean, and in between for both together."""
    encoder = encoder_with(tokens, reg_tokens=1)
    slopes = torch.randn((2, 2, 48 if "+" in tokens else 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), recorded_attention() as matrices:
        encoder.trace(pictures)
    cls, patches = torch.eye(18)[:1].repeat(2, 1), torch.cat([torch.zeros(2, 2), torch.ones(2, 16) / 16], dim=1)
    whole = {"default": roll_out(matrices, cls), "mean": roll_out(matrices, patches)}
    charts = plain_rollout(encoder, pictures, None, slopes)
    assert charts.shape == (2, 2, 4, 4)
    assert (charts >= 0).all()
    if tokens in whole:
        expected = whole[tokens][:, 2:].reshape(2, 4, 4)
        torch.testing.assert_close(charts[0], expected, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(charts[0], charts[1])


def test_gradient_rollout_agrees_with_whole_matrices(encoder_with, pictures, slopes):
    """Equations 5 and 6 of Chefer et al. as written, from timm.s own plain attention."""
    encoder = encoder_with()
    charts = gradient_rollout(encoder, pictures, None, slopes)
    module = encoder.module
    for block in module.blocks:
        block.attn.fused_attn = False  # timm's own plain attention
    kept = []
    hooks = [
        block.attn.attn_drop.register_forward_hook(lambda _m, _i, out: kept.append(out)) for block in module.blocks
    ]
    batch = encoder._inputs.scale(pictures, torch.empty(pictures.shape)).requires_grad_()
    rows = module(batch)
    for hook in hooks:
        hook.remove()
    for slope, chart in zip(slopes, charts, strict=True):
        relevance = torch.eye(17).expand(2, 17, 17)
        for matrix, gradient in zip(
            kept, torch.autograd.grad((rows * slope).sum(), kept, retain_graph=True), strict=True
        ):
            relevance = relevance + (gradient * matrix).clamp_min(0).mean(dim=1) @ relevance
        torch.testing.assert_close(chart.flatten(1), relevance[:, 0, 1:], rtol=1e-3, atol=1e-7)


def test_rollout_of_cubes_has_three_axes(encoder_with):
    torch.manual_seed(0)
    module = ViT3D(Shape(side=16, patch=8, width=24, depth=2, heads=3)).eval()
    spec = replace(ENCODERS["fm-bcmri"], input_size=16)
    layout = Layout(1, has_cls=True, grid=(2, 2, 2))
    encoder = encoder_with.of(assemble(spec, module, lambda batch: module(batch)[:, 0], module, layout), spec)
    cubes = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 1, 16, 16, 16)).astype(np.float32))
    charts = gradient_rollout(encoder, cubes, None, torch.randn(3, 1, 24))
    assert charts.shape == (3, 1, 2, 2, 2)
    assert (charts > 0).any()
