"""What stands beside the Cox models: shape of the score, results without proportional hazards, best cut."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from analysis.survival.cox import CoxModel
from analysis.survival.cutpoint import BestCut, best_cut
from analysis.survival.followup import FollowUp
from analysis.survival.nonproportional import OwnBaseline, Periods, own_baseline, split_by_time, violated
from analysis.survival.spline import Shape, judge_shape


@dataclass(frozen=True)
class Depth:
    """Answers to what one would ask next."""

    shape: Shape
    """Of the foremost model: the adjusted one where it was fitted, else the score alone."""
    periods: tuple[Periods, ...]
    """Of each variable of the foremost model whose hazards are not proportional."""
    own_baselines: tuple[OwnBaseline, ...]
    """The foremost model with a baseline hazard for each value of such a covariate."""
    cut: BestCut | None
    """None unless it was asked for."""


def look_deeper(
    data: FollowUp,
    score: Float64[np.ndarray, " patient"],
    complete: Bool[np.ndarray, " patient"],
    alone: CoxModel,
    adjusted: CoxModel | None,
    *,
    cutpoint: bool,
) -> Depth:
    """Look at shape, proportionality and cut.

    Args:
        data: patients with survival.
        score: per standard deviation, as in the models.
        complete: who has all covariates.
        alone: the score's own model.
        adjusted: the model with the covariates, of the complete patients.
        cutpoint: whether to search for the best cut.
    """
    fitted = adjusted is not None and not adjusted.reason
    model, rows = (adjusted, complete) if adjusted is not None and fitted else (alone, np.ones_like(complete))
    covariates = data.covariates[rows] if fitted else np.zeros((int(rows.sum()), 0))
    time, event = data.time_months[rows], data.event[rows]
    strata = tuple(s for s, used in zip(data.strata, rows.tolist(), strict=True) if used)
    names = tuple(line.name for line in model.coefficients)
    terms = (names[0], *((data.terms or data.names) if fitted else ()))
    design = np.column_stack([score[rows], covariates])
    bent = [name for name in violated(model) if name != "GLOBAL"]
    if violated(model) and not bent:
        bent = [names[0]]
    baselines = [own_baseline(design, names, terms, name, time, event, strata) for name in bent if name != names[0]]
    by_term = {found.name: found for found in baselines if found is not None}
    return Depth(
        shape=judge_shape(score[rows], covariates, time, event, strata, model),
        periods=tuple(split_by_time(design, names, name, time, event, strata, model) for name in bent),
        own_baselines=tuple(by_term.values()),
        cut=best_cut(data.score, data.time_months, data.event, data.strata) if cutpoint else None,
    )
