"""Filling a checklist from a run: every item answered, and nothing named that the run does not have."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.checklists.answer import STATES, Answer, State
from analysis.checklists.claim import CLAIM
from analysis.checklists.facts import Facts
from analysis.checklists.item import Checklist, Item
from analysis.checklists.metrics import METRICS
from analysis.checklists.tripod_ai import TRIPOD_AI

CHECKLISTS: tuple[Checklist, ...] = (TRIPOD_AI, CLAIM, METRICS)


@dataclass(frozen=True)
class Place:
    """A section of the report."""

    anchor: str
    title: str


@dataclass(frozen=True)
class Line:
    """One item with its answer."""

    item: Item
    answer: Answer
    places: tuple[Place, ...]
    """Where the report of this run shows it."""
    files: tuple[str, ...]
    """Files of this run that hold it."""


@dataclass(frozen=True)
class Score:
    """What a weighted checklist comes to, as shares of the weights of the items that apply, 0 to 1."""

    met: float
    """Shown by the run."""
    unmet: float
    """Shown by the run not to be done."""

    @property
    def low(self) -> float:
        """If the author can add nothing."""
        return self.met

    @property
    def high(self) -> float:
        """If the author meets all items that the run leaves open."""
        return 1 - self.unmet


@dataclass(frozen=True)
class Filled:
    """A checklist with its answers."""

    checklist: Checklist
    lines: tuple[Line, ...]
    cautions: tuple[str, ...] = ()
    """What makes the whole run no evidence."""

    @property
    def counts(self) -> dict[State, int]:
        """State -> number of items, in the order of `analysis.checklists.answer.STATES`."""
        found = Counter(line.answer.state for line in self.lines)
        return {state: found[state] for state in STATES}

    @property
    def score(self) -> Score | None:
        """None for a checklist without weights."""
        return score(self.lines) if self.checklist.is_scored else None


def fill(facts: Facts, checklists: Sequence[Checklist] = CHECKLISTS) -> tuple[Filled, ...]:
    """Answer every item of some checklists.

    Args:
        facts: the run; an answer names only sections and files that are there.
        checklists: which.
    """
    warned = _cautions(facts)
    return tuple(Filled(one, tuple(_line(item, facts) for item in one.items), warned) for one in checklists)


def _cautions(facts: Facts) -> tuple[str, ...]:
    """Runs that are no evidence about patients, whatever their items say."""
    found = []
    if facts.stage("phantom"):
        found.append("Simulated patients: this run was made on a phantom, and no answer is evidence about patients.")
    if facts.classified.get("labels_shuffled"):
        found.append("Negative control: the labels were shuffled before training, so the model is meant to fail.")
    return tuple(found)


def _line(item: Item, facts: Facts) -> Line:
    """One item answered; every place is named once."""
    answer = item.answer(facts)
    places = tuple(Place(a, facts.sections[a]) for a in dict.fromkeys(answer.anchors) if a in facts.sections)
    files = tuple(name for name in dict.fromkeys(answer.files) if name in facts.files)
    return Line(item, replace(answer, anchors=tuple(place.anchor for place in places), files=files), places, files)


def score(lines: Sequence[Line]) -> Score:
    """The weighted share of items met, and that of items not met, of those that apply.

    As METRICS is scored: the weights of items that are met, over those of all items whose conditions hold (Kocak et
    al., Insights Imaging 2024;15:8). Items that the author has still to answer count as neither.
    """
    applying = [line for line in lines if line.answer.state != "not applicable"]
    total = sum(line.item.weight for line in applying)
    met, unmet = (
        sum(line.item.weight for line in applying if line.answer.state == state) for state in ("answered", "lacking")
    )
    return Score(met / total, unmet / total)
