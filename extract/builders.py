"""Build the network behind an entry of the encoder table, with its weights in it."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

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
    module, colon, function = BUILDERS.get(spec.builder, spec.builder).partition(":")
    if not colon:
        raise unknown_name("encoder builder", spec.builder, BUILDERS)
    builder: Builder = getattr(import_module(module), function)
    return builder(spec, weights)


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
