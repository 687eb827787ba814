"""The page of codes: what each means, what to do, what comes of it, and which package says it."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from triher.codes import CODES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "codes.md"
PACKAGES = ("triher", "extract", "classify", "analysis")
OUTCOMES = ("STOP", "SKIP", "NOTE")

# What is called -> outcome, and place of the argument that is the code.
_CALLS = {
    "StopRun": ("STOP", 0),
    "SkipPatient": ("SKIP", 0),
    "Skipped": ("SKIP", 3),
    "gap": ("SKIP", 2),
    "Note": ("NOTE", 1),
}
HANDED_ON = {
    "calibrator_zero": "NOTE",
    "encoder_trained_on": "SKIP",
    "monotone_likelihood": "NOTE",
    "phases_config": "STOP",
    "time_implausible": "NOTE",
    "time_missing": "NOTE",
    "time_negative": "NOTE",
    "vector_duplicate": "NOTE",
}
"""Codes that reach such a call by way of a function or a named constant -> outcome."""
_OF_PROBLEM = 3  # the place of its code

_HEAD = """\
# Codes

<!-- Written by `make pages` from triher/codes.py and the calls in the source: change it there. -->

Whatever TriHER makes of bad input has one of {n} codes. It stands in brackets in the message, in the column `code` of
`skipped.csv` and `notes.csv`, and in the table of `triher cohort check`. A code stays as it is from version to
version; the wording of messages may change. `triher codes CODE` says one of them in the terminal, `triher codes` all.

- **STOP**: the command ends before any long work, with exit code 2; what was there before is as it was.
- **SKIP**: one patient is left out and all others are done; `skipped.csv` says who and why; exit code 3.
- **NOTE**: nothing is left out; a line in the report and in `notes.csv`.

Some codes have two outcomes: an image that is not there leaves a patient out of a run, but can stop an import. Which
bad input ends in which code is in the [catalogue of faults](faults.md).

| code | outcome | meaning | what to do | package |
|---|---|---|---|---|
"""


def sources() -> Iterator[tuple[str, str]]:
    """File and text of all modules but the table of codes itself."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name != "codes.py":
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def _named(node: ast.AST) -> set[str]:
    """The codes that an expression can be: a text or both branches of a condition."""
    if isinstance(node, ast.IfExp):
        return _named(node.body) | _named(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def _called(call: ast.Call) -> Iterator[tuple[str, str]]:
    """Outcome and code of a call."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    stops = [ast.unparse(pair.value) for pair in call.keywords if pair.arg == "stops"]
    if name == "Finding" and stops:
        yield from (("STOP" if "True" in stops else "NOTE", code) for code in _named(call.args[0]))
    elif name == "Problem" and len(call.args) > _OF_PROBLEM:
        yield from ((o.upper(), code) for o in _named(call.args[0]) for code in _named(call.args[_OF_PROBLEM]))
    elif name in _CALLS and len(call.args) > _CALLS[name][1]:
        outcome, place = _CALLS[name]
        yield from ((outcome, code) for code in _named(call.args[place]))


def _remark(node: ast.Tuple) -> str:
    """The code of a pair (code, text), as the remarks about images are written; empty for other pairs."""
    match node.elts:
        case [ast.Constant(value=str(code)), text] if code in CODES:
            return code if not isinstance(text, ast.Constant) or " " in str(text.value) else ""
    return ""


def _said(text: str) -> Iterator[tuple[str, str]]:
    """Outcome and code, wherever a module says both."""
    returned = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Return):
            returned.add(node.value)
        elif isinstance(node, ast.Call):
            yield from _called(node)
        elif isinstance(node, ast.Tuple) and node not in returned and (code := _remark(node)):
            yield "NOTE", code


@cache
def raised() -> dict[str, dict[str, set[str]]]:
    """Code -> outcome -> the files that give it this outcome."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path, text in sources():
        for outcome, code in _said(text):
            found[code][outcome].add(path)
        for code, outcome in HANDED_ON.items():
            if f'"{code}"' in text:
                found[code][outcome].add(path)
    return found


def _row(code: str, found: dict[str, set[str]]) -> str:
    """A line of the table."""
    outcomes = ", ".join(outcome for outcome in OUTCOMES if outcome in found)
    paths = {path for paths in found.values() for path in paths}
    packages = ", ".join(package for package in PACKAGES if any(path.startswith(f"{package}/") for path in paths))
    meaning, remedy = map(escaped, CODES[code])
    return f'| <a id="{code}"></a>`{code}` | {outcomes} | {meaning} | {remedy} | {packages} |'


def escaped(text: str) -> str:
    """Text in a cell of a Markdown table."""
    return re.sub(r"([|<>*_\[\]])", r"\\\1", text)


def page() -> str:
    """The page as Markdown."""
    rows = "\n".join(_row(code, raised()[code]) for code in CODES)
    return f"{_HEAD.format(n=len(CODES))}{rows}\n"
