"""Progress: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

import io
import math

import pytest
from rich.console import Console

from triher import progress
from triher.progress import Reporter, Work


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


def test_the_first_of_many_items_tell_no_time(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_PLAIN_INTERVAL_S", -1.0)
    list(Reporter().track(range(120), "reading", 120))
    lines = capsys.readouterr().err.splitlines()
    assert [line.endswith("not known yet") for line in lines[:6]] == [True] * 4 + [False] * 2
    assert lines[4].startswith("reading: 5 of 120, about ")


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


class _Clock:
    """A clock that is moved by hand."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def _work(kinds, expected=None, lanes=1):
    clock = _Clock()
    return Work(kinds, expected or {}, lanes, clock), clock


def test_time_left_counts_each_kind_by_its_own_finished_items():
    work, clock = _work(["fast"] * 10 + ["slow"] * 5)
    assert math.isnan(work.left_s())
    for kind, seconds in (("fast", 2.0), ("slow", 60.0), ("fast", 4.0)):
        clock.now += seconds
        work.finish(kind)
    # 8 fast at 3 s, 4 slow at 60 s; the mean of all would say 12 x 22 s = 264 s, and without the slow one 24 + 12 s.
    assert work.left_s() == pytest.approx(8 * 3 + 4 * 60)


def test_what_was_expected_counts_until_the_first_of_a_kind_is_done():
    work, clock = _work(["a", "a", "b", "c"], {"a": 5.0, "b": 20.0, "c": math.nan})
    assert work.left_s() == pytest.approx(5 + 5 + 20 + 12.5)  # of c nothing is known: the mean of 5 and 20
    clock.now = 10.0
    work.finish("a")
    # This machine took twice as long as expected, so b takes 40 s; c takes what an item took so far.
    assert work.left_s() == pytest.approx(10 + 40 + 10)


def test_the_clock_runs_while_an_item_is_at_work_and_never_past_its_end():
    work, clock = _work(["a"] * 3, {"a": 10.0})
    clock.now = 4.0
    assert work.left_s() == pytest.approx(26)
    clock.now = 50.0
    assert work.left_s() == pytest.approx(20)  # the first is late; the other two are still to come


def test_lanes_share_the_work_but_not_an_item():
    work, clock = _work(["a"] * 8, {"a": 10.0}, lanes=4)
    assert work.left_s() == pytest.approx(20)
    work, clock = _work(["a"], {"a": 10.0}, lanes=4)
    assert work.left_s() == pytest.approx(10)
    work, clock = _work(["a"] * 6, lanes=2)
    clock.now = 5.0
    work.finish("a")  # two were at work for 5 s and one ended: an item takes about 10 s
    assert work.left_s() == pytest.approx(25)
    work.finish("a", seconds=20.0)
    assert work.left_s() == pytest.approx(4 * 15 / 2)


def test_an_item_that_failed_at_once_does_not_make_the_others_cheap():
    work, _ = _work(["a"] * 3, {"a": 10.0})
    work.finish("a", seconds=math.nan)
    assert work.left_s() == pytest.approx(20)
    assert (work.done, work.total) == (1, 3)


def test_time_left_is_right_at_every_moment_of_unequal_work():
    took = {"logistic": 3.0, "xgboost": 47.0, "mil": 210.0}
    kinds = [kind for kind in took for _ in range(6)]
    work, clock = _work(kinds, took)
    total = sum(took[kind] for kind in kinds)
    for kind in kinds:
        assert work.left_s() == pytest.approx(total - clock.now)
        clock.now += took[kind]
        work.finish(kind)
    assert work.left_s() == 0.0


def test_plain_lines_of_unequal_work(capsys):
    clock = _Clock()
    with Reporter(clock=clock).work("cells", ["a"] * 5 + ["b"] * 5, expected={"b": 300.0}) as advance:
        for _ in range(2):
            clock.now += 40.0
            advance("a")
        clock.now += 1.0
        advance("a")  # too soon for another line
    assert capsys.readouterr().err.splitlines() == [
        "cells: 1 of 10, about 28 min left",
        "cells: 2 of 10, about 27 min left",
        "cells: 3 of 10 in 81.0 s",
    ]


def test_a_bar_of_unequal_work_says_what_is_left():
    clock = _Clock()
    reporter = Reporter(clock=clock)
    reporter.console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with reporter.work("cells", ["a", "a", "b"], expected={"b": 7000.0}) as advance:
        clock.now = 10.0
        advance("a")
        reporter.say("done with one")
    text = reporter.console.file.getvalue()
    assert "1/3" in text
    assert "117 min left" in text
