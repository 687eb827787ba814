"""One encoder's part of an extraction: what it is, and how it is brought to life on a device."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extract.encoders import EncoderSpec
from extract.weights import locate_weights
from triher.config import ExtractConfig

if TYPE_CHECKING:
    import torch

    from extract.embedding import Embedder


@dataclass(frozen=True)
class Choice:
    """An encoder, where its weights lie, and how exactly it computes."""

    spec: EncoderSpec
    weights: Path
    sha256: str
    precision: str
    runtime: str
    compiles: bool

    def facts(self) -> dict[str, Any]:
        """What the embeddings depend on, for the header of the store."""
        facts = self.spec.identity(self.sha256)
        return facts if self.precision == "float32" else facts | {"precision": self.precision}

    def load(self, device: "torch.device") -> "Embedder":
        """Build the network on a device; takes seconds."""
        from extract.models import Encoder, Running

        return Encoder(self.spec, self.weights, device, Running(self.precision, self.runtime, self.compiles))


def choose(spec: EncoderSpec, options: ExtractConfig) -> Choice:
    """Find the weights of an encoder.

    Raises:
        StopRun: ``weights_missing``, ``weights_hash`` or ``license_unaccepted``.
    """
    from extract.devices import choose_precision

    weights, digest = locate_weights(spec, options.weights_dir, options.accept_license)
    precision = choose_precision(options.precision, options.device)
    return Choice(spec, weights, digest, precision, options.runtime, options.compile)
