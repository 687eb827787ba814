"""Files that appear under their name only when complete, and hashes of what they hold."""

import contextlib
import errno
import hashlib
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from triher.errors import StopRun

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its name when the block ends well.

    The temporary file is synced to disk before it is renamed; an error removes it.

    Raises:
        StopRun: ``disk_full`` when the disk or the quota is used up; what was there before stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield part
        with part.open("rb+") as handle:
            os.fsync(handle.fileno())
        part.replace(path)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StopRun("disk_full", f"no space left to write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write JSON atomically; NaN and infinity raise `ValueError`, because they are no JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_of_json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """SHA-256 of a JSON value in canonical form (sorted keys, no spaces).

    >>> sha256_of_json({"b": 1, "a": 2}) == sha256_of_json({"a": 2, "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` for the block, so that one process at a time writes there.

    The lock is a file made with ``O_EXCL`` that names host and process, which also works where
    ``flock`` does not (NFS). The lock of a dead process of this host is taken over.

    Raises:
        StopRun: ``store_locked`` when another live process, or one on another host, holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = json.dumps({"host": socket.gethostname(), "pid": os.getpid()})
    try:
        handle = _create(path)
    except FileExistsError:
        _refuse_living(path)
        path.unlink(missing_ok=True)
        handle = _create_again(path)
    try:
        os.write(handle, owner.encode())
        os.close(handle)
        yield
    finally:
        path.unlink(missing_ok=True)


def _create(path: Path) -> int:
    """Make the lock file, which must not be there yet."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)


def _create_again(path: Path) -> int:
    """Make the lock file after a dead owner's was removed, unless another process was faster."""
    try:
        return _create(path)
    except FileExistsError as error:
        raise StopRun("store_locked", f"another process has just taken {path}") from error


def _refuse_living(path: Path) -> None:
    """Raise unless the lock's owner is a dead process of this host."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        host, pid = str(owner["host"]), int(owner["pid"])
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        host, pid = "unknown", -1
    if host == socket.gethostname() and pid > 0:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        except PermissionError:
            pass
    raise StopRun(
        "store_locked",
        f"process {pid} on host {host} holds {path}",
        remedy=f"wait for it; if it is no longer running, remove {path}",
    )


def make_writable(folder: Path) -> None:
    """Create the folder and prove that it can be written to.

    Raises:
        StopRun: ``output_folder`` when it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.part"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StopRun("output_folder", f"cannot write to {folder}: {error.strerror}") from error


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort key that counts: ``p_2`` comes before ``p_10``.

    >>> sorted([Path("p_10.nii"), Path("p_2.nii")], key=natural_order)[0].name
    'p_2.nii'
    """
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
