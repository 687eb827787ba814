"""Every bad input of the catalogue, and every value from R, has a test that says so with a mark.

What becomes of each bad input is stated in ``tests/data/faults``, one table a section; the documentation shows them.
"""

import ast
import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from triher.codes import CODES

TESTS = Path(__file__).parent
SECTIONS = {"A": 32, "B": 17, "C": 27, "D": 22, "E": 24, "F": 18, "G": 24}
"""Section -> number of its cases: A images and masks, B DICOM, C clinical tables, D feature stores, E heads, tuning
and evaluation, F survival and transcriptomics, G bundles, configuration, command line and environment."""
COLUMNS = ("case", "what", "outcome", "code")
CASE = re.compile(r"[A-G]\d+")


class Row(NamedTuple):
    """What becomes of a bad input."""

    case: str
    what: str
    outcome: str
    """STOP, SKIP, NOTE or works."""
    code: str
    """Empty where it works."""


def stated(section: str) -> list[Row]:
    """The table of a section."""
    with (TESTS / f"data/faults/{section}.csv").open(encoding="utf-8", newline="") as handle:
        header, *rows = csv.reader(handle)
    assert tuple(header) == COLUMNS
    return [Row(*row) for row in rows]


def cases_of(section: str) -> list[str]:
    """The cases of a section, in order."""
    return [f"{section}{number}" for number in range(1, SECTIONS[section] + 1)]


def marks(tree: ast.AST, mark: str) -> Iterator[str]:
    """The names in the marks below a node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == f"pytest.mark.{mark}":
            yield from (argument.value for argument in node.args)


@cache
def modules() -> tuple[ast.Module, ...]:
    """All test modules with marks of these kinds."""
    texts = (path.read_text(encoding="utf-8") for path in sorted(TESTS.glob("test_*.py")))
    return tuple(ast.parse(text) for text in texts if "pytest.mark.fault(" in text or "pytest.mark.golden(" in text)


@cache
def all_marked(mark: str) -> set[str]:
    """The names in the marks of all test modules."""
    return {name for module in modules() for name in marks(module, mark)}


@cache
def marked_tests() -> dict[str, list[tuple[ast.FunctionDef, dict[str, ast.AST]]]]:
    """The tests that carry the mark of a case, each with what its module names."""
    found: dict[str, list[tuple[ast.FunctionDef, dict[str, ast.AST]]]] = defaultdict(list)
    for module in modules():
        known = named_in(module)
        for node in module.body:
            if isinstance(node, ast.FunctionDef):
                for case in {name for decorator in node.decorator_list for name in marks(decorator, "fault")}:
                    found[case].append((node, known))
    return found


def texts(node: ast.AST, case: str, known: dict[str, ast.AST]) -> set[str]:
    """The words of all texts that a test sees: its own, and those of what it names in its module.

    Of a dictionary whose keys begin with cases, only the entries of this case count.
    """
    found: set[str] = set()
    queue, seen = [node], set()
    while queue:
        part = queue.pop()
        if isinstance(part, ast.Dict):
            queue += [v for k, v in zip(part.keys, part.values, strict=True) if not _of_another(k, case)]
            queue += [key for key in part.keys if key is not None]
            continue
        if isinstance(part, ast.Name) and part.id in known and part.id not in seen:
            seen.add(part.id)
            queue.append(known[part.id])
        if isinstance(part, ast.arg) and part.arg in known and part.arg not in seen:
            seen.add(part.arg)  # a fixture
            queue.append(known[part.arg])
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            found |= set(re.findall(r"\w+", part.value))
        queue += ast.iter_child_nodes(part)
    return found


def _of_another(key: ast.AST | None, case: str) -> bool:
    """Whether the key of a dictionary begins with another case."""
    text = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""
    found = CASE.match(text)
    return found is not None and found[0] != case


def named_in(module: ast.Module) -> dict[str, ast.AST]:
    """What a module names at its top: values, functions and classes."""
    names: dict[str, ast.AST] = {}
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] = node
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}
    return names


@cache
def words_beside(case: str) -> set[str]:
    """The words of all texts of the tests that carry the mark of a case."""
    return {word for node, known in marked_tests()[case] for word in texts(node, case, known)}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_case_has_a_test(section):
    assert set(cases_of(section)) - all_marked("fault") == set()


@pytest.mark.parametrize("section", SECTIONS)
def test_every_case_has_a_row_and_no_row_is_of_no_case(section):
    rows = stated(section)
    assert list(dict.fromkeys(row.case for row in rows)) == cases_of(section)
    assert len(set(rows)) == len(rows)
    for row in rows:
        assert row.what.strip() == row.what != ""
        assert row.outcome in ("STOP", "SKIP", "NOTE", "works"), row
        assert (row.code == "") == (row.outcome == "works"), row
        assert row.code in CODES or not row.code, row


@pytest.mark.parametrize("section", SECTIONS)
def test_every_code_stands_in_a_test_of_its_case(section):
    lacking = [row for row in stated(section) if row.code and row.code not in words_beside(row.case)]
    assert lacking == []


def test_every_value_from_r_has_a_test(golden_folder):
    expected = set(json.loads((golden_folder / "expected.json").read_text(encoding="utf-8"))["checks"])
    assert expected == all_marked("golden")
