"""Whether an encoder on this machine still gives the embeddings that a store was made with."""

from dataclasses import dataclass
from pathlib import Path

from extract.devices import choose_devices
from extract.encoders import find_encoder
from extract.models import Encoder
from extract.weights import locate_weights
from triher.runfolder import library_versions
from triher.store import COSMETIC, PROBE_TOLERANCE, Header
from triher.store_compare import Distance, differing_keys, distance


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

    @property
    def is_within_tolerance(self) -> bool:
        """Whether the embeddings of both can stand side by side."""
        return self.probe.largest <= PROBE_TOLERANCE

    @property
    def verdict(self) -> str:
        """One sentence for people."""
        if not self.is_within_tolerance:
            return f"drifted: more than the tolerance of {PROBE_TOLERANCE:g}; extract again, or restore what differs"
        if self.weights or self.transform:
            return "within the tolerance, but described differently: extraction would make a store of its own"
        if self.probe.largest == 0:
            return "equal to the bit"
        return f"within the tolerance of {PROBE_TOLERANCE:g}, as other threads and devices are"


def measure_drift(header: Header, *, weights_dir: Path | None = None, device: str = "auto") -> Drift:
    """Build a store's encoder on this machine and embed the fixed pictures again.

    Args:
        header: what made the store.
        weights_dir: folder of weights that were placed by hand.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:0``.

    Raises:
        StopRun: ``unknown_name`` for an encoder that is not known here, ``weights_missing``, ``weights_hash`` or
            ``device_missing``.
    """
    spec = find_encoder(str(header.encoder.get("name", "")), str(header.encoder.get("tokens", "default")))
    weights, digest = locate_weights(spec, weights_dir)
    lines = differing_keys(header.encoder, spec.identity(digest))
    named = {line: line.partition(":")[0] for line in lines}
    place = choose_devices(device)[0]
    return Drift(
        str(place),
        tuple(line for line in lines if named[line] == "sha256"),
        tuple(line for line in lines if named[line] not in ("sha256", *COSMETIC)),
        tuple(line for line in lines if named[line] in COSMETIC),
        tuple(differing_keys(header.versions, library_versions())),
        distance(header.probe, Encoder(spec, weights, place).probe()),
    )
