"""Cox models: fitted where the events allow it, refused with the reason where they do not."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64
from scipy.stats import chi2, norm

from analysis.inference.intervals import Z95
from analysis.survival.collinearity import useless_columns, variance_inflation
from analysis.survival.concordance import harrell_c
from analysis.survival.firth import METHOD as FIRTH
from analysis.survival.firth import FirthFit, fit_firth
from analysis.survival.followup import Events, Months
from analysis.survival.maximum import Maximum, find_maximum, runaway_columns
from analysis.survival.partial_likelihood import Design, evaluate, log_likelihood, risk_sets
from analysis.survival.proportionality import ProportionalityTest, proportionality_tests
from triher.estimate import Estimate, not_estimable

STABLE_EVENTS = 10
"""Events per coefficient below which coefficients are unstable (Peduzzi et al., J Clin Epidemiol 1995;48:1503)."""
FEWEST_EVENTS = 5
"""Events per coefficient below which a model is refused."""
_OFFER = "analysis.few_events: firth fits it with a penalty that keeps the hazard ratios finite"


@dataclass(frozen=True)
class Options:
    """How a model is fitted."""

    few_events: Literal["refuse", "firth"] = "refuse"
    """With fewer than 5 events per coefficient, or a monotone likelihood."""
    like_penalized: bool = False
    """Use Firth's penalty in any case, for a model that is compared with one that needed it."""
    robust: bool = False
    """Sandwich standard errors (Lin & Wei, J Am Stat Assoc 1989;84:1074) instead of the model's."""
    cluster: tuple[str, ...] = ()
    """Group of each patient; standard errors are then robust to patients of one group being alike."""
    ridge: float = 0.0
    """Maximize the log likelihood minus ridge / 2 x the sum of squared coefficients, columns as they are."""
    diagnose: bool = True
    """Whether to compute concordance and tests of proportional hazards as well."""


PLAIN = Options()


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
    """Comparable between models without penalty only."""
    log_likelihood_null: float
    """NaN with Firth's penalty."""
    linear_predictor: Float64[np.ndarray, " patient"]
    concordance: Estimate
    """Harrell's C of the model on the patients it was fitted to."""
    proportionality: tuple[ProportionalityTest, ...]
    """Empty with a penalty, for which the test is not made."""
    reason: str = ""
    """Why the model was refused; everything above is then empty or not estimable."""
    remedy: str = ""
    """What can be done about it."""
    code: str = ""
    """Of `triher.codes`, where the model was refused or needed Firth's penalty."""
    occasion: str = ""
    """Why Firth's penalty was needed."""
    covariance: Float64[np.ndarray, "covariate covariate"] | None = None
    """Inverse of the information; None with Firth's penalty, whose limits follow the profile of the likelihood."""
    inflation: tuple[float, ...] = ()
    """Variance inflation factor of each column."""
    penalty: Literal["", "firth", "ridge"] = ""

    @property
    def events_per_coefficient(self) -> float:
        """Compare `STABLE_EVENTS`."""
        return self.events / max(1, len(self.coefficients))


def fit_cox(
    x: Design, names: tuple[str, ...], time: Months, event: Events, strata: tuple[str, ...], options: Options = PLAIN
) -> CoxModel:
    """Fit a Cox model with Efron's ties.

    The reported maximum is lifelines'; `analysis.survival.partial_likelihood` only tells it where to start.

    Args:
        x: complete columns, one a coefficient.
        names: of the columns.
        time: months, above 0.
        event: True for an event.
        strata: group of each patient; each has its own baseline hazard.
        options: penalties and standard errors.

    Returns:
        The model. It is refused without events, with fewer than 5 per coefficient, with constant or collinear
        columns, and when the likelihood is monotone (a column separates events from the rest). Few events and a
        monotone likelihood are fitted with Firth's penalty instead where the options say so.
    """
    counts = (len(x), int(event.sum()))
    if counts[1] == 0:
        return _refused(names, *counts, "few_events", "0 events", "follow up for longer")
    useless, to_drop = useless_columns(x, names)
    if useless:
        return _refused(names, *counts, "covariates_collinear", useless, f"drop {', '.join(to_drop)}")
    if counts[1] < FEWEST_EVENTS * len(names) or options.like_penalized:
        reason = f"{_plural(counts[1], 'event')} for {_plural(len(names), 'coefficient')}"
        return _penalized(x, names, time, event, strata, options, "few_events", reason)
    fitted = find_maximum(x, time, event, strata, robust=options.robust, cluster=options.cluster, ridge=options.ridge)
    if fitted is None:
        reason = "the likelihood has no maximum"
        return _penalized(x, names, time, event, strata, options, "monotone_likelihood", reason)
    guilty = runaway_columns(x, names, fitted)
    if guilty:
        reason = f"{', '.join(guilty)} separates events from the rest (monotone likelihood)"
        return _penalized(x, names, time, event, strata, options, "monotone_likelihood", reason)
    return _told(x, names, time, event, strata, options, fitted)


def _told(
    x: Design,
    names: tuple[str, ...],
    time: Months,
    event: Events,
    strata: tuple[str, ...],
    options: Options,
    fitted: Maximum,
) -> CoxModel:
    """The model at the maximum of the likelihood, with its tests."""
    risk = risk_sets(time, event, strata)
    centered = x - x.mean(axis=0)
    how, coef = _method(options), fitted.coef
    pairs = zip(names, coef.tolist(), fitted.errors.tolist(), strict=True)
    lines = tuple(_line(name, b, s, len(x), how) for name, b, s in pairs)
    tested = options.diagnose and not options.ridge
    return CoxModel(
        len(x),
        int(event.sum()),
        coefficients=lines,
        log_likelihood=log_likelihood(evaluate(risk, centered, coef)),
        log_likelihood_null=log_likelihood(evaluate(risk, centered, np.zeros(len(coef)))),
        linear_predictor=x @ coef,
        concordance=_concordance(x @ coef, time, event, strata, options),
        proportionality=proportionality_tests(x, coef, time, event, strata, names) if tested else (),
        covariance=fitted.covariance,
        inflation=variance_inflation(x),
        penalty="ridge" if options.ridge else "",
    )


def _penalized(
    x: Design,
    names: tuple[str, ...],
    time: Months,
    event: Events,
    strata: tuple[str, ...],
    options: Options,
    code: str,
    reason: str,
) -> CoxModel:
    """The model with Firth's penalty where that is wanted and possible, else the refusal."""
    n, events = len(x), int(event.sum())
    if options.few_events == "refuse":
        return _refused(names, n, events, code, reason, _OFFER)
    if len(set(strata)) > 1:
        remedy = "Firth's penalty needs one baseline hazard: empty analysis.strata"
        return _refused(names, n, events, code, reason, remedy)
    fit = fit_firth(x, time, event)
    if fit is None:
        reason = f"{reason}, and Firth's penalty does not settle"
        return _refused(names, n, events, code, reason, "use fewer covariates")
    return CoxModel(
        n,
        events,
        coefficients=tuple(_firth_line(name, fit, j, n) for j, name in enumerate(names)),
        log_likelihood=fit.log_likelihood,
        log_likelihood_null=math.nan,
        linear_predictor=x @ fit.coef,
        concordance=_concordance(x @ fit.coef, time, event, strata, options),
        proportionality=(),
        inflation=variance_inflation(x),
        penalty="firth",
        code=code,
        occasion=reason,
    )


def _firth_line(name: str, fit: FirthFit, j: int, n: int) -> Coefficient:
    """Hazard ratio with profile limits and the p value of the penalized likelihood ratio."""
    reason = "" if np.isfinite(fit.low[j]) else "the profile limits are not found"
    value, low, high = (math.exp(v[j]) for v in (fit.coef, fit.low, fit.high))
    ratio = Estimate(value, low, high, n, FIRTH, reason)
    return Coefficient(name, ratio, float(fit.coef[j]), float(fit.se[j]), float(fit.p[j]))


def _concordance(
    predictor: Float64[np.ndarray, " patient"],
    time: Months,
    event: Events,
    strata: tuple[str, ...],
    options: Options,
) -> Estimate:
    """Harrell's C, where it is asked for."""
    if not options.diagnose:
        return not_estimable("not asked for", n=len(predictor), method="Harrell's C")
    return harrell_c(predictor, time, event, strata)


def _refused(names: tuple[str, ...], n: int, events: int, code: str, reason: str, remedy: str) -> CoxModel:
    """A model that was not reported."""
    nothing = not_estimable(reason, n=n, method="Cox")
    lines = tuple(Coefficient(name, nothing, math.nan, math.nan, math.nan) for name in names)
    return CoxModel(n, events, lines, math.nan, math.nan, np.zeros(0), nothing, (), reason, remedy, code)


def _method(options: Options) -> str:
    """How the limits were computed."""
    spread = "cluster-robust" if options.cluster else "robust" if options.robust else ""
    ridge = f"ridge penalty {options.ridge:g}" if options.ridge else ""
    return ", ".join(filter(None, ["Cox, Efron ties", ridge, spread, "Wald"]))


def _line(name: str, coef: float, se: float, n: int, method: str) -> Coefficient:
    """Hazard ratio with Wald limits and two-sided p."""
    ratio = Estimate(math.exp(coef), math.exp(coef - Z95 * se), math.exp(coef + Z95 * se), n, method)
    return Coefficient(name, ratio, coef, se, float(2 * norm.sf(abs(coef / se))))


def _plural(n: int, noun: str) -> str:
    """A number with its noun."""
    return f"{n} {noun}{'s' * (n != 1)}"


def likelihood_ratio_p(smaller: float, larger: float, df: int) -> tuple[float, float]:
    """Chi-square and p of nested models from their log likelihoods on the same patients."""
    chisq = max(0.0, 2 * (larger - smaller))
    return chisq, float(chi2.sf(chisq, df))
