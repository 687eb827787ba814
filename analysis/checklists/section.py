"""The report's section on reporting checklists, laid out after all other sections."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.checklists.answer import STATES
from analysis.checklists.facts import CHECKLISTS_ANCHOR, CHECKLISTS_TITLE
from analysis.checklists.fill import CHECKLISTS, Filled, Line
from analysis.checklists.wording import scored, size, status
from analysis.page import Block, Page, Paragraph, Section, Table
from analysis.wording import count

_TOPIC = "How it was done"


def add_checklists(page: Page, filled: Sequence[Filled]) -> Page:
    """The page with the section among those on how it was done, or at its end."""
    section = replace(checklists_section(filled), topic=_TOPIC)
    last = max((i for i, one in enumerate(page.sections) if one.topic == _TOPIC), default=len(page.sections) - 1)
    return replace(page, sections=[*page.sections[: last + 1], section, *page.sections[last + 1 :]])


def checklists_section(filled: Sequence[Filled]) -> Section:
    """How far the run answers each checklist, and every item folded away."""
    names = ", ".join(f"{one.name}.html" for one in CHECKLISTS)
    text = (
        "What journals ask of a paper like this, filled from the run as far as its numbers and records go. What the "
        "run does not show, such as ethics, funding and how patients were recruited, is left to the author and never "
        f"guessed. To be completed in a word processor or in Markdown: folder checklists ({names}; each also as .md)."
    )
    header = ["Checklist", *STATES.values()]
    rows = [[f"{one.checklist.title}, {size(one)}", *(str(n) for n in one.counts.values())] for one in filled]
    cautions = [Paragraph(caution, tone="note") for one in filled[:1] for caution in one.cautions]
    blocks: list[Block] = [
        Paragraph(text),
        *cautions,
        Table("How far the run answers", header, rows, name="checklists"),
    ]
    for one in filled:
        blocks += _blocks(one)
    return Section(CHECKLISTS_ANCHOR, CHECKLISTS_TITLE, blocks)


def _blocks(filled: Filled) -> list[Block]:
    """The score, where there is one, and the items of one checklist."""
    own = filled.checklist
    fold = f"{own.title}: {count(len(filled.lines), 'answer')}"
    header = ["Item", "Topic", "Status", "What the run says", "Still to write", "Where in this report"]
    caption = f"{own.title}, filled from this run. {own.citation}"
    rows = [_row(line) for line in filled.lines]
    table = Table(
        caption, header, rows, folded=fold, text_cells=True, name=f"checklists-{own.name.replace('_', '-')}"
    )
    text = scored(filled)
    return [*([Paragraph(f"{own.title}: {text[0].lower()}{text[1:]} {own.remark}")] if text else []), table]


def _row(line: Line) -> list[str]:
    """One item."""
    answer = line.answer
    places = "; ".join(place.title for place in line.places)
    return [
        line.item.number,
        line.item.topic,
        status(line.item, answer.state),
        answer.said or "-",
        answer.asked or "-",
        places or "-",
    ]
