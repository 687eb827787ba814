"""Entries for encoders that the table does not hold, from what their library or their repository says of them."""

import json
from typing import Any

from extract.encoder_entries import IMAGENET
from extract.encoder_spec import EncoderSpec
from extract.hub import SITE, cached_file, read_json
from extract.torchvision_cure import import_torchvision
from triher.errors import StopRun, unknown_name

import_torchvision()  # timm imports it, and would fail beside a CPU build of torch

import timm  # noqa: E402

PAGE = "see the model's page"
UNSTATED = "a license that stands on its page"
_OPEN = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0")
"""Ordinary open licenses by timm's names; what is under any other is downloaded only once it was accepted."""
_NOT_COMMERCIAL = {"nc", "noncommercial", "amlr"}  # the last is Apple's, for research


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
    license_ = cfg.license or ""
    return EncoderSpec(
        name=name,
        builder="timm",
        model=model,
        weights=weights,
        input_size=cfg.input_size[-1],
        mean=tuple(cfg.mean),
        std=tuple(cfg.std),
        license=license_ or UNSTATED,
        citation=PAGE,
        gated=license_ not in _OPEN,
        non_commercial=_forbids_commerce(license_),
        page=f"{SITE}/{cfg.hf_hub_id}" if cfg.hf_hub_id else "",
    )


def describe_repository(name: str, rest: str) -> EncoderSpec:
    """An entry for ``OWNER/NAME`` or ``OWNER/NAME@REVISION`` of the hub, whose configuration is read.

    Raises:
        StopRun: ``weights_missing`` where it cannot be read or is of another kind, ``unknown_name`` for a network
            that is not built here.
    """
    repository, _, revision = rest.partition("@")
    revision = revision or "main"
    facts = {"revision": revision, "page": f"{SITE}/{repository}"}
    clip = _clip_config(repository, revision)
    if clip is not None:
        from extract.describe_clip import describe_clip_repository

        return describe_clip_repository(name, repository, clip, facts)
    config = read_json(repository, "config.json", revision)
    if config is None:
        raise StopRun("weights_missing", f"{repository} has no config.json, so it does not say what network it holds")
    if "architecture" in config:
        return _timm_repository(name, repository, config, facts)
    return _transformers_repository(name, repository, config, facts)


def _clip_config(repository: str, revision: str) -> dict[str, Any] | None:
    """The configuration for open_clip, if any; where the hub cannot be asked, a plain one in the cache is enough."""
    try:
        return read_json(repository, "open_clip_config.json", revision)
    except StopRun:
        if cached_file(repository, "config.json", revision) is None:
            raise
        return None


def _timm_repository(name: str, repository: str, config: dict[str, Any], facts: dict[str, Any]) -> EncoderSpec:
    """An entry for a repository in timm's layout."""
    model, cfg = config["architecture"], config.get("pretrained_cfg", {})
    if model not in timm.list_models():
        raise unknown_name("timm model", model, timm.list_models())
    license_ = cfg.get("license") or ""
    return EncoderSpec(
        name=name,
        builder="timm",
        model=model,
        weights=f"hub:{repository}/model.safetensors",
        input_size=cfg.get("input_size", (3, 224, 224))[-1],
        mean=tuple(cfg.get("mean", IMAGENET[0])),
        std=tuple(cfg.get("std", IMAGENET[1])),
        license=license_ or UNSTATED,
        citation=PAGE,
        gated=license_ not in _OPEN,
        non_commercial=_forbids_commerce(license_),
        features=config.get("num_features", 0),
        **facts,
    )


def _transformers_repository(
    name: str, repository: str, config: dict[str, Any], facts: dict[str, Any]
) -> EncoderSpec:
    """An entry for a repository in the layout of transformers."""
    from extract.build_transformers import vision_settings

    settings = vision_settings(config)
    pictures = read_json(repository, "preprocessor_config.json", facts["revision"]) or {}
    return EncoderSpec(
        name=name,
        builder="transformers",
        model=repository,
        weights=f"hub:{repository}/model.safetensors",
        input_size=_side(pictures, settings),
        mean=tuple(pictures.get("image_mean", IMAGENET[0])),
        std=tuple(pictures.get("image_std", IMAGENET[1])),
        license=UNSTATED,
        citation=PAGE,
        gated=True,
        settings=json.dumps(settings, sort_keys=True),
        **facts,
    )


def _side(pictures: dict[str, Any], settings: dict[str, Any]) -> int:
    """Side of the square that the network was given: after the crop if there is one."""
    size = pictures.get("crop_size") if pictures.get("do_center_crop") else None
    size = size or pictures.get("size") or settings.get("image_size", 224)
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge") or settings.get("image_size", 224)
    return int(size)


def _forbids_commerce(license_: str) -> bool:
    """Whether the short name of a license, such as ``cc-by-nc-4.0``, says so."""
    return not _NOT_COMMERCIAL.isdisjoint(license_.lower().split("-"))
