"""The shape of the score's effect: a restricted cubic spline in a Cox model, and whether a line would do."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from analysis.inference.intervals import Z95
from analysis.survival.cox import FEWEST_EVENTS, CoxModel, Options, fit_cox, likelihood_ratio_p
from analysis.survival.followup import Events, Months
from triher.estimate import Estimate, not_estimable

KNOTS = {4: (0.05, 0.35, 0.65, 0.95), 3: (0.10, 0.50, 0.90)}
"""Number of knots -> quantiles of the score where they lie (Harrell, Regression Modeling Strategies 2015, 2.4)."""
_POINTS = 101
_METHOD = "likelihood-ratio test of a restricted cubic spline against a line, p value"

Column = Float64[np.ndarray, " patient"]


@dataclass(frozen=True)
class Shape:
    """How the hazard follows the score, where the events allow a spline."""

    knots: tuple[float, ...]
    chisq: float
    df: int
    nonlinear: Estimate
    """P value of the test against a line, or why there is no spline."""
    score: Float64[np.ndarray, " point"]
    log_hazard: Float64[np.ndarray, " point"]
    """Log hazard ratio against the median score."""
    low: Float64[np.ndarray, " point"]
    """Pointwise 95 % limits."""
    high: Float64[np.ndarray, " point"]


def spline_columns(
    score: Float64[np.ndarray, " value"], knots: tuple[float, ...]
) -> Float64[np.ndarray, "value term"]:
    """The score, and terms that bend it: cubic between the knots, straight beyond the outer ones.

    Terms are divided by the squared distance of the outer knots, so that they count in the score's unit (Harrell,
    Regression Modeling Strategies 2015, eq. 2.25).

    Args:
        score: any unit.
        knots: at least 3, rising.

    Returns:
        One column less than there are knots, the score itself first.

    >>> spline_columns(np.array([0.0, 1.0, 2.0, 4.0]), (0.0, 1.0, 3.0)).round(4).tolist()
    [[0.0, 0.0], [1.0, 0.1111], [2.0, 0.7222], [4.0, 2.6667]]
    """
    *inner, before, last = knots
    width = (last - knots[0]) ** 2

    def cube(t: float) -> Float64[np.ndarray, " value"]:
        return np.maximum(score - t, 0.0) ** 3

    bends = [
        (cube(t) - cube(before) * (last - t) / (last - before) + cube(last) * (before - t) / (last - before)) / width
        for t in inner
    ]
    return np.column_stack([score, *bends])


def judge_shape(
    score: Column,
    covariates: Float64[np.ndarray, "patient covariate"],
    time: Months,
    event: Events,
    strata: tuple[str, ...],
    straight: CoxModel,
) -> Shape:
    """Let the score bend in a model.

    Args:
        score: as it enters the model, in any unit.
        covariates: complete, beside the score; may have no column.
        time: months.
        event: True for an event.
        strata: group of each patient.
        straight: the model of the same patients with the score as a line.

    Returns:
        The shape by 4 knots, or by 3 where the events or the values of the score do not suffice for 4.
    """
    if straight.reason or straight.penalty:
        reason = straight.reason or "few events: the model has a penalty"
        return _none(reason, len(score))
    reason = ""
    for n_knots, quantiles in KNOTS.items():
        knots = tuple(np.quantile(score, quantiles).tolist())
        k = n_knots - 1 + covariates.shape[1]
        if len(set(knots)) < n_knots:
            reason = f"the score has too few values for {n_knots} knots"
        elif straight.events < FEWEST_EVENTS * k:
            reason = f"{straight.events} events for {k} coefficients with {n_knots} knots"
        else:
            return _fit(score, knots, covariates, time, event, strata, straight)
    return _none(reason, len(score))


def _fit(
    score: Column,
    knots: tuple[float, ...],
    covariates: Float64[np.ndarray, "patient covariate"],
    time: Months,
    event: Events,
    strata: tuple[str, ...],
    straight: CoxModel,
) -> Shape:
    """The bent model, its test against the straight one and its curve."""
    middle = np.median(score, keepdims=True)
    columns = spline_columns(score, knots)
    center = columns.mean(axis=0)
    # Terms of a spline go with each other so closely that none has a coefficient worth judging: make them orthogonal.
    axes, triangle = np.linalg.qr(columns - center)
    apart = np.linalg.inv(triangle) * np.sqrt(len(score))
    terms = columns.shape[1]
    names = (
        "score",
        *(f"bend {j}" for j in range(1, terms)),
        *(f"covariate {j}" for j in range(covariates.shape[1])),
    )
    design = np.column_stack([axes * np.sqrt(len(score)), covariates])
    bent = fit_cox(design, names, time, event, strata, Options(diagnose=False))
    if bent.reason or bent.covariance is None:
        return _none(f"the spline cannot be fitted: {bent.reason}", len(score))
    chisq, p = likelihood_ratio_p(straight.log_likelihood, bent.log_likelihood, terms - 1)
    at = np.linspace(score.min(), score.max(), _POINTS)
    distance = (spline_columns(at, knots) - spline_columns(middle, knots)) @ apart
    value = distance @ np.array([line.coef for line in bent.coefficients[:terms]])
    spread = np.sqrt(np.einsum("ij,jk,ik->i", distance, bent.covariance[:terms, :terms], distance))
    answer = Estimate(p, np.nan, np.nan, len(score), _METHOD)
    return Shape(knots, chisq, terms - 1, answer, at, value, value - Z95 * spread, value + Z95 * spread)


def _none(reason: str, n: int) -> Shape:
    """No spline, and why."""
    nothing = np.zeros(0)
    return Shape((), np.nan, 0, not_estimable(reason, n=n, method=_METHOD), nothing, nothing, nothing, nothing)
