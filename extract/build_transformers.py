"""Vision networks of the transformers library, from a hub's configuration and its weights file."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from extract.builders import Blueprint, Read, Reading
from extract.checkpoints import check_complete, misfit, read_tensors
from extract.encoder_spec import EncoderSpec
from extract.tokens import Layout
from extract.torchvision_cure import import_torchvision
from triher.errors import StopRun, unknown_name


def _pooled(module: Any, batch: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - any network of the library
    """The network's own vector."""
    vectors: torch.Tensor = module(batch).pooler_output
    return vectors


def _hidden(module: Any, batch: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """The last layer's tokens, normalized."""
    tokens: torch.Tensor = module(batch).last_hidden_state
    return tokens


def _stretched(module: Any, batch: torch.Tensor) -> Any:  # noqa: ANN401
    """What a network gives whose position table is interpolated for pictures of another size."""
    return module(batch, interpolate_pos_encoding=True)


def _vit_hidden(module: Any, batch: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """The last layer's tokens, normalized."""
    tokens: torch.Tensor = _stretched(module, batch).last_hidden_state
    return tokens


def _class_token(module: Any, batch: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """The class token, normalized."""
    return _vit_hidden(module, batch)[:, 0]


def _clip_pooled(module: Any, batch: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """CLIP's image feature, projected."""
    vectors: torch.Tensor = _stretched(module, batch).image_embeds
    return vectors


def _clip_hidden(module: Any, batch: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """CLIP's tokens, which come before the norm that its class token goes through."""
    tokens: torch.Tensor = module.vision_model.post_layernorm(_vit_hidden(module, batch))
    return tokens


def _siglip_pooled(module: Any, batch: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """SigLIP's own vector."""
    vectors: torch.Tensor = _stretched(module, batch).pooler_output
    return vectors


def _cvt_hidden(module: Any, batch: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """CvT's class token and the positions of its last feature map, normalized as its classifier does."""
    found = module.cvt(batch)
    patches = found.last_hidden_state.flatten(2).transpose(1, 2)
    tokens: torch.Tensor = module.layernorm(torch.cat([found.cls_token_value, patches], dim=1))
    return tokens


def _cvt_pooled(module: Any, batch: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """What CvT's classifier sees."""
    return _cvt_hidden(module, batch)[:, 0]


def _side_of_patch(settings: dict[str, Any]) -> int:
    """Pixels along a patch."""
    return int(settings["patch_size"])


def _cvt_side(settings: dict[str, Any]) -> int:
    """Pixels along a position of CvT's last feature map."""
    side = 1
    for stride in settings.get("patch_stride", (4, 2, 2)):
        side *= stride
    return side


@dataclass(frozen=True)
class Family:
    """How one kind of network is built and read."""

    config: str
    model: str
    default: Read
    last: Read
    has_cls: bool = True
    unused: tuple[str, ...] = ()
    """Beginnings of the names of tensors that belong to other parts."""
    side: Callable[[dict[str, Any]], int] = _side_of_patch
    without: dict[str, Any] = field(default_factory=dict)
    """Settings that leave a classifier out."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments that leave a pooling out that is not used."""


_CLIP_REST = ("text_model.", "text_projection.", "logit_scale", "logit_bias")
_HEADS = ("classifier.", "pooler.")
FAMILIES = {
    "dinov2": Family("Dinov2Config", "Dinov2Model", _pooled, _hidden, unused=_HEADS),
    "dinov2_with_registers": Family(
        "Dinov2WithRegistersConfig", "Dinov2WithRegistersModel", _pooled, _hidden, unused=_HEADS
    ),
    "dinov3_vit": Family("DINOv3ViTConfig", "DINOv3ViTModel", _pooled, _hidden),
    "vit": Family(
        "ViTConfig", "ViTModel", _class_token, _vit_hidden, unused=_HEADS, options={"add_pooling_layer": False}
    ),
    "clip_vision_model": Family(
        "CLIPVisionConfig", "CLIPVisionModelWithProjection", _clip_pooled, _clip_hidden, unused=_CLIP_REST
    ),
    "siglip_vision_model": Family(
        "SiglipVisionConfig", "SiglipVisionModel", _siglip_pooled, _vit_hidden, has_cls=False, unused=_CLIP_REST
    ),
    "cvt": Family(
        "CvtConfig",
        "CvtForImageClassification",
        _cvt_pooled,
        _cvt_hidden,
        unused=_HEADS,
        side=_cvt_side,
        without={"num_labels": 0},
    ),
}
"""By the ``model_type`` of a ``config.json``."""
_TOWERS = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}


def vision_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The image tower's part of a ``config.json``.

    Raises:
        StopRun: ``unknown_name`` for a kind of network that is not read here.
    """
    kind = config.get("model_type", "")
    if kind in _TOWERS:
        shared = {"projection_dim": config["projection_dim"]} if "projection_dim" in config else {}
        return config.get("vision_config", {}) | shared | {"model_type": _TOWERS[kind]}
    if kind not in FAMILIES:
        raise unknown_name("kind of transformers model", kind, [*FAMILIES, *_TOWERS])
    return config


def _family(spec: EncoderSpec) -> tuple[Family, dict[str, Any]]:
    """The kind of network that the entry's settings describe, and the settings without a classifier."""
    settings = json.loads(spec.settings)
    family = FAMILIES[settings["model_type"]]
    return family, settings | family.without


def _make(spec: EncoderSpec) -> torch.nn.Module:
    """The image tower."""
    family, settings = _family(spec)
    transformers = _library()
    config = getattr(transformers, family.config).from_dict(settings)
    module: torch.nn.Module = getattr(transformers, family.model)(config, **family.options)
    return module


def _load(spec: EncoderSpec, weights: Path) -> torch.nn.Module:
    """Heads and text towers in the file are left out; the library renames the tensors of older files."""
    family, settings = _family(spec)
    transformers = _library()
    config = getattr(transformers, family.config).from_dict(settings)
    stored = read_tensors(weights)
    try:
        module, report = getattr(transformers, family.model).from_pretrained(
            None, config=config, state_dict=stored, dtype=torch.float32, output_loading_info=True, **family.options
        )
    except (RuntimeError, ValueError) as error:
        raise misfit(spec, weights, str(error).splitlines()[0]) from error
    unknown = [name for name in report["unexpected_keys"] if not name.startswith(family.unused)]
    check_complete(spec, weights, report["missing_keys"], unknown, [str(key) for key in report["mismatched_keys"]])
    found: torch.nn.Module = module
    return found


def _read(spec: EncoderSpec, module: Any) -> Reading:  # noqa: ANN401 - any network of the library
    """The network's own vector, and its tokens."""
    family, _ = _family(spec)
    prefix = int(family.has_cls) + getattr(module.config, "num_register_tokens", 0)
    patches = spec.input_size // family.side(module.config.to_dict())
    return Reading(family.default, family.last, Layout(prefix, family.has_cls, (patches, patches)))


def _library() -> Any:  # noqa: ANN401 - a module
    """Import the library, and keep it from printing.

    Raises:
        StopRun: ``extra_missing``.
    """
    import_torchvision()
    try:
        import transformers
    except ImportError as error:
        message = "this encoder needs the transformers library, which is not installed"
        raise StopRun("extra_missing", message, remedy="pip install 'triher[extract,hf]'") from error
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return transformers


build_transformers = Blueprint(_make, _load, _read)
