"""The entry of an encoder that `triher finetune` wrote, and what it can be asked for, from the card in its file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extract.encoder_spec import TRAINED, EncoderSpec
from extract.training.design import Design, design_from
from triher.errors import StopRun
from triher.trained import Card, one_line, read_card

_EQUAL_KEYS = ("normalization", "n4", "phases", "standard_scale")
"""Of the recipe. An exam is recognized on the card by the voxels of all its phases together."""
_CONTROL = ("box", "control")


def trained_spec(path: Path, folder: Path | None = None) -> EncoderSpec:
    """The entry of a trained encoder, which goes by the name of its file wherever that lies.

    Args:
        path: of the file.
        folder: where a file of that name is looked for when there is none at `path`.

    Raises:
        StopRun: as `triher.trained.read_card` and `design_of`.
    """
    placed = path if folder is None else folder / path.name
    place = path if path.is_file() or not placed.is_file() else placed
    card = read_card(place)
    start = design_of(card, place).spec
    return EncoderSpec(
        name=f"file:{place.name}",
        builder=TRAINED,
        model=start.model,
        weights=f"file:{place}",
        input_size=card.input_size,
        mean=start.mean,
        std=start.std,
        license=start.license,
        citation=f"{start.citation}; trained further on {sum(card.class_counts.values())} patients",
        channels=start.channels,
        interpolation=start.interpolation,
        features=len(card.classes),
        page=start.page,
        caution="it never scores whom it was trained on: such a patient is embedded by a network that did without "
        "her, or left out by classify",
    )


def design_of(card: Card, path: Path) -> Design:
    """The network that a trained encoder holds.

    Args:
        card: of the file.
        path: of the file, for the message.

    Raises:
        StopRun: ``weights_hash`` when the card describes none.
    """
    try:
        design = design_from(card)
    except (ValueError, TypeError) as error:
        message = f"{path} is no trained encoder: its card describes no network: {one_line(error)}"
        raise StopRun("weights_hash", message) from error
    if design.spec.builder.startswith("timm") and {":", "/"} & {*design.spec.model}:  # timm would open such places
        message = f"{path} is no trained encoder: expected a model that timm knows, found '{design.spec.model}'"
        raise StopRun("weights_hash", message)
    return design


def check_use(card: Card, tokens: str, recipe: Mapping[str, Any]) -> None:
    """Refuse features that have nothing in common, and pictures of another kind than the encoder was trained on.

    Normalization, N4, phases, the kind of region and what the channels hold must be equal. Which slices, how wide the
    margin and what is disturbed may differ, and regions without lesion may be shown as a negative control.

    Args:
        card: of the trained encoder.
        tokens: as configured.
        recipe: of the extraction, as a feature store says it.

    Raises:
        StopRun: ``config_value`` for the tokens, ``encoder_recipe`` naming the keys of the recipe that differ.
    """
    if tokens != "default" and len(card.networks) > 1:
        message = (
            f"extract.tokens is '{tokens}', and the trained encoder {card.name} holds {len(card.networks)} networks, "
            "whose features have nothing in common but the classes"
        )
        raise StopRun("config_value", message, remedy="use extract.tokens=default, or train with finetune.folds=0")
    differing = _differing(card.recipe, recipe)
    if differing:
        message = f"the trained encoder {card.name} knows other pictures than these: {'; '.join(differing)}"
        raise StopRun("encoder_recipe", message)


def _differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what pictures are of another kind, ``trained -> shown``."""
    found = [f"{key}: {then.get(key)} -> {now.get(key)}" for key in _EQUAL_KEYS if then.get(key) != now.get(key)]
    before, here = (recipe.get("region", {}).get("kind") for recipe in (then, now))
    if before != here and (before, here) != _CONTROL:
        found.append(f"region.kind: {before} -> {here}")
    views = then.get("fusions", {})
    unknown = {name: view for name, view in now.get("fusions", {}).items() if view not in views.values()}
    return found + [f"fusions: {views} -> {name} {view}" for name, view in unknown.items()]
