"""The documentation says what the code does: codes, faults, commands and keys."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from triher.codes import CODES

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
