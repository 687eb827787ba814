"""The network that is trained: a backbone of the encoder table with classifiers on it.

With ``network: plain`` a linear classifier sees the encoder's own vector; with ``network: dual-attention`` there are
the heads of `extract.training.dual_attention` on its last feature map. Dropout comes before each classifier.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float

from extract.checkpoints import Tensors, fill
from extract.tokens import Layout
from extract.training.backbone import Backbone, filled_backbone, make_backbone
from extract.training.design import Design
from extract.training.dual_attention import Classifiers, SideBySide, branches_of
from extract.training.outputs import sizes

Pictures = Float[torch.Tensor, "picture 3 row col"]
_BACKBONE = "backbone."
_CHANNELS = 3


class Classifier(torch.nn.Module):
    """Pictures scaled to the encoder's channel statistics in, log-odds out (see `extract.training.outputs`)."""

    def __init__(self, design: Design, backbone: Backbone) -> None:
        """Put classifiers on a backbone; their weights come from torch's random numbers."""
        super().__init__()
        options = design.options
        self.design = design
        self.backbone = backbone.module
        self._seen, self._last = backbone.seen, backbone.last
        attends = options.network == "dual-attention"
        branches = branches_of(backbone.n_features, options, len(design.tasks)) if attends else []
        self.attention = SideBySide(branches) if attends else None
        self.layout: Layout | None = backbone.layout
        """What `last` gives."""
        self.classifiers = Classifiers(backbone.n_features, max(1, len(branches)), sizes(design), options)
        self._by_channel = attends and options.heads == "phases"
        mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (design.spec.mean, design.spec.std))
        self._mean, self._std = (torch.nn.Buffer(values, persistent=False) for values in (mean, std))

    def forward(self, batch: Pictures) -> Float[torch.Tensor, "picture output"]:
        """Log-odds of the scheme, and behind them those of each further label."""
        features = self._seen(self.backbone, batch) if self.attention is None else self.last(batch).mean(dim=(2, 3))
        outputs: torch.Tensor = self.classifiers(features)
        return outputs

    def last(self, batch: Pictures) -> torch.Tensor:
        """The last layer: the backbone's, or the attended map whose mean over the positions is classified."""
        if self.attention is None:
            return self._last(self.backbone, batch)
        attended: torch.Tensor = self.attention(self._charts(batch))
        return attended

    def _charts(self, batch: Pictures) -> list[torch.Tensor]:
        """The backbone's last map, or one of each channel."""
        if not self._by_channel:
            return [self._last(self.backbone, batch)]
        found = self._last(self.backbone, torch.cat(self._channels(batch)))
        # Not torch.split, which fixes the number of pictures when the network is translated for ONNX Runtime.
        return list(found.reshape(_CHANNELS, -1, *found.shape[1:]).unbind())

    def _channels(self, batch: Pictures) -> list[Pictures]:
        """Each channel as a gray picture of its own, scaled to the statistics of all three."""
        values = batch * self._std + self._mean
        return [(values[:, k : k + 1] - self._mean) / self._std for k in range(_CHANNELS)]


def untrained(design: Design, weights: Path | None, seed: int) -> Classifier:
    """A network to begin with, on the processor and in training mode; the same seed gives the same network.

    Args:
        design: what it is.
        weights: the encoder's file; None for random weights.
        seed: of all random weights. Torch's own random numbers stay where they are.

    Raises:
        StopRun: ``config_value`` for an encoder that cannot be trained in this way, else as `extract.builders.build`.
    """
    with _random_numbers(seed):
        return Classifier(design, make_backbone(design, weights)).train()


def tensors_of(classifier: Classifier) -> Tensors:
    """Copies of all weights and running statistics, on the host."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in classifier.state_dict().items()
    }


def from_tensors(design: Design, tensors: Tensors) -> Classifier:
    """The network that `tensors_of` was given, in evaluation mode; it has copies of the tensors.

    Raises:
        StopRun: ``weights_hash`` when a tensor is missing, unknown, or of another shape.
    """
    own = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    inner = {name.removeprefix(_BACKBONE): tensor for name, tensor in own.items() if name.startswith(_BACKBONE)}
    with _random_numbers(0):
        classifier = Classifier(design, filled_backbone(design, inner, _ORIGIN))
    fill(classifier, own, design.spec, _ORIGIN)
    return classifier.eval()


_ORIGIN = "the trained network"


@contextmanager
def _random_numbers(seed: int) -> Iterator[None]:
    """Torch's random numbers on the processor from a seed, and afterwards as if they had not been used."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
