"""The encoder under the classifiers of a network to be trained, taken from the table by the blueprint of its kind."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from extract.builders import BUILDERS, Blueprint, Read, find_builder
from extract.checkpoints import Tensors, build_hollow, fill
from extract.encoder_spec import EncoderSpec
from extract.encoders import all_encoders
from extract.tokens import Layout
from extract.training.design import Design
from triher.errors import StopRun

_MAP = 4  # axes of a feature map
_REFUSALS = (AssertionError, RuntimeError, TypeError, ValueError)  # what libraries say to pictures of a wrong size


@dataclass(frozen=True)
class Backbone:
    """A module, and what the classifiers see of it."""

    module: torch.nn.Module
    last: Read
    layout: Layout | None
    seen: Read
    """What is classified: the encoder's own vector, or its last feature map."""
    n_features: int
    """Of what is classified."""


def make_backbone(design: Design, weights: Path | None) -> Backbone:
    """The encoder with the weights of a file, or with random ones from torch's random numbers.

    Raises:
        StopRun: ``config_value`` for an encoder that cannot be trained in this way, else as `extract.builders.build`.
    """
    blueprint = _blueprint(design.spec)
    with _size_told(design.spec):
        module = blueprint.make(design.spec) if weights is None else blueprint.load(design.spec, weights)
        return _measured(design, blueprint, module)


def filled_backbone(design: Design, tensors: Tensors, origin: str) -> Backbone:
    """The encoder with tensors by its own names.

    Args:
        design: says which.
        tensors: all of them.
        origin: where they are from, for messages.

    Raises:
        StopRun: ``weights_hash`` when they do not fit, else as `make_backbone`.
    """
    blueprint = _blueprint(design.spec)
    module = build_hollow(partial(blueprint.make, design.spec))
    fill(module, tensors, design.spec, origin)
    return _measured(design, blueprint, module)


def _blueprint(spec: EncoderSpec) -> Blueprint:
    """How the encoder is made; refuses those that are no network of pictures, or come finished."""
    names = ", ".join(name for name, one in all_encoders().items() if one.dimensions == 2 and one.builder in BUILDERS)
    remedy = f"choose another extract.encoder: {names}; timm:MODEL, open_clip:MODEL/TAG or hf:OWNER/NAME"
    if spec.dimensions != 2:
        message = f"finetune trains encoders of pictures, and encoder '{spec.name}' is one of volumes"
        raise StopRun("config_value", message, remedy=remedy)
    if spec.builder == "radiomics":
        raise StopRun("config_value", f"encoder '{spec.name}' is no network that could be trained", remedy=remedy)
    builder = find_builder(spec)
    if not isinstance(builder, Blueprint):
        message = f"the builder of encoder '{spec.name}' gives a finished network, which cannot be trained"
        raise StopRun(
            "config_value", message, remedy=f"{remedy}; a plug-in's builder be an extract.builders.Blueprint"
        )
    return builder


def _measured(design: Design, blueprint: Blueprint, module: torch.nn.Module) -> Backbone:
    """Send one picture through, to see what comes out and which weights it depends on."""
    found = blueprint.read(design.spec, module)
    attends = design.options.network == "dual-attention"
    seen = found.last if attends else found.default
    side = design.spec.input_size
    with torch.enable_grad():
        output = seen(module.eval(), torch.zeros(1, design.spec.channels, side, side))
    if attends:
        _check_map(design.spec, found.layout, output)
    _freeze_unused(module, output)
    return Backbone(module, found.last, found.layout, seen, output.shape[1])


@contextmanager
def _size_told(spec: EncoderSpec) -> Iterator[None]:
    """Say what a library says of pictures whose size its network does not take."""
    try:
        yield
    except _REFUSALS as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        message = f"encoder '{spec.name}' does not take pictures of {spec.input_size} x {spec.input_size}: {said}"
        remedy = "leave finetune.input_size out, or take another multiple of the side of the encoder's patches"
        raise StopRun("config_value", message, remedy=remedy) from error


def _check_map(spec: EncoderSpec, layout: Layout | None, output: torch.Tensor) -> None:
    """Refuse networks that do not end in a feature map, channels first."""
    if layout is None or layout.grid is not None or layout.channels_last or output.ndim != _MAP:
        message = f"finetune.network=dual-attention needs a convolutional encoder, which '{spec.name}' is not"
        raise StopRun(
            "config_value", message, remedy="use finetune.network=plain, or resnet50, timm:resnet34.a1_in1k"
        )


def _freeze_unused(module: torch.nn.Module, output: torch.Tensor) -> None:
    """Take weights out of the training on which nothing depends: a mask token, a norm of another pooling."""
    used: set[int] = set()
    stack, known = [output.grad_fn], {output.grad_fn}
    while stack:
        node = stack.pop()
        if node is None:
            continue
        if hasattr(node, "variable"):
            used.add(id(node.variable))
        later = {following for following, _ in node.next_functions} - known
        known |= later
        stack.extend(later)
    for parameter in module.parameters():
        parameter.requires_grad_(id(parameter) in used)
