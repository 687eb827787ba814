"""Tables for the terminal; text from files is never read as markup."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from triher.errors import Skipped

EXIT_STOPPED, EXIT_SKIPPED = 2, 3


def plain(value: object) -> str:
    """Text from files, safe beside markup."""
    return str(value).replace("[", "\\[")


def table_of(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table whose long cells are folded."""
    table = Table(title=plain(title), title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(plain, row))
    return table


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table to standard output."""
    Console().print(table_of(title, columns, rows))


def skip_table(rows: Sequence[Skipped], title: str) -> Table:
    """Who was left out and why."""
    cells = [(row.patient_id, row.stage, row.code, row.reason, row.remedy) for row in rows]
    return table_of(title, ("patient", "stage", "code", "reason", "what to do"), cells)
