"""Build the networks behind the encoder table, and run them on pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from extract.encoders import EncoderSpec
from extract.pictures import Drawing, Prepared
from extract.torchvision_cure import import_torchvision
from triher.errors import StopRun, unknown_name

import_torchvision()  # timm and open_clip import it, and would fail beside a CPU build of torch

import open_clip  # noqa: E402
import timm  # noqa: E402

Forward = Callable[[torch.Tensor], torch.Tensor]
_PROBE_PICTURES = 4


@dataclass(frozen=True)
class Running:
    """How a network is run; what it computes stays the same up to rounding."""

    precision: str = "float32"
    """``float32`` or ``bfloat16``; the latter only on GPUs, as processors without such units take 6 to 20 times as
    long for it."""

    def uses_bfloat16(self, device: torch.device) -> bool:
        """Whether this device computes in bfloat16."""
        return self.precision == "bfloat16" and device.type == "cuda"


class Encoder:
    """A frozen network on a device: 8-bit pictures in, embeddings out."""

    def __init__(self, spec: EncoderSpec, weights: Path, device: torch.device, how: Running | None = None) -> None:
        """Build the network and load its weights; takes seconds."""
        self.spec = spec
        self.device = device
        self.how = how or Running()
        self.remarks: list[str] = []
        module, forward = _builder(spec)(spec, weights)
        module.requires_grad_(requires_grad=False).eval()
        self._module = module.to(device)
        for parameter in self._module.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._forward = forward
        shape = (1, 3, 1, 1)
        self._mean = 255 * torch.tensor(spec.mean, device=device).reshape(shape)
        self._scale = 1 / (255 * torch.tensor(spec.std, device=device).reshape(shape))
        self._buffer = torch.empty(0, device=device)
        self._most: int | None = None
        """Pictures that fit into the device's memory at once, where that was found out."""

    @property
    def name(self) -> str:
        """The encoder's name in the table."""
        return self.spec.name

    def prepare(self, drawing: Drawing) -> Prepared:
        """The pictures of a patient at the size of the network's input."""
        return drawing.pictures(self.spec.input_size)

    @torch.inference_mode()
    def embed(
        self,
        pictures: UInt8[torch.Tensor, "picture 3 row col"],
        masks: UInt8[torch.Tensor, "picture row col"] | None = None,
    ) -> Float32[torch.Tensor, "picture feature"]:
        """Embed a batch; scaling to the network's channel statistics happens on the device.

        Where the device's memory does not suffice the batch is halved, and that is remembered and remarked.

        Returns:
            The rows on the device, where they may still be being computed.

        Raises:
            StopRun: ``device_memory`` when not even one picture fits.
        """
        done: list[torch.Tensor] = []
        start = 0
        while start < len(pictures):
            n = min(len(pictures) - start, self._most or len(pictures))
            try:
                done.append(self._run(pictures[start : start + n]))
            except torch.OutOfMemoryError as error:
                self._halve(n, error)
            else:
                start += n
        return torch.cat(done) if len(done) != 1 else done[0]

    def _run(self, pictures: UInt8[torch.Tensor, "picture 3 row col"]) -> Float32[torch.Tensor, "picture feature"]:
        """One forward pass."""
        if self._buffer.shape[:1] < pictures.shape[:1]:
            self._buffer = torch.empty(pictures.shape, device=self.device).contiguous(
                memory_format=torch.channels_last
            )
        batch = self._buffer[: len(pictures)]
        batch.copy_(pictures, non_blocking=True)
        batch.sub_(self._mean).mul_(self._scale)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.how.uses_bfloat16(self.device)):
            return self._forward(batch).float()

    def _halve(self, n: int, error: torch.OutOfMemoryError) -> None:
        """Remember that a batch of this size is too much."""
        if n == 1:
            message = f"{self.device} has not enough memory for one picture of encoder '{self.name}'"
            raise StopRun("device_memory", message, remedy="use a smaller encoder or extract.device=cpu") from error
        self._most = n // 2
        self._buffer = torch.empty(0, device=self.device)
        torch.cuda.empty_cache()
        self.remarks.append(f"{self.device}: batch of {n} pictures halved to {self._most}, out of memory")

    @torch.inference_mode()
    def memory_bytes(self, batch_size: int) -> int:
        """Bytes that weights and the largest layer's input and output take for a batch; the allocator adds to it."""
        largest = 0

        def look(_: torch.nn.Module, inputs: tuple[object, ...], output: object) -> None:
            nonlocal largest
            tensors = [t for t in (*inputs, output) if isinstance(t, torch.Tensor)]
            largest = max(largest, sum(t.nbytes for t in tensors))

        hooks = [module.register_forward_hook(look) for module in self._module.modules()]
        self.embed(torch.zeros((1, 3, self.spec.input_size, self.spec.input_size), dtype=torch.uint8))
        for hook in hooks:
            hook.remove()
        return sum(p.nbytes for p in self._module.parameters()) + largest * batch_size

    def probe(self) -> Float32[np.ndarray, "picture feature"]:
        """Embed the fixed synthetic pictures, whose drift shows a change of weights, library or transform."""
        return self.embed(torch.from_numpy(probe_pictures(self.spec.input_size))).cpu().numpy()


def probe_pictures(side: int) -> UInt8[np.ndarray, "picture 3 row col"]:
    """Fixed pictures from integer arithmetic alone: ramps, rings and stripes of different pitch."""
    rows, cols = np.indices((side, side), dtype=np.int64)
    rings = (rows - side // 2) ** 2 + (cols - side // 2) ** 2
    pictures = [
        np.stack([(rows * (k + 1) + cols * channel) % 256, (rings // (k + 2)) % 256, (cols * rows // (k + 3)) % 256])
        for k in range(_PROBE_PICTURES)
        for channel in (k + 1,)
    ]
    return np.stack(pictures).astype(np.uint8)


def choose_device(name: str) -> torch.device:
    """``auto`` takes a GPU where there is one.

    Raises:
        StopRun: ``device_missing`` or, for a name that torch does not know, ``config_value``.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise StopRun("config_value", f"extract.device: '{name}' is no device; auto, cpu, cuda or cuda:0") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise StopRun("device_missing", f"extract.device is '{name}', and torch sees no GPU")
    return device


def _builder(spec: EncoderSpec) -> Callable[[EncoderSpec, Path], tuple[torch.nn.Module, Forward]]:
    """A builder of the table, or a plug-in's ``module:function``."""
    if spec.builder in BUILDERS:
        return BUILDERS[spec.builder]
    module, colon, function = spec.builder.partition(":")
    if not colon:
        raise unknown_name("encoder builder", spec.builder, BUILDERS)
    found: Callable[[EncoderSpec, Path], tuple[torch.nn.Module, Forward]] = getattr(import_module(module), function)
    return found


def _build_timm(spec: EncoderSpec, weights: Path) -> tuple[torch.nn.Module, Forward]:
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
    return module, _timm_forward(module, spec)


def _create_timm(spec: EncoderSpec, **options: Any) -> torch.nn.Module:  # noqa: ANN401 - passed on to timm
    """A network without classifier, initialized the same way every time."""
    if "vit_" in spec.model:
        options["img_size"] = spec.input_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: torch.nn.Module = timm.create_model(spec.model, num_classes=0, **options)
    return module


def _build_timm_by_order(spec: EncoderSpec, weights: Path) -> tuple[torch.nn.Module, Forward]:
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
    return module, _timm_forward(module, spec)


def _timm_forward(module: Any, spec: EncoderSpec) -> Forward:  # noqa: ANN401 - timm has no common type
    """The network's own pooling, or one over its tokens."""
    if spec.tokens == "default":
        return lambda batch: module.forward_head(module.forward_features(batch), pre_logits=True)
    prefix = getattr(module, "num_prefix_tokens", None)
    if prefix is None:
        message = f"encoder '{spec.name}' is no transformer, so extract.tokens={spec.tokens} has no meaning"
        raise StopRun("config_value", message, remedy="use extract.tokens=default")
    if spec.tokens == "cls":
        return lambda batch: module.forward_features(batch)[:, 0]
    return lambda batch: module.forward_features(batch)[:, prefix:].mean(dim=1)


def _build_open_clip(spec: EncoderSpec, weights: Path) -> tuple[torch.nn.Module, Forward]:
    """The image tower of a CLIP model, with its projection."""
    if spec.tokens != "default":
        message = f"encoder '{spec.name}' gives its projected image feature only"
        raise StopRun("config_value", message, remedy="use extract.tokens=default")
    try:
        module = open_clip.create_model(spec.model, pretrained=str(weights))
    except RuntimeError as error:
        raise _misfit(spec, weights, str(error)) from error
    return module.visual, module.visual


BUILDERS: dict[str, Callable[[EncoderSpec, Path], tuple[torch.nn.Module, Forward]]] = {
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
