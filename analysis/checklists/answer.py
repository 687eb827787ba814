"""What a run answers to one item of a reporting checklist."""

from dataclasses import dataclass
from typing import Literal

State = Literal["answered", "partly", "author", "lacking", "not applicable"]

STATES: dict[State, str] = {
    "answered": "Answered by the run",
    "partly": "Partly answered",
    "author": "Left to the author",
    "lacking": "Not done in this run",
    "not applicable": "Not applicable",
}
"""State -> its name in print, in the order in which they are counted."""


VERDICTS: dict[State, str] = {
    "answered": "Yes",
    "partly": "Open to the author",
    "author": "Open to the author",
    "lacking": "No",
    "not applicable": "n. a.",
}
"""State -> how an item of a scored checklist is marked."""


@dataclass(frozen=True)
class Answer:
    """What the run says, what the author still has to write, and where it is shown."""

    state: State
    said: str = ""
    """What the run shows, or why the item does not apply."""
    asked: str = ""
    """What the author still has to write, and what a reviewer expects there."""
    anchors: tuple[str, ...] = ()
    """Sections of the report that show it; `analysis.checklists.fill` drops those that this run does not have."""
    files: tuple[str, ...] = ()
    """Files of the run folder that hold it; dropped likewise."""


def answered(said: str, *anchors: str, files: tuple[str, ...] = ()) -> Answer:
    """The run says it all."""
    return Answer("answered", said, "", anchors, files)


def partly(said: str, asked: str, *anchors: str, files: tuple[str, ...] = ()) -> Answer:
    """The run says a part of it."""
    return Answer("partly", said, asked, anchors, files)


def left(asked: str) -> Answer:
    """The run says nothing about it."""
    return Answer("author", asked=asked)


def lacking(said: str, asked: str, *anchors: str) -> Answer:
    """The run shows that it was not done."""
    return Answer("lacking", said, asked, anchors)


def not_applicable(why: str, *anchors: str) -> Answer:
    """The item asks for something that this run has no occasion for."""
    return Answer("not applicable", why, "", anchors)
