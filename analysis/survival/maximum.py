"""Where Cox's partial likelihood is highest, by lifelines, and whether it is highest anywhere."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from lifelines.exceptions import ConvergenceError, ConvergenceWarning, StatisticalWarning

from analysis.survival.collinearity import variance_inflation
from analysis.survival.followup import Events, Months
from analysis.survival.partial_likelihood import Beta, Design, Information, maximize, risk_sets

_RUNAWAY = 10.0
"""|coefficient| x range, or standard error per standard deviation, above which the likelihood is monotone."""
_FIT_OPTIONS = {"precision": 1e-10}
"""lifelines stops early by default, which leaves 6e-5 in p against R's survival."""


@dataclass(frozen=True)
class Maximum:
    """Coefficients and how well they are known."""

    coef: Beta
    covariance: Information
    """The inverse of the information, also where the standard errors are robust."""
    errors: Beta
    """Standard errors, robust where that was asked for."""


def find_maximum(
    x: Design,
    time: Months,
    event: Events,
    strata: tuple[str, ...],
    *,
    robust: bool = False,
    cluster: tuple[str, ...] = (),
    ridge: float = 0.0,
) -> Maximum | None:
    """Fit with Efron's ties.

    `analysis.survival.partial_likelihood.maximize` tells lifelines where to start, which saves it most of its steps;
    the result is lifelines'.

    Args:
        x: columns of full rank, none constant.
        time: months, above 0.
        event: True for an event.
        strata: group of each patient; each has its own baseline hazard.
        robust: give sandwich standard errors (Lin & Wei, J Am Stat Assoc 1989;84:1074).
        cluster: group of each patient whose members may be alike, for robust standard errors; none when empty.
        ridge: subtract ridge / 2 x the sum of the squared coefficients.

    Returns:
        The maximum, or None where the iterations do not converge.
    """
    scale = x.std(axis=0, ddof=1)
    scaled = (x - x.mean(axis=0)) / scale  # as lifelines does itself, so that both count in the same unit
    model = CoxPHFitter(penalizer=ridge / len(x) / scale**2 if ridge else 0.0)
    frame, keys = _frame(scaled, time, event, strata, cluster)
    start = None if ridge else maximize(risk_sets(time, event, strata), scaled)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `runaway_columns` looks for what these hint at
        warnings.simplefilter("ignore", StatisticalWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            model.fit(
                frame,
                "time",
                "event",
                robust=robust,
                initial_point=None if start is None else start[0],
                fit_options=_FIT_OPTIONS,
                **keys,
            )
        except ConvergenceError:
            return None
    coef, errors = model.params_.to_numpy(float), model.standard_errors_.to_numpy(float)
    return Maximum(coef / scale, model.variance_matrix_.to_numpy(float) / np.outer(scale, scale), errors / scale)


def _frame(
    x: Design, time: Months, event: Events, strata: tuple[str, ...], cluster: tuple[str, ...]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A table as lifelines wants it, and which columns are which."""
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])])
    frame["time"], frame["event"] = time, event
    keys: dict[str, Any] = {}
    if len(set(strata)) > 1:
        frame["stratum"], keys["strata"] = list(strata), ["stratum"]
    if cluster:
        frame["cluster"], keys["cluster_col"] = list(cluster), "cluster"
    return frame, keys


def runaway_columns(x: Design, names: tuple[str, ...], found: Maximum) -> list[str]:
    """Columns whose coefficient runs to infinity, because they separate events from the rest.

    The likelihood is then monotone, and what iterations return is where they gave up (Heinze & Schemper, Biometrics
    2001;57:114). A hazard that differs more than exp(10)-fold between the lowest and the highest value is taken for
    such a case. Collinear columns have large coefficients of opposite sign without that, so both yardsticks are
    divided by the square root of the variance inflation.
    """
    own = 1 / np.sqrt(variance_inflation(x))
    scale = np.maximum(x.std(axis=0, ddof=1), np.finfo(float).tiny)
    finite = np.isfinite(found.coef) & np.isfinite(found.errors)
    far = np.abs(found.coef) * np.ptp(x, axis=0) * own > _RUNAWAY
    runaway = ~finite | far | (found.errors * scale * own > _RUNAWAY)
    return [name for name, bad in zip(names, runaway, strict=True) if bad]
