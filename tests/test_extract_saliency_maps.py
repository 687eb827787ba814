"""Class activation maps and their way to the slab: completeness, agreement with plain autograd, and places."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from extract.build_timm import layout_of, timm  # which mends torchvision first
from extract.builders import assemble
from extract.crops import CropRecipe
from extract.encoders import ENCODERS, find_encoder
from extract.fusion import find_fusion
from extract.models import Encoder
from extract.normalization import find_normalization
from extract.pictures import Drawing, PictureRecipe, fit
from extract.saliency.cam import gradcam, hirescam
from extract.saliency.layers import last_map
from extract.saliency.maps import embed_pictures, explain
from extract.saliency.placing import axes_of, place, weights
from triher.errors import StopRun

CPU = torch.device("cpu")
SIDE = 64


def resnet() -> torch.nn.Module:
    block = timm.models.resnet.BasicBlock
    return timm.models.resnet.ResNet(block, (1, 1, 1, 1), channels=(8, 8, 12, 16), num_classes=0)


def convnext() -> torch.nn.Module:
    return timm.models.convnext.ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 8, 12, 16), num_classes=0)


def swin() -> torch.nn.Module:
    return timm.models.swin_transformer.SwinTransformer(
        img_size=SIDE, depths=(1, 1), num_heads=(2, 2), embed_dim=8, window_size=4, num_classes=0
    )


@pytest.fixture
def encoder_with(monkeypatch):
    """An encoder with a small random network of timm."""

    def make(model, tokens: str = "default") -> Encoder:
        torch.manual_seed(0)
        module = model()
        for name, tensor in module.state_dict().items():
            if name.endswith(("running_mean", "bias", "gamma")):
                tensor.normal_(0, 0.3)
        spec = replace(find_encoder("efficientnet-lite0"), name="small", input_size=SIDE, tokens=tokens)

        def default(batch):
            return module.forward_head(module.forward_features(batch), pre_logits=True)

        network = assemble(spec, module, default, module.forward_features, layout_of(module))
        monkeypatch.setattr("extract.models.build", lambda _spec, _weights: network)
        return Encoder(spec, Path("none"), CPU)

    return make


@pytest.fixture
def slopes() -> torch.Tensor:
    return torch.randn((3, 2, 16), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)


def test_hirescam_sums_to_the_log_odds_of_a_network_with_mean_pooling(encoder_with, pictures, slopes):
    """Proposition of Draelos and Carin: from the map on, the network is linear. Grad-CAM is then the same."""
    encoder = encoder_with(resnet)
    charts = hirescam(encoder, pictures, None, slopes)
    assert charts.shape == (3, 2, 2, 2)
    expected = (encoder.embed(pictures) * slopes).sum(dim=2)
    torch.testing.assert_close(charts.sum(dim=(2, 3)), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradcam(encoder, pictures, None, slopes), charts, rtol=1e-4, atol=1e-6)


def test_a_network_that_pools_by_the_lesion_is_explained_by_the_lesion_alone(encoder_with, pictures, slopes):
    encoder = encoder_with(resnet, "mask")
    masks = torch.zeros((2, SIDE, SIDE), dtype=torch.uint8)
    masks[:, : SIDE // 2, : SIDE // 4] = 255
    charts = hirescam(encoder, pictures, masks, slopes)
    expected = (encoder.embed(pictures, masks) * slopes).sum(dim=2)
    torch.testing.assert_close(charts[:, :, 0, 0], expected, rtol=1e-4, atol=1e-5)
    assert (charts[:, :, 1] == 0).all()
    spread = gradcam(encoder, pictures, masks, slopes)  # which takes the gradient's mean over all places
    assert (spread[:, :, 1] != 0).any()


@pytest.mark.parametrize(("model", "is_last"), [(convnext, False), (swin, True)])
def test_maps_agree_with_plain_autograd_in_either_order_of_axes(encoder_with, pictures, slopes, model, is_last):
    encoder = encoder_with(model)
    module, batch = encoder.module, encoder._inputs.scale(pictures, torch.empty(pictures.shape))
    chart = module.forward_features(batch).detach().requires_grad_()
    charts = hirescam(encoder, pictures, None, slopes)
    rows = module.forward_head(chart, pre_logits=True)
    assert encoder.layout.channels_last is is_last
    for slope, found in zip(slopes, charts, strict=True):
        (gradient,) = torch.autograd.grad((rows * slope).sum(), chart, retain_graph=True)
        expected = (gradient * chart).sum(dim=-1 if is_last else 1).detach()
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_hooks_are_gone_and_weights_are_frozen_afterwards(encoder_with, pictures, slopes):
    encoder = encoder_with(resnet)
    before = encoder.embed(pictures)
    hirescam(encoder, pictures, None, slopes)
    assert not last_map(encoder)._forward_hooks
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in encoder.module.parameters())
    torch.testing.assert_close(encoder.embed(pictures), before, rtol=0, atol=0)


def test_traced_rows_are_the_embedded_ones(encoder_with, pictures):
    encoder = encoder_with(resnet)
    torch.testing.assert_close(encoder.trace(pictures), encoder.embed(pictures).clone())


@given(
    n=st.integers(1, 9),
    size=st.integers(1, 40),
    first=st.floats(0, 0.5),
    length=st.floats(0.1, 0.5),
)
def test_what_a_position_holds_is_kept_by_the_pixels_that_cover_it(n, size, first, length):
    whole = weights(np.linspace(0, 1, size + 1), n)
    assert (whole >= 0).all()
    np.testing.assert_allclose(whole.sum(axis=0), 1)
    part = weights(first + length * np.linspace(0, 1, size + 1), n)
    assert (part >= 0).all()
    np.testing.assert_allclose(part.sum(), length * n)


def drawing_of(slab, *views: str, n_slices: int = 3) -> Drawing:
    fusions = tuple(find_fusion(view, ("pre", "early", "late")) for view in views)
    return Drawing(slab, PictureRecipe(find_normalization("clip98-volume"), fusions, "spread", n_slices))


@pytest.fixture
def uneven_slab(make_slab):
    """Not square, neither in pixels nor in millimeters, with pixels that are no squares."""
    return make_slab((5, 18, 30), (4.0, 1.5, 0.6))


@pytest.fixture
def make_slab():
    from extract.cache import Slab
    from extract.histograms import count

    def make(shape, spacing_mm) -> Slab:
        rng = np.random.default_rng(0)
        voxels = rng.integers(0, 200, (3, *shape)).astype(np.int16)
        mask = np.zeros(shape, bool)
        mask[1:4, 4:9, 20:27] = True
        per_slice = tuple(tuple(count(plane) for plane in phase) for phase in voxels)
        names = ("pre", "early", "late")
        return Slab(names, voxels, mask, tuple(map(count, voxels)), per_slice, 2, spacing_mm, "axial", shape)

    return make


def test_a_spot_goes_back_to_where_it_was(encoder_with, uneven_slab):
    """The network's input, taken as a map, is the slab's picture again: the inverse of `fit`."""
    encoder, drawing = encoder_with(resnet), drawing_of(uneven_slab, "rgb")
    spot = np.zeros((3, 1, 18, 30), np.uint8)
    for index, (row, col) in enumerate([(3, 25), (16, 1), (9, 14)]):
        spot[index, 0, row, col] = 255
    squares = fit(spot, uneven_slab.spacing_mm, SIDE, "bilinear").float().numpy()
    placed = place(squares[:, 0][None], encoder, drawing)
    assert placed.shape == (1, 3, 18, 30)
    assert [np.unravel_index(part.argmax(), part.shape) for part in placed[0]] == [(3, 25), (16, 1), (9, 14)]
    np.testing.assert_allclose(placed.sum(axis=(2, 3)), squares.sum(axis=(2, 3)).T, rtol=1e-3)


def test_a_coarse_map_keeps_sign_and_sum_but_for_the_empty_canvas(encoder_with, uneven_slab):
    """The slab is 27 mm x 18 mm, so 43 of the square's 64 columns are picture, and 10 before it are empty."""
    encoder, drawing = encoder_with(resnet), drawing_of(uneven_slab, "rgb")
    rows, cols = axes_of(encoder, drawing)
    assert (rows.first, rows.size, cols.first, cols.size) == (0, 64, 10, 43)
    charts = np.zeros((2, 3, 4, 4), np.float32)
    charts[0, 0, 1, 2], charts[1, 1, 2, 1] = 5, -3
    placed = place(charts, encoder, drawing)
    assert placed[0].min() == 0
    assert placed[1].max() == 0
    np.testing.assert_allclose(placed[0, 0].sum(), 5, rtol=0.02)
    np.testing.assert_allclose(placed[1, 1].sum(), -3, rtol=0.02)
    row, col = np.unravel_index(placed[0, 0].argmax(), (18, 30))
    assert (row + 0.5) / 18 == pytest.approx(1.5 / 4, abs=0.05)
    assert (10 + 43 * (col + 0.5) / 30) / 64 == pytest.approx(2.5 / 4, abs=0.05)


@pytest.mark.parametrize("mode", ["tight", "isotropic"])
def test_a_map_of_a_cube_lies_in_the_slab_where_the_cube_was_cut(make_slab, mode):
    """The lesion fills the tight cube; the isotropic one is as long along each axis as its longest side, 8 mm."""
    slab = make_slab((5, 18, 30), (4.0, 1.0, 1.0))
    drawing = drawing_of(slab, "early", n_slices=8)
    encoder = Encoder.__new__(Encoder)
    encoder.spec, encoder.crop = replace(ENCODERS["fm-bcmri"], input_size=16), CropRecipe(mode, 16)
    placed = place(np.ones((1, 1, 2, 2, 2), np.float32), encoder, drawing)[0]
    assert placed.shape == (3, 18, 30)
    assert (placed[slab.mask[1:4]] > 0).all()
    assert placed.sum() == pytest.approx(8, rel=1e-5)
    assert ((placed > 0) == slab.mask[1:4]).all() == (mode == "tight")


def test_maps_of_several_views_are_added(encoder_with, uneven_slab):
    encoder, drawing = encoder_with(resnet), drawing_of(uneven_slab, "rgb", "wash-in")
    rng = np.random.default_rng(0)
    gradient = {view: rng.normal(size=(3, 3, 16)).astype(np.float32) for view in drawing.views}
    whole = explain(encoder, drawing, gradient, "hirescam")
    parts = [explain(encoder, drawing, {view: slopes}, "hirescam") for view, slopes in gradient.items()]
    np.testing.assert_allclose(whole, sum(parts), rtol=1e-4, atol=1e-6)
    assert whole.shape == (3, 3, 18, 30)
    rows = embed_pictures(encoder, encoder.prepare(drawing))
    assert {view: part.shape for view, part in rows.items()} == {"rgb": (3, 16), "wash-in": (3, 16)}


def test_an_unknown_method_names_the_known_ones(encoder_with, uneven_slab):
    with pytest.raises(StopRun, match="did you mean 'hirescam'"):
        explain(encoder_with(resnet), drawing_of(uneven_slab, "rgb"), {}, "hirescan")
