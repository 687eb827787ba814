"""Radiomics as one more encoder: the features are computed where others prepare pictures, and pass through."""

import numpy as np
import torch

from extract.pictures import Drawing, Prepared
from extract.radiomics.settings import RadiomicsSettings
from extract.radiomics.views import embed_slab, probe
from triher.types import Embeddings


class RadiomicsEmbedder:
    """The features of a lesion as a whole, one row a patient and view."""

    name = "radiomics"

    def __init__(self, settings: RadiomicsSettings) -> None:
        """Remember how features are computed."""
        self._settings = settings
        self.remarks: list[str] = []

    def prepare(self, drawing: Drawing) -> Prepared:
        """The features themselves; in the store they stand at the slice with most lesion.

        Raises:
            SkipPatient: as `extract.radiomics.features.radiomics_features`.
        """
        found = embed_slab(drawing.slab, drawing.recipe.fusions, self._settings)
        largest = np.argmax(drawing.slab.area_mm2(), keepdims=True)
        return Prepared(drawing.slices_at(largest), {name: torch.from_numpy(row) for name, row in found.items()})

    def embed(self, inputs: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
        """There is nothing left to do."""
        return inputs

    def memory_bytes(self, batch_size: int) -> int:
        """They take no device."""
        return 0

    def probe(self) -> Embeddings:
        """The features of a fixed synthetic lesion."""
        return probe(self._settings)
