"""The items of a reporting checklist as data."""

from collections.abc import Callable
from dataclasses import dataclass

from analysis.checklists.answer import Answer, left
from analysis.checklists.facts import Facts

Answering = Callable[[Facts], Answer]


@dataclass(frozen=True)
class Item:
    """One item: the official number and section, and what it asks in our own words."""

    number: str
    section: str
    topic: str
    asks: str
    answer: Answering
    weight: float = 0.0
    """Share of a score, 0 to 1; 0 in checklists without one."""

    @property
    def heading(self) -> str:
        """Section and topic, named once where they are the same."""
        return self.topic if self.section == self.topic else f"{self.section}: {self.topic}"


@dataclass(frozen=True)
class Checklist:
    """A published checklist."""

    name: str
    """File name without ending."""
    title: str
    citation: str
    form: str
    """Address of the official form."""
    items: tuple[Item, ...]
    remark: str = ""
    """What a reader has to know about it."""

    @property
    def is_scored(self) -> bool:
        """Whether its items have weights."""
        return any(item.weight > 0 for item in self.items)


def author(asked: str) -> Answering:
    """An answer that no run can give.

    Args:
        asked: what a reviewer expects there.
    """
    answer = left(asked)
    return lambda _: answer
