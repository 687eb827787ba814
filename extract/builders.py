"""Build the networks behind the encoder table, with their weights in them."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from extract.encoders import EncoderSpec
from extract.torchvision_cure import import_torchvision
from triher.errors import StopRun, unknown_name

import_torchvision()  # timm and open_clip import it, and would fail beside a CPU build of torch

import open_clip  # noqa: E402
import timm  # noqa: E402

Forward = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
"""From scaled pictures [picture, channel, row, col] and, or None, the lesions' masks [picture, row, col]."""


@dataclass(frozen=True)
class Network:
    """A network with its weights, and how it turns a batch into one vector a picture."""

    module: torch.nn.Module
    forward: Forward
    token_grid: tuple[int, int] | None
    """Rows and columns of its patches; None where it has none."""
    is_convolutional: bool


Builder = Callable[[EncoderSpec, Path], Network]


def build(spec: EncoderSpec, weights: Path) -> Network:
    """Build the network of an entry, or of a plug-in's ``module:function``, and load its weights.

    Raises:
        StopRun: ``unknown_name`` for a builder that is not there, ``weights_hash`` for a checkpoint that does not
            fit in every tensor, ``config_value`` for a pooling that the network cannot give.
    """
    return _builder(spec)(spec, weights)


def _builder(spec: EncoderSpec) -> Builder:
    """A builder of the table, or a plug-in's ``module:function``."""
    if spec.builder in BUILDERS:
        return BUILDERS[spec.builder]
    module, colon, function = spec.builder.partition(":")
    if not colon:
        raise unknown_name("encoder builder", spec.builder, BUILDERS)
    found: Builder = getattr(import_module(module), function)
    return found


def _build_timm(spec: EncoderSpec, weights: Path) -> Network:
    """A timm network with a checkpoint in timm's layout, or one that timm knows how to convert."""
    overlay = {"file": str(weights), "hf_hub_id": None, "url": ""}
    try:
        module = _create_timm(spec, pretrained=True, pretrained_cfg_overlay=overlay)
        stored = timm.models.load_state_dict(str(weights))
    except (RuntimeError, KeyError, ValueError) as error:
        raise _misfit(spec, weights, str(error)) from error
    loaded = module.state_dict()
    doubtful = [name for name in loaded if name not in stored and loaded[name].is_floating_point()]
    if doubtful:
        # timm loads without a word what does not fit; a tensor as it was initialized was not in the file.
        initial = _create_timm(spec, pretrained=False).state_dict()
        missing = [name for name in doubtful if torch.equal(loaded[name], initial[name])]
        if missing:
            raise _misfit(spec, weights, f"{len(missing)} tensors are not in it, for instance {missing[0]}")
    return _timm_network(module, spec)


def _create_timm(spec: EncoderSpec, **options: Any) -> torch.nn.Module:  # noqa: ANN401 - passed on to timm
    """A network without classifier, initialized the same way every time."""
    if "vit_" in spec.model:
        options["img_size"] = spec.input_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: torch.nn.Module = timm.create_model(spec.model, num_classes=0, **options)
    return module


def _build_timm_by_order(spec: EncoderSpec, weights: Path) -> Network:
    """A timm network with a checkpoint of the same tensors under other names, in the same order."""
    stored = torch.load(weights, map_location="cpu", weights_only=True)
    module = timm.create_model(spec.model, pretrained=False)
    names = list(module.state_dict())
    if len(names) != len(stored):
        raise _misfit(spec, weights, f"it holds {len(stored)} tensors where {len(names)} were expected")
    try:
        module.load_state_dict(dict(zip(names, stored.values(), strict=True)))
    except RuntimeError as error:
        raise _misfit(spec, weights, str(error)) from error
    return _timm_network(module, spec)


def _timm_network(module: Any, spec: EncoderSpec) -> Network:  # noqa: ANN401 - timm has no common type
    """The network's own pooling, or one over its tokens."""
    prefix = getattr(module, "num_prefix_tokens", None)
    grid = module.patch_embed.grid_size if prefix is not None else None
    if spec.tokens != "default" and prefix is None:
        message = f"encoder '{spec.name}' is no transformer, so extract.tokens={spec.tokens} has no meaning"
        raise StopRun("config_value", message, remedy="use extract.tokens=default")

    def forward(batch: torch.Tensor, _masks: torch.Tensor | None) -> torch.Tensor:
        features = module.forward_features(batch)
        if spec.tokens == "default":
            return module.forward_head(features, pre_logits=True)
        return features[:, 0] if spec.tokens == "cls" else features[:, prefix:].mean(dim=1)

    return Network(module, forward, grid, is_convolutional=prefix is None)


def _build_open_clip(spec: EncoderSpec, weights: Path) -> Network:
    """The image tower of a CLIP model, with its projection."""
    if spec.tokens != "default":
        message = f"encoder '{spec.name}' gives its projected image feature only"
        raise StopRun("config_value", message, remedy="use extract.tokens=default")
    try:
        module = open_clip.create_model(spec.model, pretrained=str(weights))
    except RuntimeError as error:
        raise _misfit(spec, weights, str(error)) from error
    return Network(module.visual, lambda batch, _masks: module.visual(batch), None, is_convolutional=False)


BUILDERS: dict[str, Builder] = {
    "timm": _build_timm,
    "timm-by-order": _build_timm_by_order,
    "open_clip": _build_open_clip,
}


def _misfit(spec: EncoderSpec, weights: Path, reason: str) -> StopRun:
    """The checkpoint is of another architecture."""
    message = f"{weights} does not fit {spec.model}: {reason.splitlines()[0]}"
    return StopRun("weights_hash", message, remedy="name the architecture that the checkpoint was saved from")


def describe_timm(name: str, model: str, weights: str) -> EncoderSpec:
    """An entry for any timm model; with empty `weights`, those on the hub.

    Raises:
        StopRun: ``unknown_name``, or ``weights_missing`` for a model without a hub repository.
    """
    if model.partition(".")[0] not in timm.list_models():
        raise unknown_name("timm model", model, timm.list_models())
    cfg = timm.get_pretrained_cfg(model) or timm.models.PretrainedCfg()
    if not weights:
        if not cfg.hf_hub_id:
            raise StopRun("weights_missing", f"timm has no pretrained weights for '{model}'")
        weights = f"hub:{cfg.hf_hub_id}/model.safetensors"
    page = "see the model's page"
    side, mean, std = cfg.input_size[-1], tuple(cfg.mean), tuple(cfg.std)
    return EncoderSpec(name, "timm", model, weights, side, mean, std, cfg.license or page, page)


def describe_open_clip(name: str, rest: str) -> EncoderSpec:
    """An entry for ``MODEL/TAG`` of open_clip.

    Raises:
        StopRun: ``unknown_name``.
    """
    model, _, tag = rest.rpartition("/")
    if model not in open_clip.list_models():
        raise unknown_name("open_clip model", model or rest, open_clip.list_models())
    side = open_clip.get_model_config(model)["vision_cfg"].get("image_size", 224)
    cfg = open_clip.get_pretrained_cfg(model, tag)
    mean, std = cfg.get("mean", open_clip.OPENAI_DATASET_MEAN), cfg.get("std", open_clip.OPENAI_DATASET_STD)
    page = "see the model's page"
    weights = f"open_clip:{tag}"
    return EncoderSpec(name, "open_clip", model, weights, side, tuple(mean), tuple(std), page, page)


def download_open_clip(model: str, tag: str) -> Path:
    """Fetch the weights of a tag through open_clip's own table."""
    cfg = open_clip.get_pretrained_cfg(model, tag)
    if not cfg:
        raise unknown_name(f"weights of {model}", tag, open_clip.list_pretrained_tags_by_model(model))
    return Path(open_clip.download_pretrained(cfg))
