"""Networks to be trained: shapes, attention against numpy and timm, weights that stay, and maps that add up."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from extract import models
from extract.build_timm import timm  # which mends torchvision first
from extract.builders import BUILDERS, assemble, build
from extract.encoder_spec import EncoderSpec
from extract.encoders import ENCODERS
from extract.models import Encoder
from extract.saliency.cam import gradcam, hirescam
from extract.saliency.layers import last_map
from extract.saliency.methods import kind_of
from extract.training.design import Design, make_design
from extract.training.dual_attention import ChannelAttention, SpatialAttention, sequential
from extract.training.networks import Classifier, from_tensors, tensors_of, untrained
from extract.training.outputs import loss, probabilities, sizes
from triher.errors import StopRun
from triher.settings import FinetuneConfig

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated.*")
MEAN, STD = (0.2, 0.4, 0.6), (0.2, 0.25, 0.5)
TINY_CVT = {"model_type": "cvt", "embed_dim": [8, 8, 16], "num_heads": [1, 1, 2], "depth": [1, 2, 3]}
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 16, "image_size": 32}
KINDS = {
    "resnet": ("timm", "test_resnet", {}),
    "vit": ("timm", "test_vit", {}),
    "cvt": ("transformers", "tiny", TINY_CVT),
    "dinov2": ("transformers", "tiny", SMALL | {"model_type": "dinov2"}),
    "hf-vit": ("transformers", "tiny", SMALL | {"model_type": "vit", "intermediate_size": 32}),
}
DUAL = {"network": "dual-attention"}
READINGS = [
    ({}, 96),
    (DUAL, 96),
    (DUAL | {"combine": "concatenate"}, 3 * 96),
    (DUAL | {"heads": "sequential"}, 96),
    (DUAL | {"heads": "phases"}, 96),
    (DUAL | {"heads": "phases", "combine": "concatenate"}, 3 * 96),
    (DUAL | {"heads": "tasks"}, 96),
]


def spec_of(kind: str, side: int = 32) -> EncoderSpec:
    builder, model, config = KINDS[kind]
    settings = json.dumps(config) if config else ""
    return EncoderSpec(kind, builder, model, "file:none", side, MEAN, STD, "MIT", "none", settings=settings)


def design_of(kind: str = "resnet", n_classes: int = 3, tasks: tuple[int, ...] = (), **options) -> Design:
    return make_design(spec_of(kind), FinetuneConfig(**options), n_classes, tasks)


def pictures(n: int = 2, side: int = 32) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(size=(n, 3, side, side)).astype(np.float32))


def outputs_of(classifier: Classifier, batch: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return classifier.eval()(batch)


@pytest.mark.parametrize("task", ["classes", "nested"])
@pytest.mark.parametrize(("options", "n_features"), READINGS)
def test_every_reading_gives_its_outputs_and_trains_every_weight(options, n_features, task):
    design = design_of(tasks=(2, 4) if options.get("heads") == "tasks" else (), task=task, **options)
    net = untrained(design, None, 0)
    assert net.training
    n_tasks = len(design.tasks)
    outputs = net(pictures(4))
    assert outputs.shape == (4, sum(sizes(design)))
    assert {layer[1].in_features for layer in net.classifiers.layers} == {n_features}
    known = torch.zeros(4, n_tasks, dtype=torch.int64)
    loss(outputs, torch.tensor([0, 1, 2, 1]), known, design, class_weights=None).backward()
    idle = [name for name, parameter in net.named_parameters() if parameter.grad is None]
    assert idle == []
    assert probabilities(outputs, design).shape == (4, 3)


@pytest.mark.parametrize(("kind", "unused"), [("vit", []), ("cvt", []), ("dinov2", ["mask_token"]), ("hf-vit", [])])
def test_transformers_train_every_weight_that_their_vector_depends_on(kind, unused):
    design = design_of(kind, task="nested")
    net = untrained(design, None, 0)
    outputs = net(pictures())
    assert outputs.shape == (2, 2)
    outputs.square().sum().backward()
    idle = [name for name, parameter in net.named_parameters() if parameter.grad is None]
    assert [name.rpartition(".")[2] for name in idle] == unused
    assert idle == [name for name, parameter in net.named_parameters() if not parameter.requires_grad]
    layout = net.layout
    assert layout is not None
    assert net.last(pictures()).shape[1] == layout.n_tokens


def test_norms_that_come_after_the_last_map_are_no_part_of_the_training():
    spec = replace(spec_of("resnet"), model="test_convnext")
    net = untrained(make_design(spec, FinetuneConfig(network="dual-attention"), 3), None, 0)
    fixed = [name for name, parameter in net.named_parameters() if not parameter.requires_grad]
    assert fixed == ["backbone.head.norm.weight", "backbone.head.norm.bias"]


@pytest.mark.parametrize("side", [(1, 1), (2, 2), (3, 5), (8, 8)])
def test_attention_agrees_with_the_equations_in_numpy(side):
    """Woo et al. 2018, equations 1 to 3, position by position."""
    torch.manual_seed(0)
    block = sequential(32).requires_grad_(requires_grad=False)
    chart = torch.randn(2, 32, *side)
    channel, spatial = block
    (w0, b0), (w1, b1) = ((layer.weight.numpy(), layer.bias.numpy()) for layer in channel.layers[::2])
    kernel = spatial.layer.weight.numpy()[0]
    x = chart.numpy().astype(np.float64)
    mlp = lambda v: np.maximum(v @ w0.T + b0, 0) @ w1.T + b1  # noqa: E731
    gate = 1 / (1 + np.exp(-(mlp(x.mean((2, 3))) + mlp(x.max((2, 3))))))
    x = x * gate[:, :, None, None]
    stacked = np.pad(np.stack([x.mean(1), x.max(1)], axis=1), ((0, 0), (0, 0), (3, 3), (3, 3)))
    scores = np.zeros((2, *side))
    for row in range(side[0]):
        for col in range(side[1]):
            scores[:, row, col] = (stacked[:, :, row : row + 7, col : col + 7] * kernel).sum((1, 2, 3))
    expected = x / (1 + np.exp(-scores))[:, None]
    np.testing.assert_allclose(block(chart), expected, rtol=1e-4, atol=1e-5)


def test_attention_agrees_with_timm():
    """Whose channels have no bias, and whose positions have a batch norm, which does nothing at first."""
    from timm.layers.cbam import ChannelAttn, SpatialAttn

    torch.manual_seed(0)
    chart = torch.randn(2, 64, 5, 5)
    theirs, ours = ChannelAttn(64, mlp_bias=True).eval(), ChannelAttention(64).eval()
    flat = [tensor.flatten(1) if tensor.ndim == 4 else tensor for tensor in theirs.state_dict().values()]
    ours.load_state_dict(dict(zip(ours.state_dict(), flat, strict=True)))
    torch.testing.assert_close(ours(chart), theirs(chart))
    there, here = SpatialAttn().eval(), SpatialAttention().eval()
    here.layer.load_state_dict(there.conv.conv.state_dict())
    torch.testing.assert_close(here(chart), there(chart), rtol=1e-4, atol=1e-5)


def test_the_average_is_the_mean_of_three_heads():
    net = untrained(design_of(**DUAL), None, 0).eval()
    with torch.inference_mode():
        chart = net.backbone.forward_features(pictures())
        charts = [branch(chart) for branch in net.attention.branches]
        assert torch.equal(charts[2], chart)
        each = [head(one.mean(dim=(2, 3))) for head, one in zip(net.classifiers.layers, charts, strict=True)]
    torch.testing.assert_close(outputs_of(net, pictures()), torch.stack(each).mean(dim=0))


def test_each_task_has_a_head_of_its_own():
    """What changes in one label's head changes that label's outputs alone."""
    net = untrained(design_of(tasks=(2, 4), heads="tasks", **DUAL), None, 0)
    before = outputs_of(net, pictures())
    with torch.no_grad():
        net.attention.branches[1][0].layers[2].bias += 1
    is_same = (outputs_of(net, pictures()) == before).all(dim=0)
    assert is_same.tolist() == [True] * 3 + [False] * 2 + [True] * 4


def test_each_phase_goes_through_the_backbone_alone_and_in_its_scale():
    """A channel becomes a gray picture at the statistics of all three channels, as if it had been embedded so."""
    net = untrained(design_of(heads="phases", combine="concatenate", **DUAL), None, 0).eval()
    gray = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    with torch.inference_mode():
        attended = net.last((gray - mean) / std)
        for k in range(3):
            chart = net.backbone.forward_features((gray[:, k : k + 1] - mean) / std)
            expected = net.attention.branches[k](chart)
            torch.testing.assert_close(attended[:, 96 * k : 96 * (k + 1)], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "options"), [("resnet", DUAL), ("resnet", DUAL | {"heads": "phases"}), ("cvt", {}), ("dinov2", {})]
)
def test_a_network_comes_back_to_the_bit(kind, options):
    design = design_of(kind, **options)
    net = untrained(design, None, 3)
    net(pictures(4))  # moves the running statistics
    tensors = tensors_of(net)
    again = from_tensors(design, tensors)
    assert not again.training
    assert torch.equal(outputs_of(again, pictures()), outputs_of(net, pictures()))
    with torch.no_grad():
        next(again.parameters()).add_(1)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in net.state_dict().items())
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in tensors.values())


def test_a_copy_is_a_network_of_its_own():
    net = untrained(design_of(), None, 0)
    before, other = outputs_of(net, pictures()), deepcopy(net)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(outputs_of(net, pictures()), before)
    assert not outputs_of(other, pictures()).any()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if "conv1.0" not in k}, r"1 tensors are missing \(conv1\.0\.weight"),
        (lambda t: {k: v for k, v in t.items() if k != "classifiers.layers.0.1.bias"}, "1 tensors are missing"),
        (lambda t: t | {"extra.weight": torch.zeros(1)}, r"1 tensors are unknown \(extra\.weight"),
        (lambda t: t | {"classifiers.layers.0.1.bias": torch.zeros(5)}, "another shape"),
    ],
)
def test_tensors_of_another_network_are_refused(spoil, message):
    design = design_of()
    with pytest.raises(StopRun, match=f"the trained network does not fit test_resnet: .*{message}") as caught:
        from_tensors(design, spoil(tensors_of(untrained(design, None, 0))))
    assert caught.value.code == "weights_hash"


@pytest.mark.parametrize("kind", ["resnet", "cvt"])
def test_the_same_seed_gives_the_same_network_and_leaves_no_trace(kind):
    design = design_of(kind)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = tensors_of(untrained(design, None, 7))
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    second, third = tensors_of(untrained(design, None, 7)), tensors_of(untrained(design, None, 8))
    assert all(torch.equal(second[name], tensor) for name, tensor in first.items())
    assert not torch.equal(third["classifiers.layers.0.1.weight"], first["classifiers.layers.0.1.weight"])
    random = next(name for name in first if name.startswith("backbone.") and name.endswith("weight"))
    assert not torch.equal(third[random], first[random])


def test_with_weights_the_backbone_is_the_files_and_the_heads_are_the_seeds(tmp_path):
    torch.manual_seed(0)
    saved = timm.create_model("test_resnet")
    save_file(saved.state_dict(), tmp_path / "own.safetensors")
    design = design_of(**DUAL)
    first, second = (tensors_of(untrained(design, tmp_path / "own.safetensors", seed)) for seed in (0, 1))
    inner = {name.removeprefix("backbone."): t for name, t in first.items() if name.startswith("backbone.")}
    state = saved.state_dict()
    assert inner.keys() == {name for name in state if not name.startswith("fc.")}
    assert all(torch.equal(tensor, state[name]) for name, tensor in inner.items())
    differing = {name for name, tensor in first.items() if not torch.equal(second[name], tensor)}
    assert differing == {name for name in first if not name.startswith("backbone.")}


def test_the_frozen_network_and_the_trained_one_start_alike(tmp_path):
    """The linear classifier sees the very vector that the frozen encoder gives, also at another size of pictures."""
    torch.manual_seed(0)
    own = timm.create_model("test_vit")
    save_file(own.state_dict(), tmp_path / "own.safetensors")
    design = make_design(spec_of("vit", 160), FinetuneConfig(input_size=64), 3)
    net = untrained(design, tmp_path / "own.safetensors", 0)
    frozen = build(replace(design.spec, name="frozen"), tmp_path / "own.safetensors")
    assert frozen.token_grid == (4, 4)
    with torch.inference_mode():
        vectors = frozen.forward(pictures(side=64), None)
        expected = net.eval().classifiers(vectors)
    torch.testing.assert_close(outputs_of(net, pictures(side=64)), expected)
    table = timm.layers.resample_abs_pos_embed(own.pos_embed, [4, 4], num_prefix_tokens=1)
    torch.testing.assert_close(net.backbone.pos_embed, table)


def test_position_tables_of_the_transformers_library_are_interpolated(tmp_path):
    import transformers

    torch.manual_seed(0)
    config = transformers.ViTConfig(**SMALL, intermediate_size=32)
    own = transformers.ViTModel(config, add_pooling_layer=False).eval()
    own.save_pretrained(tmp_path)
    design = make_design(spec_of("hf-vit"), FinetuneConfig(input_size=64), 3)
    net = untrained(design, tmp_path / "model.safetensors", 0).eval()
    with torch.inference_mode():
        expected = own(pictures(side=64), interpolate_pos_encoding=True).last_hidden_state
        torch.testing.assert_close(net.last(pictures(side=64)), expected)
    assert net.layout is not None
    assert net.layout.grid == (4, 4)


def no_parts(_spec: EncoderSpec, _weights: Path) -> None:
    """A builder of a plug-in that gives the whole."""


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (ENCODERS["fm-bcmri"], {}, "encoder 'fm-bcmri' is one of volumes"),
        (ENCODERS["radiomics"], {}, "encoder 'radiomics' is no network"),
        (replace(spec_of("resnet"), builder="own"), {}, "the builder of encoder 'resnet' gives a finished network"),
        (spec_of("vit"), DUAL, "needs a convolutional encoder, which 'vit' is not"),
        (spec_of("cvt"), DUAL, "needs a convolutional encoder, which 'cvt' is not"),
        (replace(spec_of("resnet"), model="levit_128s"), DUAL, "needs a convolutional encoder"),
        (
            replace(spec_of("vit"), model="crossvit_tiny_240"),
            {"input_size": 64},
            "encoder 'vit' does not take pictures of 64 x 64: The size of tensor a",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(spec, options, message, monkeypatch):
    monkeypatch.setitem(BUILDERS, "own", f"{__name__}:no_parts")
    monkeypatch.setattr("extract.builders.import_module", lambda name: _modules(name))
    with pytest.raises(StopRun, match=message) as caught:
        untrained(make_design(spec, FinetuneConfig(**options), 3), None, 0)
    assert caught.value.code == "config_value"
    if "finetune" not in caught.value.remedy:
        assert "resnet50" in caught.value.remedy
        assert "fm-bcmri" not in caught.value.remedy


def _modules(name: str):
    """Modules by name, this one among them."""
    import sys
    from importlib import import_module

    return sys.modules[__name__] if name == __name__ and name in sys.modules else import_module(name)


@pytest.fixture
def encoder_of(monkeypatch):
    """A trained network as a frozen encoder whose rows are log-odds."""

    def make(net: Classifier) -> Encoder:
        spec = net.design.spec
        network = assemble(spec, net, net, net.last, net.layout)
        monkeypatch.setattr(models, "build", lambda _spec, _weights: network)
        return Encoder(spec, Path("none"), torch.device("cpu"))

    return make


@pytest.mark.parametrize("heads", ["parallel", "phases", "sequential"])
@pytest.mark.parametrize("combine", ["average", "concatenate"])
def test_maps_of_dual_attention_add_up_to_the_log_odds(heads, combine, encoder_of):
    """The last map is the attended one, from which the outputs follow linearly: HiResCAM's sum is their value."""
    design = make_design(spec_of("resnet", 64), FinetuneConfig(heads=heads, combine=combine, **DUAL), 3)
    encoder = encoder_of(untrained(design, None, 0))
    assert kind_of(encoder) == "convolutional"
    net = encoder.module
    assert last_map(encoder) is net.attention
    inputs, _ = encoder.probe_inputs()
    slopes = torch.eye(3)[:, None].expand(-1, len(inputs), -1)
    charts = hirescam(encoder, inputs, None, slopes)
    assert charts.shape == (3, len(inputs), 2, 2)
    bias = torch.stack([layer[1].bias for layer in net.classifiers.layers]).mean(dim=0)
    expected = encoder.embed(inputs).T - bias[:, None]
    torch.testing.assert_close(charts.sum(dim=(2, 3)), expected, rtol=1e-3, atol=1e-4)
    assert gradcam(encoder, inputs, None, slopes).shape[:2] == (3, len(inputs))


def test_features_of_the_last_map_are_those_that_are_classified():
    """``extract.tokens=mean`` embeds what the classifiers see."""
    design = design_of(combine="concatenate", **DUAL)
    net = untrained(design, None, 0).eval()
    frozen = assemble(replace(design.spec, tokens="mean"), net, net, net.last, net.layout)
    with torch.inference_mode():
        features = frozen.forward(pictures(), None)
        assert features.shape == (2, 3 * 96)
        torch.testing.assert_close(functional.linear(features, *_linear(net)), outputs_of(net, pictures()))


def _linear(net: Classifier) -> tuple[torch.Tensor, torch.Tensor]:
    """The only classifier's weights."""
    layer = net.classifiers.layers[0][1]
    return layer.weight, layer.bias
