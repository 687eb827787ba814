"""Entries for CLIP models that the table does not hold, from what open_clip or their repository says of them."""

import json
from typing import Any

from extract.describe import PAGE, UNSTATED
from extract.encoder_spec import EncoderSpec
from extract.hub import SITE
from extract.torchvision_cure import import_torchvision
from triher.errors import StopRun, unknown_name

import_torchvision()  # open_clip imports it, and would fail beside a CPU build of torch

import open_clip  # noqa: E402


def describe_open_clip(name: str, rest: str) -> EncoderSpec:
    """An entry for ``MODEL/TAG`` of open_clip.

    Raises:
        StopRun: ``unknown_name``.
    """
    model, _, tag = rest.rpartition("/")
    if model not in open_clip.list_models():
        raise unknown_name("open_clip model", model or rest, open_clip.list_models())
    config = open_clip.get_model_config(model)
    cfg = open_clip.get_pretrained_cfg(model, tag)
    place = cfg.get("hf_hub", "").rpartition("/")[0]
    page = f"{SITE}/{place}" if place else "https://github.com/mlfoundations/open_clip"
    return _clip_entry(name, model, f"open_clip:{tag}", config, cfg, {"page": page})


def describe_clip_repository(name: str, repository: str, found: dict[str, Any], facts: dict[str, Any]) -> EncoderSpec:
    """An entry for a repository with an ``open_clip_config.json``; its image tower's part goes along."""
    config = found["model_cfg"]
    tower = {key: config[key] for key in ("embed_dim", "vision_cfg", "quick_gelu") if key in config}
    facts = facts | {"settings": json.dumps(tower, sort_keys=True)}
    file = f"hub:{repository}/open_clip_model.safetensors"
    return _clip_entry(name, repository, file, config, found.get("preprocess_cfg", {}), facts)


def tag_file(model: str, tag: str) -> tuple[str, str]:
    """Repository and file on the hub of the weights that open_clip knows under a tag.

    Raises:
        StopRun: ``unknown_name``, or ``weights_missing`` for a tag that is not on the hub.
    """
    cfg = open_clip.get_pretrained_cfg(model, tag)
    if not cfg:
        raise unknown_name(f"weights of {model}", tag, open_clip.list_pretrained_tags_by_model(model))
    repository, _, file = cfg.get("hf_hub", "").rpartition("/")
    if not repository:
        message = f"the weights '{tag}' of {model} are not on the hub, but at {cfg.get('url', 'an unknown place')}"
        raise StopRun("weights_missing", message, remedy="download them there, and place them in extract.weights_dir")
    return repository, file or "open_clip_model.safetensors"


def _clip_entry(
    name: str,
    model: str,
    weights: str,
    config: dict[str, Any],
    pictures: dict[str, Any],
    facts: dict[str, Any],
) -> EncoderSpec:
    """An entry for a CLIP model."""
    return EncoderSpec(
        name=name,
        builder="open_clip",
        model=model,
        weights=weights,
        input_size=config["vision_cfg"].get("image_size", 224),
        mean=tuple(pictures.get("mean", open_clip.OPENAI_DATASET_MEAN)),
        std=tuple(pictures.get("std", open_clip.OPENAI_DATASET_STD)),
        license=UNSTATED,
        citation=PAGE,
        gated=True,
        features=config["embed_dim"],
        **facts,
    )
