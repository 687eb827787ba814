"""Filled checklists as files that an author completes: Markdown, and HTML that word processors open and keep."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from analysis.checklists.fill import Filled, Line
from analysis.checklists.wording import counted, remarks, scored, status
from analysis.rendering import templates
from triher.files import write_text
from triher.runfolder import RunFolder

_MARKS = re.compile(r"([\\`*_\[\]|~$])")
_HEADER = ("Item", "Topic", "What is asked", "Status", "What the run says", "Still to write", "Where")
_REPORT = "../report.html"


def write_checklists(filled: Sequence[Filled], run: RunFolder) -> list[Path]:
    """Write every checklist as Markdown and as HTML into the folder ``checklists`` of a run.

    Returns:
        The files.
    """
    outputs = []
    for one in filled:
        for ending, text in (("md", as_markdown(one)), ("html", as_html(one))):
            outputs.append(run.checklists / f"{one.checklist.name}.{ending}")
            write_text(outputs[-1], text)
    return outputs


def as_markdown(filled: Filled) -> str:
    """A checklist as a table of Markdown, with everything from outside escaped."""
    own = filled.checklist
    lines = [f"# {_safe(own.title)}", ""]
    for text in (*remarks(filled), counted(filled), scored(filled)):
        lines += [_safe(text), ""] if text else []
    lines += [f"{_safe(own.citation)}. Official form: <{own.form}>", ""]
    lines += [f"| {' | '.join(_HEADER)} |", f"|{' --- |' * len(_HEADER)}"]
    lines += [f"| {' | '.join(_cells(line))} |" for line in filled.lines]
    return "\n".join(lines) + "\n"


def _cells(line: Line) -> list[str]:
    """One row of the table."""
    item, answer = line.item, line.answer
    texts = [
        item.number,
        item.heading,
        item.asks,
        status(item, answer.state),
        answer.said or "-",
        answer.asked or "-",
    ]
    places = [f"[{_safe(place.title)}]({_REPORT}#{place.anchor})" for place in line.places]
    files = [f"[{_safe(name)}](../{name})" for name in line.files]
    return [*map(_safe, texts), "; ".join([*places, *files]) or "-"]


def _safe(text: str) -> str:
    r"""Text that Markdown shows as it is: one line, no markup, no tag, no address that becomes a link.

    >>> _safe("a|b <i>*x*")
    'a\\|b &lt;i&gt;\\*x\\*'
    """
    line = " ".join("".join(" " if unicodedata.category(c)[0] == "C" else c for c in text).split())
    entities = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("://", "&colon;//")
    return _MARKS.sub(r"\\\1", entities)


def as_html(filled: Filled) -> str:
    """A checklist as a page with one plain table; every text is escaped."""
    return (
        templates()
        .get_template("checklist.html.j2")
        .render(
            filled=filled,
            paragraphs=[text for text in (*remarks(filled), counted(filled), scored(filled)) if text],
            header=_HEADER,
            status=status,
            report=_REPORT,
        )
    )
