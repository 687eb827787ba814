"""Attention rollout of transformers: how much of each patch is in the vector that they give.

Attention alone (Abnar and Zuidema, ACL 2020): each layer passes on half of a token and half of what it attends to,
the heads' mean; the layers are multiplied. It knows nothing of the classes. Weighted by the gradient (Chefer, Gur and
Wolf, ICCV 2021, equations 5 and 6): a layer adds to the relevance the positive part of attention x gradient, the
heads' mean. Both start at the tokens that the vector is pooled from, each by the norm of the vector's gradient with
respect to it: the class token alone, all patches alike, or the patches of the lesion. No value is below 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32

from extract.models import Encoder, Masks
from extract.saliency.attention import recorded_attention
from extract.saliency.layers import Charts, Inputs, Slopes, last_tokens, tracked

Matrices = Sequence[Float32[torch.Tensor, "input head token token"]]
Relevance = Float32[torch.Tensor, "input token"]


def plain_rollout(encoder: Encoder, inputs: Inputs, masks: Masks | None, slopes: Slopes) -> Charts:
    """Attention rollout on the grid of patches, the same for all classes.

    Args:
        encoder: a transformer.
        inputs: pictures or cubes, as `Encoder.prepare` gives them.
        masks: where the encoder pools by the lesion.
        slopes: their number of classes is used, and none of their values.
    """
    anywhere = torch.randn(slopes[:1].shape, generator=torch.Generator().manual_seed(0)).to(slopes)
    found = _traced(encoder, inputs, masks, anywhere, with_gradient=False)
    relevance = roll_out(found.matrices, found.seeds[0])
    return _on_grid(encoder, relevance[None]).expand(len(slopes), *[-1] * (1 + encoder.spec.dimensions))


def gradient_rollout(encoder: Encoder, inputs: Inputs, masks: Masks | None, slopes: Slopes) -> Charts:
    """Attention rollout weighted by the gradient of each class's log-odds, on the grid of patches.

    Args:
        encoder: a transformer.
        inputs: pictures or cubes, as `Encoder.prepare` gives them.
        masks: where the encoder pools by the lesion.
        slopes: the gradient of each class's log-odds with respect to the rows of these inputs.
    """
    found = _traced(encoder, inputs, masks, slopes, with_gradient=True)
    pairs = zip(found.gradients, found.seeds, strict=True)
    relevance = [roll_out_weighted(found.matrices, gradients, seeds) for gradients, seeds in pairs]
    return _on_grid(encoder, torch.stack(relevance))


def roll_out(matrices: Matrices, seeds: Relevance) -> Relevance:
    """Follow a vector back through the layers to the tokens that went in; the sum stays.

    Args:
        matrices: of all layers, the first layer first; rows sum to 1.
        seeds: how much of the vector is from each token of the last layer.
    """
    relevance = seeds
    for matrix in reversed(matrices):
        relevance = 0.5 * relevance + 0.5 * (relevance[:, None] @ matrix.mean(dim=1))[:, 0]
    return relevance


def roll_out_weighted(matrices: Matrices, gradients: Matrices, seeds: Relevance) -> Relevance:
    """The relevance of the tokens that went in, without what a token is to itself.

    Args:
        matrices: of all layers, the first layer first.
        gradients: of the class's log-odds with respect to them.
        seeds: how much of the vector is from each token of the last layer.
    """
    relevance = seeds
    for matrix, gradient in zip(reversed(matrices), reversed(gradients), strict=True):
        weighted = (matrix * gradient).clamp_min(0).mean(dim=1)
        relevance = relevance + (relevance[:, None] @ weighted)[:, 0]
    return relevance - seeds


@dataclass(frozen=True)
class _Traced:
    """One forward pass, and the way back for each class."""

    matrices: list[torch.Tensor]
    gradients: list[list[torch.Tensor]]
    """For each class, of every layer; empty where they were not wanted."""
    seeds: list[torch.Tensor]
    """For each class, the tokens' shares [input, token] in the vector."""


def _traced(encoder: Encoder, inputs: Inputs, masks: Masks | None, slopes: Slopes, *, with_gradient: bool) -> _Traced:
    """Run the network, and ask for the gradient at its attention and at its last tokens."""
    layer = last_tokens(encoder)
    if layer is None:
        raise ValueError(f"encoder '{encoder.name}' has no tokens")
    tokens: list[torch.Tensor] = []

    def keep(_module: torch.nn.Module, _: tuple[object, ...], output: torch.Tensor) -> torch.Tensor:
        tokens.append(tracked(output))
        return tokens[-1]

    hook = layer.register_forward_hook(keep)
    try:
        with torch.enable_grad(), recorded_attention(with_gradient=with_gradient) as found:
            rows = encoder.trace(inputs, masks)
    finally:
        hook.remove()
    matrices = [matrix for matrix in found if matrix.shape[2] == matrix.shape[3] > 1]
    wanted = [tokens[-1], *(matrices if with_gradient else ())]
    gradients, seeds = [], []
    for slope in slopes:
        at_tokens, *at_matrices = torch.autograd.grad((rows * slope).sum(), wanted, retain_graph=True)
        norms = at_tokens.norm(dim=2)
        seeds.append(norms / norms.sum(dim=1, keepdim=True).clamp_min(torch.finfo(norms.dtype).tiny))
        gradients.append(at_matrices)
    return _Traced([matrix.detach() for matrix in matrices], gradients, seeds)


def _on_grid(encoder: Encoder, relevance: Float32[torch.Tensor, "class input token"]) -> Charts:
    """The patches in their places; class token and registers, which are nowhere, are left out."""
    layout = encoder.layout
    if layout is None or layout.grid is None:
        raise ValueError(f"encoder '{encoder.name}' has no grid of patches")
    return relevance[:, :, layout.n_prefix :].reshape(*relevance.shape[:2], *layout.grid)
