"""On which patients the cells of a study are judged: those whom all have predicted, held-out ones first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from triher.predicted import Predicted

SPLITS = ("test", "oof")
"""In this order; ``new`` patients were not planned to be judged."""
HELD_OUT = "held out"
"""Where cells differ in ``classify.split``: everybody predicted by a model that did not see them."""
_SPLIT = "classify.split"


@dataclass(frozen=True)
class Judged:
    """Where cells are compared first."""

    split: str
    """``test``, ``oof`` or `HELD_OUT`; empty where no two cells have patients in common."""
    patients: frozenset[str]


def judged_on(cells: Iterable[Sequence[Predicted]], *, pooled: bool) -> Judged:
    """The labeled patients on whom cells are compared first, as `analysis.ablation.material` chooses them.

    Args:
        cells: of each cell that is done, its runs, the base first; where one gives a patient another class than those
            before it, it is compared with none.
        pooled: whether cells differ in ``classify.split``, so that all splits are taken together; so they are, too,
            where a patient is held out in one table and cross-validated in another.
    """
    listed = _of_one_truth(cells)
    is_pooled = pooled or parts_differ([run.parts for runs in listed for run in runs])
    for name, parts in ((HELD_OUT, SPLITS),) if is_pooled else ((split, (split,)) for split in SPLITS):
        found = [[run.labeled_in(parts) for run in runs] for runs in listed]
        there = [seeds for seeds in found if all(seeds)]
        common = reduce(frozenset.__and__, (seed for seeds in there for seed in seeds)) if there else frozenset()
        if len(there) > 1 and common:
            return Judged(name, common)
    return Judged("", frozenset())


def _of_one_truth(cells: Iterable[Sequence[Predicted]]) -> list[Sequence[Predicted]]:
    """Cells with predictions that give no patient another class than those before them."""
    known: dict[str, float] = {}
    found = []
    for runs in cells:
        own = {patient: y for run in runs for patient, y in run.classes.items()}
        if runs and all(known.get(patient, y) == y for patient, y in own.items()):
            known = own | known
            found.append(runs)
    return found


def parts_differ(runs: Sequence[Mapping[str, frozenset[str]]]) -> bool:
    """Whether a patient whom all runs predicted has no split in common to all, whatever the settings.

    Args:
        runs: of each, split -> patients.

    >>> parts_differ([{"test": frozenset("ab")}, {"test": frozenset("a"), "oof": frozenset("b")}])
    True
    """
    if not runs:
        return False
    split = [[run.get(name, frozenset()) for name in SPLITS] for run in runs]
    everywhere = reduce(frozenset.__and__, (frozenset[str]().union(*sides) for sides in split))
    return bool(everywhere.difference(*(reduce(frozenset.__and__, sides) for sides in zip(*split, strict=True))))


def that_change_split(base: Mapping[str, Any], cells: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Cells whose patients are held out otherwise than the base's, however that was written.

    Args:
        base: `triher.registration_record.settings_of` the base, or of what all cells are compared with.
        cells: name -> settings, or those that differ from the base's.
    """
    return [name for name, own in cells.items() if own.get(_SPLIT, base[_SPLIT]) != base[_SPLIT]]
