"""Pictures with hidden parts, through the whole chain to log-odds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy.ndimage import binary_dilation, find_objects, label

from extract.models import Encoder
from extract.pictures import Drawing
from extract.saliency.maps import embed_pictures

Place = tuple[slice, slice]
Views = dict[str, UInt8[np.ndarray, "chosen 3 row col"]]


@dataclass(frozen=True)
class Covered(Drawing):
    """A drawing in which pixels are hidden in all views."""

    drawn: Views
    """The views without anything hidden."""
    hidden: Bool[np.ndarray, "chosen row col"]
    rim_px: int
    """How wide the surroundings are whose mean fills what is hidden."""

    @cached_property
    def views(self) -> Views:
        """The fused pictures as the encoder is to see them."""
        found = {name: pictures.copy() for name, pictures in self.drawn.items()}
        for index in np.flatnonzero(self.hidden.any(axis=(1, 2))):
            for place, part, rim in _parts(self.hidden[index], self.rim_px):
                for name, pictures in self.drawn.items():
                    mean = pictures[index][(slice(None), *place)][:, rim].mean(axis=1)
                    found[name][index][(slice(None), *place)][:, part] = np.rint(mean)[:, None].astype(np.uint8)
        return found


def _parts(hidden: Bool[np.ndarray, "row col"], rim_px: int) -> list[tuple[Place, np.ndarray, np.ndarray]]:
    """Each connected part of what is hidden, with the visible pixels around it; all pixels where none are visible.

    Each in a window around it, as whole slices have many small parts.
    """
    numbers, _ = label(hidden)
    whole = (slice(None), slice(None))
    found: list[tuple[Place, np.ndarray, np.ndarray]] = []
    for number, box in enumerate(find_objects(numbers), start=1):
        rows, cols = (slice(max(0, span.start - rim_px), span.stop + rim_px) for span in box)
        part = numbers[rows, cols] == number
        rim = binary_dilation(part, iterations=rim_px) & ~hidden[rows, cols]
        if rim.any():
            found.append(((rows, cols), part, rim))
        else:
            found.append((whole, numbers == number, np.ones_like(hidden) if hidden.all() else ~hidden))
    return found


def embed_hidden(
    encoder: Encoder, drawing: Drawing, hidden: Bool[np.ndarray, "variant slice row col"], patch_mm: float
) -> dict[str, Float32[np.ndarray, "variant slice feature"]]:
    """Embed a patient's pictures with hidden pixels.

    What is hidden is filled with the mean of the visible pixels around each connected part, in every channel: for one
    square the fill of `extract.saliency.occlusion`.

    Args:
        encoder: of pictures, not of cubes.
        drawing: the patient.
        hidden: pixels of the chosen slices, for each variant.
        patch_mm: side of the squares that hidden parts are made of; the surroundings are half as wide.
    """
    rim_px = max(1, math.ceil(patch_mm / 2 / min(drawing.slab.spacing_mm[1:])))
    rows: list[Mapping[str, np.ndarray]] = []
    for pixels in hidden:
        covered = Covered(drawing.slab, drawing.recipe, drawing.views, pixels, rim_px)
        rows.append(embed_pictures(encoder, encoder.prepare(covered)))
    return {name: np.stack([one[name] for one in rows]) for name in drawing.views}
