"""Tables for the terminal; text from files is never read as markup."""

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from triher.errors import Skipped
from triher.listing import first_few

EXIT_STOPPED, EXIT_SKIPPED = 2, 3
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_NAMED = 2
_VALUE = re.compile(r" (?=[-\d]|is not known|nan )")  # where a reason's name ends


def visible(text: str) -> str:
    r"""Text from files without characters that steer a terminal; line breaks stay.

    >>> visible("P\x1b[2J1")
    'P\\x1b[2J1'
    """
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


def plain(value: object) -> str:
    """Text from files, safe beside markup."""
    return visible(str(value)).replace("[", "\\[")


def size_text(n_bytes: float) -> str:
    """Megabytes or gigabytes; ``?`` where not known.

    >>> [size_text(n) for n in (2.34e6, 5.6e10, float("nan"))]
    ['2.3 MB', '56.0 GB', '?']
    """
    if math.isnan(n_bytes):
        return "?"
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.1f} GB"


def from_here(value: object) -> str:
    """Text whose paths below the working folder are told from there, as a narrow column has no room for more."""
    return str(value).replace(f"{Path.cwd()}{os.sep}", "")


def outside_in_short(reasons: str) -> str:
    """The names in a cell ``outside`` of a prediction table, two at most.

    >>> outside_in_short("n_rows 9 below the training range 112 to 112; embedding distance 14 above 12.5; n_cols ...")
    'n_rows, embedding distance and 1 more'
    >>> outside_in_short("")
    'no'
    """
    names = [_VALUE.split(reason)[0] for reason in reasons.split("; ") if reason]
    return first_few(names, _NAMED) or "no"


def table_of(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table whose long cells are folded."""
    table = Table(title=plain(title), title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(plain(from_here(cell)) for cell in row))
    return table


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table to standard output."""
    Console().print(table_of(title, columns, rows))


def skip_table(rows: Sequence[Skipped], title: str) -> Table:
    """Who was left out and why."""
    cells = [(row.patient_id, row.stage, row.code, row.reason, row.remedy) for row in rows]
    return table_of(title, ("patient", "stage", "code", "reason", "what to do"), cells)
