"""How the tokens, or the feature map, of a network become one vector a picture."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool3d

from extract.encoder_spec import EncoderSpec
from triher.errors import StopRun, unknown_name

POOLINGS = ("default", "cls", "mean", "mask", "cls+mean", "cls+mask", "cls+mean+mask")
"""Values of ``extract.tokens``; joined parts are concatenated in the order of their names."""

Vectors = Float[torch.Tensor, "picture feature"]
LastLayer = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Layout:
    """Where a network's last layer holds what."""

    n_prefix: int = 0
    """Tokens ahead of the patches: class token, registers, distillation token. They are no patches."""
    has_cls: bool = False
    """Whether the first token is a class token."""
    grid: tuple[int, ...] | None = None
    """Patches along each axis of the picture; None for a feature map, whose shape says it."""
    channels_last: bool = False
    """Of a feature map: [picture, row, col, feature] instead of [picture, feature, row, col]."""

    @property
    def n_tokens(self) -> int:
        """Prefix and patches together; 0 for a feature map."""
        return 0 if self.grid is None else self.n_prefix + math.prod(self.grid)


def check_pooling(spec: EncoderSpec, layout: Layout | None) -> None:
    """Refuse a pooling that the network cannot give.

    Raises:
        StopRun: ``unknown_name`` or ``config_value``.
    """
    if spec.tokens not in POOLINGS:
        raise unknown_name("pooling of tokens", spec.tokens, POOLINGS)
    if spec.tokens == "default":
        return
    if layout is None:
        message = f"encoder '{spec.name}' gives its own vector only, so extract.tokens={spec.tokens} has no meaning"
        raise StopRun("config_value", message, remedy="use extract.tokens=default")
    if "cls" in spec.tokens.split("+") and not layout.has_cls:
        message = f"encoder '{spec.name}' has no class token, so extract.tokens={spec.tokens} has no meaning"
        raise StopRun("config_value", message, remedy="use extract.tokens=default, mean or mask")


def pool(
    last: torch.Tensor, pooling: str, layout: Layout, masks: Float[torch.Tensor, "picture *side"] | None
) -> Vectors:
    """Pool the last layer.

    Args:
        last: tokens [picture, token, feature], or a feature map.
        pooling: parts joined by ``+``: ``cls`` the class token, ``mean`` the mean of the patches, ``mask`` their
            mean weighted by the lesion (`patch_weights`).
        layout: what `last` holds.
        masks: the lesion, 0..1, at the pictures' resolution.

    Raises:
        ValueError: for ``mask`` without masks.
    """
    tokens, grid = _as_tokens(last, layout)
    patches = tokens[:, layout.n_prefix :]
    parts = []
    for part in pooling.split("+"):
        if part == "cls":
            parts.append(tokens[:, 0])
        elif part == "mean":
            parts.append(patches.mean(dim=1))
        elif masks is None:
            raise ValueError(f"extract.tokens={pooling} needs the lesion's mask of every picture")
        else:
            weights = patch_weights(masks.to(patches), grid)
            parts.append((weights[:, None] @ patches)[:, 0])
    return torch.cat(parts, dim=1)


def patch_weights(
    masks: Float[torch.Tensor, "picture *side"], grid: tuple[int, ...]
) -> Float[torch.Tensor, "picture patch"]:
    """Weights of the patches that sum to 1 in each picture.

    In two dimensions a patch weighs as much as the share of it that is lesion. In three it weighs 1 if any voxel of
    it is lesion, else 0 (BL4AS, ``b4classifier.py``). A picture without lesion gets equal weights, so that it has
    the plain mean.
    """
    pooled = adaptive_avg_pool2d(masks, grid) if len(grid) == 2 else adaptive_max_pool3d(masks[:, None], grid)
    shares = pooled.flatten(1)
    total = shares.sum(dim=1, keepdim=True)
    return torch.where(total > 0, shares / total.clamp_min(torch.finfo(shares.dtype).tiny), 1 / shares.shape[1])


def _as_tokens(last: torch.Tensor, layout: Layout) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Tokens [picture, token, feature] and the grid of the patches among them."""
    if layout.grid is not None:
        return last, layout.grid
    if last.ndim != 4:
        message = f"the network's last layer is no feature map: it has the shape {tuple(last.shape)}"
        raise StopRun("config_value", message, remedy="use extract.tokens=default")
    chart = last.permute(0, 3, 1, 2) if layout.channels_last else last
    return chart.flatten(2).transpose(1, 2), (chart.shape[2], chart.shape[3])
