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
_TRUTH = ("scheme", "cohort.her2_rules")


@dataclass(frozen=True)
class Judged:
    """Where cells are compared first."""

    split: str
    """``test``, ``oof`` or `HELD_OUT`; empty where no two cells have patients in common."""
    patients: frozenset[str]


def judged_on(cells: Iterable[Sequence[Predicted]], *, pooled: bool) -> Judged:
    """The labeled patients on whom cells are compared first, as `analysis.ablation.material` chooses them.

    Args:
        cells: of each cell that is compared, its runs.
        pooled: whether cells differ in ``classify.split``, so that all splits are taken together.
    """
    listed = list(cells)
    for name, parts in ((HELD_OUT, SPLITS),) if pooled else ((split, (split,)) for split in SPLITS):
        found = [[run.labeled_in(parts) for run in runs] for runs in listed]
        there = [seeds for seeds in found if seeds and all(seeds)]
        common = reduce(frozenset.__and__, (seed for seeds in there for seed in seeds)) if there else frozenset()
        if len(there) > 1 and common:
            return Judged(name, common)
    return Judged("", frozenset())


def that_change_split(base: Mapping[str, Any], cells: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Cells whose patients are held out otherwise than the base's, however that was written.

    Args:
        base: `triher.registration_record.settings_of` the base, or of what all cells are compared with.
        cells: name -> settings, or those that differ from the base's.
    """
    return [name for name, own in cells.items() if own.get(_SPLIT, base[_SPLIT]) != base[_SPLIT]]


def other_truth(base: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """The key by which a cell's patients are labeled otherwise than the base's, so that it is compared with none."""
    return next((key for key in _TRUTH if own[key] != base[key]), "")
