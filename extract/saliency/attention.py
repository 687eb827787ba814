"""The attention matrices of a network while it runs.

Fused attention never writes them down. All libraries here end in torch's ``scaled_dot_product_attention``, which is
replaced for the time being by the same formula in plain steps (Vaswani et al., NeurIPS 2017, equation 1).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn import functional

from extract.saliency.layers import tracked


@contextmanager
def recorded_attention(*, with_gradient: bool = False) -> Iterator[list[torch.Tensor]]:
    """Collect the matrices [picture, head, token, token] of all layers, in the order in which they are computed.

    Only one thread may run a network meanwhile, as torch's own function is replaced.

    Args:
        with_gradient: whether gradients with respect to the matrices will be asked for.
    """
    found: list[torch.Tensor] = []

    def attend(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,  # noqa: FBT001, FBT002 - pictures have no future
        scale: float | None = None,
        **_: object,
    ) -> torch.Tensor:
        scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if attn_mask is not None:
            hidden = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -math.inf) if hidden else scores + attn_mask
        weights = scores.softmax(dim=-1)
        if with_gradient:
            weights = tracked(weights)
        found.append(weights)
        return weights @ value

    fused, had_fast_path = functional.scaled_dot_product_attention, torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    functional.scaled_dot_product_attention = attend  # type: ignore[assignment]
    try:
        yield found
    finally:
        functional.scaled_dot_product_attention = fused
        torch.backends.mha.set_fastpath_enabled(had_fast_path)
