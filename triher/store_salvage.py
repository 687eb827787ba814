"""Take every whole patient out of a damaged feature store, and say what is lost."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float32, Shaped

from triher.errors import StopRun, first_line
from triher.store_guard import (
    DAMAGE_CODES,
    DAMAGED,
    open_hdf5,
    read_text,
    refuse_link,
    refuse_other_format,
    refuse_storage,
)
from triher.store_model import FORMAT, JSON_ATTRIBUTES, VERSION, Features, Header, content_of, identity, origin

_COLUMNS = ("patient_id", "input_sha256", "checksum", "indptr", "slice_index", "area_mm2")


@dataclass(frozen=True)
class Memory:
    """What a run folder remembers of its store."""

    encoder: dict[str, Any]
    recipe: dict[str, Any]
    identity: str


@dataclass(frozen=True)
class Salvaged:
    """What can be saved of a store."""

    header: Header | None = None
    """What made the embeddings, with encoder and recipe that hash to the store's identity; None without proof."""
    is_proved: bool = False
    """Whether libraries, probe and license are as they were written, too."""
    positions: tuple[int, ...] = ()
    """The whole patients, by their place in the store."""
    ids: tuple[str, ...] = ()
    """Everybody; the id of a damaged patient may itself be damaged."""
    checksums: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()
    """The number of slices of each whole patient."""
    lost: dict[str, str] = field(default_factory=dict)
    """Part of the file -> why it cannot be used."""

    @property
    def damaged(self) -> tuple[str, ...]:
        """The patients who cannot be saved."""
        whole = set(self.positions)
        return tuple(name for i, name in enumerate(self.ids) if i not in whole)

    @property
    def n_slices(self) -> int:
        """The slices of the whole patients."""
        return sum(self.lengths)

    def without_last(self) -> "Salvaged":
        """The same, as if the last whole patient were damaged."""
        return replace(self, positions=self.positions[:-1], lengths=self.lengths[:-1])

    @property
    def is_whole(self) -> bool:
        """Whether nothing at all is damaged."""
        return self.is_proved and bool(self.ids) and not self.damaged and not self.lost


def salvage(path: Path, memory: Memory | None = None) -> Salvaged:
    """Find the patients whose checksum holds, and what made them; the file is not changed.

    A patient is saved with all her views or not at all, because her checksum covers all of them.

    Args:
        path: the damaged store.
        memory: what is known of it from elsewhere, for encoder and recipe that cannot be read.

    Raises:
        StopRun: ``file_unreadable``, ``store_external``, ``store_unknown``, ``store_version`` or ``store_locked``
            for files that cannot be mended.
    """
    lost: dict[str, str] = {}
    try:
        with open_hdf5(path) as file:
            refuse_other_format(file, path, FORMAT, VERSION)
            held = _Held.read(file, path, lost)
            header, is_proved = _header(file, path, memory, lost)
            if _text(file, "content", lost) != content_of(held.checksums):
                lost.setdefault("content", "the checksum over all patients' checksums differs")
            whole = tuple(i for i in range(len(held.ids)) if held.is_whole(i))
            lengths = tuple(held.span(i).stop - held.span(i).start for i in whole)
            return Salvaged(header, is_proved, whole, tuple(held.ids), tuple(held.checksums), lengths, lost)
    except DAMAGED as error:
        return Salvaged(lost={path.name: first_line(error)})
    except StopRun as error:
        # A run folder knows that the file was a store, whatever it looks like now.
        if error.code in DAMAGE_CODES or (memory is not None and error.code == "store_unknown"):
            return Salvaged(lost={path.name: error.message})
        raise


def saved_parts(path: Path, found: Salvaged) -> Iterator[Features]:
    """The patients that `salvage` found whole, one at a time."""
    with open_hdf5(path) as file:
        held = _Held.read(file, path, {})
        for i in found.positions:
            yield held.patient(i)


@dataclass(frozen=True)
class _Held:
    """The arrays of a store that can be read; embeddings stay on disk."""

    ids: list[str]
    checksums: list[str]
    columns: dict[str, Shaped[np.ndarray, "..."]]
    views: dict[str, h5py.Dataset]
    acquisition: dict[str, Shaped[np.ndarray, "..."]]
    is_complete: bool
    """Whether every part can be read, without which no checksum can hold."""

    @classmethod
    def read(cls, file: h5py.File, path: Path, lost: dict[str, str]) -> "_Held":
        """Read what can be read, and note in `lost` what cannot."""
        before = len(lost)
        columns = {name: data[()] for name in _COLUMNS if (data := _part(file, name, path, lost)) is not None}
        names = {group: _members(file, group, path, lost) for group in ("views", "acquisition")}
        views = {name: _part(file, f"views/{name}/embeddings", path, lost) for name in names["views"]}
        facts = {name: _part(file, f"acquisition/{name}", path, lost) for name in names["acquisition"]}
        return cls(
            [value.decode(errors="replace") for value in columns.get("patient_id", [])],
            [value.decode(errors="replace") for value in columns.get("checksum", [])],
            columns,
            {name: data for name, data in views.items() if data is not None},
            {name: data[()] for name, data in facts.items() if data is not None},
            len(lost) == before,
        )

    def span(self, i: int) -> slice:
        """The rows of a patient."""
        return slice(int(self.columns["indptr"][i]), int(self.columns["indptr"][i + 1]))

    def patient(self, i: int) -> Features:
        """One patient, unchecked."""
        rows = self.span(i)
        if not 0 <= rows.start <= rows.stop <= len(self.columns["slice_index"]):
            raise ValueError("the slices of a patient lie outside the arrays")
        return Features(
            (self.ids[i],),
            (self.columns["input_sha256"][i].decode(),),
            np.array([0, rows.stop - rows.start], np.int64),
            self.columns["slice_index"][rows].astype(np.int32),
            self.columns["area_mm2"][rows].astype(np.float32),
            {name: data[rows].astype(np.float32) for name, data in self.views.items()},
            {name: column[i : i + 1].astype(np.float64) for name, column in self.acquisition.items()},
        )

    def is_whole(self, i: int) -> bool:
        """Whether a patient's checksum holds."""
        try:
            return self.is_complete and self.patient(i).checksum(0) == self.checksums[i]
        except DAMAGED:
            return False


def _part(file: h5py.File, name: str, path: Path, lost: dict[str, str]) -> h5py.Dataset | None:
    """A dataset that may be read, or None and the reason in `lost`."""
    try:
        group: h5py.HLObject = file
        for step in name.split("/"):
            group = _child(group, step, path)
        refuse_storage(group, path.stat().st_size, path)
        group[:1]  # damage of the object shows when it is first read
    except DAMAGED as error:
        lost[name] = first_line(error)
        return None
    except StopRun as error:
        if error.code == "store_external":
            raise
        lost[name] = error.message
        return None
    return group


def _child(group: h5py.Group, name: str, path: Path) -> h5py.HLObject:
    """What lies in a group under a name, if it lies there itself."""
    if group.get(name, getlink=True) is None:
        raise LookupError("it is not there")
    refuse_link(group, name, path)
    return group[name]


def _members(file: h5py.File, name: str, path: Path, lost: dict[str, str]) -> list[str]:
    """The names in a group, none and the reason in `lost` when it cannot be read."""
    try:
        return sorted(_child(file, name, path))
    except DAMAGED as error:
        lost[name] = first_line(error)
        return []


def _header(file: h5py.File, path: Path, memory: Memory | None, lost: dict[str, str]) -> tuple[Header | None, bool]:
    """What made the embeddings, and whether all of it is proved."""
    texts = {name: _text(file, name, lost) for name in (*JSON_ATTRIBUTES, "identity", "origin")}
    probe = _probe(file, path, lost)
    if probe is None:
        return None, False
    if all(texts.values()) and origin(texts, probe) == texts["origin"]:
        encoder, recipe, versions = (json.loads(texts[name]) for name in JSON_ATTRIBUTES)
        return Header(encoder, recipe, versions, probe), True
    lost.setdefault("encoder, recipe, versions, probe", "they differ from their checksum")
    read = tuple(_object(texts[name]) for name in JSON_ATTRIBUTES)
    trusted = {texts["identity"]} | ({memory.identity} if memory else set())
    candidates = [read[:2], *([(memory.encoder, memory.recipe)] if memory else [])]
    for encoder, recipe in candidates:
        if identity(encoder, recipe) in trusted:
            return Header(encoder, recipe, read[2], probe), False
    return None, False


def _text(file: h5py.File, name: str, lost: dict[str, str]) -> str:
    """A text attribute, empty and the reason in `lost` when it cannot be read."""
    try:
        return read_text(file, name)
    except DAMAGED as error:
        lost[name] = first_line(error)
        return ""


def _object(text: str) -> dict[str, Any]:
    """A JSON object, empty when the text is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _probe(file: h5py.File, path: Path, lost: dict[str, str]) -> Float32[np.ndarray, "picture feature"] | None:
    """The embedding of the fixed pictures."""
    data = _part(file, "probe", path, lost)
    return None if data is None or data.ndim != 2 else data[:].astype(np.float32)
