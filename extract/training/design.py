"""What a network to be trained is, without its weights."""

from dataclasses import dataclass, replace
from typing import Any

from extract.encoder_spec import EncoderSpec
from triher.settings import FinetuneConfig
from triher.trained import Card


@dataclass(frozen=True)
class Design:
    """Backbone, heads and outputs."""

    spec: EncoderSpec
    """The encoder that the training starts from, with the side of the pictures that are trained on."""
    options: FinetuneConfig
    """Uses ``network``, ``heads``, ``combine``, ``task`` and ``dropout``."""
    n_classes: int
    tasks: tuple[int, ...] = ()
    """How many values each further label has, of ``heads: tasks``."""


def make_design(spec: EncoderSpec, options: FinetuneConfig, n_classes: int, tasks: tuple[int, ...] = ()) -> Design:
    """The network that a configuration asks for."""
    size = options.input_size or spec.input_size
    return Design(replace(spec, input_size=size), options, n_classes, tasks)


def design_from(card: Card) -> Design:
    """The network that a trained encoder holds."""
    facts: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in card.start.items()
    }
    options = FinetuneConfig.model_validate(card.settings)
    tasks = tuple(len(card.tasks[name]) for name in options.also_predict)
    return make_design(EncoderSpec(**facts), options, len(card.classes), tasks)
