"""Every bad input of the catalogue, and every value from R, has a test that says so with a mark."""

import ast
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SECTIONS = {"A": 32, "B": 17, "C": 27, "D": 22, "E": 24, "F": 18, "G": 24}
"""Section -> number of its cases: A images and masks, B DICOM, C clinical tables, D feature stores, E heads, tuning
and evaluation, F survival and transcriptomics, G bundles, configuration, command line and environment."""


def marked(path: Path, mark: str) -> Iterator[str]:
    """The names in the marks of a test module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == f"pytest.mark.{mark}":
            yield from (argument.value for argument in node.args)


@cache
def all_marked(mark: str) -> set[str]:
    """The names in the marks of all test modules."""
    return {name for path in Path(__file__).parent.glob("test_*.py") for name in marked(path, mark)}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_case_has_a_test(section):
    expected = {f"{section}{number}" for number in range(1, SECTIONS[section] + 1)}
    assert expected - all_marked("fault") == set()


def test_every_value_from_r_has_a_test(golden_folder):
    expected = set(json.loads((golden_folder / "expected.json").read_text(encoding="utf-8"))["checks"])
    assert expected == all_marked("golden")
