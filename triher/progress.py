"""Progress for people: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

T = TypeVar("T")
_PLAIN_INTERVAL_S = 10.0  # a log file gets a line that often
_SECONDS_UP_TO, _MINUTES_UP_TO = 120, 7200
_TOLD_FROM_N, _TOLD_FROM_SHARE = 5, 0.05  # done; the first items also wait for what loads and compiles


def duration_text(seconds: float) -> str:
    """Seconds, minutes or hours; ``?`` where not known.

    >>> [duration_text(s) for s in (8.0, 90.0, 720.0, 9000.0, float("nan"))]
    ['8 s', '90 s', '12 min', '2.5 h', '?']
    """
    if math.isnan(seconds):
        return "?"
    if seconds < _SECONDS_UP_TO:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < _MINUTES_UP_TO else f"{seconds / 3600:.1f} h"


class Work:
    """Items of unequal cost: how many are done, and how long the rest takes by what those took.

    An item that is to come takes as long as the finished ones of its kind did on average; without such, what was
    expected of its kind, times what the finished ones took in relation to what was expected of theirs; without that,
    the average of all that is known.
    """

    def __init__(
        self, kinds: Iterable[str], expected: Mapping[str, float], lanes: int, clock: Callable[[], float]
    ) -> None:
        """Nothing is done yet."""
        self._left = Counter(kinds)
        self._expected = {kind: seconds for kind, seconds in expected.items() if not math.isnan(seconds)}
        self._took: dict[str, tuple[int, float]] = {}
        """Kind -> finished items whose time is known, and their seconds."""
        self._lanes = lanes
        self._clock = clock
        self._start = self._last = clock()
        self.total, self.done = self._left.total(), 0

    @property
    def elapsed_s(self) -> float:
        """Since the beginning."""
        return self._clock() - self._start

    @property
    def left_text(self) -> str:
        """How long the rest takes, in words; that it is not known yet while the first items would mislead."""
        enough = self.done >= min(_TOLD_FROM_N, _TOLD_FROM_SHARE * self.total)
        seconds = self.left_s() if enough or self._expected else math.nan
        return "time left not known yet" if math.isnan(seconds) else f"about {duration_text(seconds)} left"

    def finish(self, kind: str, seconds: float | None = None) -> None:
        """Count an item.

        Args:
            kind: of the item.
            seconds: what it took; the time since the last one when None, NaN for one that tells nothing about
                others of its kind, as it failed or was there already.
        """
        now = self._clock()
        took = (now - self._last) * self._lanes if seconds is None else seconds
        self._last = now
        self.done += 1
        self._left[kind] -= 1
        if not math.isnan(took):
            n, sum_s = self._took.get(kind, (0, 0.0))
            self._took[kind] = n + 1, sum_s + took

    def left_s(self) -> float:
        """Seconds until all is done; NaN while nothing is known.

        Items at work count with the time since the last one ended, and never as done before they are.
        """
        kinds = {kind: n for kind, n in self._left.items() if n > 0}
        pace, usual = self._pace(), self._usual()
        takes = {kind: self._mean(kind, self._expected.get(kind, math.nan) * pace, usual) for kind in kinds}
        if not kinds:
            return 0.0
        if any(math.isnan(seconds) for seconds in takes.values()):
            return math.nan
        whole = sum(n * takes[kind] for kind, n in kinds.items())
        at_work = _largest(kinds, takes, self._lanes)
        spread = max(whole / self._lanes, max(takes.values()))
        return max(spread - (self._clock() - self._last), (whole - sum(at_work)) / self._lanes)

    def _mean(self, kind: str, expected: float, usual: float) -> float:
        """What an item of a kind takes."""
        if kind in self._took:
            n, sum_s = self._took[kind]
            return sum_s / n
        return usual if math.isnan(expected) else expected

    def _pace(self) -> float:
        """What finished items took, as a share of what was expected of them; 1 while there are none."""
        known = [(*took, self._expected[kind]) for kind, took in self._took.items() if kind in self._expected]
        expected = sum(n * seconds for n, _, seconds in known)
        return sum(sum_s for _, sum_s, _ in known) / expected if expected else 1.0

    def _usual(self) -> float:
        """What an item takes of whose kind nothing is known."""
        n, sum_s = (sum(part) for part in zip((0, 0.0), *self._took.values(), strict=True))
        if n:
            return sum_s / n
        known = [seconds for kind, seconds in self._expected.items() if kind in self._left]
        return sum(known) / len(known) if known else math.nan


def _largest(n_left: Mapping[str, int], takes: Mapping[str, float], lanes: int) -> list[float]:
    """The longest items that can be at work together, in seconds."""
    found: list[float] = []
    for kind in sorted(n_left, key=takes.__getitem__, reverse=True):
        found += [takes[kind]] * min(n_left[kind], lanes - len(found))
    return found


@runtime_checkable
class Advance(Protocol):
    """Tells that an item is done; see `Work.finish`."""

    def __call__(self, kind: str, seconds: float | None = None) -> None:
        """Count it."""


class Reporter:
    """Where a stage says what it does. Prints to standard error, so that output can be piped."""

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        """Detect whether a terminal is there."""
        self.quiet = quiet
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self._clock = clock

    def say(self, text: str) -> None:
        """Print one line; text from tables is not read as markup."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def bar(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """Show how much is done and how long the rest takes; call what is yielded after each item."""
        with self.work(what, [what] * total) as advance:
            yield lambda: advance(what)

    @contextlib.contextmanager
    def work(
        self, what: str, kinds: Sequence[str], *, expected: Mapping[str, float] | None = None, lanes: int = 1
    ) -> Iterator[Advance]:
        """The same for items of unequal cost.

        Args:
            what: stands before the numbers.
            kinds: the kind of every item that is still to be done, in any order; items of a kind cost alike.
            expected: kind -> seconds an item, for the time before the first of its kind is done.
            lanes: how many items are at work at a time.

        Yields:
            What is to be called after each item with its kind and, where several are at work, with its seconds.
        """
        work = Work(kinds, expected or {}, lanes, self._clock)
        if self.quiet or not self.console.is_terminal:
            yield self._plain_lines(what, work)
            self.say(f"{what}: {work.done} of {work.total} in {work.elapsed_s:.1f} s")
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _TimeColumn(work))
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(what, total=work.total)

            def advance(kind: str, seconds: float | None = None) -> None:
                work.finish(kind, seconds)
                progress.advance(task)

            yield advance

    def _plain_lines(self, what: str, work: Work) -> Advance:
        """A line at intervals."""
        last = self._clock()

        def advance(kind: str, seconds: float | None = None) -> None:
            nonlocal last
            work.finish(kind, seconds)
            now = self._clock()
            if now - last > _PLAIN_INTERVAL_S and work.done < work.total:
                last = now
                self.say(f"{what}: {work.done} of {work.total}, {work.left_text}")

        return advance

    def track(self, items: Iterable[T], what: str, total: int) -> Iterator[T]:
        """Yield the items under a bar."""
        with self.bar(what, total) as advance:
            for item in items:
                yield item
                advance()


class _TimeColumn(ProgressColumn):
    """How long the rest takes, and in the end how long all took."""

    def __init__(self, work: Work) -> None:
        """Remember what it is asked of."""
        super().__init__()
        self._work = work

    def render(self, task: Task) -> Text:
        """A few letters."""
        if task.finished:
            return Text(duration_text(self._work.elapsed_s), style="progress.elapsed")
        return Text(self._work.left_text, style="progress.remaining")
