"""Whether an encoder on this machine still gives the embeddings that a store was made with."""

from dataclasses import dataclass
from pathlib import Path

from extract.devices import choose_devices
from extract.encoders import find_encoder
from extract.lanes import choose
from triher.recorded import encoder_options
from triher.runfolder import library_versions
from triher.settings import ExtractConfig
from triher.store import COSMETIC, Header
from triher.store_compare import Distance, differing_keys, distance
from triher.trained import find_trained


@dataclass(frozen=True)
class Drift:
    """In what the encoder of this machine differs from a store's; ``there -> here`` in the lines."""

    device: str
    weights: tuple[str, ...]
    """The hash of the weights, when it differs."""
    transform: tuple[str, ...]
    """Keys of the encoder's description that differ and that embeddings depend on."""
    cosmetic: tuple[str, ...]
    """Keys that differ and say only where the encoder is from."""
    libraries: tuple[str, ...]
    probe: Distance
    """How far the embeddings of the fixed pictures are from the store's."""
    tolerance: float

    @property
    def is_within_tolerance(self) -> bool:
        """Whether the embeddings of both can stand side by side."""
        return self.probe.largest <= self.tolerance

    @property
    def verdict(self) -> str:
        """One sentence for people."""
        if not self.is_within_tolerance:
            return f"drifted: more than the tolerance of {self.tolerance:g}; extract again, or restore what differs"
        if self.weights or self.transform:
            return "within the tolerance, but described differently: extraction would make a store of its own"
        if self.probe.largest == 0:
            return "equal to the bit"
        return f"within the tolerance of {self.tolerance:g}, as other threads and devices are"


def measure_drift(
    header: Header, *, weights_dir: Path | None = None, device: str = "auto", beside: Path | None = None
) -> Drift:
    """Build a store's encoder on this machine and embed the fixed pictures again.

    Args:
        header: what made the store.
        weights_dir: folder of weights that were placed by hand.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:0``.
        beside: folder where a trained encoder is looked for after that; a run has it beside its stores.

    Raises:
        StopRun: ``unknown_name`` for an encoder that is not known here, ``weights_missing``, ``weights_hash`` or
            ``device_missing``.
    """
    recorded = encoder_options(header.encoder)
    options = ExtractConfig.model_validate(recorded | {"weights_dir": weights_dir, "device": device})
    if options.is_trained:
        folders = [folder for folder in (weights_dir, beside) if folder]
        options = options.model_copy(update={"encoder": find_trained(options.encoder, folders)})
    choice = choose(find_encoder(options.encoder, options.tokens), options)
    lines = differing_keys(header.encoder, choice.facts())
    named = {line: line.partition(":")[0] for line in lines}
    place = choose_devices(device)[0]
    return Drift(
        str(place),
        tuple(line for line in lines if named[line] == "sha256"),
        tuple(line for line in lines if named[line] not in ("sha256", *COSMETIC)),
        tuple(line for line in lines if named[line] in COSMETIC),
        tuple(differing_keys(header.versions, library_versions())),
        distance(header.probe, choice.load(place).probe()),
        header.tolerance,
    )
