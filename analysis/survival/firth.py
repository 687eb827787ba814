"""Cox models with Firth's penalty, which stay finite where events are few or a column separates them."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.linalg import LinAlgError

from analysis.survival.followup import Events, Months
from analysis.survival.partial_likelihood import Beta, Design

METHOD = "Cox, Firth's penalty, Breslow ties, profile penalized likelihood"
_MOST_STEPS = 500


@dataclass(frozen=True)
class FirthFit:
    """Coefficients with limits and p values of the penalized likelihood."""

    coef: Beta
    se: Beta
    low: Beta
    """95 % profile limits; NaN on both sides where one of them is not found."""
    high: Beta
    p: Beta
    """Of the penalized likelihood-ratio test of each coefficient against 0, the others refitted."""
    log_likelihood: float
    """Penalized; comparable within one set of columns only."""


def fit_firth(x: Design, time: Months, event: Events) -> FirthFit | None:
    """Maximize the log likelihood plus half the log determinant of the information.

    Heinze & Schemper, Biometrics 2001;57:114. Columns are fitted per standard deviation and given back in their unit,
    which changes nothing but the convergence.

    Args:
        x: columns of full rank.
        time: months, above 0.
        event: True for an event; at least one.

    Returns:
        The fit, or None where the iterations do not settle.
    """
    from firthmodels import FirthCoxPH  # half a second, and seldom needed
    from sklearn.exceptions import ConvergenceWarning

    scale = x.std(axis=0)
    model = FirthCoxPH(backend="numpy", max_iter=_MOST_STEPS, gtol=1e-8, xtol=1e-8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # seen below as a flag, or as limits that are not there
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            model.fit((x - x.mean(axis=0)) / scale, (event, time))
        except LinAlgError:
            return None
        if not model.converged_:
            return None
        profile = partial(model.conf_int, method="pl", max_iter=_MOST_STEPS, tol=1e-7)
        limits = np.array([_limits(profile, j) for j in range(x.shape[1])])
        p = model.lrt().lrt_pvalues_
    low, high = limits.T / scale
    return FirthFit(model.coef_ / scale, model.bse_ / scale, low, high, p, float(model.loglik_))


def _limits(profile: Callable[..., np.ndarray], j: int) -> tuple[float, float]:
    """Profile limits of one coefficient."""
    try:
        low, high = profile(features=[j])[j]
    except LinAlgError:
        return math.nan, math.nan
    return (float(low), float(high)) if np.isfinite(low + high) else (math.nan, math.nan)
