"""Weights files: their tensors, and a network filled with every one of them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError  # nosec B403  # the name of an error; nothing is unpickled

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from extract.encoder_spec import EncoderSpec
from triher.errors import StopRun

Tensors = dict[str, torch.Tensor]
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")  # as timm, MoCo and DINO save
_COUNTER = "num_batches_tracked"  # of batch normalization: no part in inference, and absent from converted files
_LISTED = 4  # names in one message


def read_tensors(weights: Path) -> Tensors:
    """The tensors of a file, without the wrapping of training scripts; code in the file is never run.

    Raises:
        StopRun: ``weights_hash`` for a file that holds no tensors by name.
    """
    try:
        if weights.suffix == ".safetensors":
            return load_file(weights)
        found = torch.load(weights, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError, UnpicklingError) as error:
        raise _unreadable(weights, str(error).splitlines()[0]) from error
    for key in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise _unreadable(weights, "it holds something else than tensors by name")
    return without_prefix(dict(found), "module.")


def without_prefix(tensors: Tensors, prefix: str) -> Tensors:
    """Names without a prefix that all of them have, such as that of a parallel training."""
    if not tensors or not all(name.startswith(prefix) for name in tensors):
        return tensors
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def build_hollow(make: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """Build a network without memory for its weights where that works: a ViT-B takes 0.2 s instead of 2.

    A network with computed buffers that no file holds (position tables, for instance) is built in full.
    """
    with torch.device("meta"):
        module = make()
    held = module.state_dict().keys()
    return module if all(name in held for name, _ in module.named_buffers()) else make()


def fill(
    module: torch.nn.Module, tensors: Tensors, spec: EncoderSpec, weights: Path | str, unused: Sequence[str] = ()
) -> None:
    """Put tensors into a network, each in its place and none left over.

    Args:
        module: the network.
        tensors: by the network's names.
        spec: the encoder, for messages.
        weights: the file, or where else they are from, for messages.
        unused: beginnings of names that belong to other parts than the network, such as a text tower.

    Raises:
        StopRun: ``weights_hash`` that lists what is missing, unknown, or of another shape.
    """
    expected = module.state_dict()
    given = {
        name: tensor for name, tensor in tensors.items() if name in expected or not name.startswith(tuple(unused))
    }
    given |= {name: torch.tensor(0) for name in expected if name.endswith(_COUNTER) and name not in given}
    shapes = [
        f"{name} {tuple(given[name].shape)} where {tuple(tensor.shape)} was expected"
        for name, tensor in expected.items()
        if name in given and given[name].shape != tensor.shape
    ]
    check_complete(spec, weights, expected.keys() - given.keys(), given.keys() - expected.keys(), shapes)
    module.load_state_dict({name: given[name].to(tensor.dtype) for name, tensor in expected.items()}, assign=True)


def check_complete(
    spec: EncoderSpec,
    weights: Path | str,
    missing: Collection[str],
    unknown: Collection[str],
    shapes: Collection[str] = (),
) -> None:
    """Refuse a file that lacks tensors, or holds some that nobody knows."""
    found = (("are missing", missing), ("are unknown", unknown), ("have another shape", shapes))
    reasons = [f"{len(names)} tensors {what} ({_listed(names)})" for what, names in found if names]
    if reasons:
        raise misfit(spec, weights, "; ".join(reasons))


def misfit(spec: EncoderSpec, weights: Path | str, reason: str) -> StopRun:
    """The checkpoint is of another architecture."""
    message = f"{weights} does not fit {spec.model}: {reason}"
    return StopRun("weights_hash", message, remedy="name the architecture that the checkpoint was saved from")


def _listed(names: Collection[str]) -> str:
    """The first names."""
    ordered = sorted(names)
    more = ", ..." if len(ordered) > _LISTED else ""
    return ", ".join(ordered[:_LISTED]) + more


def _unreadable(weights: Path, reason: str) -> StopRun:
    """The file is no checkpoint."""
    return StopRun("weights_hash", f"{weights} is no weights file that can be read: {reason}")
