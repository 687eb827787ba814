"""The network that has learned nothing: its weights in another order.

A map that stays when the weights are shuffled shows the picture's edges and not what the network has learned (Adebayo
et al., NeurIPS 2018).
"""

import torch

from extract.models import Encoder, Running


def shuffled(encoder: Encoder, seed: int) -> Encoder:
    """The same network with the entries of every weight tensor permuted; the given one stays as it is.

    Every tensor keeps its values, so that activations keep about their size. The running statistics of batch
    normalization and fixed tables of positions are no weights and stay. Torch computes, whatever did before.

    Args:
        encoder: the network; its file is read again.
        seed: of the permutations.
    """
    how = Running(encoder.how.precision, "torch")
    other = Encoder(encoder.spec, encoder.weights, encoder.device, how, encoder.crop)
    generator = torch.Generator().manual_seed(seed)
    for parameter in other.module.parameters():
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.data = parameter.data.flatten()[order].reshape(parameter.shape)
    return other
