"""Atomic files, locks and hashes."""

import errno
import json
import math
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from triher.errors import StopRun
from triher.files import (
    locked,
    make_writable,
    remove_leftovers,
    replacing,
    sha256_of_file,
    sha256_of_json,
    write_json,
    write_text,
)
from triher.owners import Owner, this_process

ROOT = Path(__file__).parents[1]


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Run a program in another process and wait until it prints a line."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def stop(process: subprocess.Popen[str]) -> None:
    """Kill it where it stands."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def write_half_and_fail(path: Path, error: Exception) -> None:
    """Begin a file, and fail before it is complete."""
    with replacing(path) as part:
        part.write_text("half")
        raise error


def dead_pid() -> int:
    """The id of a process that has just ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


HALF_WRITTEN = """
import sys, time, pathlib
from triher.files import replacing
with replacing(pathlib.Path(sys.argv[1])) as part:
    part.write_text('half')
    print('ready', flush=True)
    time.sleep(60)
"""


def test_replacing_makes_folders_and_leaves_only_the_file(tmp_path):
    path = tmp_path / "a" / "b.txt"
    with replacing(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "b.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_half_and_fail(path, ZeroDivisionError())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "b.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == "old"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_and_keeps_the_old_file(tmp_path, number):
    path = tmp_path / "b.txt"
    path.write_text("old")
    with pytest.raises(StopRun, match=r"no space left to write .*b\.txt") as caught:
        write_half_and_fail(path, OSError(number, os.strerror(number)))
    assert caught.value.code == "disk_full"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_errors_of_the_system_go_through(tmp_path):
    with pytest.raises(PermissionError):
        write_half_and_fail(tmp_path / "b.txt", PermissionError(errno.EACCES, "no"))


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "b.txt"
    path.write_text("old")
    stop(start(HALF_WRITTEN, path))
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"


HOLD = (
    "import sys, time, pathlib\n"
    "from triher.files import locked\n"
    "with locked(pathlib.Path(sys.argv[1])):\n"
    "    print('ready', flush=True)\n"
    "    time.sleep(60)\n"
)


def test_a_lock_names_its_holder_and_is_taken_over_when_the_holder_is_dead(tmp_path):
    path = tmp_path / "x.lock"
    process = start(HOLD, path)
    try:
        with pytest.raises(StopRun) as caught, locked(path):
            pass
        assert path.exists()
    finally:
        stop(process)
    assert caught.value.code == "store_locked"
    assert f"process {process.pid} on host {socket.gethostname()} holds {path}" in caught.value.message
    assert str(path) in caught.value.remedy
    assert path.exists()
    with locked(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


def test_a_lock_is_released_after_an_error_and_not_held_twice(tmp_path):
    path = tmp_path / "x.lock"
    with locked(path):
        with pytest.raises(StopRun, match=f"process {os.getpid()} "), locked(path):
            pass
        assert path.exists()
    with pytest.raises(ZeroDivisionError), locked(path):
        raise ZeroDivisionError
    assert not path.exists()


@pytest.mark.parametrize(
    "content",
    [
        '{"host": "elsewhere.example", "pid": 1}',
        "",
        "[]",
        "{}",
        "not json",
        '{"host": "HERE", "pid": -1}',
        '{"host": "HERE", "pid": 0}',
        '{"host": "HERE", "pid": Infinity}',
    ],
)
def test_a_lock_that_cannot_be_judged_is_respected(tmp_path, content):
    path = tmp_path / "x.lock"
    path.write_text(content.replace("HERE", socket.gethostname()))
    with pytest.raises(StopRun, match="holds") as caught, locked(path):
        pass
    assert caught.value.code == "store_locked"
    assert path.exists()


def test_losing_the_race_for_a_stale_lock_is_no_traceback(tmp_path, monkeypatch):
    path = tmp_path / "x.lock"
    path.write_text(json.dumps(asdict(replace(this_process(), pid=dead_pid()))))
    monkeypatch.setattr("triher.files._remove_dead", lambda _: None)
    with pytest.raises(StopRun, match="another process has just taken") as caught, locked(path):
        pass
    assert caught.value.code == "store_locked"


@pytest.mark.fault("G24")
@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [-math.inf]}])
def test_json_refuses_what_is_no_json(tmp_path, value):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, value)
    with pytest.raises(ValueError, match="JSON"):
        sha256_of_json(value)
    assert json.loads(path.read_text()) == {"old": 1}


def test_json_round_trip_keeps_text_and_numbers(tmp_path):
    value = {"id": "\u00c4/\u6f22 '=1", "x": 0.1 + 0.2, "n": None, "deep": [{"a": [1, 2]}]}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value


def test_hashes(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # FIPS 180-4, example of SHA-256
    assert sha256_of_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of_json({"b": 1, "a": [1]}) == sha256_of_json({"a": [1], "b": 1})
    assert sha256_of_json({"a": [1, 2]}) != sha256_of_json({"a": [2, 1]})


def test_make_writable(tmp_path):
    folder = tmp_path / "a" / "b"
    make_writable(folder)
    assert list(folder.iterdir()) == []
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(StopRun, match="cannot write to") as caught:
            make_writable(place)
        assert caught.value.code == "output_folder"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the administrator cannot be denied")
def test_make_writable_names_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StopRun, match="Permission denied") as caught:
        make_writable(tmp_path)
    assert caught.value.code == "output_folder"


def lock_of(owner: Owner, path: Path) -> None:
    """A lock as `locked` writes it."""
    path.write_text(json.dumps(asdict(owner)))


@pytest.mark.fault("D7")
def test_the_lock_of_another_process_that_lives_is_respected(tmp_path):
    path = tmp_path / "x.lock"
    process = start(HOLD, path)
    try:
        owner = Owner(**json.loads(path.read_text()))
        assert (owner.pid, owner.place, owner.is_dead()) == (process.pid, this_process().place, False)
        with pytest.raises(StopRun, match=f"process {process.pid} on host {socket.gethostname()}"), locked(path):
            pass
    finally:
        stop(process)
    assert owner.is_dead()


@pytest.mark.fault("D8")
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not say when a process began")
def test_a_lock_whose_process_id_was_given_out_again_is_taken_over(tmp_path):
    """In a container that is restarted, the same program easily gets the same process id."""
    path, mine = tmp_path / "x.lock", this_process()
    assert mine.began > 0
    lock_of(replace(mine, began=mine.began - 1), path)
    with locked(path):
        assert Owner(**json.loads(path.read_text())) == mine
    lock_of(replace(mine, began=0), path)
    with pytest.raises(StopRun, match="holds"), locked(path):
        pass


@pytest.mark.fault("D8")
def test_a_zombie_is_dead(tmp_path):
    """In containers nobody may ever ask how a killed process ended."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert replace(this_process(), pid=child, began=0).is_dead() == Path("/proc/self/stat").exists()
    os.waitpid(child, 0)


@pytest.mark.fault("D8")
def test_a_process_of_the_same_host_in_another_container_is_not_judged(tmp_path):
    path = tmp_path / "x.lock"
    lock_of(replace(this_process(), pid=dead_pid(), namespace="pid:[1]"), path)
    with pytest.raises(StopRun, match="holds"), locked(path):
        pass


RACE = (
    "import os, sys, time, pathlib\n"
    "from triher.errors import StopRun\n"
    "from triher.files import locked\n"
    "lock, tally = map(pathlib.Path, sys.argv[1:])\n"
    "sys.stdin.readline()\n"
    "try:\n"
    "    with locked(lock):\n"
    "        handle = os.open(tally, os.O_CREAT | os.O_EXCL)\n"
    "        time.sleep(0.3)\n"
    "        tally.unlink()\n"
    "        print('held')\n"
    "except StopRun as stop:\n"
    "    print(stop.code)\n"
)


@pytest.mark.fault("D7", "D8")
def test_of_several_processes_that_find_a_dead_lock_one_gets_it(tmp_path):
    path = tmp_path / "x.lock"
    lock_of(replace(this_process(), pid=dead_pid()), path)
    command = [sys.executable, "-c", RACE, str(path), str(tmp_path / "held")]
    racers = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=60)[0].strip() for racer in racers]
    assert set(said) <= {"held", "store_locked"}
    assert "held" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("D8")
def test_where_files_have_one_name_only_the_lock_works_as_well(tmp_path, monkeypatch):
    path = tmp_path / "x.lock"

    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    lock_of(replace(this_process(), pid=dead_pid()), path)
    with locked(path):
        assert Owner(**json.loads(path.read_text())) == this_process()
        with pytest.raises(StopRun, match="holds"), locked(path):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("D9")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("fails", ["write_text", "mkdir"])
def test_a_full_disk_is_named_by_locks(tmp_path, monkeypatch, number, fails):
    def full(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, fails, full)
    with pytest.raises(StopRun, match=r"no space left to write .*x\.lock") as caught, locked(tmp_path / "x.lock"):
        pass
    assert caught.value.code == "disk_full"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("D9", "D10")
@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EROFS, "output_folder")])
def test_a_folder_that_cannot_be_written_to_says_why(tmp_path, monkeypatch, number, code):
    def refuse(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(StopRun, match=f"cannot write to .*{os.strerror(number)}") as caught:
        make_writable(tmp_path)
    assert caught.value.code == code


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path):
    (tmp_path / "mine.part").write_text("of somebody else")
    process = start(HALF_WRITTEN, tmp_path / "deep" / "b.txt")
    with replacing(tmp_path / "own.txt") as own:
        own.write_text("half")
        remove_leftovers(tmp_path)
        assert len(list(tmp_path.rglob("*.part"))) == 3
        stop(process)
        remove_leftovers(tmp_path)
        assert {path.name for path in tmp_path.rglob("*.part")} == {"mine.part", own.name}


def test_a_full_disk_is_recognized_in_the_words_of_a_library(tmp_path):
    with pytest.raises(StopRun) as stopped, replacing(tmp_path / "file"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    assert stopped.value.code == "disk_full"
    assert not list(tmp_path.iterdir())
