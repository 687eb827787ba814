"""Read a feature store part by part, so that memory does not grow with the number of patients."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from triher.store_guard import open_guarded
from triher.store_model import FORMAT, VERSION, Features, Index
from triher.store_read import checked_lengths, damaged_patients, features_of, index_of, read_index, refuse_damaged

MAX_SLICES = 4096  # of one part: 12 MB for 768 features


@dataclass(frozen=True)
class Part:
    """Some patients that follow one another, and who of them is damaged."""

    features: Features
    damaged: tuple[str, ...]


def scan_store(path: Path, *, max_slices: int = MAX_SLICES) -> Iterator[Part]:
    """Read all patients, a part at a time, and compare each with her checksum.

    Args:
        path: the store.
        max_slices: at most so many slices are in memory, or one patient if she has more.

    Raises:
        StopRun: as `triher.store.read_index`; damaged patients are named in the parts.
    """
    # An error of the consumer does not pass through here, so it is not taken for damage of the store.
    with open_guarded(path, FORMAT, VERSION) as file:
        index = index_of(file)
        checksums = checked_lengths(file, index)
        for positions in cut_parts(index, max_slices):
            features = features_of(file, index, positions)
            damaged = damaged_patients(features, [checksums[i] for i in positions])
            yield Part(features, tuple(damaged))


def read_parts(path: Path, *, max_slices: int = MAX_SLICES) -> Iterator[Features]:
    """Read all patients, a part at a time; every part is checked before it is given out.

    Raises:
        StopRun: as `triher.store.read_store`.
    """
    n_patients = len(read_index(path).inputs)
    for part in scan_store(path, max_slices=max_slices):
        refuse_damaged(path, part.damaged, n_patients)
        yield part.features


def read_patients(path: Path, ids: Sequence[str]) -> Features:
    """Read some patients, in the given order.

    Raises:
        StopRun: as `triher.store.read_store`, and when the store does not hold one of them.
    """
    with open_guarded(path, FORMAT, VERSION) as file:
        index = index_of(file)
        checksums = checked_lengths(file, index)
        place = {patient_id: i for i, patient_id in enumerate(index.inputs)}
        positions = [place[patient_id] for patient_id in ids]
        features = features_of(file, index, positions)
    refuse_damaged(path, damaged_patients(features, [checksums[i] for i in positions]), len(checksums))
    return features


def read_checksums(path: Path) -> dict[str, str]:
    """Patient id -> the checksum that the store keeps of her, which covers all that it holds of her.

    Raises:
        StopRun: as `triher.store.read_index`.
    """
    with open_guarded(path, FORMAT, VERSION) as file:
        index = index_of(file)
        return dict(zip(index.inputs, checked_lengths(file, index), strict=True))


def cut_parts(index: Index, max_slices: int) -> Iterator[range]:
    """Positions of patients whose slices fit into one part; a larger patient is a part of her own."""
    start = held = 0
    for position, length in enumerate(index.slices.values()):
        if position > start and held + length > max_slices:
            yield range(start, position)
            start, held = position, 0
        held += length
    if index.slices:
        yield range(start, len(index.slices))
