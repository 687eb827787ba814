"""Class activation maps of convolutional networks, by captum.

With the feature map A [feature, position] before pooling and the gradient G of a class's log-odds with respect to it,
HiResCAM is the sum over features of G x A (Draelos and Carin 2020, arXiv 2011.08891): where the rest of the network
is linear, its sum over positions is the log-odds up to a constant, so that nothing is shown that the model does not
use. Grad-CAM takes the mean of G over positions instead (Selvaraju et al., ICCV 2017), which is the same where all
positions are pooled alike; its customary rectifier is left out, as values below 0 speak against the class.
"""

from typing import Any

import torch

from extract.models import Encoder, Masks
from extract.saliency.layers import Charts, Inputs, Slopes, last_map, tapped


def hirescam(encoder: Encoder, inputs: Inputs, masks: Masks | None, slopes: Slopes) -> Charts:
    """HiResCAM on the grid of the last feature map.

    Args:
        encoder: a convolutional network.
        inputs: pictures or cubes, as `Encoder.prepare` gives them.
        masks: where the encoder pools by the lesion.
        slopes: the gradient of each class's log-odds with respect to the rows of these inputs.
    """
    from captum.attr import LayerGradientXActivation

    return _by(LayerGradientXActivation, encoder, inputs, masks, slopes)


def gradcam(encoder: Encoder, inputs: Inputs, masks: Masks | None, slopes: Slopes) -> Charts:
    """Grad-CAM on the grid of the last feature map; arguments as for `hirescam`."""
    from captum.attr import LayerGradCam

    return _by(LayerGradCam, encoder, inputs, masks, slopes)


def _by(method: Any, encoder: Encoder, inputs: Inputs, masks: Masks | None, slopes: Slopes) -> Charts:  # noqa: ANN401 - captum has no types
    """What a method of captum says at the last feature map, summed over features."""
    layer = last_map(encoder)
    if layer is None:
        raise ValueError(f"encoder '{encoder.name}' has no feature map")

    def score(pictures: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return (encoder.trace(pictures, masks) * wanted).sum(dim=1)

    with tapped(layer, channels_last=encoder.layout is not None and encoder.layout.channels_last) as tap:
        attribution = method(score, tap)
        charts = [attribution.attribute(inputs, additional_forward_args=(wanted,)).sum(dim=1) for wanted in slopes]
    return torch.stack(charts).detach()
