"""Open a feature store that may be damaged or foreign, without following it out of the file."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import h5py

from triher.errors import StopRun, first_line

DAMAGED = (ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
"""What h5py and the decoding of its values raise on damaged files, as found by flipping bits."""
DAMAGE_CODES = frozenset({"store_corrupt", "store_bomb"})
"""How a store of ours is refused after damage to its content: it can be mended, or made again."""


@contextlib.contextmanager
def open_guarded(path: Path, format_name: str, version: int) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading after proving that it refers to nothing outside itself.

    Errors that damaged content raises inside the block become ``store_corrupt``.

    Raises:
        StopRun: ``file_unreadable``, ``store_corrupt``, ``store_bomb``, ``store_unknown``, ``store_version``,
            ``store_external`` or, while another program writes the file, ``store_locked``.
    """
    with open_hdf5(path) as file:
        try:
            refuse_other_format(file, path, format_name, version)
            _refuse_foreign(file, path)
            yield file
        except DAMAGED as error:
            raise StopRun("store_corrupt", f"{path}: {error}") from error


def open_hdf5(path: Path) -> h5py.File:
    """Open a file for reading; nothing of it is trusted yet.

    Raises:
        StopRun: ``file_unreadable``, ``store_corrupt``, ``store_unknown`` or ``store_locked``.
    """
    if not path.is_file():
        raise _no_file(path)
    try:
        return h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise _refusal(path, error) from error


def _no_file(path: Path) -> StopRun:
    """Nothing there, or a folder, whose stores are named."""
    if not path.is_dir():
        return StopRun("file_unreadable", f"there is no file {path}")
    stores = sorted({*path.glob("*.h5"), *path.glob("features/*.h5")})
    remedy = f"name one of its stores: {', '.join(map(str, stores[:5]))}" if stores else "name a feature store"
    return StopRun("file_unreadable", f"{path} is a folder, no feature store", remedy=remedy)


def _refusal(path: Path, error: Exception) -> StopRun:
    """Why HDF5 does not open a file, and what to do about it."""
    reason = first_line(error)
    message = f"cannot open the feature store {path}: {reason}"
    if isinstance(error, PermissionError):
        return StopRun("file_unreadable", message)
    if isinstance(error, BlockingIOError):
        return StopRun("store_locked", message, remedy="wait until the program that writes the file has ended")
    if "already open for write" in reason:
        # HDF5 leaves this mark in files of its newest layout; stores of ours are of an older one without it.
        remedy = "a program died while it wrote the file: clear its mark with 'h5clear -s FILE', then verify the file"
        return StopRun("store_locked", message, remedy=remedy)
    return StopRun("store_corrupt" if h5py.is_hdf5(path) else "store_unknown", message)


def refuse_other_format(file: h5py.File, path: Path, format_name: str, version: int) -> None:
    """Refuse HDF5 of other programs, and stores of a later version."""
    if "format" not in file.attrs or read_text(file, "format") != format_name:
        raise StopRun("store_unknown", f"{path} is HDF5 but no {format_name} store")
    if file.attrs["version"] > version:
        message = f"{path} has version {file.attrs['version']}; this TriHER reads up to {version}"
        raise StopRun("store_version", message)


def _refuse_foreign(file: h5py.File, path: Path) -> None:
    """Check links, storage and sizes of all that is in the file before any data are read."""
    size = path.stat().st_size
    for data in all_data(file, path):
        refuse_storage(data, size, path)


def all_data(file: h5py.File, path: Path) -> Iterator[h5py.Dataset]:
    """All that is in the file and no group.

    Raises:
        StopRun: ``store_external`` at anything but a hard link.
    """
    stack: list[h5py.Group] = [file]
    seen = {file["/"]}  # a group may hold itself
    while stack:
        group = stack.pop()
        for name in group:
            refuse_link(group, name, path)
            item = group[name]
            if not isinstance(item, h5py.Group):
                yield item
            elif item not in seen:
                seen.add(item)
                stack.append(item)


def refuse_link(group: h5py.Group, name: str, path: Path) -> None:
    """Refuse anything but a hard link."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise StopRun("store_external", f"{path}: '{group.name}/{name}' is a link to somewhere else")


def refuse_elsewhere(data: h5py.Dataset, path: Path) -> None:
    """Refuse data that lie in another file."""
    if data.external is not None or data.is_virtual:
        raise StopRun("store_external", f"{path}: '{data.name}' keeps its data in another file")


def refuse_storage(data: h5py.Dataset, size: int, path: Path) -> None:
    """Refuse data that lie elsewhere, claim more than the file holds, or need a filter or pickle."""
    refuse_elsewhere(data, path)
    if data.nbytes > size:
        message = f"{path}: '{data.name}' claims {data.shape} numbers, {data.nbytes} bytes, in a file of {size}"
        raise StopRun("store_bomb", message)
    if data.dtype.kind not in "fiuS" or data.chunks is not None:
        message = f"{path}: '{data.name}' is {data.dtype} in pieces of {data.chunks}, which no store of ours holds"
        raise StopRun("store_corrupt", message, remedy="this file was not written by TriHER; do not use it")


def read_text(file: h5py.File, name: str) -> str:
    """A text attribute of the root; other kinds are refused before they are read."""
    kind = file.attrs.get_id(name).dtype.kind
    if kind != "S":
        raise TypeError(f"the attribute '{name}' is not fixed-length text")
    return bytes(file.attrs[name]).decode()
