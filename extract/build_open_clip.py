"""The image tower of a CLIP model, with its projection; the text tower is never built."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch

from extract.build_timm import layout_of
from extract.builders import Blueprint, Reading
from extract.checkpoints import build_hollow, fill, misfit, read_tensors
from extract.encoder_spec import EncoderSpec
from extract.tokens import Layout
from extract.torchvision_cure import import_torchvision

import_torchvision()  # open_clip imports it, and would fail beside a CPU build of torch

import open_clip  # noqa: E402
from open_clip.model import _build_vision_tower  # noqa: E402

_TOWER = "visual."
_OTHER_PARTS = (
    *("transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection", "attn_mask"),
    *("text.", "text_decoder.", "logit_scale", "logit_bias"),
    *("input_resolution", "context_length", "vocab_size"),  # OpenAI's files
)


def _load(spec: EncoderSpec, weights: Path) -> torch.nn.Module:
    """The image tower of a whole model's file."""
    stored = read_tensors(weights)
    tower = {name.removeprefix(_TOWER): tensor for name, tensor in stored.items() if name.startswith(_TOWER)}
    if not tower:
        raise misfit(spec, weights, f"no tensor's name begins with '{_TOWER}'")
    rest = {name: tensor for name, tensor in stored.items() if not name.startswith((_TOWER, *_OTHER_PARTS))}
    visual = build_hollow(partial(_make, spec))
    fill(visual, tower | rest, spec, weights)
    return visual


def _config_of(spec: EncoderSpec) -> dict[str, Any]:
    """The model's configuration, with the activation that its weights were trained with."""
    config: dict[str, Any] = json.loads(spec.settings) if spec.settings else open_clip.get_model_config(spec.model)
    tag = open_clip.get_pretrained_cfg(spec.model, spec.weights.removeprefix("open_clip:"))
    return config | {"quick_gelu": tag["quick_gelu"]} if "quick_gelu" in tag else config


def _make(spec: EncoderSpec) -> torch.nn.Module:
    """The image tower of a model that open_clip knows, or of the configuration that the entry carries."""
    config = _config_of(spec)
    vision = config["vision_cfg"] | {"timm_model_pretrained": False}
    tower: torch.nn.Module = _build_vision_tower(config["embed_dim"], vision, config.get("quick_gelu", False))
    return tower


def _layout(visual: Any) -> Layout | None:  # noqa: ANN401 - one of three classes
    """What the last layer holds: a timm trunk's, a vision transformer's, or a ResNet's."""
    if hasattr(visual, "trunk"):
        return layout_of(visual.trunk)
    if not hasattr(visual, "grid_size"):
        return Layout()
    if visual.attn_pool is not None or visual.final_ln_after_pool:
        return None  # its norm is made for the pooled vector
    return Layout(1, has_cls=True, grid=tuple(visual.grid_size))


def _own(visual: Any, batch: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - one of three classes
    """The image's feature, projected."""
    vectors: torch.Tensor = visual(batch)
    return vectors


def _last(visual: Any, batch: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - one of three classes
    """The last layer's normalized tokens, or its feature map."""
    if hasattr(visual, "trunk"):
        features: torch.Tensor = visual.trunk.forward_features(batch)
        return features
    has_tokens = hasattr(visual, "grid_size")
    options = {"normalize_intermediates": True, "output_fmt": "NLC"} if has_tokens else {}
    found = visual.forward_intermediates(
        batch, indices=1, intermediates_only=True, output_extra_tokens=has_tokens, **options
    )
    patches: torch.Tensor = found["image_intermediates"][-1]
    return torch.cat([found["image_intermediates_prefix"][-1], patches], dim=1) if has_tokens else patches


def _read(_spec: EncoderSpec, visual: torch.nn.Module) -> Reading:
    """The projected feature, and the last layer before it."""
    return Reading(_own, _last, _layout(visual))


build_open_clip = Blueprint(_make, _load, _read)
