"""Atomic files, locks and hashes."""

import errno
import json
import math
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from triher.errors import StopRun
from triher.files import locked, make_writable, replacing, sha256_of_file, sha256_of_json, write_json, write_text

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
    program = (
        "import sys, time, pathlib\n"
        "from triher.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as part:\n"
        "    part.write_text('half')\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    stop(start(program, path))
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
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": dead_pid()}))
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
    with pytest.raises(StopRun, match="another process has just taken") as caught, locked(path):
        pass
    assert caught.value.code == "store_locked"


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
