"""The documentation says what the code does: codes, faults, commands and keys."""

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest
import typer

from triher.ablation.axes import read_lattice
from triher.cli import app
from triher.codes import CODES
from triher.config import build_config, read_tree
from triher.errors import StopRun

# typer keeps its own copy of click under a private name.
UsageError: type[typer.BadParameter] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
ROOT = Path(__file__).parents[1]


def made_by(name: str) -> ModuleType:
    """A module of docs/make."""
    folder = str(ROOT / "docs" / "make")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def raised() -> dict[str, dict[str, set[str]]]:
    """Code -> outcome -> files."""
    return made_by("codes").raised()


def test_every_code_in_the_source_is_documented_and_none_is_dead(raised):
    assert set(raised) == set(CODES)


def test_codes_that_are_handed_on_still_stand_in_the_source(raised):
    handed_on = made_by("codes").HANDED_ON
    assert [code for code, outcome in handed_on.items() if not raised[code][outcome]] == []


@pytest.mark.parametrize("page", ["codes", "faults"])
def test_the_page_is_what_the_code_says(page):
    module = made_by(page)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), f"{page}.md is out of date: give `make pages`"


def test_every_outcome_of_the_catalogue_is_one_that_the_source_gives(raised):
    faults = made_by("faults")
    lines = [line for section in faults.SECTIONS for line in faults.faults(section) if line.code]
    assert lines
    assert [line for line in lines if line.outcome not in raised[line.code]] == []


def test_every_case_of_the_catalogue_has_a_test():
    faults = made_by("faults")
    proven = faults.tests()
    lines = [line for section in faults.SECTIONS for line in faults.faults(section)]
    assert [line.case for line in lines if not proven[line.case]] == []


TEXTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Place and text of the fenced blocks of a language."""
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        for found in re.finditer(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
            line = text[: found.start()].count("\n") + 1
            yield f"{path.relative_to(ROOT)}:{line}", dedent(found[2])


def commands() -> Iterator[tuple[str, list[str]]]:
    """Place and words of every `triher` command in a fenced block."""
    for place, text in blocks("(?:bash|console|sh|)"):
        for line in text.replace("\\\n", " ").splitlines():
            if found := re.match(r"(?:\$ +)?triher +(.*)", line):
                yield place, shlex.split(found[1], comments=True)


def parse(words: list[str]) -> None:
    """Have the words parsed as the command line parses them; nothing is run."""
    command, name = typer.main.get_command(app), "triher"
    context = command.make_context(name, list(words))
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


def test_every_command_in_the_docs_parses():
    told = list(commands())
    assert len(told) > 30
    wrong = []
    for place, words in told:
        try:
            parse(words)
        except (typer.Exit, SystemExit):
            pass
        except UsageError as error:
            wrong.append(f"{place}: triher {shlex.join(words)}: {error.format_message()}")
    assert wrong == []


def test_a_wrong_option_would_be_found():
    with pytest.raises(UsageError, match="--patient"):
        parse(["demo", "--patient", "10"])


def test_every_key_in_the_docs_is_valid(tmp_path):
    overrides = [word for _, words in commands() for word, before in pairwise(reversed(words)) if before == "--set"]
    assert len(overrides) > 5
    told = [*blocks("yaml"), *((f"--set {one}", "") for one in overrides)]
    for place, text in told:
        file = tmp_path / "config.yaml"
        file.write_text(text or "{}", encoding="utf-8")
        changes = [place.removeprefix("--set ")] if not text else []
        tree = read_tree(file, changes)
        tree.setdefault("cohort", {}).setdefault("table", "cohort.csv")
        try:
            read_lattice(tree, file) if "ablation" in tree else build_config(tree, {}, file)
        except StopRun as error:
            pytest.fail(f"{place}: {error}")


def test_every_page_is_in_the_navigation():
    named = (ROOT / "docs" / "make" / "website.py").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if f'"{page}"' not in named and not page.startswith("tutorials/")] == []
