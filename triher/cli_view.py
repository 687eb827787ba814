"""The command ``triher view``: a run's patients in the browser, on this machine alone."""

from pathlib import Path
from typing import Annotated

import typer


def view(
    run: Annotated[Path, typer.Argument(help="Run folder with predictions.", metavar="RUN", show_default=False)],
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any that is free.")] = 0,
    no_browser: Annotated[
        bool,
        typer.Option(
            "--no-browser",
            help="Print the address and open nothing, for a machine without a browser or one that you share.",
        ),
    ] = False,
) -> int:
    """Look at a run patient by patient: slices, maps, enhancement, probabilities, neighbors; errors first."""
    from triher.view.server import serve
    from triher.view.viewed import open_run

    def say(address: str) -> None:
        typer.echo(f"{address}\nThis address is for you alone; Ctrl-C ends it.")

    serve(open_run(run), port, open_browser=not no_browser, say=say)
    return 0
