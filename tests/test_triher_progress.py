"""Progress: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

import io

import pytest
from rich.console import Console

from triher import progress
from triher.progress import Reporter


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def test_plain_lines_go_to_standard_error(capsys):
    reporter = Reporter()
    reporter.say("slabs of [bold]P1[/bold] done")
    assert list(reporter.track("abc", "embedding", 3)) == ["a", "b", "c"]
    out, err = capsys.readouterr()
    assert out == ""
    first, last = err.splitlines()
    assert first == "slabs of [bold]P1[/bold] done"
    assert last.startswith("embedding: 3 of 3 in ")
    assert "\x1b" not in err


def test_plain_lines_at_intervals_say_what_is_left(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_PLAIN_INTERVAL_S", -1.0)
    list(Reporter().track(range(3), "reading", 3))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines[:2]] == ["reading: 1 of 3", "reading: 2 of 3"]
    assert lines[0].endswith("s left")
    assert len(lines) == 3


def test_quiet_prints_nothing(capsys):
    reporter = Reporter(quiet=True)
    reporter.say("hello")
    list(reporter.track([1, 2], "work", 2))
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal():
    reporter = Reporter()
    reporter.console = Console(file=io.StringIO(), force_terminal=True, width=100)
    list(reporter.track(range(4), "work", 4))
    assert "4/4" in reporter.console.file.getvalue()


def test_an_error_inside_goes_through(capsys):
    with pytest.raises(ZeroDivisionError), Reporter().bar("work", 2):
        raise ZeroDivisionError
    assert "2 of 2" not in capsys.readouterr().err
