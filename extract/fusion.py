"""Which phases become the three channels of the picture that an encoder sees."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from triher.errors import StopRun, unknown_name

FUSIONS: dict[str, tuple[str, str, str]] = {
    # The fusion of Fridman & Goldstein 2025 (arXiv 2510.13897).
    "rgb": ("pre", "early", "late"),
    # The three inputs of BL4AS, C2-C0, C2 and C5-C2.
    "kinetics": ("early-pre", "early", "late-early"),
    "wash-in": ("early-pre", "early-pre", "early-pre"),
    "wash-out": ("late-early", "late-early", "late-early"),
}
_NAME = r"\w[\w .+-]*"  # as phases are named: part of the names of views in the store
_NAMED = re.compile(rf"({_NAME})=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Fusion:
    """A named view: three channels, each a phase or the difference of two."""

    name: str
    channels: tuple[tuple[str, str], ...]
    """(phase, phase to subtract or "")."""


def find_fusion(text: str, phases: tuple[str, ...]) -> Fusion:
    """Look a fusion up, or read its channels.

    >>> find_fusion("late-pre", ("pre", "early", "late")).channels[0]
    ('late', 'pre')
    >>> find_fusion("mine=pre, early, early-pre", ("pre", "early")).name
    'mine'

    Args:
        text: a name of `FUSIONS`; a phase, or the difference of two such as ``late-pre``, for all three channels;
            three of these separated by commas; or a name for them before them, ``mine=pre,early,late-pre``.
        phases: the phases of the cohort.

    Raises:
        StopRun: ``unknown_name`` for a fusion or a phase, ``config_value`` for a wrong number of channels or a name
            that the store cannot take.
    """
    name, content = _split_name(text)
    parts = [part.strip() for part in content.split(",")] if "," in content else FUSIONS.get(content, [content] * 3)
    if len(parts) != 3:
        raise StopRun("config_value", f"extract.fusions: '{text}' has {len(parts)} channels; 3 were expected")
    is_single = "," not in content and content not in FUSIONS
    if is_single and not any(part in phases for part in _sides(content)):
        raise unknown_name("fusion", content, [*FUSIONS, *phases])
    return Fusion(name, tuple(_channel(part, phases) for part in parts))


def find_fusions(texts: Sequence[str], phases: tuple[str, ...]) -> tuple[Fusion, ...]:
    """Look all views of a run up.

    Args:
        texts: as for `find_fusion`.
        phases: the phases of the cohort.

    Raises:
        StopRun: ``config_value`` when there is none, or when two have one name, and as `find_fusion`.
    """
    if not texts:
        raise StopRun("config_value", "extract.fusions is empty; name at least one, such as rgb")
    fusions = tuple(find_fusion(text, phases) for text in texts)
    names = [fusion.name for fusion in fusions]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise StopRun("config_value", f"extract.fusions: two views have the name '{twice}'")
    return fusions


def _split_name(text: str) -> tuple[str, str]:
    """The name of the view, and what it consists of; the text itself where it has no other name."""
    if "=" not in text:
        return text, text.strip()
    named = _NAMED.fullmatch(text)
    if named is None:
        found = text.partition("=")[0]
        message = f"extract.fusions: '{found}' cannot name a view; letters, digits and ' _.+-' were expected"
        raise StopRun("config_value", message)
    return named[1].strip(), named[2].strip()


def _sides(text: str) -> list[str]:
    """The text, and all that stands before or behind one of its hyphens."""
    hyphens = [position for position, letter in enumerate(text) if letter == "-"]
    return [text, *(text[:h] for h in hyphens), *(text[h + 1 :] for h in hyphens)]


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
    made = {channel: _make(channel, phases, voxels) for channel in set(fusion.channels)}
    return np.stack([made[channel] for channel in fusion.channels], axis=1)


def _make(
    channel: tuple[str, str], phases: tuple[str, ...], voxels: UInt8[np.ndarray, "phase slice row col"]
) -> UInt8[np.ndarray, "slice row col"]:
    """One channel of all slices."""
    name, subtracted = channel
    phase = voxels[phases.index(name)]
    if not subtracted:
        return phase
    return ((phase.astype(np.int16) - voxels[phases.index(subtracted)] + 255) >> 1).astype(np.uint8)
