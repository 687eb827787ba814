"""All that an extraction has decided before it reads an image."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from extract.cache import VERSION as SLAB_VERSION
from extract.encoder_spec import TRAINED
from extract.encoders import find_encoder
from extract.fusion import Fusion, find_fusions
from extract.landmarks import StandardScale
from extract.lanes import Choice, RadiomicsChoice, choose
from extract.normalization import find_normalization
from extract.perturb import require_phase
from extract.recipe import perturb_facts
from extract.trained_spec import check_use
from extract.weights import slug
from triher.held_out import require_one_training_part
from triher.recorded import RECIPE_KEYS
from triher.settings import Config
from triher.store import identity
from triher.trained import read_card

PICTURE_VERSION = 1  # raised when normalization, fusion, slice choice or resizing changes what the encoder sees


@dataclass(frozen=True)
class Task:
    """The encoders and the recipe of an extraction."""

    config: Config
    encoders: tuple[Choice | RadiomicsChoice, ...]
    fusions: tuple[Fusion, ...]
    standard: StandardScale | None = None
    """Of Nyul's normalization, once it is known."""

    def recipe(self) -> dict[str, Any]:
        """What the embeddings depend on besides the encoder, as JSON values."""
        chosen = self.config.extract.model_dump(mode="json")
        recipe = {key: chosen[key] for key in RECIPE_KEYS}
        recipe["fusions"] = {fusion.name: [list(channel) for channel in fusion.channels] for fusion in self.fusions}
        recipe["phases"] = list(self.config.cohort.phases)
        recipe |= {"slab_version": SLAB_VERSION, "picture_version": PICTURE_VERSION}
        recipe |= perturb_facts(self.config.extract.perturb)
        return recipe if self.standard is None else recipe | {"standard_scale": list(self.standard.landmarks)}

    @property
    def needs_fit(self) -> bool:
        """Whether Nyul's standard scale is still to be fitted on the training patients."""
        return self.standard is None and find_normalization(self.config.extract.normalization).method == "nyul"

    def stores(self, folder: Path) -> tuple[Path, ...]:
        """Where each encoder's store lies."""
        recipe = self.recipe()
        return tuple(
            folder / f"{slug(choice.spec.name)}-{identity(choice.facts(), recipe)[:10]}.h5"
            for choice in self.encoders
        )


def decide(config: Config) -> Task:
    """Check every choice before work begins.

    Raises:
        StopRun: for whatever the configuration says that cannot be done.
    """
    options = config.extract
    names = dict.fromkeys([options.encoder, *options.also])
    encoders = tuple(choose(find_encoder(name, options.tokens, options.weights_dir), options) for name in names)
    return _as_trained(replace(decide_pictures(config), encoders=encoders))


def decide_pictures(config: Config) -> Task:
    """The same without any encoder: what is drawn.

    Raises:
        StopRun: for whatever the configuration says that cannot be done.
    """
    options = config.extract
    find_normalization(options.normalization)
    phases = tuple(config.cohort.phases)
    require_phase(options.perturb, phases)
    fusions = find_fusions(options.fusions, phases)
    standard = StandardScale(options.standard_scale) if options.standard_scale else None
    task = Task(config, (), fusions, standard)
    if task.needs_fit:
        require_one_training_part(config.classify.split)
    return task


def _as_trained(task: Task) -> Task:
    """The same, if trained encoders were trained for it; Nyul's standard scale is theirs where none is configured."""
    chosen = [choice for choice in task.encoders if isinstance(choice, Choice) and choice.spec.builder == TRAINED]
    for choice in chosen:
        card = read_card(choice.weights)
        if task.needs_fit and "standard_scale" in card.recipe:
            task = replace(task, standard=StandardScale(tuple(card.recipe["standard_scale"])))
        check_use(card, choice.spec.tokens, task.recipe())
    return task
