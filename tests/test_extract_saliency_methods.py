"""What networks can be asked for, and networks whose weights are shuffled."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from extract.build_timm import layout_of, timm  # which mends torchvision first
from extract.builders import Network, assemble
from extract.encoders import find_encoder
from extract.models import Encoder
from extract.radiomics.embedder import RadiomicsEmbedder
from extract.radiomics.settings import RadiomicsSettings
from extract.saliency.methods import best_method, check_method, kind_of
from extract.saliency.shuffling import shuffled
from triher.errors import StopRun

SIDE = 64
SPEC = replace(find_encoder("efficientnet-lite0"), name="small", input_size=SIDE)


def timm_network(module) -> Network:
    def default(batch):
        return module.forward_head(module.forward_features(batch), pre_logits=True)

    return assemble(SPEC, module, default, module.forward_features, layout_of(module))


def resnet() -> Network:
    models = timm.models.resnet
    return timm_network(models.ResNet(models.BasicBlock, (1, 1, 1, 1), channels=(8, 8, 12, 16), num_classes=0))


def vit() -> Network:
    size = {"img_size": SIDE, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 0}
    return timm_network(timm.models.vision_transformer.VisionTransformer(**size))


def swin() -> Network:
    size = {"img_size": SIDE, "depths": (1, 1), "num_heads": (2, 2), "embed_dim": 8, "window_size": 4}
    return timm_network(timm.models.swin_transformer.SwinTransformer(**size, num_classes=0))


def plain() -> Network:
    """A plug-in's, of whose layout nothing is known."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1))
    return Network(net, lambda batch, _masks: net(batch).flatten(1), None, is_convolutional=True)


def flat() -> Network:
    net = torch.nn.Flatten()
    return Network(net, lambda batch, _masks: net(batch)[:, :8], None, is_convolutional=False)


def unknown_vit() -> Network:
    known = vit()
    return Network(known.module, known.forward, None, is_convolutional=False)


@pytest.fixture
def encoder_of(monkeypatch):
    def make(build) -> Encoder:
        def seeded(_spec, _weights) -> Network:
            torch.manual_seed(0)
            return build()

        monkeypatch.setattr("extract.models.build", seeded)
        return Encoder(SPEC, Path("none"), torch.device("cpu"))

    return make


@pytest.mark.parametrize(
    ("build", "kind", "best"),
    [
        (resnet, "convolutional", "hirescam"),
        (swin, "convolutional", "hirescam"),
        (plain, "convolutional", "hirescam"),
        (vit, "transformer", "gradient-rollout"),
        (unknown_vit, "other", "occlusion"),
        (flat, "other", "occlusion"),
    ],
)
def test_the_kind_of_a_network_is_found_by_running_it(encoder_of, build, kind, best):
    encoder = encoder_of(build)
    assert kind_of(encoder) == kind
    assert best_method(encoder, True) == best
    assert best_method(encoder, False) == "occlusion"


def test_a_method_that_network_or_head_cannot_give_is_refused_with_those_that_they_can(encoder_of):
    encoder = encoder_of(vit)
    with pytest.raises(StopRun, match="=hirescam has no meaning for encoder 'small', which is a tr") as caught:
        check_method(encoder, "hirescam", is_smooth=True)
    assert caught.value.code == "config_value"
    assert caught.value.remedy == "use explain.method=auto, or gradient-rollout or rollout or occlusion"
    with pytest.raises(StopRun, match="needs a head with a gradient") as caught:
        check_method(encoder, "gradient-rollout", is_smooth=False)
    assert caught.value.remedy == "use explain.method=auto, rollout or occlusion"
    for method in ("rollout", "occlusion"):
        check_method(encoder, method, is_smooth=False)


def test_features_without_a_network_are_referred_to_their_names():
    with pytest.raises(StopRun, match="'radiomics' is no network") as caught:
        kind_of(RadiomicsEmbedder(RadiomicsSettings()))
    assert "SHAP" in caught.value.remedy


def test_shuffled_weights_are_the_same_values_elsewhere(encoder_of):
    encoder = encoder_of(resnet)
    before = {name: tensor.clone() for name, tensor in encoder.module.state_dict().items()}
    other = shuffled(encoder, 1)
    parameters = dict(encoder.module.named_parameters())
    for name, tensor in other.module.state_dict().items():
        assert torch.equal(encoder.module.state_dict()[name], before[name])
        if name in parameters:
            assert torch.equal(tensor.flatten().sort().values, before[name].flatten().sort().values)
        else:
            assert torch.equal(tensor, before[name])
    assert not torch.equal(other.module.conv1.weight, before["conv1.weight"])
    assert torch.equal(shuffled(encoder, 1).module.conv1.weight, other.module.conv1.weight)
    assert not torch.equal(shuffled(encoder, 2).module.conv1.weight, other.module.conv1.weight)
    pictures = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    assert not torch.allclose(other.embed(pictures), encoder.embed(pictures))
