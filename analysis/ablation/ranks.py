"""How stable the order of the cells is over resamples."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import rankdata

from analysis.ablation.material import Arena, StudyMaterial
from analysis.ablation.measures import draw, find_measure, resample
from analysis.discrimination.aucs import shortage
from analysis.inference.intervals import FEWEST

Cells = Float64[np.ndarray, "cell resample"]


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

    @property
    def interval(self) -> str:
        """Both limits in print; a rank that is shared may be a half.

        >>> Rank("base", 1.5, 1.5, 2.0, 0.5).interval
        '1.5 to 2'
        """
        return f"{round(self.low, 1):g} to {round(self.high, 1):g}"


def rank_cells(arena: Arena, material: StudyMaterial) -> tuple[Rank, ...]:
    """Ranks by the study's metric, in the order of the arena's cells.

    All cells are ranked in every resample (Marshall & Spiegelhalter, BMJ 1998;316:1701, who show how wide such
    intervals are). The interval is that of the resamples as they are: the ranks of out-of-fold predictions are less
    stable still, because training again would move them, too.

    Returns:
        Nothing with fewer than 5 patients of a class that the metric needs, or where a cell has no value. Resamples
        in which some cell has none are left out.

    Raises:
        StopRun: ``unknown_name`` for the study's metric.
    """
    measure = find_measure(material.own.metric, material.config.scheme)
    if shortage(measure.needs(arena.y, arena.classes), fewest=FEWEST):
        return ()
    goodness = measure.goodness(draw(arena, measure, resample(arena, material.config)))
    goodness = goodness[:, ~np.isnan(goodness).any(axis=0)]
    if not goodness.shape[1]:
        return ()
    ranks = rankdata(-goodness, axis=0)
    low, high = np.quantile(ranks, [0.025, 0.975], axis=1)
    best = shares_of_best(goodness).mean(axis=1)
    return tuple(
        Rank(name, float(ranks[i].mean()), float(low[i]), float(high[i]), float(best[i]))
        for i, name in enumerate(arena.names)
    )


def shares_of_best(goodness: Cells) -> Cells:
    """1 for the best cell of each resample, or equal parts of it where several are best.

    >>> shares_of_best(np.array([[0.7, 0.8], [0.7, 0.6]])).tolist()
    [[0.5, 1.0], [0.5, 0.0]]
    """
    is_best = goodness == goodness.max(axis=0)
    return is_best / is_best.sum(axis=0)
