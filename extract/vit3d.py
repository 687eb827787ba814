"""The 3-D vision transformer of FM-BCMRI and BL4AS, from its published description, with their checkpoints.

A crop [1, 48, 48, 48] (slice, row, col), z-scored over its own voxels, is cut into 6 x 6 x 6 patches of 8 x 8 x 8
voxels. With the class token they pass a ViT-B (768 features, 12 blocks of 12 heads) whose position table is fixed:
sines and cosines as in MoCo-v3 (arXiv 2104.02057, ``build_2d_sincos_position_embedding``), a third of the features
for each axis instead of a half. Blocks are timm's.
"""

import json
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import nn

from extract.builders import Network, assemble
from extract.checkpoints import Tensors, build_hollow, fill, misfit, read_tensors
from extract.encoder_spec import EncoderSpec
from extract.tokens import Layout
from extract.torchvision_cure import import_torchvision

import_torchvision()

from timm.models.vision_transformer import Block  # noqa: E402

_TOWERS = ("base_encoder.", "momentum_encoder.", "encoder.", "")  # MoCo-v3's two, an autoencoder's, a bare one
_PATCH_NAME = "patch_embed.proj.weight"
_TRAINING_PARTS = ("base_encoder.", "momentum_encoder.", "predictor.", "decoder.", "head.")
_TEMPERATURE = 10_000.0  # of the position table, as in MoCo-v3


@dataclass(frozen=True)
class Shape:
    """Size of the network."""

    side: int = 48
    """Of the cubic crop, in voxels."""
    patch: int = 8
    width: int = 768
    depth: int = 12
    heads: int = 12

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches along each axis."""
        n = self.side // self.patch
        return n, n, n


class ViT3D(nn.Module):
    """Crops [picture, 1, slice, row, col] in, normalized tokens [picture, 1 + patch, feature] out."""

    def __init__(self, shape: Shape) -> None:
        """Build it; the position table is computed, and no part of training."""
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(1, shape.width, shape.patch, shape.patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.pos_embed = nn.Buffer(position_table(shape.grid, shape.width))
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.Sequential(
            *(Block(shape.width, shape.heads, qkv_bias=True, norm_layer=norm) for _ in range(shape.depth))
        )
        self.norm = norm(shape.width)

    def forward(
        self, crops: Float[torch.Tensor, "picture 1 slice row col"]
    ) -> Float[torch.Tensor, "picture token feature"]:
        """The last layer."""
        patches = self.patch_embed["proj"](crops).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(crops), -1, -1), patches], dim=1)
        normalized: torch.Tensor = self.norm(self.blocks(tokens + self.pos_embed))
        return normalized


def position_table(grid: tuple[int, int, int], width: int) -> Float[torch.Tensor, "1 token {width}"]:
    """Sine and cosine of each patch's three coordinates at width/6 frequencies; zero for the class token.

    >>> position_table((2, 2, 2), 12).shape
    torch.Size([1, 9, 12])
    """
    frequencies = _TEMPERATURE ** -(torch.arange(width // 6, dtype=torch.float32) / (width // 6))
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in grid), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequencies for axis in axes]
    table = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
    return torch.cat([torch.zeros(1, width), table])[None]


def build_vit3d(spec: EncoderSpec, weights: Path) -> Network:
    """The network with the trained tower of a MoCo-v3 or autoencoder checkpoint, or with a bare one."""
    known = {field.name for field in fields(Shape)}
    settings = json.loads(spec.settings or "{}")
    shape = Shape(**({"side": spec.input_size} | {name: settings[name] for name in known & settings.keys()}))
    module = build_hollow(partial(ViT3D, shape))
    tower = _tower(spec, weights)
    fill(module, {"pos_embed": position_table(shape.grid, shape.width)} | tower, spec, weights, unused=("head.",))
    return assemble(spec, module, lambda batch: module(batch)[:, 0], module, Layout(1, has_cls=True, grid=shape.grid))


def _tower(spec: EncoderSpec, weights: Path) -> Tensors:
    """The encoder among the parts that are trained together; what belongs to none of them stays, and is refused."""
    stored = {name.removeprefix("module."): tensor for name, tensor in read_tensors(weights).items()}
    prefix = next((prefix for prefix in _TOWERS if prefix + _PATCH_NAME in stored), None)
    if prefix is None:
        raise misfit(spec, weights, f"it holds no tensor {_PATCH_NAME}")
    mine = {name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)}
    rest = {name: tensor for name, tensor in stored.items() if not name.startswith((prefix, *_TRAINING_PARTS))}
    return mine | rest
