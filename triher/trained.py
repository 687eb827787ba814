"""The file of a trained encoder, format ``triher-network`` version 1: its networks, and a card that says all of them.

A safetensors file. Its metadata holds ``format``, ``version`` and ``card``, a JSON object with the fields of `Card`;
``tensors_sha256`` of all that follows the header; and ``sha256`` of the header without itself, in canonical JSON.
Tensors are named ``NETWORK/NAME``: one network for each part of the development patients, who were kept from it, and
``final``, trained on all of them. A patient is embedded by the network that was not trained on her; whoever is not on
the card, by ``final``. The file's name holds a hash of everything that the training depended on.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from triher.errors import StopRun
from triher.files import sha256_of_json
from triher.images import image_fingerprint

FORMAT, VERSION = "triher-network", 1
FINAL = "final"
SAW = "encoder_saw"
"""Fact in a feature store about a patient: what the encoder that embedded her knew of her; see `Route`."""
TRAINED, VALIDATED, DEVELOPED = 1.0, 0.5, 0.25
LEARNED_FROM = "encoder_trained_on"
"""Code of patients whom the encoder was trained on, and whom it therefore may not score."""
Role = Literal["train", "validation", ""]
HEAD_HASH, TENSORS_HASH = "sha256", "tensors_sha256"
_MAX_HEADER = 100_000_000  # bytes; the library's own limit
_LARGEST_SIDE = 4096  # pixels; four times what can be asked for, as an encoder's own size may be larger
_LONGEST = 300  # characters of what a card is refused for
LENGTH_BYTES = 8
"""At the beginning of a safetensors file, the length of its header."""


@dataclass(frozen=True)
class Part:
    """What the networks knew of one patient."""

    fold: int
    """Number of the network that was neither trained on her nor stopped by her; -1 where there is none."""
    role: Role
    """In the training of the final network."""


@dataclass(frozen=True)
class Route:
    """Which network embeds a patient, and what it knew of her."""

    network: str
    saw: float
    """0: nothing; `DEVELOPED`: others of the file's networks were trained on her, this one did without her;
    `VALIDATED`: she helped to decide when its training stopped; `TRAINED`: it was trained on her."""


@dataclass(frozen=True)
class Card:
    """What a trained encoder is, and what it was trained on; JSON values throughout."""

    name: str
    """Stem of the file's name."""
    start: dict[str, Any]
    """Fields of the `extract.encoder_spec.EncoderSpec` that the training started from."""
    start_sha256: str
    """Of its weights; empty for random ones."""
    settings: dict[str, Any]
    """The section ``finetune`` of the configuration."""
    scheme: str
    classes: tuple[str, ...]
    tasks: dict[str, tuple[str, ...]]
    """Further labels -> their values, of ``heads: tasks``."""
    input_size: int
    recipe: dict[str, Any]
    """How the pictures were drawn, as a feature store says it."""
    seed: int
    networks: tuple[str, ...]
    """``fold-0`` and so on, and ``final``."""
    best_epochs: dict[str, int]
    """Network -> epoch whose weights were kept, counted from 1."""
    class_counts: dict[str, int]
    """Patients that ``final`` was trained on."""
    labels_shuffled: bool
    versions: dict[str, str]
    patients: dict[str, Part] = field(repr=False, default_factory=dict)
    """Fingerprint of the images -> what the networks knew of her."""

    def route(self, images: str) -> Route:
        """Who embeds an exam.

        Args:
            images: 32 hex digits of the exam's voxels, or an input hash that begins with them.
        """
        part = self.patients.get(image_fingerprint(images))
        if part is None:
            return Route(FINAL, 0.0)
        if part.fold >= 0:
            return Route(f"fold-{part.fold}", DEVELOPED)
        return Route(FINAL, {"train": TRAINED, "validation": VALIDATED, "": 0.0}[part.role])

    def to_metadata(self) -> dict[str, str]:
        """As the metadata of a safetensors file."""
        facts = asdict(self) | {"patients": {key: [part.fold, part.role] for key, part in self.patients.items()}}
        return {"format": FORMAT, "version": str(VERSION), "card": json.dumps(facts, sort_keys=True)}


def find_trained(encoder: str, folders: Sequence[Path]) -> str:
    """Where a trained encoder lies that is known by the name of its file.

    Args:
        encoder: ``file:NAME``, as a feature store or a bundle says it.
        folders: where to look, in this order.

    Returns:
        ``file:PATH``, for ``extract.encoder``.

    Raises:
        StopRun: ``weights_missing`` when none of them holds it.
    """
    name = Path(encoder.removeprefix("file:")).name
    for folder in folders:
        if (folder / name).is_file():
            return f"file:{folder / name}"
    looked = " and ".join(str(folder) for folder in folders) or "no folder, as none was named"
    message = f"the features come from the trained encoder {name}, which was looked for in {looked}"
    remedy = "copy the file from encoders/ in the folder of the run that trained it, and name its new folder"
    raise StopRun("weights_missing", message, remedy=f"{remedy} under extract.weights_dir")


def read_card(path: Path) -> Card:
    """Read the card of a trained encoder; no tensor is read and no torch is needed.

    Raises:
        StopRun: ``weights_missing`` when there is no file, ``weights_hash`` when it is none of ours.
    """
    remedy = "name a file that 'triher finetune' wrote, or file:MODEL@CHECKPOINT for another one"
    if not path.is_file():
        raise StopRun("weights_missing", f"there is no trained encoder at {path.absolute()}", remedy=remedy)
    try:
        return _card_of(_read_metadata(path))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise StopRun("weights_hash", f"{path} is no trained encoder: {one_line(error)}", remedy=remedy) from error


def require_whole(path: Path) -> None:
    """Read all of a trained encoder, and compare its tensors with the hash in its header.

    Raises:
        StopRun: ``weights_hash`` when they differ; as `read_card`.
    """
    read_card(path)
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(LENGTH_BYTES), "little")
        written = json.loads(handle.read(length))["__metadata__"].get(TENSORS_HASH)
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    if written not in (None, digest):
        message = f"the tensors in {path} have SHA-256 {digest}; its header says {written}"
        raise StopRun("weights_hash", message, remedy="copy the file again, or delete it and run 'triher finetune'")


def head_sha256(head: dict[str, Any]) -> str:
    """The hash that the header of a trained encoder carries of everything else in it."""
    others = {key: value for key, value in head["__metadata__"].items() if key != HEAD_HASH}
    return sha256_of_json(head | {"__metadata__": others})


def one_line(error: Exception) -> str:
    """What an error says, without its line breaks."""
    return " ".join(str(error).split())[:_LONGEST]


def _read_metadata(path: Path) -> dict[str, Any]:
    """The metadata in the head of a safetensors file."""
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(LENGTH_BYTES), "little")
        if length > min(_MAX_HEADER, path.stat().st_size):
            raise ValueError("it is no safetensors file")
        head = json.loads(handle.read(length))
    metadata = dict(head.get("__metadata__", {}))
    if metadata.get(HEAD_HASH, "") not in ("", head_sha256(head)):
        raise ValueError("its header differs from the hash that it carries")
    return metadata


def _card_of(metadata: dict[str, Any]) -> Card:
    """The card from the metadata."""
    if metadata.get("format") != FORMAT or metadata.get("version") != str(VERSION):
        raise ValueError(f"expected format '{FORMAT}' version {VERSION}, found {metadata.get('format')!r}")
    facts = json.loads(metadata["card"])
    patients = {key: {"fold": fold, "role": role} for key, (fold, role) in facts["patients"].items()}
    card = TypeAdapter(Card).validate_python(facts | {"patients": patients})
    if not 0 < card.input_size <= _LARGEST_SIDE:
        raise ValueError(f"expected pictures of at most {_LARGEST_SIDE} pixels a side, found {card.input_size}")
    named = {FINAL, *(f"fold-{part.fold}" for part in card.patients.values() if part.fold >= 0)}
    if not named <= {*card.networks}:
        raise ValueError(f"it names patients of the networks {sorted(named)}, and holds {sorted(card.networks)}")
    return card
