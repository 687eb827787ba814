"""The file of a trained encoder as an embedder: each patient goes to the network that was not trained on her."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from extract.builders import Network, assemble
from extract.checkpoints import Tensors
from extract.encoder_spec import EncoderSpec
from extract.models import Encoder, Masks, Rows, Running
from extract.pictures import Drawing, Prepared
from extract.trained_spec import design_of
from extract.training.networks import from_tensors
from extract.training.outputs import probabilities
from triher.errors import StopRun
from triher.files import replacing
from triher.trained import (
    FINAL,
    HEAD_HASH,
    LENGTH_BYTES,
    SAW,
    TENSORS_HASH,
    Card,
    Route,
    head_sha256,
    one_line,
    read_card,
)
from triher.types import Embeddings

_NO_HASH = "0" * 64  # in its place until the file is written


class TrainedEncoder:
    """Several networks on a device, each loaded when it is first needed."""

    def __init__(self, spec: EncoderSpec, weights: Path, device: torch.device, how: Running | None = None) -> None:
        """Read the card, and load the network that was trained on everybody, which tells drift.

        Args:
            spec: the entry, as `extract.trained_spec.trained_spec` gives it.
            weights: the file on this machine.
            device: where to compute.
            how: precision and runtime.

        Raises:
            StopRun: as `triher.trained.read_card` and `build_trained`.
        """
        self.spec = spec
        self.card = read_card(weights)
        self._weights = weights
        self._device = device
        self._how = how
        self._networks: dict[str, Encoder] = {}
        self._final = self.network(FINAL)

    @property
    def name(self) -> str:
        """The encoder's name."""
        return self.spec.name

    def network(self, name: str) -> Encoder:
        """One of the networks; the first call takes seconds.

        Args:
            name: of `triher.trained.Card.networks`.
        """
        if name not in self._networks:
            own = replace(self.spec, settings=name)
            self._networks[name] = Encoder(own, self._weights, self._device, self._how)
        return self._networks[name]

    def route(self, drawing: Drawing) -> Route:
        """Which network embeds a patient, and what it knew of her."""
        return self.card.route(drawing.slab.images)

    def prepare(self, drawing: Drawing) -> Prepared:
        """What goes into the patient's network; what that knew of her is one of the facts about her."""
        route, prepared = self.route(drawing), self._final.prepare(drawing)
        facts = prepared.slices.acquisition | {SAW: route.saw}
        return replace(prepared, slices=replace(prepared.slices, acquisition=facts), network=route.network)

    def embed(self, inputs: Shaped[torch.Tensor, "input ..."], masks: Masks | None = None) -> Rows:
        """Rows of the network that was trained on everybody; those of patients come from `network`."""
        return self._final.embed(inputs, masks)

    def probe(self) -> Embeddings:
        """What the network that was trained on everybody gives for the fixed synthetic inputs."""
        return self._final.probe()

    def memory_bytes(self, batch_size: int) -> int:
        """What all networks and the largest layer take on the device for a batch."""
        weights = sum(parameter.nbytes for parameter in self._final.module.parameters())
        return self._final.memory_bytes(batch_size) + (len(self.card.networks) - 1) * weights

    @property
    def remarks(self) -> list[str]:
        """What happened in any of the networks, each remark once."""
        return list(dict.fromkeys(remark for network in self._networks.values() for remark in network.remarks))


def build_trained(spec: EncoderSpec, weights: Path) -> Network:
    """One network of a trained encoder: its probabilities of the classes, or its pooled last layer.

    Args:
        spec: its ``settings`` name the network; that which was trained on everybody when empty.
        weights: the file.

    Raises:
        StopRun: ``weights_hash`` when the file does not hold the network, ``config_value`` for a pooling that the
            network cannot give.
    """
    card = read_card(weights)
    design = design_of(card, weights)
    tensors = read_network(weights, spec.settings or FINAL)
    try:
        module = from_tensors(design, tensors)
    except (RuntimeError, TypeError, ValueError) as error:
        message = f"{weights} is no trained encoder: its card describes no network: {one_line(error)}"
        raise StopRun("weights_hash", message) from error
    return assemble(spec, module, lambda batch: probabilities(module(batch), design), module.last, module.layout)


def read_network(weights: Path, name: str) -> Tensors:
    """The tensors of one network of a trained encoder.

    Raises:
        StopRun: ``weights_hash`` for a file that is damaged or does not hold the network.
    """
    try:
        with safe_open(weights, framework="pt") as file:
            keys = [key for key in file.keys() if key.startswith(f"{name}/")]  # noqa: SIM118 - no mapping
            tensors = {key.removeprefix(f"{name}/"): file.get_tensor(key) for key in keys}
    except (SafetensorError, OSError) as error:
        raise StopRun("weights_hash", f"{weights} cannot be read: {error}") from error
    if not tensors:
        raise StopRun("weights_hash", f"{weights} does not hold the network '{name}', which its card names")
    return tensors


def write_trained(path: Path, card: Card, networks: Mapping[str, Tensors]) -> None:
    """Write a trained encoder atomically; the same networks and card give the same bytes.

    Args:
        path: of the file, ``.safetensors``.
        card: names the networks.
        networks: name -> tensors.
    """
    if {*networks} != {*card.networks}:
        raise ValueError(f"the card names the networks {sorted(card.networks)}, given were {sorted(networks)}")
    named = {f"{name}/{key}": tensor for name, tensors in networks.items() for key, tensor in tensors.items()}
    with replacing(path) as part:
        part.touch()
        mode = part.stat().st_mode  # the library would let nobody else read the file
        metadata = card.to_metadata() | {HEAD_HASH: _NO_HASH, TENSORS_HASH: _NO_HASH}
        save_file({key: tensor.contiguous() for key, tensor in named.items()}, part, metadata=metadata)
        part.chmod(mode)
        _seal(part)


def _seal(path: Path) -> None:
    """Put the hashes into the header, in its place, and that in order: the library writes another one every time."""
    with path.open("rb+") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        header = json.loads(file.read(length))
        header["__metadata__"][TENSORS_HASH] = hashlib.file_digest(file, "sha256").hexdigest()
        header["__metadata__"][HEAD_HASH] = head_sha256(header)
        text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > length:
            raise ValueError(f"the header of {path} grew from {length} to {len(text)} bytes")
        file.seek(LENGTH_BYTES)
        file.write(text.ljust(length))
