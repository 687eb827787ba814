"""The 3-D vision transformer: agreement with plain arithmetic, and checkpoints in the layouts of their authors."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from extract.builders import build
from extract.encoders import ENCODERS
from extract.vit3d import Shape, ViT3D, position_table
from triher.errors import StopRun

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated.*")
SMALL = {"patch": 8, "width": 24, "depth": 2, "heads": 3}
SPEC = replace(ENCODERS["fm-bcmri"], input_size=16, settings=json.dumps(SMALL))


@pytest.fixture
def network() -> ViT3D:
    torch.manual_seed(0)
    net = ViT3D(Shape(side=16, **SMALL)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.3)
    return net


@pytest.fixture
def crops() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(size=(2, 1, 16, 16, 16)).astype(np.float32))


def layer_norm(x: np.ndarray, state: dict[str, np.ndarray], name: str) -> np.ndarray:
    centered = x - x.mean(-1, keepdims=True)
    scaled = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-6)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(x: np.ndarray, state: dict[str, np.ndarray], name: str) -> np.ndarray:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def reference(crop: np.ndarray, state: dict[str, np.ndarray], heads: int, depth: int, patch: int) -> np.ndarray:
    """The same network in float64, patch by patch and head by head."""
    kernel = state["patch_embed.proj.weight"].reshape(len(state["patch_embed.proj.bias"]), -1)
    steps = range(0, crop.shape[0], patch)
    rows = [
        kernel @ crop[z : z + patch, y : y + patch, x : x + patch].ravel() + state["patch_embed.proj.bias"]
        for z in steps
        for y in steps
        for x in steps
    ]
    tokens = np.stack([state["cls_token"][0, 0], *rows]) + state["pos_embed"][0]
    for i in range(depth):
        name = f"blocks.{i}"
        q, k, v = np.split(linear(layer_norm(tokens, state, f"{name}.norm1"), state, f"{name}.attn.qkv"), 3, axis=1)
        mixed = []
        for part in zip(*(np.split(m, heads, axis=1) for m in (q, k, v)), strict=True):
            scores = part[0] @ part[1].T / math.sqrt(part[0].shape[1])
            weights = np.exp(scores - scores.max(1, keepdims=True))
            mixed.append(weights / weights.sum(1, keepdims=True) @ part[2])
        tokens = tokens + linear(np.concatenate(mixed, axis=1), state, f"{name}.attn.proj")
        hidden = linear(layer_norm(tokens, state, f"{name}.norm2"), state, f"{name}.mlp.fc1")
        hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
        tokens = tokens + linear(hidden, state, f"{name}.mlp.fc2")
    return layer_norm(tokens, state, "norm")


def test_it_agrees_with_plain_arithmetic(network, crops):
    state = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    with torch.inference_mode():
        found = network(crops).numpy()
    for crop, tokens in zip(crops.double().numpy(), found, strict=True):
        np.testing.assert_allclose(tokens, reference(crop[0], state, heads=3, depth=2, patch=8), atol=2e-4)


def test_the_position_table_is_the_textbook_one():
    """Patch (1, 0, 2) of a 3 x 3 x 3 grid, four frequencies an axis: sines, then cosines, axis by axis."""
    table = position_table((3, 3, 3), 24)[0]
    frequencies = [10_000 ** (-i / 4) for i in range(4)]
    expected = [wave(x * f) for x in (1, 0, 2) for wave in (math.sin, math.cos) for f in frequencies]
    np.testing.assert_allclose(table[1 + 9 * 1 + 3 * 0 + 2], expected, atol=1e-6)
    assert (table[0] == 0).all()


@pytest.mark.parametrize(
    "prefix", ["module.base_encoder.", "base_encoder.", "module.momentum_encoder.", "encoder.", ""]
)
@pytest.mark.parametrize("has_table", [True, False])
def test_checkpoints_of_the_authors_load_in_full(network, crops, tmp_path, prefix, has_table):
    """MoCo-v3 saves two towers with projectors and a predictor; the first one is the trained one."""
    state = {name: tensor for name, tensor in network.state_dict().items() if has_table or name != "pos_embed"}
    stored = {prefix + name: tensor for name, tensor in state.items()}
    stored |= {f"{prefix}head.0.weight": torch.zeros(4, 24)}
    if "base_encoder" in prefix:
        other = prefix.replace("base_encoder", "momentum_encoder")
        stored |= {other + name: tensor + 1 for name, tensor in state.items()}
        stored |= {prefix.replace("base_encoder", "predictor") + "0.weight": torch.zeros(4, 4)}
    torch.save({"epoch": 300, "state_dict": stored}, tmp_path / "breast_MR_checkpoint.pth.tar")
    built = build(SPEC, tmp_path / "breast_MR_checkpoint.pth.tar")
    assert built.token_grid == (2, 2, 2)
    built.module.eval()
    with torch.inference_mode():
        np.testing.assert_allclose(built.forward(crops, None), network(crops)[:, 0], atol=1e-6)


def test_patches_of_the_lesion_are_pooled(network, crops, tmp_path):
    torch.save({"state_dict": network.state_dict()}, tmp_path / "own.pth.tar")
    masks = torch.zeros(2, 16, 16, 16)
    masks[0, 2, 3, 12] = masks[0, 9, 9, 9] = 1  # patches 1 and 7
    built = build(replace(SPEC, tokens="cls+mean+mask"), tmp_path / "own.pth.tar")
    with torch.inference_mode():
        tokens = network(crops)
        found = built.forward(crops, masks)
    mean = tokens[:, 1:].mean(dim=1)
    lesion = torch.stack([(tokens[0, 2] + tokens[0, 8]) / 2, mean[1]])
    np.testing.assert_allclose(found, torch.cat([tokens[:, 0], mean, lesion], dim=1), atol=1e-5)


def test_a_partial_or_foreign_checkpoint_is_refused(network, tmp_path):
    path = tmp_path / "own.pth.tar"
    state = {f"base_encoder.{name}": tensor for name, tensor in network.state_dict().items()}
    lost = dict(state)
    del lost["base_encoder.blocks.1.mlp.fc2.bias"]
    torch.save({"state_dict": lost}, path)
    with pytest.raises(StopRun, match=r"1 tensors are missing \(blocks\.1\.mlp\.fc2\.bias\)"):
        build(SPEC, path)
    torch.save({"state_dict": state | {"base_encoder.blocks.2.norm1.weight": torch.zeros(24)}}, path)
    with pytest.raises(StopRun, match=r"1 tensors are unknown \(blocks\.2\.norm1\.weight\)"):
        build(SPEC, path)
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 2)}}, path)
    with pytest.raises(StopRun, match=r"no tensor patch_embed\.proj\.weight"):
        build(SPEC, path)


def test_the_published_size_is_that_of_the_paper():
    """ViT-B with 8 x 8 x 8 patches of one channel: 85,054,464 weights of the 12 blocks, and 6 x 6 x 6 patches."""
    with torch.device("meta"):
        net = ViT3D(Shape())
    assert sum(parameter.numel() for parameter in net.blocks.parameters()) == 85_054_464
    assert tuple(net.pos_embed.shape) == (1, 217, 768)
