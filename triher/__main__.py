"""Where `triher` and `python -m triher` begin: an interruption during the imports is no traceback either."""

import sys


def main() -> None:
    """Import the command line, run a command and exit with its code; 130 when interrupted before it can say so."""
    try:
        from triher.cli import main as command_line
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    command_line()


if __name__ == "__main__":
    main()
