"""Every bad input of the catalogue has a test that says so with ``pytest.mark.fault``."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SECTIONS = {"A": 32, "B": 17, "C": 27, "D": 22, "E": 24, "G": 24}
"""Section -> number of its cases: A images and masks, B DICOM, C clinical tables, D feature stores,
E heads, tuning and evaluation, G bundles, configuration, command line and environment."""


def marked(path: Path) -> Iterator[str]:
    """The ids in the markers of a test module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
            yield from (argument.value for argument in node.args)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_case_has_a_test(section):
    found = {name for path in Path(__file__).parent.glob("test_*.py") for name in marked(path)}
    expected = {f"{section}{number}" for number in range(1, SECTIONS[section] + 1)}
    assert expected - found == set()
