"""What is around every command: errors told in a line, signals, and pipes that close."""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator

import typer
from rich.console import Console

from triher.errors import StopRun, TriherError
from triher.printing import EXIT_STOPPED, visible

DEBUG = "TRIHER_DEBUG"
"""Variable of the environment that asks for tracebacks."""
EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143
# typer keeps its own copy of click under a private name.
_UsageError: type[typer.BadParameter] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def run_command(app: typer.Typer, arguments: list[str] | None) -> int:
    """Run a command of the program.

    Args:
        app: the program.
        arguments: of the command line; those of this process when None.

    Returns:
        The exit code.
    """
    with _flushing():
        return _run(app, arguments)


@contextlib.contextmanager
def _terminating() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that temporary files and locks are removed."""

    def leave(*_: object) -> None:
        sys.exit(EXIT_TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except SystemExit as leaving:
        if leaving.code == EXIT_TERMINATED:
            _say_how_to_go_on("terminated")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _flushing() -> Iterator[None]:
    """Print what the terminal has no letter for as an escape, and be quiet when its reader has left."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say_how_to_go_on(what: str) -> None:
    """What is finished stays, so the same command does the rest."""
    Console(stderr=True).print(f"{what}; continue with the same command")


def _explain(error: TriherError) -> int:
    """Print an error that a user can mend, in one line."""
    if os.environ.get(DEBUG):
        raise error
    Console(stderr=True, highlight=False).print(
        visible(f"triher: {error}"), style="red", markup=False, soft_wrap=True
    )
    return EXIT_STOPPED


def _explain_missing(error: ModuleNotFoundError) -> int:
    """Say which extra holds a library that is not installed."""
    if error.name is None or error.name.partition(".")[0] in {"triher", "extract", "classify", "analysis"}:
        raise error
    return _explain(StopRun("extra_missing", f"this command needs {error.name}, which is not installed"))


def _run(app: typer.Typer, arguments: list[str] | None) -> int:
    """Run a command; what went wrong is told in a line. Its exit code."""
    try:
        with _terminating():
            code = app(arguments, standalone_mode=False)
        if code == EXIT_INTERRUPTED:  # as typer reports it
            _say_how_to_go_on("interrupted")
    except TriherError as error:
        code = _explain(error)
    except ModuleNotFoundError as error:
        code = _explain_missing(error)
    except _UsageError as error:
        error.show()
        code = EXIT_STOPPED
    except typer.Exit as leave:
        code = leave.exit_code
    except (typer.Abort, KeyboardInterrupt):
        _say_how_to_go_on("interrupted")
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        code = 0
    return code or 0
