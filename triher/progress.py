"""Progress for people: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

import time
from collections.abc import Iterable, Iterator
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

    def track(self, items: Iterable[T], what: str, total: int) -> Iterator[T]:
        """Yield the items and show how many are done and how long the rest takes."""
        if self.quiet or not self.console.is_terminal:
            yield from self._track_plainly(items, what, total)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        with Progress(*columns, console=self.console) as progress:
            yield from progress.track(items, total=total, description=what)

    def _track_plainly(self, items: Iterable[T], what: str, total: int) -> Iterator[T]:
        """Print a line at intervals and one at the end."""
        start = last = time.monotonic()
        done = 0
        for done, item in enumerate(items, start=1):
            yield item
            now = time.monotonic()
            if now - last > _PLAIN_INTERVAL_S and done < total:
                last = now
                left = (now - start) / done * (total - done)
                self.say(f"{what}: {done} of {total}, about {left:.0f} s left")
        self.say(f"{what}: {done} of {total} in {time.monotonic() - start:.1f} s")
