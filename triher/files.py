"""Files that appear under their name only when complete, and hashes of what they hold."""

import contextlib
import errno
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from triher.errors import StopRun
from triher.owners import Owner, this_process

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last: a limit of the shell or of the file system
_PART = re.compile(r".*\.(?P<place>[0-9a-f]{8})-(?P<pid>\d+)-(?P<began>\d+)-\d+\.part")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its name when the block ends well.

    The temporary file is synced to disk before it is renamed; an error removes it.

    Raises:
        StopRun: ``disk_full`` when the disk or the quota is used up; what was there before stays.
    """
    part = _beside(path)
    with _naming_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            with part.open("rb+") as handle:
                os.fsync(handle.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """A name for a temporary file, which nobody else uses and which says whose it is."""
    mine = this_process()
    return path.with_name(f"{path.name}.{mine.place}-{mine.pid}-{mine.began}-{threading.get_ident()}.part")


@contextlib.contextmanager
def _naming_full_disk(path: Path) -> Iterator[None]:
    """Say which file there was no space for."""
    try:
        yield
    except Exception as error:
        number = _full_disk(error)
        if number is None:
            raise
        reason = "; ".join([os.strerror(number), *getattr(error, "__notes__", ())])
        raise StopRun("disk_full", f"no space left to write {path}: {reason}") from error


def _full_disk(error: Exception) -> int | None:
    """The system's number for a disk or quota that is used up; libraries in Rust have it in their words alone."""
    number = error.errno if isinstance(error, OSError) else None
    return next((full for full in _FULL if full == number or f"(os error {full})" in str(error)), None)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files below a folder whose processes were killed; those of living ones stay."""
    here = this_process()
    for part in folder.rglob("*.part"):
        named = _PART.fullmatch(part.name)
        if named and named["place"] == here.place:
            writer = replace(here, pid=int(named["pid"]), began=int(named["began"]))
            if writer.is_dead():
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

    The lock is a file that only one process can make, and that names it; this also works where ``flock`` does not
    (NFS). The lock of a dead process of this host is taken over, also when its id belongs to another one by now.

    Raises:
        StopRun: ``store_locked`` when another live process, or one on another host, holds it; ``disk_full``.
    """
    mine = this_process()
    with _naming_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _take(path, mine):
            _remove_dead(path)
            if not _take(path, mine):
                raise StopRun("store_locked", f"another process has just taken {path}")
    try:
        yield
    finally:
        if _holder(path) == mine:
            path.unlink(missing_ok=True)


def _take(path: Path, owner: Owner) -> bool:
    """Make the lock file unless there is one; where files can have two names, it is never there without content."""
    part, text = _beside(path), json.dumps(asdict(owner))
    try:
        part.write_text(text, encoding="utf-8")
        try:
            os.link(part, path)
        except FileExistsError:
            return False
        except OSError:
            return _create(path, text)
        return True
    finally:
        part.unlink(missing_ok=True)


def _create(path: Path, text: str) -> bool:
    """Make the lock file on a file system without second names."""
    try:
        with path.open("x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError:
        return False
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True


def _remove_dead(path: Path) -> None:
    """Remove the lock of a process that has ended.

    Raises:
        StopRun: ``store_locked`` when that is not certain.
    """
    _refuse_living(path, _holder(path))
    aside = _beside(path)
    try:
        path.replace(aside)  # only one of several processes succeeds
    except FileNotFoundError:
        return
    try:
        _refuse_living(path, _holder(aside))
    except StopRun:  # another process was faster: it holds what was just moved
        with contextlib.suppress(OSError):
            os.link(aside, path)
        raise
    finally:
        aside.unlink(missing_ok=True)


def _holder(path: Path) -> Owner | None:
    """Whom a lock names; nobody, when it cannot be read."""
    try:
        return Owner(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError):
        return None


def _refuse_living(path: Path, holder: Owner | None) -> None:
    """Raise unless a lock's owner is a dead process of this host."""
    if holder is None and not path.exists():
        return
    try:
        is_dead = holder is not None and holder.is_dead()
    except (TypeError, OverflowError):  # what stands for the process id is none
        is_dead = False
    if not is_dead:
        named = f"process {holder.pid} on host {holder.host}" if holder else "an unknown process"
        remedy = f"wait for it; if it is no longer running, remove {path}"
        raise StopRun("store_locked", f"{named} holds {path}", remedy=remedy)


def make_writable(folder: Path) -> None:
    """Create the folder and prove that it can be written to.

    Raises:
        StopRun: ``output_folder`` when it cannot, ``disk_full`` when only space is missing.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = _beside(folder / ".writable")
        probe.touch()
        probe.unlink()
    except OSError as error:
        code = "disk_full" if error.errno in _FULL else "output_folder"
        raise StopRun(code, f"cannot write to {folder}: {error.strerror}") from error


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Replace no file that was not given up.

    Raises:
        StopRun: ``output_folder``.
    """
    if path.exists() and not overwrite:
        raise StopRun("output_folder", f"{path} is already there", remedy="choose another name, or add --overwrite")


def refuse_other_files(folder: Path, own: str) -> None:
    """Write only into an empty folder, or over earlier files of one's own.

    Args:
        folder: where to; need not be there.
        own: name of the file that an earlier writing left.

    Raises:
        StopRun: ``output_folder``.
    """
    strangers = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if strangers and own not in strangers:
        raise StopRun("output_folder", f"{folder} holds other files ({', '.join(strangers[:3])})")


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort key that counts: ``p_2`` comes before ``p_10``.

    >>> sorted([Path("p_10.nii"), Path("p_2.nii")], key=natural_order)[0].name
    'p_2.nii'
    """
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
