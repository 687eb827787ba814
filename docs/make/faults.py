"""The page of faults: every bad input of the catalogue, what comes of it, and the tests that prove it."""

import ast
import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from codes import ROOT, escaped

PAGE = ROOT / "docs" / "faults.md"
TABLES = ROOT / "tests" / "data" / "faults"
SECTIONS = {
    "A": "Images and masks",
    "B": "DICOM",
    "C": "Clinical tables",
    "D": "Feature stores",
    "E": "Heads, tuning and evaluation",
    "F": "Survival and transcriptomics",
    "G": "Bundles, configuration, command line and environment",
}

_HEAD = """\
# Faults and what comes of them

<!-- Written by `make pages` from tests/data/faults/*.csv and the marks of the tests: change it there. -->

Bad input is the rule. These are the {cases} cases that TriHER was built against: what comes of each (STOP, SKIP,
NOTE, or it works), under which [code](codes.md), and the tests in `tests/` that bring it about. In every case, what
was there before can still be read; patients in = done + left out, counted and printed; running again finishes the
rest and gives what one clean run gives; no unfinished file stands under a final name; text of the input enters no
HTML, cell or path unescaped."""
_COLUMNS = "| case | fault | outcome | code | tests |\n|---|---|---|---|---|\n"


@dataclass(frozen=True)
class Fault:
    """A line of the catalogue."""

    case: str
    what: str
    outcome: str
    code: str


def faults(section: str) -> list[Fault]:
    """The lines of one section, in the order of the cases."""
    path = TABLES / f"{section}.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        lines = [Fault(**row) for row in csv.DictReader(file)]
    return sorted(lines, key=lambda line: int(line.case[1:]))


@cache
def tests() -> dict[str, list[str]]:
    """Case -> the tests that carry its mark, as ``file::function``."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body if "mark.fault(" in text else ():
            if isinstance(node, ast.FunctionDef):
                for case in _cases(node):
                    found[case].append(f"{path.name}::{node.name}")
    return found


def _cases(function: ast.FunctionDef) -> Iterator[str]:
    """The cases that a test is marked with, itself or in its parameters."""
    for decorator in function.decorator_list:
        for node in ast.walk(decorator):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
                yield from (a.value for a in node.args if isinstance(a, ast.Constant))


def page() -> str:
    """The page as Markdown."""
    proofs = tests()
    lines = {section: faults(section) for section in SECTIONS}
    n_cases = len({line.case for section in lines.values() for line in section})
    text = _HEAD.format(cases=n_cases)
    for section, found in lines.items():
        if found:
            text += f"\n## {section}. {SECTIONS[section]}\n\n{_COLUMNS}"
            text += "".join(f"{row}\n" for row in _rows(found, proofs))
    return text


def _rows(lines: list[Fault], proofs: dict[str, list[str]]) -> Iterator[str]:
    """The lines of a table; the tests stand beside the first line of their case."""
    told = ""
    for line in lines:
        link = f"[`{line.code}`](codes.md#{line.code})" if line.code else ""
        named = "<br>".join(f"`{test}`" for test in proofs[line.case]) if line.case != told else ""
        case = line.case if line.case != told else ""
        told = line.case
        yield f"| {case} | {escaped(line.what)} | {line.outcome} | {link} | {named} |"
