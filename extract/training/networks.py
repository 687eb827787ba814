"""The network that is trained: a backbone of the encoder table with classifiers on it.

With ``network: plain`` a linear classifier sees the encoder's own vector; with ``network: dual-attention`` there are
the heads of `extract.training.dual_attention` on its last feature map. Dropout comes before each classifier.
"""

from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float

from extract.checkpoints import Tensors, fill
from extract.tokens import Layout
from extract.training.backbone import Backbone, filled_backbone, hollow_backbone, random_backbone
from extract.training.design import Design
from extract.training.dual_attention import Classifiers, SideBySide, branches_of
from extract.training.outputs import sizes
from triher.errors import StopRun

Pictures = Float[torch.Tensor, "picture 3 row col"]
_BACKBONE = "backbone."


class Classifier(torch.nn.Module):
    """Pictures scaled to the encoder's channel statistics in, log-odds out (see `extract.training.outputs`)."""

    def __init__(self, design: Design, backbone: Backbone) -> None:
        """Put classifiers on a backbone; their weights come from torch's random numbers."""
        super().__init__()
        raise NotImplementedError

    design: Design
    layout: Layout | None
    """What `last` gives."""

    def forward(self, batch: Pictures) -> Float[torch.Tensor, "picture output"]:
        """Log-odds of the scheme, and behind them those of each further label."""
        raise NotImplementedError

    def last(self, batch: Pictures) -> torch.Tensor:
        """The last layer: the backbone's, or the attended map whose mean over the positions is classified."""
        raise NotImplementedError


def untrained(design: Design, weights: Path | None, seed: int) -> Classifier:
    """A network to begin with, on the processor; the same seed gives the same network.

    Args:
        design: what it is.
        weights: the encoder's file; None for random weights.
        seed: of all random weights. Torch's own random numbers stay where they are.

    Raises:
        StopRun: ``config_value`` for an encoder that cannot be trained in this way, else as `extract.builders.build`.
    """
    raise NotImplementedError


def tensors_of(classifier: Classifier) -> Tensors:
    """Copies of all weights and running statistics, on the host."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in classifier.state_dict().items()
    }


def from_tensors(design: Design, tensors: Tensors) -> Classifier:
    """The network that `tensors_of` was given, in evaluation mode.

    Raises:
        StopRun: ``weights_hash`` when a tensor is missing, unknown, or of another shape.
    """
    raise NotImplementedError
