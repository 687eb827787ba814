"""The options of an extraction, read back from what a store or bundle says of its encoder and recipe."""

from typing import Any

RECIPE_KEYS = ("region", "slices", "normalization", "n4")
"""Keys of ``extract`` that a recipe holds as they are configured."""


def encoder_options(encoder: dict[str, Any]) -> dict[str, Any]:
    """Keys of ``extract`` that give the same encoder again.

    >>> encoder_options({"name": "radiomics", "tokens": "default"})["precision"]
    'float32'

    Args:
        encoder: of the header of a store.
    """
    options = {
        "encoder": encoder.get("name", ""),
        "tokens": encoder.get("tokens", "default"),
        "precision": encoder.get("precision", "float32"),
    }
    return options | {key: encoder[key] for key in ("crop", "radiomics") if key in encoder}


def recipe_options(recipe: dict[str, Any]) -> dict[str, Any]:
    """Keys of ``extract`` that draw the same pictures again.

    Args:
        recipe: of the header of a store.

    Raises:
        KeyError: for a recipe that was not written by an extraction.
    """
    fusions = [_fusion(name, channels) for name, channels in recipe["fusions"].items()]
    scale = {"standard_scale": recipe["standard_scale"]} if "standard_scale" in recipe else {}
    disturbance = {"perturb": recipe.get("perturb", {})}
    return {key: recipe[key] for key in RECIPE_KEYS} | {"fusions": fusions} | scale | disturbance


def _fusion(name: str, channels: list[list[str]]) -> str:
    """A view as the configuration names it: its channels, under its name."""
    text = ",".join("-".join(part for part in channel if part) for channel in channels)
    return name if name == text else f"{name}={text}"
