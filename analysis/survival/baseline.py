"""Survival that a Cox model predicts: the baseline hazard after Efron, times each patient's relative hazard."""

import numpy as np
from jaxtyping import Float64

from analysis.survival.followup import Events, Months
from analysis.survival.partial_likelihood import Beta, Design, evaluate, risk_sets


def predicted_survival(
    coef: Beta,
    x: Design,
    time: Months,
    event: Events,
    patients: Float64[np.ndarray, "new covariate"],
    horizons: Float64[np.ndarray, " horizon"],
) -> Float64[np.ndarray, "new horizon"]:
    """exp(-H0(t) exp(x beta)), as R's ``survfit`` of a model with Efron's ties.

    The baseline goes with the ties of the fit; Breslow's, which lifelines takes here too, lies lower where times tie.

    Args:
        coef: of the model that was fitted to `x`, in one stratum.
        x: columns that the model was fitted to.
        time: months, above 0.
        event: True for an event.
        patients: the same columns of those to predict.
        horizons: months; beyond the last event time nothing is known, and the value stays where it was.

    Returns:
        Probability of no event up to each horizon.
    """
    center = x.mean(axis=0)
    (state,) = evaluate(risk_sets(time, event, [""] * len(time)), x - center, coef)
    highest = float(((x - center) @ coef).max())
    hazard = np.exp(-highest) / state.total[::-1]  # the weights were scaled to a largest of 1; earliest first
    times = state.stratum.times[state.stratum.at][::-1]
    cumulative = np.concatenate([[0.0], np.cumsum(hazard)])[np.searchsorted(times, horizons, side="right")]
    return np.exp(-np.outer(np.exp((patients - center) @ coef), cumulative))
