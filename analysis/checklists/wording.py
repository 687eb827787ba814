"""A filled checklist in sentences."""

from analysis.checklists.answer import STATES
from analysis.checklists.fill import Filled
from analysis.wording import count

_RULE = (
    "Filled from the run as far as its numbers and records go. What the run does not show is left to the author and "
    "never guessed; what is answered here still has to stand in the paper."
)


def size(filled: Filled) -> str:
    """How many items there are, and how many with their parts.

    Items such as 3a and 3b are parts of item 3.
    """
    lines = filled.lines
    main = {line.item.number.rstrip("abcdefghij") for line in lines}
    return f"{len(main)} items" if len(main) == len(lines) else f"{len(main)} items, {len(lines)} with their parts"


def remarks(filled: Filled) -> list[str]:
    """What a reader has to know first."""
    return [_RULE, *([filled.checklist.remark] if filled.checklist.remark else [])]


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
        f"Score between {score.low:.0%} and {score.high:.0%}. By weight of the items that apply, the run shows "
        f"{score.met:.0%} as met and {score.unmet:.0%} as not met; {count(n, 'item')} worth "
        f"{score.high - score.low:.0%} remain for the author to show."
    )
