"""What the best cell can be expected to reach, corrected for its having been chosen among many (BBC-CV)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from analysis.ablation.comparison import estimates
from analysis.ablation.material import Arena, StudyMaterial
from analysis.ablation.measures import draw, find_measure, resample
from analysis.ablation.ranks import shares_of_best
from analysis.discrimination.auc_kernel import Multiplicities
from analysis.discrimination.aucs import shortage
from analysis.inference.bootstrap import percentile
from analysis.inference.intervals import FEWEST
from triher.estimate import Estimate
from triher.types import Labels


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
    """The winner, and what the choice is worth.

    In every resample the best cell is chosen on the patients drawn, and judged on those who were not; the mean over
    resamples is the corrected value and their 2.5 and 97.5 % percentiles its interval (bootstrap bias corrected
    cross-validation; Tsamardinos, Greasidou & Borboudakis, Mach Learn 2018;107:1895). No model is trained again.
    Patients are drawn within their class, and a resample that drew all patients of a class is not used, as nobody
    is left to judge by. Cells that are equally good share the choice.

    The corrected value is that of the procedure "take the best cell", not of the winner alone. Its interval rests on
    the third of the patients whom a resample leaves out, which makes it wider than that of the winner; so it is not
    widened for folds once more.

    Returns:
        None with fewer than two cells, fewer than 5 patients of a class that the metric needs, or a cell without
        value.

    Raises:
        StopRun: ``unknown_name`` for the study's metric.
    """
    measure = find_measure(material.own.metric, material.config.scheme)
    if len(arena.names) == 1 or shortage(measure.needs(arena.y, arena.classes), fewest=FEWEST):
        return None
    weights = resample(arena, material.config)
    everybody = estimates(arena, measure, weights)
    goodness = measure.goodness(np.array([[estimate.value] for estimate in everybody]))
    inside = measure.goodness(draw(arena, measure, weights))
    usable = leaves_every_class(arena.y, weights) & ~np.isnan(inside).any(axis=0)
    if not usable.any():
        return None
    chosen = shares_of_best(inside[:, usable])
    outside = draw(arena, measure, (weights[usable] == 0).astype(np.int32))
    reached = (chosen * outside).sum(axis=0)
    best = int(goodness[:, 0].argmax())
    method = f"{measure.label}, best cell of each of {len(weights)} resamples on the patients out of it, percentile"
    if not usable.all():
        method += f"; {int((~usable).sum())} not used: nobody of a class was left out, or a cell had no value"
    corrected = percentile(float(np.nanmean(reached)), reached, n=len(arena.y), method=method)
    shares = dict(zip(arena.names, (float(share) for share in chosen.mean(axis=1)), strict=True))
    ordered = dict(sorted(shares.items(), key=lambda item: -item[1]))
    return Winner(arena.names[best], everybody[best], corrected, ordered)


def leaves_every_class(y: Labels, weights: Multiplicities) -> Bool[np.ndarray, " resample"]:
    """Which resamples leave out somebody of every class.

    >>> leaves_every_class(np.array([0, 0, 1, 1]), np.array([[2, 0, 0, 2], [1, 1, 2, 0]])).tolist()
    [True, False]
    """
    left = weights == 0
    return np.all([left[:, y == c].any(axis=1) for c in np.unique(y)], axis=0)
