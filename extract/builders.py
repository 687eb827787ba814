"""Build the network behind an entry of the encoder table, with its weights in it or to be trained."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from extract.encoder_spec import TRAINED, EncoderSpec
from extract.tokens import LastLayer, Layout, check_pooling, pool
from triher.errors import unknown_name

Forward = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
"""From scaled pictures [picture, channel, *side] and, or None, the lesions' masks [picture, *side]."""


@dataclass(frozen=True)
class Network:
    """A network with its weights, and how it turns a batch into one vector a picture."""

    module: torch.nn.Module
    forward: Forward
    token_grid: tuple[int, ...] | None
    """Patches along each axis of the picture; None where it has none."""
    is_convolutional: bool
    layout: Layout | None = None
    """What the last layer holds; None where that is not known."""


Read = Callable[[Any, torch.Tensor], torch.Tensor]
"""From a module, of whatever library, and a batch of scaled pictures."""


@dataclass(frozen=True)
class Reading:
    """What is read from a network."""

    default: Read
    """Its own vector."""
    last: Read
    """Its last layer."""
    layout: Layout | None
    """What the last layer holds; None where it cannot be had."""


@dataclass(frozen=True)
class Blueprint:
    """How networks of one kind are made, filled with weights, and read; called, it builds a frozen one."""

    make: Callable[[EncoderSpec], torch.nn.Module]
    """With weights as the library initializes them, from torch's random numbers."""
    load: Callable[[EncoderSpec, Path], torch.nn.Module]
    """With the weights of a file, each in its place."""
    read: Callable[[EncoderSpec, Any], Reading]

    def __call__(self, spec: EncoderSpec, weights: Path) -> Network:
        """The network of an entry, pooled as the entry says."""
        module = self.load(spec, weights)
        found = self.read(spec, module)
        return assemble(spec, module, partial(found.default, module), partial(found.last, module), found.layout)


Builder = Callable[[EncoderSpec, Path], Network]
BUILDERS = {
    "timm": "extract.build_timm:build_timm",
    "timm-by-order": "extract.build_timm:build_timm_by_order",
    "torchvision-children": "extract.build_timm:build_from_children",
    "open_clip": "extract.build_open_clip:build_open_clip",
    "transformers": "extract.build_transformers:build_transformers",
    "vit3d": "extract.vit3d:build_vit3d",
    TRAINED: "extract.trained:build_trained",
}
"""Their libraries take seconds to import, so that each is imported when it is asked for, like a plug-in's."""


def build(spec: EncoderSpec, weights: Path) -> Network:
    """Build the network of an entry, or of a plug-in's ``module:function``, and load its weights.

    Raises:
        StopRun: ``unknown_name`` for a builder that is not there, ``weights_hash`` for a checkpoint that does not
            fit in every tensor, ``config_value`` for a pooling that the network cannot give, ``extra_missing``
            for a library that is not installed.
    """
    return find_builder(spec)(spec, weights)


def find_builder(spec: EncoderSpec) -> Builder:
    """The builder of an entry: a `Blueprint`, or a function that gives the finished network only.

    Raises:
        StopRun: ``unknown_name`` for a builder that is not there.
    """
    module, colon, function = BUILDERS.get(spec.builder, spec.builder).partition(":")
    if not colon:
        raise unknown_name("encoder builder", spec.builder, BUILDERS)
    builder: Builder = getattr(import_module(module), function)
    return builder


def assemble(
    spec: EncoderSpec, module: torch.nn.Module, default: LastLayer, last: LastLayer, layout: Layout | None
) -> Network:
    """A network that pools as the entry says.

    Args:
        spec: the entry.
        module: the network.
        default: from a batch to the network's own vectors.
        last: from a batch to the last layer.
        layout: what the last layer holds; None where it cannot be had.

    Raises:
        StopRun: ``config_value`` for a pooling that the network cannot give.
    """
    check_pooling(spec, layout)
    is_convolutional = layout is not None and layout.grid is None and not layout.channels_last
    grid = layout.grid if layout else None
    if spec.tokens == "default" or layout is None:
        return Network(module, lambda batch, _masks: default(batch), grid, is_convolutional, layout)

    def forward(batch: torch.Tensor, masks: torch.Tensor | None) -> torch.Tensor:
        return pool(last(batch), spec.tokens, layout, masks)

    return Network(module, forward, grid, is_convolutional, layout)
