"""How stable the order of the cells is over resamples."""

from dataclasses import dataclass

from analysis.ablation.material import Arena, StudyMaterial


@dataclass(frozen=True)
class Rank:
    """Where a cell stands among all, 1 for the best; ties share their ranks."""

    cell: str
    mean: float
    low: float
    """2.5 % of the resamples rank it better."""
    high: float
    """2.5 % rank it worse."""
    share_best: float
    """Of the resamples, 0 to 1; a tie for the first place is shared."""


def rank_cells(arena: Arena, material: StudyMaterial) -> tuple[Rank, ...]:
    """Ranks by the study's metric, in the order of the arena's cells; none where the metric cannot be estimated."""
    raise NotImplementedError
