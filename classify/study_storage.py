"""Where Optuna keeps a study: in memory, in a journal or in a database.

Keep the file of a journal on a local disk and move it afterwards: network file systems have torn its lines
(optuna#5138).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from triher.errors import StopRun, first_line

_JOURNALS = (".log", ".journal")
# What Optuna raises over damaged journals and databases; it checks the kind of a line by an assertion.
_UNREADABLE = (
    AssertionError, ImportError, LookupError, OSError, TypeError, ValueError, optuna.exceptions.OptunaError,
)  # fmt: skip
_GRACE_S = 30  # nobody holds a journal's lock for longer than a write


@dataclass(frozen=True)
class Place:
    """Where a study is kept."""

    storage: str
    """Empty for memory, a file that ends in .log or .journal, or the address of a database."""
    name: str


@contextmanager
def readable(where: Place) -> Iterator[None]:
    """Say of which storage an error is."""
    try:
        yield
    except _UNREADABLE as error:
        what = first_line(error)
        raise StopRun("study_unreadable", f"the study '{where.name}' in {where.storage}: {what}") from error


def open_storage(storage: str) -> Any:  # noqa: ANN401 - one of three kinds
    """The kind of storage that the name means.

    Raises:
        ValueError: for a file that is no journal by its name, or a database that cannot be opened.
    """
    if not storage:
        return InMemoryStorage()
    if "://" in storage:
        return _database(storage)
    path = Path(storage)
    if path.suffix not in _JOURNALS:
        raise ValueError(f"expected a file ending in {' or '.join(_JOURNALS)}, or the address of a database")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileSymlinkLock(str(path), grace_period=_GRACE_S)
    _drop_torn_line(path, lock)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def _database(address: str) -> RDBStorage:
    """A database behind an address."""
    from sqlalchemy.exc import SQLAlchemyError  # takes a fifth of a second, which only databases need

    try:
        return RDBStorage(address)
    except SQLAlchemyError as error:
        raise ValueError(str(error)) from error


def _drop_torn_line(path: Path, lock: JournalFileSymlinkLock) -> None:
    """Cut off a last line that a process did not live to end, lest the next one be written into it."""
    if not path.is_file():
        return
    lock.acquire()
    try:
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)
    finally:
        lock.release()
