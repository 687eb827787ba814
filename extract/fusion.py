"""Which phases become the three channels of the picture that an encoder sees."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from triher.errors import StopRun, unknown_name

# pre, early, late as red, green, blue is the fusion of Fridman & Goldstein 2025 (arXiv 2510.13897).
FUSIONS: dict[str, tuple[str, str, str]] = {
    "rgb": ("pre", "early", "late"),
    "pre": ("pre", "pre", "pre"),
    "early": ("early", "early", "early"),
    "late": ("late", "late", "late"),
    "wash-in": ("early-pre", "early-pre", "early-pre"),
    "kinetics": ("early-pre", "early", "late-early"),
}


@dataclass(frozen=True)
class Fusion:
    """A named view: three channels, each a phase or the difference of two."""

    name: str
    channels: tuple[tuple[str, str], ...]
    """(phase, phase to subtract or "")."""


def find_fusion(text: str, phases: "tuple[str, ...]") -> Fusion:
    """Look a fusion up, or read three channels such as ``pre,early,early-pre``.

    Args:
        text: a name of `FUSIONS` or three channels separated by commas.
        phases: the phases of the cohort.

    Raises:
        StopRun: ``unknown_name`` for a fusion or a phase, ``config_value`` for a wrong number of channels.
    """
    channels = tuple(part.strip() for part in text.split(",")) if "," in text else FUSIONS.get(text, ())
    if not channels:
        raise unknown_name("fusion", text, FUSIONS)
    if len(channels) != 3:
        raise StopRun("config_value", f"extract.fusions: '{text}' has {len(channels)} channels; 3 were expected")
    return Fusion(text, tuple(_channel(channel, phases) for channel in channels))


def _channel(text: str, phases: tuple[str, ...]) -> tuple[str, str]:
    """A phase, or a difference of two; phase names may hold hyphens themselves."""
    if text in phases:
        return text, ""
    for position, letter in enumerate(text):
        if letter == "-" and text[:position] in phases and text[position + 1 :] in phases:
            return text[:position], text[position + 1 :]
    missing = next((part for part in text.split("-") if part not in phases), text)
    raise unknown_name("phase", missing, phases)


def fuse(
    fusion: Fusion, phases: tuple[str, ...], voxels: UInt8[np.ndarray, "phase slice row col"]
) -> UInt8[np.ndarray, "slice 3 row col"]:
    """Stack the channels; a difference d of two phases becomes ``(d + 255) // 2``, so that 0 is mid-gray."""
    channels = []
    for phase, subtracted in fusion.channels:
        channel = voxels[phases.index(phase)]
        if subtracted:
            other = voxels[phases.index(subtracted)].astype(np.int16)
            channel = ((channel.astype(np.int16) - other + 255) // 2).astype(np.uint8)
        channels.append(channel)
    return np.stack(channels, axis=1)
