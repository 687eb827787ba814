"""The model that is explained: its encoder on a device, its locked bundle, and the stored embeddings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from classify.attribution.everyone import Everyone
from classify.attribution.slopes import is_smooth
from extract.devices import choose_devices
from extract.engines import picture_recipe
from extract.landmarks import StandardScale
from extract.lanes import Choice
from extract.models import Encoder
from extract.pictures import Drawing, PictureRecipe
from extract.recipe import SlabRecipe, slabs_of
from extract.saliency.methods import best_method, check_method
from extract.task import decide
from extract.trained import TrainedEncoder
from triher.settings import Config, ExplainConfig
from triher.trained import FINAL


@dataclass(frozen=True)
class Scene:
    """What the maps of every patient are made with."""

    encoder: Encoder | TrainedEncoder
    everyone: Everyone
    """The patients before the locked model."""
    slabs: Path
    """Folder of the slab cache."""
    slab_recipe: SlabRecipe
    pictures: PictureRecipe
    options: ExplainConfig
    method: str
    """A value of ``explain.method`` other than ``auto``."""

    def network(self, drawing: Drawing) -> Encoder:
        """The network that embeds a patient: that which was not trained on her, where the encoder has several."""
        if isinstance(self.encoder, TrainedEncoder):
            return self.encoder.network(self.encoder.route(drawing).network)
        return self.encoder

    @cached_property
    def place(self) -> dict[str, int]:
        """Patient id -> position among everyone."""
        return {patient.patient_id: i for i, patient in enumerate(self.everyone.patients)}


def open_scene(config: Config, everyone: Everyone, slabs: Path) -> Scene:
    """Load the encoder and decide by which method maps are made.

    The network computes in float32, as small differences of log-odds need it; whoever compares its embeddings with
    the store's allows for what runtime and precision change.

    Args:
        config: of the run.
        everyone: the patients before the locked model.
        slabs: folder of the slab cache.

    Raises:
        StopRun: as `extract.task.decide` and `extract.models.Encoder`; ``config_value`` when encoder or head cannot
            give the configured method.
    """
    task = decide(config)
    choice = task.encoders[0]
    if not isinstance(choice, Choice):
        raise TypeError(f"'{choice.spec.name}' is no network, which `is_drawable` tells")
    task = replace(task, standard=_standard(everyone.bundle.header.recipe))
    device = choose_devices(config.extract.device)[0]
    encoder = replace(choice, precision="float32", compiles=False).load(device)
    if not isinstance(encoder, Encoder | TrainedEncoder):
        raise TypeError(f"'{choice.spec.name}' is no network, which `is_drawable` tells")
    options = config.explain or ExplainConfig()
    smooth = is_smooth(everyone.bundle.model.fitted)
    any_network = encoder.network(FINAL) if isinstance(encoder, TrainedEncoder) else encoder
    method = best_method(any_network, smooth) if options.method == "auto" else options.method
    check_method(any_network, method, is_smooth=smooth)
    return Scene(encoder, everyone, slabs, slabs_of(config), picture_recipe(task), options, method)


def _standard(recipe: Mapping[str, Any]) -> StandardScale | None:
    """The standard scale of Nyul's normalization that the store was made with."""
    landmarks = recipe.get("standard_scale")
    return StandardScale(tuple(landmarks)) if landmarks else None
