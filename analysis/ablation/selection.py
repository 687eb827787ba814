"""What the best cell can be expected to reach, corrected for its having been chosen among many (BBC-CV)."""

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.ablation.material import Arena, StudyMaterial
from triher.estimate import Estimate


@dataclass(frozen=True)
class Winner:
    """The cell that is best by the study's metric."""

    cell: str
    naive: Estimate
    """On the patients whom it was chosen by."""
    corrected: Estimate
    """What choosing the best cell on such patients gives on others."""
    chosen: Mapping[str, float]
    """Cell -> share of the resamples in which it was the best, most frequent first; 0 to 1."""


def correct_winner(arena: Arena, material: StudyMaterial) -> Winner | None:
    """The winner; None with fewer than two cells, or where the metric cannot be estimated."""
    raise NotImplementedError
