"""Processes that hold locks or write files: the living told from the dead, also where an id was given out again."""

import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Owner:
    """A process, told apart from all others that ran or will run."""

    host: str
    pid: int
    namespace: str = ""
    """In which the id counts: two containers can share a host's name and both have a process 7."""
    began: int = 0
    """When the process began, in clock ticks since the machine did; 0 where the system does not say."""

    @property
    def place(self) -> str:
        """Where its id means this process, for names of files."""
        return hashlib.sha256(f"{self.host}\0{self.namespace}".encode()).hexdigest()[:8]

    def is_dead(self) -> bool:
        """Whether it has certainly ended; nothing is known of processes elsewhere."""
        if self.place != this_process().place or self.pid <= 0:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        state, began = _state_and_start(self.pid)
        # A zombie has ended, but nobody has asked how: usual in containers whose first process is no init.
        return state in ("Z", "X") or (self.began > 0 and began > 0 and self.began != began)


def this_process() -> Owner:
    """The process that asks."""
    pid = os.getpid()
    return Owner(socket.gethostname(), pid, _namespace(), _state_and_start(pid)[1])


def _namespace() -> str:
    """The namespace of process ids, empty where the system has none."""
    try:
        return str((_PROC / "self" / "ns" / "pid").readlink())
    except OSError:
        return ""


def _state_and_start(pid: int) -> tuple[str, int]:
    """State and start of a process as of proc(5), or nothing where the system does not say."""
    try:
        # The name before may hold spaces and brackets.
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, ValueError, LookupError):
        return "", 0
