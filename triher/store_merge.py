"""Join feature stores of one encoder and recipe into one, a part at a time in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from triher.errors import Note, StopRun
from triher.store import Features, Header, Index, read_header, read_index, write_store
from triher.store_check import same_images
from triher.store_compare import differing_keys
from triher.store_parts import read_checksums, read_parts


@dataclass(frozen=True)
class Merged:
    """What was joined."""

    n_patients: int
    n_slices: int
    repeated: tuple[str, ...]
    """Patients who were in two stores with equal content, and are once in the new one."""
    notes: tuple[Note, ...]


def merge_stores(out: Path, paths: Sequence[Path]) -> Merged:
    """Write one store with the patients of several, in the order of the stores and of the patients in them.

    Raises:
        StopRun: ``store_mixed`` for stores of other identity, views, facts or probe, ``store_conflict`` for a
            patient who differs between two stores, and as `triher.store.read_store`.
    """
    headers = {path: read_header(path) for path in paths}
    indexes = {path: read_index(path) for path in paths}
    first = paths[0]
    for path in paths[1:]:
        _refuse_other_kind((first, path), (headers[first], headers[path]), (indexes[first], indexes[path]))
    wanted, repeated = _wanted(paths)
    n_slices = sum(indexes[path].slices[name] for path, names in wanted.items() for name in names)
    header = replace(headers[first], versions=_joined_versions([headers[path].versions for path in paths]))
    write_store(out, header, _parts(wanted), n_slices=n_slices)
    inputs = {name: digest for path, index in indexes.items() for name, digest in index.inputs.items()}
    pairs = same_images(inputs)
    notes = tuple(Note(a, "image_duplicate", f"{a} and {b} have the same images") for a, b in pairs)
    return Merged(len(inputs), n_slices, repeated, notes)


def _refuse_other_kind(
    paths: tuple[Path, Path], headers: tuple[Header, Header], indexes: tuple[Index, Index]
) -> None:
    """Two stores must have been made alike."""
    (a, b), (left, right) = headers, indexes
    lines = []
    if left.identity != right.identity:
        lines += differing_keys(a.encoder, b.encoder, "encoder.") + differing_keys(a.recipe, b.recipe, "recipe.")
    elif not a.resembles(b):
        lines += [f"probe: a drift of {a.drift(b):.2g}", *differing_keys(a.versions, b.versions, "libraries.")]
    if left.views != right.views:
        lines.append(f"views: {', '.join(left.views)} -> {', '.join(right.views)}")
    if left.n_features != right.n_features:
        lines.append(f"features: {left.n_features} -> {right.n_features}")
    if left.acquisition != right.acquisition:
        odd = sorted({*left.acquisition} ^ {*right.acquisition})
        lines.append(f"acquisition: only one of them has {', '.join(odd)}")
    if lines:
        raise StopRun("store_mixed", f"{paths[0]} and {paths[1]} were made in different ways: {'; '.join(lines)}")


def _wanted(paths: Sequence[Path]) -> tuple[dict[Path, list[str]], tuple[str, ...]]:
    """Whom to take from which store, and who is in several."""
    seen: dict[str, tuple[Path, str]] = {}
    wanted: dict[Path, list[str]] = {}
    repeated = []
    for path in paths:
        wanted.setdefault(path, [])
        for name, checksum in read_checksums(path).items():
            if name not in seen:
                seen[name] = (path, checksum)
                wanted[path].append(name)
            elif seen[name][1] == checksum:
                repeated.append(name)
            else:
                message = f"patient {name} is in {seen[name][0]} and in {path}, with different images or embeddings"
                raise StopRun("store_conflict", message)
    return wanted, tuple(repeated)


def _parts(wanted: dict[Path, list[str]]) -> Iterator[Features]:
    """The patients to take, part by part."""
    for path, names in wanted.items():
        chosen = set(names)
        for part in read_parts(path):
            positions = [i for i, name in enumerate(part.patient_id) if name in chosen]
            yield part if len(positions) == len(part.patient_id) else part.select(positions)


def _joined_versions(versions: Sequence[dict[str, str]]) -> dict[str, str]:
    """The versions of each library that took part, in the order of the stores."""
    names = {name: None for facts in versions for name in facts}
    return {name: " | ".join(dict.fromkeys(facts[name] for facts in versions if name in facts)) for name in names}
