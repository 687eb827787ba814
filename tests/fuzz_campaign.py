"""Damage one artefact at many random places, read it each time, and say on stdout what came of it.

A child process does the reading, in bounded memory and time, so that what ends the process is one fault among the
others. Place number N of a seed is the same in every campaign, however long: ``--first N --places 1`` repeats it.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import signal
import sys
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from fuzz_readers import READERS, Answer, Reader

from triher.codes import CODES
from triher.errors import TriherError

KINDS = ("cut", "bit", "byte", "zeros", "removed", "doubled", "swapped")
N_ZEROS = 16
LONGEST_BLOCK = 256
SECONDS_A_PLACE = 20
MORE_BYTES = 1 << 30  # address space beside what the libraries have taken; a reader may map, but not fill, so much
MORE_RESIDENT_BYTES = 200_000_000
MOST_FAULTS = 500
LONGEST_ERROR = 2000


@dataclass(frozen=True)
class Damage:
    """Where and how a file was changed."""

    place: int
    file: str
    kind: str
    offset: int
    length: int

    def __str__(self) -> str:
        """One line."""
        return f"place {self.place}: {self.file}, {self.kind} of {self.length} at {self.offset}"


def damaged(data: bytes, kind: str, rng: np.random.Generator) -> tuple[bytes, int, int]:
    """The bytes with a change, where it begins and how long it is."""
    at = int(rng.integers(len(data)))
    length = {"cut": len(data) - at, "bit": 1, "byte": 1, "zeros": N_ZEROS}.get(kind)
    if length is None:
        length = int(rng.integers(1, LONGEST_BLOCK + 1))
    before, block, after = data[:at], data[at : at + length], data[at + length :]
    new = {
        "cut": b"",
        "bit": bytes([block[0] ^ 1 << int(rng.integers(8))]),
        "byte": bytes([int(rng.integers(256))]),
        "zeros": bytes(len(block)),
        "removed": b"",
        "doubled": block * 2,
        "swapped": after[:length] + block,
    }[kind]
    return before + new + (after[length:] if kind == "swapped" else after), at, length


def places(name: str, files: list[Path], root: Path, first: int, n: int, seed: int) -> Iterator[tuple[Damage, bytes]]:
    """Damage after damage; each changes something."""
    good = {path: path.read_bytes() for path in files}
    for place in range(first, first + n):
        rng = np.random.default_rng([seed, zlib.crc32(name.encode()), place])
        path = files[int(rng.integers(len(files)))]
        data, kind = good[path], KINDS[int(rng.integers(len(KINDS)))]
        while (changed := damaged(data, kind, rng))[0] == data:
            pass
        yield Damage(place, path.relative_to(root).as_posix(), kind, *changed[1:]), changed[0]


def hashes(folder: Path) -> dict[str, str]:
    """Every file of a folder, and what it holds."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def outcome(reader: Reader, root: Path, right: Answer, damage: Damage, texts: tuple[bytes, bytes]) -> str:
    """``right``, ``other`` (what the text now says), the code of an error that names the file, or what is wrong."""
    try:
        found = reader.read(root)
    except TriherError as error:
        if error.code not in CODES:
            return f"FAULT: unknown code {error.code}"
        named = Path(damage.file).name in error.message or str(root) in error.message
        return error.code if named else f"FAULT: the file is not named: {error}"
    except BaseException as error:  # noqa: BLE001 - every other exception is a fault
        frames = "".join(traceback.format_tb(error.__traceback__)[-3:])
        return f"FAULT: {type(error).__name__}: {error}\n{frames}"[:LONGEST_ERROR]
    if reader.equal(found, right):
        return "right"
    why = reader.unexplained(found, right, damage, *texts)
    return f"FAULT: wrong answer: {why}"[:LONGEST_ERROR] if why else "other"


def read_all(name: str, root: Path, options: argparse.Namespace, first: int, pipe: int) -> None:
    """Go through the places in this process, and write down each before and after."""
    reader = READERS[name]
    warnings.simplefilter("error")  # what a library says of a damaged file may quote its header
    right = reader.read(root)
    taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MORE_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    files = sorted(path for path in (root.rglob("*") if root.is_dir() else [root]) if path.is_file())
    above = root.parent
    n = options.first + options.places - first
    for damage, data in places(name, files, above, first, n, options.seed):
        path = above / damage.file
        good = path.read_bytes()
        os.write(pipe, json.dumps(["at", asdict(damage)]).encode() + b"\n")
        signal.setitimer(signal.ITIMER_REAL, SECONDS_A_PLACE)
        path.write_bytes(data)
        try:
            before, peak = hashes(above), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            found = outcome(reader, root, right, damage, (good, data))
            grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak)
            if grown > MORE_RESIDENT_BYTES:
                found = f"FAULT: took {grown} bytes more of memory"
            if hashes(above) != before:
                found = "FAULT: touched other files"
        finally:
            path.write_bytes(good)
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.write(pipe, json.dumps(["did", damage.place, found]).encode() + b"\n")


def campaign(name: str, root: Path, options: argparse.Namespace) -> dict[str, object]:
    """All places of an artefact: how often each outcome came, and the faults in words."""
    counts: Counter[str] = Counter()
    faults: list[str] = []
    whole = hashes(root.parent)
    first, end, cpu_s = options.first, options.first + options.places, 0.0
    while first < end and len(faults) < MOST_FAULTS:
        get, put = os.pipe()
        child = os.fork()
        if child == 0:
            in_child(name, root, options, first, put)
        os.close(put)
        at = follow(get, counts, faults, Damage(first, "before any file", "", 0, 0))
        _, status, used = os.wait4(child, 0)
        cpu_s += used.ru_utime + used.ru_stime
        if status:
            ended = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "an exception"
            counts["FAULT"] += 1
            faults.append(f"{at}: FAULT: the process was ended by {ended}")
            restore(root.parent, whole, options.copy)
        first = at.place + 1 if status and at.kind else end
    return {"artefact": name, "counts": dict(counts), "cpu_s": round(cpu_s, 2), "faults": faults}


def in_child(name: str, root: Path, options: argparse.Namespace, first: int, pipe: int) -> None:
    """Go through the places, and leave without whatever the parent has to do at its end."""
    code = 1
    try:
        read_all(name, root, options, first, pipe)
        code = 0
    except BaseException:  # noqa: BLE001 - the parent says that this process ended
        traceback.print_exc()
    finally:
        os._exit(code)


def follow(pipe: int, counts: Counter[str], faults: list[str], at: Damage) -> Damage:
    """Count the outcomes as they come; the place at which they ended."""
    with os.fdopen(pipe, "rb") as lines:
        for line in lines:
            kind, *facts = json.loads(line)
            if kind == "at":
                at = Damage(**facts[0])
                continue
            found = facts[1]
            counts["FAULT" if found.startswith("FAULT") else found] += 1
            if found.startswith("FAULT"):
                faults.append(f"{at}: {found}")
    return at


def restore(folder: Path, whole: dict[str, str], copy: Path) -> None:
    """Put back what a process that died had damaged."""
    for name, digest in whole.items():
        good = (copy / name).read_bytes()
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            (folder / name).write_bytes(good)


def main() -> None:
    """Damage each artefact that is named: a folder NAME below FOLDER that holds one file or folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--places", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.names:
        (root,) = (options.folder / name).iterdir()
        options.copy = options.folder / f"{name}.copy"
        shutil.copytree(root.parent, options.copy)
        READERS[name].read(root)  # which loads the libraries, once for all children
        sys.stdout.write(json.dumps(campaign(name, root, options)) + "\n")
        sys.stdout.flush()
        shutil.rmtree(options.copy)


if __name__ == "__main__":
    main()
