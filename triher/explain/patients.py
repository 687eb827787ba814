"""The maps of one patient, against the whole chain of encoder, pooling and head."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64

from classify.attribution.chain import Chain
from extract.cache import ensure_slab, read_slab
from extract.models import Encoder
from extract.pictures import Drawing
from extract.saliency.maps import embed_pictures, explain
from extract.saliency.occlusion import occlude
from triher.errors import SkipPatient, StopRun
from triher.explain.lesion_share import LesionShare, lesion_share
from triher.explain.scene import Scene
from triher.explanations import PatientMaps
from triher.store import Features
from triher.store_model import relative_drift

Views = Mapping[str, Float32[np.ndarray, "input feature"]]


@runtime_checkable
class Head(Protocol):
    """What comes behind the encoder: `classify.attribution.chain.Chain`, or one that is shuffled."""

    def log_odds(self, views: Mapping[str, np.ndarray]) -> np.ndarray:
        """Of each class, for variants of the embeddings: [variant, class]."""

    def gradient(self, views: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Its slope at embeddings, of every view: [class, input, feature]."""


@dataclass(frozen=True)
class Looked:
    """A patient's pictures, the model's answer as a function of their embeddings, and the maps."""

    drawing: Drawing
    network: Encoder
    """That which embedded her."""
    chain: Chain
    views: Views
    """Embeddings of the undisturbed pictures."""
    maps: PatientMaps

    @property
    def predicted(self) -> int:
        """Position of the class that the locked model finds likeliest."""
        return int(self.maps.log_odds.argmax())

    @property
    def share(self) -> LesionShare:
        """How much of the map of the predicted class lies in the lesion and around it."""
        return lesion_share(self.maps.maps[self.predicted], self.drawing.mask, self.drawing.slab.spacing_mm)


def look(scene: Scene, patient_id: str) -> Looked:
    """Draw a patient's pictures again and map what in them speaks for each class.

    Raises:
        SkipPatient: as `extract.cache.ensure_slab`; ``source_changed`` when the slab is not the one embedded.
        StopRun: ``transform_drift`` when the encoder here gives other embeddings than those in the store; as
            `classify.attribution.everyone.Everyone.chain`.
    """
    everyone, place = scene.everyone, scene.place[patient_id]
    stored = everyone.features.select([place])
    entry = ensure_slab(scene.slabs, everyone.patients[place], scene.slab_recipe)
    if entry.sha256 != stored.input_sha256[0]:
        message = "images, mask or geometry differ from those that were embedded"
        raise SkipPatient("source_changed", message, remedy="run 'triher run CONFIG' again")
    drawing = Drawing(read_slab(entry.path), scene.pictures)
    chain, network = everyone.chain(place), scene.network(drawing)
    embedded = embed_pictures(network, network.prepare(drawing))
    _refuse_drift(embedded, stored, scene, patient_id)
    maps = PatientMaps(
        patient_id,
        draw_maps(scene, network, drawing, chain, embedded),
        drawing.slices.index,
        _log_odds(chain, embedded),
        bool(everyone.in_training[place]),
    )
    return Looked(drawing, network, chain, embedded, maps)


def draw_maps(
    scene: Scene, encoder: Encoder, drawing: Drawing, chain: Head, views: Views, only: int | None = None
) -> Float32[np.ndarray, "class slice row col"]:
    """The maps by the method of the scene.

    Args:
        scene: method and sizes.
        encoder: that of the patient, or one with shuffled weights.
        drawing: the patient's pictures.
        chain: from embeddings to log-odds.
        views: embeddings at which the slope of the log-odds is taken.
        only: position of the one class that is wanted; all of them when None.
    """
    wanted = slice(None) if only is None else slice(only, only + 1)
    if scene.method == "occlusion":
        options = scene.options
        patch_mm, stride_mm = float(options.patch_mm), float(options.stride_mm)
        return occlude(encoder, drawing, lambda rows: chain.log_odds(rows)[:, wanted], patch_mm, stride_mm)
    slopes = {name: slope[wanted] for name, slope in chain.gradient(views).items()}
    return explain(encoder, drawing, slopes, scene.method)


def _log_odds(chain: Chain, views: Views) -> Float64[np.ndarray, " class"]:
    """Of the undisturbed pictures."""
    return chain.log_odds({name: rows[None] for name, rows in views.items()})[0]


def _refuse_drift(embedded: Views, stored: Features, scene: Scene, patient_id: str) -> None:
    """Stop where a map would be one of another network than the model was trained with."""
    tolerance = scene.everyone.bundle.header.tolerance
    for name, rows in stored.views.items():
        drift = relative_drift(rows, embedded[name])
        if not drift <= tolerance:
            message = (
                f"patient '{patient_id}': the embeddings of view '{name}' differ from the store's by {drift:.2g} of "
                f"the largest value (allowed {tolerance:g})"
            )
            raise StopRun("transform_drift", message)
