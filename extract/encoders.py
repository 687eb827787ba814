"""The table of frozen encoders. One entry is all that a new encoder needs; many need none.

Without an entry: ``timm:MODEL``, ``open_clip:MODEL/PRETRAINED``, ``hf:OWNER/NAME`` (a repository of the Hugging Face
hub with a configuration of timm, open_clip or transformers; ``hf:OWNER/NAME@COMMIT`` pins it),
``file:MODEL@CHECKPOINT`` (a timm architecture with a checkpoint of your own) and ``file:PATH`` (a file that
`triher finetune` wrote). Packages add entries through the entry point group ``triher.encoders``: each names an
`EncoderSpec`.
"""

from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path

from extract.encoder_entries import ENCODERS
from extract.encoder_spec import EncoderSpec
from extract.trained_spec import trained_spec
from triher.errors import unknown_name

__all__ = ["ENCODERS", "ENTRY_POINTS", "EncoderRow", "EncoderSpec", "all_encoders", "encoder_table", "find_encoder"]

ENTRY_POINTS = "triher.encoders"
_WITHOUT_ENTRY = ("timm:MODEL", "open_clip:MODEL/TAG", "hf:OWNER/NAME", "file:MODEL@CHECKPOINT", "file:PATH")


def find_encoder(name: str, tokens: str = "default", folder: Path | None = None) -> EncoderSpec:
    """Look an encoder up, or describe one named by its library.

    Args:
        name: as in the configuration.
        tokens: as in the configuration.
        folder: where the file of a trained encoder is looked for that is not where its name says.

    Raises:
        StopRun: ``unknown_name`` with the nearest known names, ``weights_missing`` where a hub's configuration or a
            trained file is needed and cannot be had; as `extract.trained_spec.trained_spec`.
    """
    known = all_encoders()
    library, _, rest = name.partition(":")
    if name in known:
        spec = known[name]
    elif rest and f"{library}:" in {form[: form.index(":") + 1] for form in _WITHOUT_ENTRY}:
        spec = _describe(name, library, rest, folder)
    else:
        raise unknown_name("encoder", name, [*known, *_WITHOUT_ENTRY])
    return spec if tokens == "default" else replace(spec, tokens=tokens)


def all_encoders() -> dict[str, EncoderSpec]:
    """The table, with the entries that installed packages add."""
    found = [entry.load() for entry in entry_points(group=ENTRY_POINTS)]
    return ENCODERS | {spec.name: spec for spec in found}


def _describe(name: str, library: str, rest: str, folder: Path | None) -> EncoderSpec:
    """Ask the library, the hub or the file for the model's input size and channel statistics."""
    if library == "file" and "@" not in rest:
        return trained_spec(Path(rest).expanduser(), folder)
    if library == "open_clip":
        from extract.describe_clip import describe_open_clip

        return describe_open_clip(name, rest)
    from extract import describe

    if library == "hf":
        return describe.describe_repository(name, rest)
    model, _, checkpoint = rest.partition("@")
    return describe.describe_timm(name, model, f"file:{checkpoint}" if library == "file" else "")


@dataclass(frozen=True)
class EncoderRow:
    """One line of the listing of encoders."""

    name: str
    input: str
    features: str
    license: str
    consent: str


def encoder_table() -> list[EncoderRow]:
    """The encoders that have an entry, in the order of the table."""
    return [
        EncoderRow(
            name=spec.name,
            input=spec.input_text,
            features=str(spec.features or "?"),
            license=spec.license,
            consent="to be accepted" if spec.needs_consent else "",
        )
        for spec in all_encoders().values()
    ]
