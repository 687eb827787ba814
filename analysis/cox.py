"""Cox models: fitted where the events allow it, refused with the reason where they do not."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64
from lifelines import CoxPHFitter
from lifelines.exceptions import ConvergenceError, ConvergenceWarning, StatisticalWarning
from scipy.stats import chi2, norm

from analysis.concordance import harrell_c
from analysis.followup import Events, Months
from analysis.intervals import Z95
from analysis.proportionality import ProportionalityTest, proportionality_tests
from triher.estimate import Estimate, not_estimable

_METHOD = "Cox, Efron ties, Wald"
_FEWEST_EVENTS = 5
"""Events per coefficient below which a model is refused."""
_RUNAWAY = 10.0
"""|coefficient| x range, or standard error, above which the likelihood is monotone."""
_FIT_OPTIONS = {"precision": 1e-10}
"""lifelines stops early by default, which leaves 6e-5 in p against R's survival."""

Design = Float64[np.ndarray, "patient covariate"]


@dataclass(frozen=True)
class Coefficient:
    """One line of a Cox model."""

    name: str
    hazard_ratio: Estimate
    coef: float
    se: float
    p: float


@dataclass(frozen=True)
class CoxModel:
    """A fitted model, or the reason why there is none."""

    n: int
    events: int
    coefficients: tuple[Coefficient, ...]
    log_likelihood: float
    log_likelihood_null: float
    linear_predictor: Float64[np.ndarray, " patient"]
    concordance: Estimate
    """Harrell's C of the model on the patients it was fitted to."""
    proportionality: tuple[ProportionalityTest, ...]
    reason: str = ""
    """Why the model was refused; everything above is then empty or not estimable."""

    @property
    def events_per_coefficient(self) -> float:
        """Below 10, coefficients are unstable (Peduzzi et al., J Clin Epidemiol 1995;48:1503)."""
        return self.events / max(1, len(self.coefficients))


def fit_cox(x: Design, names: tuple[str, ...], time: Months, event: Events, strata: tuple[str, ...]) -> CoxModel:
    """Fit a Cox model with Efron's ties.

    Args:
        x: complete columns, one a coefficient.
        names: of the columns.
        time: months, above 0.
        event: True for an event.
        strata: group of each patient; each has its own baseline hazard.

    Returns:
        The model. It is refused with fewer than 5 events per coefficient, with constant or collinear columns,
        and when the likelihood is monotone (a column separates events from the rest).
    """
    reason = _refusal(x, names, event)
    if reason:
        return _refused(names, len(x), int(event.sum()), reason)
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(len(names))])
    frame["time"], frame["event"], frame["stratum"] = time, event, list(strata)
    model = CoxPHFitter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `_monotone` looks for what these hint at
        warnings.simplefilter("ignore", StatisticalWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            model.fit(frame, "time", "event", strata=["stratum"], fit_options=_FIT_OPTIONS)
        except ConvergenceError:
            return _refused(names, len(x), int(event.sum()), "the likelihood has no maximum")
    coef = model.params_.to_numpy(float)
    se = model.standard_errors_.to_numpy(float)
    reason = _monotone(x, coef, se, names)
    if reason:
        return _refused(names, len(x), int(event.sum()), reason)
    lines = tuple(_line(name, b, s, len(x)) for name, b, s in zip(names, coef, se, strict=True))
    predictor = x @ coef
    gained = float(model.log_likelihood_ratio_test().test_statistic)
    return CoxModel(
        n=len(x),
        events=int(event.sum()),
        coefficients=lines,
        log_likelihood=float(model.log_likelihood_),
        log_likelihood_null=float(model.log_likelihood_) - gained / 2,
        linear_predictor=predictor,
        concordance=harrell_c(predictor, time, event, strata),
        proportionality=proportionality_tests(x, coef, time, event, strata, names),
    )


def _refusal(x: Design, names: tuple[str, ...], event: Events) -> str:
    """Why a model should not be tried, or an empty text."""
    events, k = int(event.sum()), len(names)
    if events < _FEWEST_EVENTS * k:
        return f"{events} event{'s' * (events != 1)} for {k} coefficient{'s' * (k != 1)}"
    constant = [name for name, column in zip(names, x.T, strict=True) if np.ptp(column) == 0]
    if constant:
        return f"constant: {', '.join(constant)}"
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    for i in range(1, k + 1):
        if np.linalg.matrix_rank(scaled[:, :i]) < i:
            return f"{names[i - 1]} follows from the columns before it: {', '.join(names[: i - 1])}"
    return ""


def _monotone(
    x: Design, coef: Float64[np.ndarray, " covariate"], se: Float64[np.ndarray, " covariate"], names: tuple[str, ...]
) -> str:
    """Name the columns whose coefficient runs to infinity."""
    scale = np.maximum(x.std(axis=0, ddof=1), np.finfo(float).tiny)
    finite = np.isfinite(coef) & np.isfinite(se)
    runaway = ~finite | (np.abs(coef) * np.ptp(x, axis=0) > _RUNAWAY) | (se * scale > _RUNAWAY)
    guilty = [name for name, bad in zip(names, runaway, strict=True) if bad]
    return f"{', '.join(guilty)} separates events from the rest (monotone likelihood)" if guilty else ""


def _refused(names: tuple[str, ...], n: int, events: int, reason: str) -> CoxModel:
    """A model that was not reported."""
    nothing = not_estimable(reason, n=n, method=_METHOD)
    lines = tuple(Coefficient(name, nothing, math.nan, math.nan, math.nan) for name in names)
    return CoxModel(n, events, lines, math.nan, math.nan, np.zeros(0), nothing, (), reason)


def _line(name: str, coef: float, se: float, n: int) -> Coefficient:
    """Hazard ratio with Wald limits and two-sided p."""
    ratio = Estimate(math.exp(coef), math.exp(coef - Z95 * se), math.exp(coef + Z95 * se), n, _METHOD)
    return Coefficient(name, ratio, coef, se, float(2 * norm.sf(abs(coef / se))))


def likelihood_ratio_p(smaller: float, larger: float, df: int) -> tuple[float, float]:
    """Chi-square and p of nested models from their log likelihoods on the same patients."""
    chisq = max(0.0, 2 * (larger - smaller))
    return chisq, float(chi2.sf(chisq, df))
