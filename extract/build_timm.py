"""Networks of timm: with checkpoints in timm's layout, in one that timm converts, and in two of other libraries."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

from extract.builders import Blueprint, Reading
from extract.checkpoints import Tensors, build_hollow, fill, misfit, read_tensors, without_prefix
from extract.encoder_spec import EncoderSpec
from extract.tokens import Layout
from extract.torchvision_cure import import_torchvision

import_torchvision()  # timm imports it, and would fail beside a CPU build of torch

import timm  # noqa: E402

_CHILDREN = {0: "conv1", 1: "bn1", 4: "layer1", 5: "layer2", 6: "layer3", 7: "layer4"}
"""Positions of a torchvision ResNet's children; 2 and 3 are the activation and the pooling, 8 the last pooling."""


def _make(spec: EncoderSpec) -> torch.nn.Module:
    """A timm network without its classifier."""
    return _create(spec, num_classes=0)


def _load(spec: EncoderSpec, weights: Path) -> torch.nn.Module:
    """A checkpoint of another size has its position table resampled."""
    module = build_hollow(partial(_make, spec))
    fill(module, _converted(module, spec, weights), spec, weights, unused=_classifiers(module))
    return module


def _load_by_order(spec: EncoderSpec, weights: Path) -> torch.nn.Module:
    """A checkpoint of the same tensors under other names, in the same order, the classifier's too."""
    module: Any = build_hollow(partial(_create, spec))
    stored, names = read_tensors(weights), list(module.state_dict())
    if len(names) != len(stored):
        raise misfit(spec, weights, f"it holds {len(stored)} tensors where {len(names)} were expected")
    fill(module, dict(zip(names, stored.values(), strict=True)), spec, weights)
    module.reset_classifier(0)
    filled: torch.nn.Module = module
    return filled


def _load_children(spec: EncoderSpec, weights: Path) -> torch.nn.Module:
    """A ResNet saved as ``Sequential(*resnet.children())`` without its classifier, as ``Lab-Rasool/RadImageNet``."""
    module = build_hollow(partial(_make, spec))
    stored = without_prefix(read_tensors(weights), "backbone.")
    fill(module, {_child_name(name): tensor for name, tensor in stored.items()}, spec, weights)
    return module


def _create(spec: EncoderSpec, **options: Any) -> torch.nn.Module:  # noqa: ANN401 - passed on to timm
    """A network for pictures of the entry's size."""
    cfg = timm.get_pretrained_cfg(spec.model)
    if cfg and cfg.fixed_input_size and cfg.input_size[-1] != spec.input_size:
        options["img_size"] = spec.input_size
    module: torch.nn.Module = timm.create_model(spec.model, in_chans=spec.channels, **options)
    return module


def _converted(module: torch.nn.Module, spec: EncoderSpec, weights: Path) -> Tensors:
    """The file's tensors under timm's names, by the architecture's own converter where it has one."""
    stored = read_tensors(weights)
    home = sys.modules[timm.models.model_entrypoint(spec.model.partition(".")[0]).__module__]
    convert = getattr(home, "checkpoint_filter_fn", None)
    if convert is None:
        return stored
    try:
        converted: Tensors = convert(stored, module)
    except (KeyError, RuntimeError, AttributeError) as error:
        raise misfit(spec, weights, str(error).splitlines()[0]) from error
    return converted


def _classifiers(module: Any) -> tuple[str, ...]:  # noqa: ANN401 - timm has no common type
    """Beginnings of the names of the classifier's tensors."""
    names = module.pretrained_cfg.get("classifier") or ("head", "fc", "classifier")
    return tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))


def _child_name(name: str) -> str:
    """The name in a ResNet of a tensor of its n-th child; an unknown one stays, and is refused."""
    position, _, rest = name.partition(".")
    child = _CHILDREN.get(int(position)) if position.isdigit() else None
    return f"{child}.{rest}" if child else name


def _pooled(module: Any, batch: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - timm has no common type
    """The network's own vector."""
    vectors: torch.Tensor = module.forward_head(module.forward_features(batch), pre_logits=True)
    return vectors


def _last(module: Any, batch: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - timm has no common type
    """The last layer's normalized tokens, or its feature map."""
    found: torch.Tensor = module.forward_features(batch)
    return found


def _read(_spec: EncoderSpec, module: torch.nn.Module) -> Reading:
    """The network's own pooling, and its last layer."""
    return Reading(_pooled, _last, layout_of(module))


def layout_of(module: Any) -> Layout | None:  # noqa: ANN401 - timm has no common type
    """What the last layer of a timm network holds; None where its patches lie on no known grid."""
    prefix = getattr(module, "num_prefix_tokens", None)
    if prefix is None:
        return Layout(channels_last=getattr(module, "output_fmt", "NCHW") == "NHWC")
    grid = getattr(module.patch_embed, "grid_size", None)
    has_cls = getattr(module, "cls_token", None) is not None
    return None if grid is None else Layout(prefix, has_cls, tuple(grid))


build_timm = Blueprint(_make, _load, _read)
build_timm_by_order = Blueprint(_make, _load_by_order, _read)
build_from_children = Blueprint(_make, _load_children, _read)
