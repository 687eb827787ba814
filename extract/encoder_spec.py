"""What an entry of the encoder table says."""

from dataclasses import asdict, dataclass, fields
from typing import Any

_NOT_IN_IDENTITY = ("package", "features", "gated", "non_commercial", "page", "caution")
_IN_IDENTITY_IF_SET = ("dimensions", "channels", "interpolation", "settings")
TRAINED = "trained"
"""The builder of encoders that `triher finetune` wrote: several networks in one file, see `triher.trained`."""


@dataclass(frozen=True)
class EncoderSpec:
    """A pretrained network with its weights frozen, and how a picture is put before it."""

    name: str
    builder: str
    """A key of `extract.builders.BUILDERS`, or ``module:function`` of a plug-in."""
    model: str
    """The architecture's name for the builder."""
    weights: str
    """``package:MODULE/FILE``, ``hub:OWNER/NAME/FILE``, ``open_clip:TAG``, ``file:PATH``, or ``hand:WHERE`` for a
    file that can only be placed by hand; see `extract.weights`."""
    input_size: int
    """Side of the square picture in pixels, or of the cubic crop in voxels."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Channel statistics for pictures scaled to 0..1; crops are z-scored over their own voxels instead."""
    license: str
    citation: str
    revision: str = "main"
    """Commit or tag of the hub repository."""
    sha256: str = ""
    """Known hash of the weights file; checked when given."""
    package: str = ""
    """What to pip-install for weights that come as a package."""
    tokens: str = "default"
    """``default``: the network's own pooling; else see `extract.tokens.POOLINGS`."""
    dimensions: int = 2
    """3 for an encoder of crops [1, slice, row, col]."""
    channels: int = 3
    interpolation: str = "bicubic"
    """How pictures are resized."""
    settings: str = ""
    """The architecture as JSON, where its name is not enough; of a trained encoder, which network of its file."""
    features: int = 0
    """Length of the vector with ``default``; 0 where it is not known before the network is built."""
    gated: bool = False
    """Whether its license is to be accepted first: the hub asks for it, or it is no ordinary open one."""
    non_commercial: bool = False
    page: str = ""
    """Where it is described and its license stands."""
    caution: str = ""
    """What to keep in mind when it is used on breast MRI."""

    @property
    def input_text(self) -> str:
        """The shape of what goes in, for people."""
        if not self.input_size:
            return "the lesion"
        return " x ".join(map(str, [self.channels] + [self.input_size] * self.dimensions))

    @property
    def needs_consent(self) -> bool:
        """Whether it is downloaded only by who accepted its terms by name."""
        return self.gated or self.non_commercial

    def identity(self, weights_sha256: str) -> dict[str, Any]:
        """What embeddings depend on, as JSON values; a key of `_IN_IDENTITY_IF_SET` only where it is no default.

        Where the file of a trained encoder lies is no part of it, as a run folder may be moved.
        """
        defaults = {field.name: field.default for field in fields(self)}
        facts = asdict(self) | {"mean": list(self.mean), "std": list(self.std), "sha256": weights_sha256}
        left_out = {key for key in _IN_IDENTITY_IF_SET if facts[key] == defaults[key]}.union(_NOT_IN_IDENTITY)
        left_out |= {"weights"} if self.builder == TRAINED else set()
        return {key: value for key, value in facts.items() if key not in left_out}
