"""The files of a bundle, in a folder or in a zip: which there are, and their bytes, read within bounds.

A zip from anywhere may name files outside its folder, hold links, a million entries, or inflate to a thousand times
its size (zip slip, as in CVE-2026-21851, and zip bombs: Fifield, WOOT 2019). So nothing is ever unpacked to disk:
entries must be few, flat, plain, distinct and small by their own account, and no more than that account is inflated.
"""

import io
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from classify.manifest import Manifest, parse_manifest
from triher.errors import StopRun
from triher.files import replacing

MOST_FILES = 20  # a bundle has about six
MOST_BYTES = 500_000_000  # all files together; ours hold some MB
MANIFEST = "manifest.json"
_MANIFEST_BYTES = 10_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DIRECTORY_BYTES = 256 * MOST_FILES  # what a zip says of an entry: 46 bytes and its name, some tools add 36
_END = struct.Struct("<4sHHHHIIH")  # APPNOTE 4.3.16: end of central directory record, here without a comment
_LOCATOR = 20  # APPNOTE 4.3.15: zip64 end of central directory locator, before the end record
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip can hold
_ENCRYPTED = 0x1
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, ValueError)
_REMEDY = "copy the bundle again, or pack its folder with 'triher bundle pack'"


@dataclass(frozen=True)
class Files:
    """What a bundle's folder or zip holds; nothing is read before it is asked for by name."""

    path: Path
    sizes: dict[str, int]
    """Name -> bytes, as the folder or the zip says."""
    opened: Callable[[str], IO[bytes]]
    """Opens one of the names."""

    def read(self, name: str, *, most: int = MOST_BYTES) -> bytes:
        """The bytes of a file.

        Args:
            name: of a file.
            most: how many bytes it may have; no more are read or inflated, whatever comes after them.

        Raises:
            StopRun: ``bundle_corrupt`` (there is none of that name, or it cannot be read), ``bundle_tampered`` (it
                is larger, or of another size than it says).
        """
        place, size = self.path / name, self.sizes.get(name)
        if size is None:
            raise StopRun("bundle_corrupt", f"cannot read {place}: there is no such file")
        if size > most:
            raise StopRun("bundle_tampered", f"{place} has {size} bytes, more than the {most} on record")
        try:
            with self.opened(name) as handle:
                data = handle.read(size + 1)
        except OSError as error:
            raise StopRun("bundle_corrupt", f"cannot read {place}: {error.strerror or error}") from error
        except _BROKEN as error:
            raise StopRun("bundle_corrupt", f"cannot read {place}: {error}", remedy=_REMEDY) from error
        if len(data) != size:
            raise StopRun("bundle_tampered", f"{place} has another size than the {size} bytes it announces")
        return data


def open_files(path: Path) -> Files:
    """Look into a bundle, after checking that its files are few, flat, plain and small.

    Args:
        path: a folder, or a zip as `pack` writes it.

    Raises:
        StopRun: ``bundle_corrupt`` (unreadable, or neither), ``bundle_tampered`` (links, folders, encrypted or
            repeated entries, names that lead elsewhere, more than `MOST_FILES` files or `MOST_BYTES` bytes);
            ``file_unreadable`` for a run folder, which holds the bundle.
    """
    within = path / "bundle"
    if (within / MANIFEST).is_file() and not (path / MANIFEST).exists():
        raise StopRun("file_unreadable", f"{path} is a run folder, not a bundle", remedy=f"name its bundle: {within}")
    try:
        files = _in_folder(path) if path.is_dir() else _in_zip(path)
    except OSError as error:
        raise StopRun("bundle_corrupt", f"cannot read {path}: {error.strerror or error}") from error
    total = sum(files.sizes.values())
    if total > MOST_BYTES:
        raise _refusal(path, f"holds {total} bytes, and no bundle has more than {MOST_BYTES}")
    return files


def read_manifest(files: Files) -> Manifest:
    """The manifest of a bundle, which carries a hash of itself.

    Raises:
        StopRun: as `Files.read` and `classify.manifest.parse_manifest`.
    """
    return parse_manifest(files.read(MANIFEST, most=_MANIFEST_BYTES), str(files.path))


def pack(files: Files, target: Path) -> None:
    """Write the files of a bundle as one zip, atomically; equal files give equal bytes on every machine.

    Entries are stored, not deflated, because compressors differ between versions of zlib.

    Raises:
        StopRun: as `Files.read`; ``disk_full``.
    """
    with replacing(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files.sizes):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, whichever system writes
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, files.read(name))


def _in_folder(path: Path) -> Files:
    """The files of a folder, none of which may be a link, a pipe or a folder."""
    found = sorted(islice(path.iterdir(), MOST_FILES + 1))
    if len(found) > MOST_FILES:
        raise _refusal(path, f"holds more than {MOST_FILES} files")
    facts = {item.name: item.lstat() for item in found}
    odd = [name for name, fact in facts.items() if not stat.S_ISREG(fact.st_mode)]
    if odd:
        raise _refusal(path, f"holds what is no plain file: {_listed(odd)}")
    return Files(path, {name: fact.st_size for name, fact in facts.items()}, lambda name: (path / name).open("rb"))


def _in_zip(path: Path) -> Files:
    """The entries of a zip, which is held in memory from here on."""
    fact = path.stat()
    if stat.S_ISREG(fact.st_mode) and fact.st_size > MOST_BYTES:
        raise _refusal(path, f"has {fact.st_size} bytes, and no bundle has more than {MOST_BYTES}")
    data = path.read_bytes() if stat.S_ISREG(fact.st_mode) else b""
    _check_ends(path, data)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _BROKEN as error:
        raise StopRun("bundle_corrupt", f"{path} is no sound zip: {error}", remedy=_REMEDY) from error
    entries = archive.infolist()
    _check_entries(path, entries)
    return Files(path, {entry.filename: entry.file_size for entry in entries}, archive.open)


def _check_ends(path: Path, data: bytes) -> None:
    """Refuse what is no zip, and one with many entries before a list of them is built."""
    start = len(data) - _END.size
    if start < 0 or data[:4] != b"PK\x03\x04" or data[start : start + 4] != b"PK\x05\x06":
        message = f"{path} is neither a folder nor a zip as 'triher bundle pack' writes it"
        raise StopRun("bundle_corrupt", message, remedy=_REMEDY)
    *_, n_entries, n_bytes, _, n_comment = _END.unpack(data[start:])
    is_zip64 = data[max(start - _LOCATOR, 0) : start].startswith(b"PK\x06\x07")
    if is_zip64 or n_comment or n_entries > MOST_FILES or n_bytes > _DIRECTORY_BYTES:
        raise _refusal(path, f"is a zip of {n_entries} entries; a bundle has at most {MOST_FILES}, and no comment")


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse entries that are anything but plain files of their own, directly in the zip."""
    if len(entries) > MOST_FILES:
        raise _refusal(path, f"holds more than {MOST_FILES} entries")
    counts = Counter(entry.filename.lower() for entry in entries)
    for entry in entries:
        reason = _fault(entry) or ("is there twice" if counts[entry.filename.lower()] > 1 else "")
        if reason:
            raise _refusal(path, f"holds an entry {entry.orig_filename[:80]!r} that {reason}")


def _fault(entry: zipfile.ZipInfo) -> str:
    """What is wrong with an entry, or an empty text."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    checks = {
        "is no file directly in the zip": not _NAME.fullmatch(entry.orig_filename) or entry.is_dir(),
        "is a link or a device": kind not in (0, stat.S_IFREG),
        "is encrypted": bool(entry.flag_bits & _ENCRYPTED),
        "is compressed in a way that is not read": entry.compress_type
        not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
    }
    return next((reason for reason, is_so in checks.items() if is_so), "")


def _refusal(path: Path, reason: str) -> StopRun:
    """The error for files that do not lie as a bundle's do."""
    return StopRun("bundle_tampered", f"{path} {reason}", remedy=_REMEDY)


def _listed(names: list[str]) -> str:
    """Some names, cut short."""
    return ", ".join(name[:80] for name in names[:5])
