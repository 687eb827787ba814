"""What a network can be asked for: class activation maps, attention rollout, or only occlusion."""

from typing import Literal, TypeAlias

import torch

from extract.models import Encoder
from extract.packing import Embedder
from extract.saliency.attention import recorded_attention
from extract.saliency.layers import last_map
from triher.errors import StopRun

Kind: TypeAlias = Literal["convolutional", "transformer", "other"]

METHODS: dict[Kind, tuple[str, ...]] = {
    "convolutional": ("hirescam", "gradcam", "occlusion"),
    "transformer": ("gradient-rollout", "rollout", "occlusion"),
    "other": ("occlusion",),
}
"""What each kind of network can give, the best first."""


def kind_of(encoder: Embedder) -> Kind:
    """What an encoder is, found out by one picture or cube that is sent through it.

    ``convolutional``: it ends in a feature map, whatever comes before, as Swin and ConvNeXt do. ``transformer``: the
    same tokens attend to each other in every layer. ``other``: neither, or not known.

    Raises:
        StopRun: ``config_value`` for features that no network computes.
    """
    if not isinstance(encoder, Encoder):
        message = f"encoder '{encoder.name}' is no network, so that there is nothing to draw over the slices"
        raise StopRun("config_value", message, remedy="its features have names: read what SHAP says of them")
    inputs, masks = encoder.probe_inputs()
    with torch.no_grad(), recorded_attention() as matrices:
        encoder.trace(inputs[:1], None if masks is None else masks[:1])
    if encoder.layout is not None and encoder.layout.grid is not None:
        n_tokens = encoder.layout.n_tokens
        sizes = {tuple(matrix.shape[2:]) for matrix in matrices if matrix.shape[2] > 1}
        return "transformer" if sizes == {(n_tokens, n_tokens)} else "other"
    if encoder.layout is None and matrices:
        return "other"
    return "other" if last_map(encoder) is None else "convolutional"


def best_method(encoder: Embedder, is_smooth: bool) -> str:  # noqa: FBT001 - the one thing that is asked of the head
    """What ``explain.method: auto`` means.

    Args:
        encoder: the network.
        is_smooth: whether the head after it has a gradient.

    Raises:
        StopRun: as `kind_of`.
    """
    kind = kind_of(encoder)
    return METHODS[kind][0] if is_smooth else "occlusion"


def check_method(encoder: Embedder, method: str, *, is_smooth: bool) -> None:
    """Refuse a method that network and head cannot give.

    Args:
        encoder: the network.
        method: a value of ``explain.method``, other than ``auto``.
        is_smooth: whether the head after the network has a gradient.

    Raises:
        StopRun: ``config_value``; as `kind_of`.
    """
    kind = kind_of(encoder)
    possible = METHODS[kind]
    if method not in possible:
        message = f"explain.method={method} has no meaning for encoder '{encoder.name}', which is {_KINDS[kind]}"
        raise StopRun("config_value", message, remedy=f"use explain.method=auto, or {' or '.join(possible)}")
    blind = [name for name in possible if name in _WITHOUT_GRADIENT]
    if not is_smooth and method not in blind:
        message = f"explain.method={method} needs a head with a gradient, which this model's has not"
        raise StopRun("config_value", message, remedy=f"use explain.method=auto, {' or '.join(blind)}")


_WITHOUT_GRADIENT = ("rollout", "occlusion")
_KINDS: dict[Kind, str] = {
    "convolutional": "a convolutional network",
    "transformer": "a transformer",
    "other": "neither a convolutional network nor a plain transformer",
}
