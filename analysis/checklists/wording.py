"""A filled checklist in sentences."""

from analysis.checklists.answer import STATES, VERDICTS, State
from analysis.checklists.fill import Filled
from analysis.checklists.item import Item
from analysis.wording import count

_RULE = (
    "Filled from the run as far as its numbers and records go. What the run does not show is left to the author and "
    "never guessed; what is answered here still has to stand in the paper."
)


def size(filled: Filled) -> str:
    """How many items there are, and in how many parts.

    Items such as 3a and 3b are parts of item 3.
    """
    lines = filled.lines
    main = {line.item.number.rstrip("abcdefghij") for line in lines}
    return f"{len(main)} items" if len(main) == len(lines) else f"{len(main)} items in {len(lines)} parts"


def status(item: Item, state: State) -> str:
    """How an item stands; in a scored checklist its mark and weight."""
    return f"{VERDICTS[state]} (weight {item.weight:.4f})" if item.weight else STATES[state]


def remarks(filled: Filled) -> list[str]:
    """What a reader has to know first."""
    return [*filled.cautions, _RULE, *([filled.checklist.remark] if filled.checklist.remark else [])]


def counted(filled: Filled) -> str:
    """How many items the run answers."""
    parts = [f"{n} {STATES[state].lower()}" for state, n in filled.counts.items() if n]
    return f"{size(filled)}: {', '.join(parts)}."


def scored(filled: Filled) -> str:
    """The range of the score that the run leaves open; empty for a checklist without weights."""
    score = filled.score
    if score is None:
        return ""
    n = sum(filled.counts[state] for state in ("partly", "author"))
    return (
        f"Score between {_percent(score.low)} and {_percent(score.high)}. By weight of the items that apply, the run "
        f"shows {_percent(score.met)} as met and {_percent(score.unmet)} as not met; {count(n, 'item')} worth "
        f"{_percent(score.high - score.low)} remain for the author to show."
    )


def _percent(share: float) -> str:
    """A share in print.

    >>> _percent(0.564)
    '56 %'
    """
    return f"{100 * share:.0f} %"
