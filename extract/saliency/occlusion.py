"""Occlusion: how far the log-odds drop when a place in the pictures is hidden (Zeiler and Fergus, ECCV 2014).

A hidden square is filled with the mean of its surroundings, in every channel. Black would be a value like any other,
of air or of tissue that takes up no contrast agent, and its edge would be the sharpest thing in the picture.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import torch
from jaxtyping import Float32, Float64

from extract.models import Encoder
from extract.pictures import Drawing
from extract.saliency.maps import embed_pictures
from extract.saliency.placing import Axis, axes_of, place

_AT_ONCE = 32  # inputs with a hidden place that are embedded together

Place = tuple[slice, ...]
"""Of each axis of an input, which part is hidden."""
LogOdds = Callable[[Mapping[str, Float32[np.ndarray, "variant input feature"]]], Float64[np.ndarray, "variant class"]]


def occlude(
    encoder: Encoder, drawing: Drawing, log_odds: LogOdds, patch_mm: float | int, stride_mm: float | int
) -> Float32[np.ndarray, "class slice row col"]:
    """What in each chosen slice speaks for each class (above 0) or against it (below 0).

    One place of one slice is hidden at a time, in all views; the other slices keep their embeddings. The drop of the
    log-odds is spread over the hidden pixels, and a pixel that was hidden several times gets the mean.

    Args:
        encoder: any network.
        drawing: the patient.
        log_odds: of each class, from the rows of every view of all inputs of the patient.
        patch_mm: side of the square, or of the cube where the encoder takes cubes.
        stride_mm: from one place to the next.

    Returns:
        Maps on the pixels of the slab, in its chosen slices, in log-odds a pixel.

    Raises:
        StopRun: as `Encoder.prepare` and `Encoder.embed`.
    """
    prepared = encoder.prepare(drawing)
    whole = {view: rows[None] for view, rows in embed_pictures(encoder, prepared).items()}
    before = log_odds(whole)[0]
    axes = axes_of(encoder, drawing)
    places = list(places_of(axes, patch_mm, stride_mm))
    n_inputs = next(iter(whole.values())).shape[1]
    side = (encoder.spec.input_size,) * encoder.spec.dimensions
    charts = np.zeros((len(before), n_inputs, *side), np.float32)
    hidden = np.zeros(side, np.int32)
    for where in places:
        hidden[where] += 1
    for index in range(n_inputs):
        masks = None if prepared.masks is None else prepared.masks[index : index + 1]
        for start in range(0, len(places), _AT_ONCE):
            some = places[start : start + _AT_ONCE]
            variants = {view: np.repeat(rows, len(some), axis=0) for view, rows in whole.items()}
            for view, inputs in prepared.views.items():
                changed = torch.stack([hide(inputs[index], where, axes) for where in some])
                rows = encoder.embed(changed, None if masks is None else masks.expand(len(some), *masks.shape[1:]))
                variants[view][:, index] = rows.cpu().numpy()
            for where, drop in zip(some, before - log_odds(variants), strict=True):
                spot: tuple[slice | int, ...] = (slice(None), index, *where)
                charts[spot] += (drop / hidden[where].size).reshape(-1, *[1] * len(where)).astype(np.float32)
    return place(charts / np.maximum(hidden, 1).astype(np.float32), encoder, drawing)


def places_of(axes: Sequence[Axis], patch_mm: float | int, stride_mm: float | int) -> Iterator[Place]:
    """Squares or cubes that together cover the picture; the last of a row ends with it.

    Args:
        axes: of the input.
        patch_mm: side.
        stride_mm: from one place to the next.
    """
    spans = []
    for axis in axes:
        size = min(axis.size, max(1, round(patch_mm / axis.pixel_mm)))
        stride = max(1.0, stride_mm / axis.pixel_mm)
        last = axis.size - size
        starts = sorted({*(round(k * stride) for k in range(int(last / stride) + 1)), last})
        spans.append([slice(axis.first + start, axis.first + start + size) for start in starts])
    return product(*spans)


def hide(picture: torch.Tensor, where: Place, axes: Sequence[Axis]) -> torch.Tensor:
    """A copy in which a place has the mean of its surroundings, half its side wide on every side.

    Args:
        picture: [channel, *side].
        where: the place.
        axes: of the picture, beyond which nothing is looked at.
    """
    around = tuple(map(_widened, where, axes))
    inner, outer = picture[(slice(None), *where)], picture[(slice(None), *around)]
    n_around = outer[0].numel() - inner[0].numel()
    changed = picture.clone()
    if n_around:
        mean = (outer.double().flatten(1).sum(dim=1) - inner.double().flatten(1).sum(dim=1)) / n_around
        filling = mean if picture.is_floating_point() else mean.round()
        changed[(slice(None), *where)] = filling.to(picture.dtype).reshape(-1, *[1] * len(where))
    return changed


def _widened(span: slice, axis: Axis) -> slice:
    """A span with half its length on both sides, inside the picture."""
    margin = max(1, (span.stop - span.start) // 2)
    return slice(max(axis.first, span.start - margin), min(axis.first + axis.size, span.stop + margin))
