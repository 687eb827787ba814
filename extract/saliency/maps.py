"""A patient's maps from the gradient of the log-odds at her embeddings."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float32

from extract.models import Encoder, Masks
from extract.pictures import Drawing, Prepared
from extract.saliency.cam import gradcam, hirescam
from extract.saliency.layers import Charts, Inputs, Slopes
from extract.saliency.placing import place
from extract.saliency.rollout import gradient_rollout, plain_rollout
from triher.errors import unknown_name

_AT_ONCE = 16  # inputs whose attention matrices and feature maps are held in memory together

CHARTS: dict[str, Callable[[Encoder, Inputs, Masks | None, Slopes], Charts]] = {
    "hirescam": hirescam,
    "gradcam": gradcam,
    "rollout": plain_rollout,
    "gradient-rollout": gradient_rollout,
}


def explain(
    encoder: Encoder,
    drawing: Drawing,
    gradient: Mapping[str, Float32[np.ndarray, "class input feature"]],
    method: str,
) -> Float32[np.ndarray, "class slice row col"]:
    """What in each chosen slice speaks for each class (above 0) or against it (below 0), summed over the views.

    Of HiResCAM the values are log-odds a pixel, and those of pixels small and large may be added. The rollouts are
    never below 0 and have no unit.

    Args:
        encoder: a network that can give the method, see `extract.saliency.methods.check_method`.
        drawing: the patient.
        gradient: of each class's log-odds with respect to the stored rows of every view, by name; a view of which
            the model makes no use may be left out.
        method: a name of `CHARTS`.

    Returns:
        Maps on the pixels of the slab, in its chosen slices, also where the encoder takes one cube a patient.

    Raises:
        StopRun: ``unknown_name``; as `Encoder.prepare`.
    """
    if method not in CHARTS:
        raise unknown_name("method of explanation", method, CHARTS)
    prepared = encoder.prepare(drawing)
    charts = [_charts(encoder, prepared, view, slopes, method) for view, slopes in gradient.items()]
    return place(np.stack(charts).sum(axis=0), encoder, drawing)


def _charts(
    encoder: Encoder, prepared: Prepared, view: str, slopes: np.ndarray, method: str
) -> Float32[np.ndarray, "class input *grid"]:
    """Maps of one view on the network's grid, a few inputs at a time."""
    inputs, masks = prepared.views[view], prepared.masks
    done = []
    for start in range(0, len(inputs), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        wanted = torch.from_numpy(np.ascontiguousarray(slopes[:, part])).to(encoder.device)
        done.append(CHARTS[method](encoder, inputs[part], None if masks is None else masks[part], wanted).cpu())
    return torch.cat(done, dim=1).numpy()


def embed_pictures(encoder: Encoder, prepared: Prepared) -> dict[str, Float32[np.ndarray, "input feature"]]:
    """The rows of every view, as the store holds them.

    Args:
        encoder: the network.
        prepared: what `Encoder.prepare` gives.
    """
    return {view: encoder.embed(rows, prepared.masks).cpu().numpy() for view, rows in prepared.views.items()}
