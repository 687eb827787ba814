"""Progress for people: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
_PLAIN_INTERVAL_S = 10.0  # a log file gets a line that often


class Reporter:
    """Where a stage says what it does. Prints to standard error, so that output can be piped."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Detect whether a terminal is there."""
        self.quiet = quiet
        self.console = Console(stderr=True, quiet=quiet, highlight=False)

    def say(self, text: str) -> None:
        """Print one line; text from tables is not read as markup."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def bar(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """Show how much is done and how long the rest takes; call what is yielded after each item."""
        if self.quiet or not self.console.is_terminal:
            with self._plain_lines(what, total) as advance:
                yield advance
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(what, total=total)
            yield lambda: progress.advance(task)

    @contextlib.contextmanager
    def _plain_lines(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """A line at intervals and one at the end."""
        start = last = time.monotonic()
        done = 0

        def advance() -> None:
            nonlocal done, last
            done += 1
            now = time.monotonic()
            if now - last > _PLAIN_INTERVAL_S and done < total:
                last = now
                self.say(f"{what}: {done} of {total}, about {(now - start) / done * (total - done):.0f} s left")

        yield advance
        self.say(f"{what}: {done} of {total} in {time.monotonic() - start:.1f} s")

    def track(self, items: Iterable[T], what: str, total: int) -> Iterator[T]:
        """Yield the items under a bar."""
        with self.bar(what, total) as advance:
            for item in items:
                yield item
                advance()
