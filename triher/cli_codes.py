"""The command that says what a code means and what to do about it."""

from typing import Annotated

import typer
from rich.console import Console

from triher.codes import CODES
from triher.errors import unknown_name
from triher.printing import table_of

Code = Annotated[str, typer.Argument(help="A code, as in a message or in skipped.csv.", show_default=False)]


def codes(code: Code = "") -> int:
    """Say what a code means and what to do about it, or list them all."""
    if code and code not in CODES:
        raise unknown_name("code", code, CODES)
    rows = [(name, *CODES[name]) for name in ([code] if code else CODES)]
    table = table_of(code or "Codes", ("code", "meaning", "what to do"), rows)
    table.columns[0].no_wrap = True
    Console().print(table)
    return 0
